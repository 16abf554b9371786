"""Weights and intervals: by arithmetic done by hand, on degenerate input, and on projects whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.benchmarks.trust.weighting import Labeling, weighting
from worker.statistics.sampling import NOTHING, Gap, Pool, Weighted, among, difference, share, weigh
from worker.statistics.strata import strata

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

TASKS = 2000


def project(seed: int, tasks: int = TASKS, *, mean: float = 1.9) -> tuple[Scores, Flags]:
    """Scores that promise too much, of a model that is right on about 82 %."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(mean, 1.2, tasks)
    scores = 1 / (1 + np.exp(-(1.5 * ease + rng.normal(0, 0.7, tasks) - 0.3)))
    return scores, rng.random(tasks) < 1 / (1 + np.exp(-ease))


def pool(scores: Scores, labelled: Flags, chosen: Flags | None = None) -> Pool:
    return Pool(scores, labelled, np.zeros(len(scores), bool) if chosen is None else chosen)


def flags(tasks: int, *marked: int) -> Flags:
    found = np.zeros(tasks, bool)
    found[list(marked)] = True
    return found


# -- weights, by hand


def test_labels_of_one_stratum_stand_for_equally_many_tasks() -> None:
    sample = weigh(pool(np.linspace(0.5, 1, 100), flags(100, *range(5, 100, 10))))
    assert sample.weights == pytest.approx([10.0] * 10)
    assert (sample.tasks, sample.speaks_for, sample.gaps) == (100, 1.0, ())


def test_what_was_labelled_for_its_score_stands_for_itself_and_audit_tasks_for_all_others() -> None:
    """The 40 least certain of 1,000 tasks, and 12 audit tasks among the other 960: each of these stands for 80."""
    lot = range(79, 1000, 80)
    chosen = flags(1000, *range(40))
    sample = weigh(pool(np.linspace(0.5, 1, 1000), chosen | flags(1000, *lot), chosen))
    weights = dict(zip(sample.index.tolist(), sample.weights.tolist(), strict=True))
    assert all(weights[task] == 1.0 for task in range(40))
    assert all(weights[task] == pytest.approx(960 / 12) for task in lot)


def test_where_least_certain_first_ended_is_found_without_a_record() -> None:
    """As above, but nothing tells why a task was labelled: the 40 are all labelled, and weigh 1 for it."""
    lot = range(79, 1000, 80)
    sample = weigh(pool(np.linspace(0.5, 1, 1000), flags(1000, *range(40), *lot)))
    weights = dict(zip(sample.index.tolist(), sample.weights.tolist(), strict=True))
    assert all(weights[task] == 1.0 for task in range(40))
    assert all(weights[task] == pytest.approx(960 / 12) for task in lot)


def test_of_scores_that_nobody_labelled_nothing_is_said() -> None:
    scores = np.linspace(0.5, 1, 1000)
    sample = weigh(pool(scores, flags(1000, *range(60))))
    assert (sample.tasks, sample.speaks_for) == (60, 0.06)
    assert sample.gaps == (Gap(scores[60], 1.0, 940),)


def test_a_chosen_label_that_does_not_count_is_stood_for_by_the_chosen_that_do() -> None:
    """Of 40 chosen tasks half have labels that made the prompt, which flatter it: the other 20 stand for two each."""
    chosen = flags(1000, *range(40))
    labelled = flags(1000, *range(0, 40, 2), *range(79, 1000, 80))
    sample = weigh(pool(np.linspace(0.5, 1, 1000), labelled, chosen))
    assert sample.weights[:20] == pytest.approx([2.0] * 20)


def test_the_part_that_is_mostly_labelled_ends_where_its_score_does() -> None:
    scores = np.repeat([0.6, 0.8, 1.0], 100)
    labelled = flags(300, *range(80), *range(100, 105), *range(200, 205))
    assert not set(strata(scores, labelled)[:100]) & set(strata(scores, labelled)[100:])
    sample = weigh(pool(scores, labelled))
    assert sample.weights[:80].sum() == pytest.approx(100)
    assert sample.weights[80:].sum() == pytest.approx(200)


