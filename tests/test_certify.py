from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom

from worker.acceptance.certify import Certificate, Evidence, MoreChecks, certify
from worker.statistics import boundary

Drawn = tuple[np.ndarray, np.ndarray]


def given(scores: Sequence[float], right: Sequence[bool], open_scores: Sequence[float] = ()) -> Evidence:
    return Evidence("logprob", scores, right, open_scores)


def drawn(rng: np.random.Generator, n: int) -> Drawn:
    """Scores that are exactly the probability of being right, most of them high."""
    p = 0.5 + 0.5 * rng.beta(6, 1, n)
    return p, rng.random(n) < p


# -- the bound


@pytest.mark.parametrize(("errors", "checked"), [(0, 45), (1, 77), (2, 105), (3, 132)])
def test_so_many_labels_certify_95_percent(errors: int, checked: int) -> None:
    # P(at most `errors` of n wrong | 5 % wrong) <= .1, for the first time at n: .95^45 = .0994, .95^44 = .1047.
    assert boundary.p_value(errors, checked, 0, 0.05) <= 0.1 < boundary.p_value(errors, checked - 1, 0, 0.05)
    assert boundary.upper_bound(errors, checked, 0.1) <= 0.05 < boundary.upper_bound(errors, checked - 1, 0.1)


def test_none_wrong_of_45_bounds_mistakes_by_the_45th_root_of_a_tenth() -> None:
    # (1 - p)^45 = .1
    assert boundary.upper_bound(0, 45, 0.1) == pytest.approx(1 - 0.1 ** (1 / 45))
    assert boundary.fewest(0.05, 0.1) == 45


def test_few_tasks_left_need_more_than_a_good_rate() -> None:
    # Of 10 unchecked tasks none may be wrong. One wrong among 55 is missed by 45 checks with 10/55 = .18, while
    # .95^45 = .099; and 100 clean checks miss it with 10/110 = .091.
    assert boundary.p_value(0, 45, 10, 0.05) == pytest.approx(10 / 55)
    assert boundary.p_value(0, 100, 10, 0.05) == pytest.approx(10 / 110)


def test_with_many_tasks_left_both_readings_agree() -> None:
    assert boundary.p_value(3, 150, 10**6, 0.05) == pytest.approx(boundary.p_value(3, 150, 0, 0.05), rel=1e-3)


# -- the level that many thresholds share


def test_one_threshold_may_spend_everything() -> None:
    assert boundary.level([60], 0.05, 0.1) == 0.1


def test_two_thresholds_pass_by_chance_as_often_as_promised() -> None:
    # After 1 and 2 tosses that are wrong half the time: a level of .5 passes at the first with .5 (none of 1 wrong),
    # else at the second with 0 (none of 2: impossible after a wrong one). From .75 on, one of 2 passes too: .75.
    assert boundary.level([1, 2], 0.5, 0.6) == pytest.approx(0.6)
    assert boundary.level([1, 2], 0.5, 0.4) == pytest.approx(0.4)
    assert boundary.level([1, 2], 0.5, 0.75) == 0.75


def test_the_level_holds_in_a_simulation() -> None:
    counts = [60, 75, 100, 140, 200]
    level = boundary.level(counts, 0.05, 0.1)
    assert 0.1 / len(counts) < level < 0.1
    wrong = (np.random.default_rng(0).random((20_000, 200)) < 0.05).cumsum(axis=1)[:, np.array(counts) - 1]
    passed = (binom.cdf(wrong, counts, 0.05) <= level).any(axis=1).mean()
    assert 0.05 < passed < 0.1 + 0.006  # three standard errors


# -- certificates


def test_the_lowest_threshold_that_holds_is_found() -> None:
    # The upper half always right, the lower one always wrong.
    scores = np.linspace(0, 1, 400)
    found = certify(given(scores, scores >= 0.5, np.linspace(0, 1, 1000)), target=0.95)
    assert found.threshold is not None
    assert 0.45 < found.threshold < 0.51
    assert found.tasks == sum(np.linspace(0, 1, 1000) >= found.threshold)
    assert found.coverage == found.tasks / 1000
    assert found.checked == sum(scores >= found.threshold)
    assert found.bound <= 0.05


