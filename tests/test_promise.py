import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.statistics import intervals
from worker.statistics.intervals import Share
from worker.watching.promise import THRESHOLD, Watch, watch

PROMISED = intervals.share(51, 60)  # 85 %, at least 76 %


def broken(seed: int, accuracy: float, labels: int, promised: Share = PROMISED) -> bool:
    return watch(np.random.default_rng(seed).random(labels) < accuracy, promised).is_broken


def test_the_stake_is_that_of_arithmetic() -> None:
    # p = .5, q = .47, .42, .30: wrong, then right.
    # After the first: (.53 + .58 + .70) / .5 / 3 = 1.20667. After the second:
    # (.53 * .47 + .58 * .42 + .70 * .30) / .25 / 3 = (.2491 + .2436 + .21) / .75 = .93693.
    found = watch([False, True], Share(5, 10, 0.5, 0.9))
    assert found == Watch(2, 1, pytest.approx(0.93693, abs=1e-5), pytest.approx(1.20667, abs=1e-5))


@pytest.mark.parametrize("low", [0.0, 0.03, 1.0])
def test_any_promise_can_be_watched(low: float) -> None:
    assert watch([False] * 5000, Share(5, 10, low, 1.0)).is_broken is (low == 1.0)


def test_without_labels_nothing_is_known() -> None:
    assert watch([], PROMISED) == Watch()


@given(st.lists(st.booleans(), max_size=60))
def test_the_peak_is_the_highest_stake_of_any_moment(rights: list[bool]) -> None:
    found = watch(rights, PROMISED)
    assert found.peak == max(watch(rights[:n], PROMISED).e_value for n in range(len(rights) + 1))
    assert found.is_broken is (found.peak >= THRESHOLD)


def test_a_promise_that_is_just_kept_is_called_broken_in_at_most_one_of_a_hundred() -> None:
    """500 labels, looked at after each, at the very lowest accuracy promised."""
    assert np.mean([broken(seed, PROMISED.low, 500) for seed in range(400)]) <= 0.015


def test_estimates_as_uncertain_as_they_are_alarm_as_seldom() -> None:
    """The promise comes from 60 labels of the very same accuracy, by luck too high at times."""
    rng = np.random.default_rng(3)
    found = [broken(seed, 0.8, 300, intervals.share(int(rng.binomial(60, 0.8)), 60)) for seed in range(400)]
    assert np.mean(found) <= 0.015


def test_a_drop_by_twenty_points_is_found_within_200_labels() -> None:
    assert np.mean([broken(seed, 0.60, 200) for seed in range(200)]) >= 0.9