@pytest.mark.parametrize("tasks", [0, 1, 2, 50])
def test_without_labels_there_is_no_figure(tasks: int) -> None:
    sample = weigh(pool(np.full(tasks, 0.5), np.zeros(tasks, bool)))
    assert share(sample, np.zeros(0, bool)) == NOTHING
    assert (sample.speaks_for, sample.tasks) == (0.0, 0)
    assert sum(gap.tasks for gap in sample.gaps) == tasks


def test_weights_sum_to_the_tasks_they_speak_for() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, _ = project(seed, 300)
        labelled, chosen = rng.random(300) < 0.1, rng.random(300) < 0.05
        sample = weigh(pool(scores, labelled, chosen))
        assert sample.weights.sum() == pytest.approx(sample.tasks)


# -- figures, by hand


def test_a_share_is_the_mean_of_strata_by_their_size() -> None:
    """40 labelled tasks, 10 right, and 12 of the other 960, 9 right: (10 + 960 * 9/12) / 1000 = .73. Equal scores in
    each part leave nothing for the slope."""
    scores = np.repeat([0.5, 0.9], [40, 960])
    sample = weigh(pool(scores, flags(1000, *range(52))))
    right = np.array([True] * 10 + [False] * 30 + [True] * 9 + [False] * 3)
    assert share(sample, right).value == pytest.approx(0.73)


def test_the_interval_is_wilsons_for_the_effective_number_of_labels() -> None:
    """Ten of 1,000 alike, 8 right: variance with one imagined label of each kind 9/12 * 3/12 * .99 / 10, spread of the
    whole with the 10.101 labels that make 1/.099 = (8.0808 + 1) / 12.101 = .75042 * .24958; effective 10.09."""
    sample = weigh(pool(np.full(1000, 0.8), flags(1000, *range(10))))
    found = share(sample, np.arange(10) < 8)
    assert found.value == pytest.approx(0.8)
    assert found.effective == pytest.approx(0.75042 * 0.24958 / (0.75 * 0.25 * 0.099), abs=1e-3)
    assert (found.low, found.high) == pytest.approx((0.54079, 0.93145), abs=2e-3)  # Wilson's of 8 in 10


def test_when_all_is_labelled_the_share_is_known() -> None:
    scores, right = project(1, 200)
    found = share(weigh(pool(scores, np.ones(200, bool))), right)
    assert found.low == found.value == found.high == pytest.approx(right.mean())


def test_a_dozen_right_labels_are_not_certain() -> None:
    found = share(weigh(pool(np.linspace(0.5, 1, 500), flags(500, *range(0, 500, 42)))), np.ones(12, bool))
    assert found.value == 1.0
    assert found.low < 0.85


def test_precision_weighs_each_answer_by_the_tasks_it_stands_for() -> None:
    """Three answers name a label: two hits of weight 1, a miss of weight 80: 2/82, from 82²/6402 = 1.05 labels."""
    scores = np.repeat([0.5, 0.9], [40, 960])
    sample = weigh(pool(scores, flags(1000, *range(52))))
    asked, hits = flags(52, 0, 1, 40), flags(52, 0, 1)
    found = among(sample, hits, asked)
    assert found.value == pytest.approx(2 / 82)
    assert found.effective == pytest.approx(82**2 / 6402)
    assert among(sample, hits, flags(52)) == NOTHING


def test_a_difference_has_newcombes_interval() -> None:
    """.9 in (.8, .95) less .7 in (.6, .8): .2 - √(.01 + .01) to .2 + √(.0025 + .01)."""
    found = difference(Weighted(0.9, 0.8, 0.95, 50), Weighted(0.7, 0.6, 0.8, 50))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - 0.02**0.5, 0.2 + 0.0125**0.5))
    assert difference(NOTHING, NOTHING).value is None


