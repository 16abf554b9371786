"""The arithmetic of the benchmark itself, on numbers whose answer is known."""

import numpy as np

from tests.benchmarks.trust.calibrating import debiased_ece
from tests.benchmarks.trust.deciding import right_decisions


def test_scores_that_keep_their_word_have_no_error_beyond_chance() -> None:
    rng = np.random.default_rng(1)
    found = []
    for seed in range(20):
        scores = rng.uniform(0.5, 1, 300)
        found.append(debiased_ece(scores, rng.random(300) < scores, seed))
    assert abs(float(np.mean(found))) < 0.01


def test_scores_that_promise_too_much_have_one() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.8, 1, 300)
    assert debiased_ece(scores, rng.random(300) < 0.6, 0) > 0.2


def test_a_label_where_prompts_agree_decides_nothing() -> None:
    """The other prompt is better on 12 rows, worse on 4, the same on 184."""
    gain = np.array([1] * 12 + [-1] * 4 + [0] * 184)
    everywhere, differing = np.arange(200), np.flatnonzero(gain)
    assert right_decisions(gain, differing, 16) == 1
    assert right_decisions(gain, everywhere, 16) < right_decisions(gain, differing, 10)


def test_a_tie_counts_half() -> None:
    assert right_decisions(np.array([1, 0, 0]), np.array([1, 2]), 2) == 0.5
