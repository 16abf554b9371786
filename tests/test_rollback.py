import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.predictions.audit import is_audit
from worker.optimizer.rollback import THRESHOLD, Watch, watch
from worker.statistics import strata

LOST, WON, BOTH, NEITHER = (False, True), (True, False), (True, True), (False, False)
PAIRS = st.lists(st.sampled_from([LOST, WON, BOTH, NEITHER]), max_size=60)


def world(*, seed: int, labels: int, worse: float, better: float) -> list[tuple[bool, bool]]:
    """Labels that only the previous prompt has right with probability `worse`, only the active one with `better`."""
    draws = np.random.default_rng(seed).random(labels)
    return [LOST if draw < worse else WON if draw < worse + better else BOTH for draw in draws]


def share_rolled_back(repetitions: int = 400, **world_of: float) -> float:
    labels = int(world_of.pop("labels"))
    return float(np.mean([watch(world(seed=i, labels=labels, **world_of)).rolls_back for i in range(repetitions)]))


def test_the_stake_is_that_of_arithmetic() -> None:
    # Lost, lost, won: (1.1² * .9 + 1.25² * .75 + 1.45² * .55) / 3 = (1.089 + 1.171875 + 1.156375) / 3 = 1.13908.
    # Its peak was after the second: (1.21 + 1.5625 + 2.1025) / 3 = 1.625.
    found = watch([LOST, BOTH, LOST, WON, NEITHER])
    assert found == Watch(5, 2, 1, pytest.approx(1.139083, abs=1e-6), pytest.approx(1.625))


def test_without_labels_nothing_is_known() -> None:
    assert watch([]) == Watch()
    assert not watch([]).rolls_back


def test_labels_on_which_both_prompts_agree_say_nothing() -> None:
    assert watch([BOTH, NEITHER] * 500).e_value == 1.0


@pytest.mark.parametrize(("lost", "rolls_back"), [(8, False), (9, True)])
def test_nine_labels_lost_in_a_row_roll_back(lost: int, rolls_back: bool) -> None:
    assert watch([LOST] * lost).rolls_back is rolls_back


def test_a_threshold_once_passed_stays_passed() -> None:
    found = watch([LOST] * 9 + [WON] * 100)
    assert found.e_value < 1
    assert found.rolls_back


def test_ten_thousand_lost_labels_are_no_overflow() -> None:
    assert watch([LOST] * 10_000).peak > THRESHOLD


@given(PAIRS)
def test_the_peak_is_the_highest_stake_of_any_moment(pairs: list[tuple[bool, bool]]) -> None:
    assert watch(pairs).peak == max(watch(pairs[:n]).e_value for n in range(len(pairs) + 1))


@given(PAIRS)
def test_one_more_lost_label_never_lowers_the_stake(pairs: list[tuple[bool, bool]]) -> None:
    assert watch([*pairs, LOST]).e_value > watch(pairs).e_value > watch([*pairs, WON]).e_value


def test_a_prompt_no_worse_is_rolled_back_in_at_most_one_of_ten_projects() -> None:
    """1500 labels, looked at after each: equally good, at 15 % discordant. The bound is Ville's."""
    assert share_rolled_back(labels=1500, worse=0.075, better=0.075) <= 0.10


def test_a_better_prompt_is_as_good_as_never_rolled_back() -> None:
    assert share_rolled_back(labels=1500, worse=0.05, better=0.10) <= 0.03


def test_a_prompt_ten_points_worse_is_rolled_back_within_200_labels() -> None:
    assert share_rolled_back(labels=200, worse=0.125, better=0.025) >= 0.9


def test_a_prompt_five_points_worse_is_mostly_rolled_back_within_500_labels() -> None:
    assert share_rolled_back(labels=500, worse=0.10, better=0.05) >= 0.65


@pytest.mark.parametrize(("by_lot", "least", "most"), [(False, 0.2, 1.0), (True, 0.0, 0.10)])
def test_by_the_least_certain_tasks_a_prompt_no_worse_goes_and_by_those_drawn_by_lot_it_stays(
    by_lot: bool, least: float, most: float
) -> None:
    """Both right on 80 % of 2000 tasks, the 400 labelled first of which the active one is least certain: as a tab that
    sorts by its score has them labelled."""
    taken = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        hard = rng.normal(size=2000)
        active, previous = (0.923 + hard + 0.45 * rng.normal(size=2000) for _ in range(2))
        labelled = np.argsort(np.abs(active))[:400]
        if by_lot:
            audited = np.array([is_audit(str(seed), task, 0.2) for task in range(2000)])
            counted = labelled[audited[labelled]]
            labelled = counted if strata.are_even(np.abs(active), np.isin(np.arange(2000), counted)) else counted[:0]
        taken.append(watch((active[task] > 0, previous[task] > 0) for task in rng.permutation(labelled)).rolls_back)
    assert least <= np.mean(taken) <= most
