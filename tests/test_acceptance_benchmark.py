"""The promise of precision is simulated on synthetic scores; the benchmarks do it on those of real models."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.benchmarks.trust.acceptance import Tally, simulate

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
ROWS = 1500


def exact(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    p = 0.5 + 0.5 * rng.beta(6, 1, n)
    return p, p


def overconfident(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    p = 0.5 + 0.5 * rng.beta(2, 1, n)
    return 1 / (1 + ((1 - p) / p) ** 4), p


def tied(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    p = rng.choice([0.6, 0.8, 0.9, 0.985], n, p=[0.2, 0.2, 0.2, 0.4])
    return p, p


def surest_wrong(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    scores = rng.random(n)
    return scores, np.where(scores > 0.8, 0.9, 0.99)


def at_the_border(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Where nothing tells tasks apart and just too many are wrong, the promise is broken most easily."""
    return rng.random(n), np.full(n, 0.949)


def tallies(draw: Draw, *, runs: int = 60, checks: int = 200, seed: int = 2) -> list[Tally]:
    """Each run on a pool of its own: the promise holds over all that could have been."""
    rng, found = np.random.default_rng(seed), []
    for run in range(runs):
        scores, p = draw(rng, ROWS)
        right = rng.random(ROWS) < p
        found += simulate(scores, right, targets=(0.95,), checks=checks, runs=1, seed=run)
    return found


@pytest.mark.parametrize("draw", [exact, overconfident, tied, surest_wrong, at_the_border])
def test_the_promise_is_missed_no_more_often_than_said(draw: Draw) -> None:
    missed = sum(tally.missed for tally in tallies(draw))
    assert missed <= 12  # of 60, 6 expected at most; 13 or more by chance in less than 1 of 100


def test_what_scores_order_well_is_certified_in_part() -> None:
    found = tallies(exact, checks=400)
    assert sum(tally.certified for tally in found) > 30
    assert 0.1 < np.mean([tally.coverage for tally in found]) < np.mean([tally.attainable for tally in found])


def test_a_target_no_threshold_reaches_is_not_certified() -> None:
    rng = np.random.default_rng(0)
    (tally,) = simulate(rng.random(ROWS), rng.random(ROWS) < 0.7, targets=(0.95,), runs=20)
    assert (tally.certified, tally.missed, tally.coverage) == (0, 0, 0.0)


def test_three_checks_certify_nothing() -> None:
    (tally,) = simulate([0.9] * 50, [True] * 50, targets=(0.95,), checks=3, runs=5)
    assert (tally.certified, tally.attainable) == (0, 1.0)


def test_a_pool_of_right_answers_is_accepted_whole() -> None:
    (tally,) = simulate([0.9] * 300, [True] * 300, targets=(0.95,), checks=100, runs=3)
    assert (tally.certified, tally.missed, tally.coverage) == (3, 0, 1.0)
    assert "missed in 0 of 3 runs" in tally.words


def test_as_many_checks_as_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="leave no row"):
        simulate([0.9] * 3, [True] * 3, checks=3)