def test_answers_that_are_all_right_are_accepted_all() -> None:
    found = certify(given([0.9] * 60, [True] * 60, [0.9] * 500), target=0.95)
    assert (found.threshold, found.coverage, found.tasks, found.more_checks) == (0.9, 1.0, 500, None)


def test_three_labels_promise_little_and_say_what_is_missing() -> None:
    found = certify(given([0.9, 0.8, 0.9], [True] * 3, [0.7] * 100), target=0.95)
    assert (found.threshold, found.coverage, found.tasks, found.checked, found.errors) == (None, 0.0, 0, 3, 0)
    # 45 clean ones in all; .46^3 = .097 and .47^3 = .104.
    assert found.more_checks == MoreChecks(clean=42, as_before=None)
    assert found.reachable == 0.46


def test_a_target_out_of_reach_names_what_can_be_promised() -> None:
    found = certify(given([0.9] * 200, [True] * 160 + [False] * 40, [0.9] * 900), target=0.95)
    assert found.threshold is None
    # Of 200 labels 40 wrong: P(at most 40 | 24 % wrong) = .102, | 25 %) = .058.
    assert found.reachable == 0.75
    assert found.more_checks is not None
    assert found.more_checks.as_before is None  # at one mistake in five no number of checks shows 95 %


@pytest.mark.parametrize("right", [True, False])
def test_scores_that_are_all_the_same_are_one_step(right: bool) -> None:
    found = certify(given([0.5] * 50, [right] * 50, [0.5] * 50), target=0.9)
    assert found.threshold == (0.5 if right else None)


def test_tasks_of_the_same_score_are_accepted_together_or_not_at_all() -> None:
    scores, right = [0.9] * 100 + [0.6] * 100, [True] * 100 + [True, False] * 50
    found = certify(given(scores, right, scores), target=0.95)
    assert (found.threshold, found.tasks) == (0.9, 100)


def test_as_many_clean_checks_as_named_do_certify() -> None:
    scores, right = [0.9] * 30 + [0.6] * 30, [True] * 30 + [False] * 30
    first = certify(given(scores, right, [0.9, 0.6] * 300), target=0.95)
    assert first.more_checks is not None
    assert first.more_checks.clean is not None
    half = first.more_checks.clean // 2 + 1
    again = certify(given([0.9] * half + scores, [True] * half + right, [0.9, 0.6] * 300), target=0.95)
    assert (first.threshold, again.threshold) == (None, 0.9)


def test_more_checks_than_there_are_tasks_are_not_asked_for() -> None:
    found = certify(given([0.9] * 10, [True] * 10, [0.9] * 20), target=0.99)
    assert found.more_checks == MoreChecks(None, None)


@pytest.mark.parametrize("evidence", [given([], []), given([], [], [0.5]), given([0.5], [False]), given([0.5], [True])])
def test_next_to_nothing_certifies_nothing(evidence: Evidence) -> None:
    found = certify(evidence, target=0.95)
    assert (found.threshold, found.tasks) == (None, 0)
    assert found.coverage == (0.0 if evidence.open_scores else None)


@pytest.mark.parametrize(("target", "sure"), [(0, 0.9), (1, 0.9), (0.9, 0), (0.9, 1), (95, 0.9)])
def test_a_target_that_is_no_share_is_refused(target: float, sure: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        certify(given([0.9], [True]), target=target, sure=sure)


def test_a_stricter_target_never_accepts_more() -> None:
    rng = np.random.default_rng(5)
    scores, right = drawn(rng, 600)
    opened, _ = drawn(rng, 3000)
    found = [certify(given(scores, right, opened), target=target) for target in (0.85, 0.9, 0.95)]
    assert [each.tasks for each in found] == sorted((each.tasks for each in found), reverse=True)
    assert found[0].tasks > found[2].tasks


def test_the_order_of_labels_makes_no_difference() -> None:
    scores, right = drawn(np.random.default_rng(1), 200)
    turned = certify(given(scores[::-1], right[::-1], scores), target=0.9)
    assert turned == certify(given(scores, right, scores), target=0.9)


def test_the_certificate_says_of_which_kind_its_scores_are() -> None:
    found: Certificate = certify(Evidence("votes", [0.9] * 60, [True] * 60, [0.9]), target=0.9)
    assert found.score_kind == "votes"