# -- projects whose truth is known


def test_two_hundred_labels_least_certain_first_are_tens_of_points_off_and_weighted_ones_are_not() -> None:
    scores, right = project(7, 5000)
    found = weighting(scores, right, Labeling(), seeds=200)
    assert found.plain_bias < -0.25
    assert abs(found.weighted_bias) < 0.01
    assert found.weighted_rmse < 0.06
    assert 0.87 <= found.holds <= 0.98


@pytest.mark.parametrize(
    "labeling",
    [
        Labeling(recorded=False),
        Labeling(audit=0.2),
        Labeling(labels=60),
        Labeling(labels=60, recorded=False),
        Labeling(labels=400, audit=0.2),
        Labeling(slice_share=0.02),  # of the slice only 100 of 5,000 tasks, which are soon all labelled
    ],
)
def test_weighted_figures_are_unbiased_however_far_people_have_come(labeling: Labeling) -> None:
    scores, right = project(8, 5000)
    assert abs(weighting(scores, right, labeling, seeds=150).weighted_bias) < 0.02


@pytest.mark.parametrize("coarse", [lambda s: np.round(s * 5) / 5, lambda s: np.full(len(s), 0.7), lambda s: 1 - s])
def test_scores_may_be_coarse_constant_or_upside_down(coarse: Callable[[Scores], Scores]) -> None:
    scores, right = project(9, 5000)
    assert abs(weighting(coarse(scores), right, seeds=150).weighted_bias) < 0.02


def by_lot(count: int, labels: int) -> list[tuple[float, float, bool]]:
    """Errors of the plain and the weighted figure, and whether the interval held the truth."""
    found = []
    for seed in range(count):
        scores, right = project(seed)
        labelled = flags(TASKS, *np.random.default_rng(1000 + seed).permutation(TASKS)[:labels])
        sample = weigh(pool(scores, labelled))
        figure = share(sample, right[sample.index])
        assert figure.value is not None
        true = right.mean()
        found.append((right[labelled].mean() - true, figure.value - true, figure.low <= true <= figure.high))
    return found


@pytest.mark.parametrize("labels", [30, 200])
def test_labels_in_random_order_give_the_plain_figure_or_a_surer_one(labels: int) -> None:
    plain, weighted, held = (np.array(column) for column in zip(*by_lot(300, labels), strict=True))
    assert abs(weighted.mean()) < 0.01
    assert np.std(weighted) < 1.03 * np.std(plain)
    assert abs(weighted - plain).mean() < np.std(plain)
    assert 0.87 <= held.mean() <= 0.97


def test_disagreements_taken_for_random_labels_mislead_and_their_record_prevents_it() -> None:
    """Tasks on which two prompts disagree are harder than others of the same score."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores, right = project(seed, 4000)
        disagree = rng.random(4000) < np.where(right, 0.08, 0.4)
        chosen = flags(4000, *rng.permutation(np.flatnonzero(disagree))[:60])
        lot = flags(4000, *rng.permutation(4000)[:60])
        for recorded, found in errors.items():
            sample = weigh(pool(scores, lot | chosen, chosen & recorded))
            found.append((share(sample, right[sample.index]).value or 0) - right.mean())
    assert np.mean(errors[False]) < -0.1
    assert abs(np.mean(errors[True])) < 0.02


def test_scores_that_changed_since_tasks_were_chosen_do_no_harm_where_that_is_recorded() -> None:
    errors = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores, right = project(seed, 4000)
        then = scores + rng.normal(0, 0.15, 4000) - 0.1 * ~right  # the former prompt's: surer of other tasks
        chosen = flags(4000, *np.argsort(then)[:140])
        lot = flags(4000, *rng.permutation(4000)[:60])
        sample = weigh(pool(scores, lot | chosen, chosen))
        errors.append((share(sample, right[sample.index]).value or 0) - right.mean())
    assert abs(np.mean(errors)) < 0.02
