import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, f1_score, precision_recall_fscore_support, roc_auc_score

from worker.labels.examples import Example, Shown
from worker.optimizer.outcomes import FAILED, Graded
from worker.report import metrics
from worker.report.metrics import Answer, Cell
from worker.statistics import intervals, reliability

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def single(*pairs: tuple[str, str]) -> list[Answer]:
    """True and predicted; "-" is no usable answer."""
    return [Answer(str(i), (true,), None if said == "-" else (said,)) for i, (true, said) in enumerate(pairs)]


MIXED = single(("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "a"), ("c", "-"))
MULTIPLE = [Answer("1", ("a", "b"), ("b", "c")), Answer("2", (), ()), Answer("3", ("a",), None)]


def example(name: str, truth: str, shown: str | None = None) -> Example:
    seen = Shown("p0001-abcd", {"mood": (shown,)}) if shown else None
    return Example(name, {}, {"mood": (truth,)}, NOW, seen)


# -- shares


def test_wilsons_interval_is_that_of_arithmetic() -> None:
    # 8 of 10, z = 1.6449, z² = 2.7055: centre (.8 + 2.7055/20) / 1.27055 = .73612; half width
    # 1.6449 sqrt(.8 * .2 / 10 + 2.7055 / 400) / 1.27055 = 1.6449 * .150878 / 1.27055 = .19533.
    found = intervals.share(8, 10)
    assert (found.low, found.high) == pytest.approx((0.54079, 0.93145), abs=1e-4)
    assert found.value == 0.8


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (1, 1, 1 / (1 + 2.7055), 1.0),  # of one label nearly everything is possible
        (0, 1, 0.0, 2.7055 / (1 + 2.7055)),
        (13, 13, 13 / (13 + 2.7055), 1.0),
    ],
)
def test_a_share_of_few_labels_says_how_little_it_knows(count: int, n: int, low: float, high: float) -> None:
    found = intervals.share(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_no_label_has_no_accuracy() -> None:
    assert metrics.accuracy([]).value is None


def test_a_failed_answer_counts_as_wrong() -> None:
    right = Graded(right=True, margin=1.0, score=0.9, values={"mood": ("a",)})
    found = metrics.accuracy([right, FAILED, right])
    assert (found.count, found.n) == (2, 3)


def test_answers_are_those_with_a_truth_and_a_prediction() -> None:
    graded = {"1": Graded(right=False, margin=-1.0, score=0.6, values={"mood": ("b",)}), "2": FAILED}
    found = metrics.answers([example("1", "a"), example("2", "b"), example("3", "a")], graded, "mood")
    assert found == [Answer("1", ("a",), ("b",)), Answer("2", ("b",), None)]
    assert metrics.answers([example("1", "a")], graded, "another control") == []


@pytest.mark.parametrize(
    ("predicted", "right"), [(("a", "b"), True), (("b", "a"), True), (("a",), False), ((), False), (None, False)]
)
def test_right_is_the_very_same_values_in_any_order(predicted: tuple[str, ...] | None, right: bool) -> None:
    assert Answer("1", ("a", "b"), predicted).right is right


def test_no_usable_answer_is_not_the_answer_that_nothing_applies() -> None:
    assert Answer("1", (), ()).right
    assert not Answer("1", (), None).right


def test_acceptance_counts_only_labels_that_began_with_a_prediction() -> None:
    found = metrics.acceptance(
        [example("1", "a", "a"), example("2", "a", "b"), example("3", "a"), example("4", "b", "b")]
    )
    assert (found.count, found.n) == (2, 3)
    assert metrics.acceptance([example("3", "a")]).value is None


# -- precision, recall, F1


def test_precision_recall_and_f1_a_label_are_those_of_arithmetic() -> None:
    # a: named 3 times, 2 of them right; true 3 times. b: named 2, right 1; true 2. c: never named, true once.
    a, b, c = metrics.by_label(MIXED, ["a", "b", "c"])
    assert (a.precision.value, a.recall.value, a.f1) == (2 / 3, 2 / 3, 2 * 2 / (3 + 3))
    assert (b.precision.value, b.recall.value, b.f1) == (1 / 2, 1 / 2, 1 / 2)
    assert (c.precision.value, c.recall.value, c.f1) == (None, 0.0, 0.0)
    assert metrics.macro_f1(MIXED).value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_a_label_that_never_occurs_has_no_f1_and_does_not_enter_the_mean() -> None:
    found = metrics.by_label(single(("a", "a")), ["a", "unused"])
    assert [(each.label, each.f1) for each in found] == [("a", 1.0), ("unused", None)]
    assert metrics.macro_f1(single(("a", "a"))).value == 1.0


def test_labels_that_only_the_answers_name_follow_the_configured_ones() -> None:
    assert [each.label for each in metrics.by_label(MIXED, ["b"])] == ["b", "a", "c"]


def test_labels_of_a_multiple_choice_are_counted_one_by_one() -> None:
    # a: missed twice. b: hit once. c: one false alarm.
    found = {each.label: each for each in metrics.by_label(MULTIPLE, "abc")}
    assert (found["a"].recall.count, found["a"].recall.n) == (0, 2)
    assert (found["b"].f1, found["c"].f1) == (1.0, 0.0)
    assert metrics.macro_f1(MULTIPLE).value == pytest.approx(1 / 3)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_figures_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    true, said = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    labels = sorted({*true, *said})
    precision, recall, f1, _ = precision_recall_fscore_support(true, said, labels=labels, zero_division=0.0)
    found = metrics.by_label(single(*pairs), labels)
    assert [each.precision.value or 0.0 for each in found] == pytest.approx(list(precision))
    assert [each.recall.value or 0.0 for each in found] == pytest.approx(list(recall))
    assert [each.f1 for each in found] == pytest.approx(list(f1))
    assert metrics.macro_f1(single(*pairs)).value == pytest.approx(f1_score(true, said, average="macro"))


# -- the interval of macro F1


@pytest.mark.parametrize("answers", [[], [Answer("1", (), ())]])
def test_without_any_label_macro_f1_is_unknown(answers: list[Answer]) -> None:
    assert metrics.macro_f1(answers) == intervals.Average(None, 0.0, 1.0)


def test_a_handful_of_right_answers_is_not_certain() -> None:
    few, many = (metrics.macro_f1(single(*[("a", "a"), ("b", "b")] * n)) for n in (3, 100))
    assert (few.value, few.high) == (1.0, 1.0)
    assert few.low < 0.85
    assert 0.97 < many.low < 1.0


def test_the_interval_repeats_exactly_and_in_any_order() -> None:
    assert metrics.macro_f1(MIXED) == metrics.macro_f1(MIXED[::-1])
    assert metrics.macro_f1(MIXED, seed=1) != metrics.macro_f1(MIXED, seed=2)


@pytest.mark.parametrize(
    ("n", "accuracy", "at_least"), [(13, 0.85, 0.8), (13, 0.95, 0.85), (60, 0.7, 0.85), (200, 0.9, 0.85)]
)
def test_about_nine_in_ten_intervals_hold_the_true_macro_f1(n: int, accuracy: float, at_least: float) -> None:
    """Three labels, evenly true, confused evenly: the true macro F1 is the accuracy. In 300 worlds a coverage of 90 %
    has a standard error of 1.7 points."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        true = rng.integers(3, size=n)
        said = np.where(rng.random(n) < accuracy, true, (true + rng.integers(1, 3, size=n)) % 3)
        found = metrics.macro_f1(single(*zip(map(str, true), map(str, said), strict=True)))
        held += found.low <= accuracy <= found.high
    assert held / 300 >= at_least


# -- confusion


def test_the_confusion_names_the_examples_of_each_cell() -> None:
    assert metrics.confusion(MIXED, multiple=False) == (
        Cell("a", "a", ("0", "1")),
        Cell("a", "b", ("2",)),
        Cell("b", "a", ("4",)),
        Cell("b", "b", ("3",)),
        Cell("c", None, ("5",)),
    )


def test_a_multiple_choice_has_hits_misses_and_false_alarms() -> None:
    found = metrics.confusion(MULTIPLE, multiple=True)
    assert found == (Cell("a", None, ("1", "3")), Cell(None, "c", ("1",)), Cell("b", "b", ("1",)))


def test_a_single_choice_with_several_true_labels_misses_the_others() -> None:
    found = metrics.confusion([Answer("1", ("a", "b"), ("a",))], multiple=False)
    assert found == (Cell("a", "a", ("1",)), Cell("b", None, ("1",)))


def test_no_answer_has_no_cell() -> None:
    assert metrics.confusion([], multiple=False) == ()


# -- calibration error


def test_the_calibration_error_is_that_of_arithmetic() -> None:
    # 20 answers make two bins of ten: score .9, 7 right; score .6, 6 right: half of |.9 - .7| and half of |.6 - .6|.
    scores = [0.9] * 10 + [0.6] * 10
    right = [True] * 7 + [False] * 3 + [True] * 6 + [False] * 4
    assert reliability.ece(scores, right) == pytest.approx(0.1)
    assert [(each.n, each.score, each.accuracy) for each in reliability.bins(scores, right)] == [
        (10, pytest.approx(0.6), pytest.approx(0.6)),
        (10, pytest.approx(0.9), pytest.approx(0.7)),
    ]


def test_few_answers_make_one_bin() -> None:
    # |mean score .7 - accuracy 2/3|
    assert reliability.ece([0.9, 0.5, 0.7], [True, False, True]) == pytest.approx(0.7 - 2 / 3)


def test_equal_scores_count_alike_in_any_order() -> None:
    right = [True] * 12 + [False] * 12
    assert reliability.ece([0.5] * 24, right) == pytest.approx(0.0)
    assert reliability.ece([0.5] * 24, right[::-1]) == pytest.approx(0.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
def test_bins_hold_every_answer_and_give_the_error(pairs: list[tuple[float, bool]]) -> None:
    scores, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = reliability.bins(scores, right)
    assert sum(each.n for each in found) == len(pairs)
    assert max(each.n for each in found) - min(each.n for each in found) <= 1
    by_bins = sum(each.n * abs(each.score - each.accuracy) for each in found) / len(pairs)
    assert reliability.ece(scores, right) == pytest.approx(by_bins)


def test_what_chance_alone_gives_shrinks_with_labels_and_is_seldom_passed() -> None:
    rng = np.random.default_rng(3)
    few, many = rng.uniform(0.5, 1, 30), rng.uniform(0.5, 1, 3000)
    limit = reliability.ece_by_chance(list(few))
    assert limit is not None
    assert limit > 3 * (reliability.ece_by_chance(list(many)) or 1)
    passed = [(reliability.ece(list(few), list(rng.random(30) < few)) or 0) > limit for _ in range(400)]
    assert 0.05 < np.mean(passed) < 0.15


def test_the_brier_score_is_scikit_learns() -> None:
    scores, right = [0.9, 0.6, 0.3], [True, False, False]
    # The mean of .01, .36 and .09.
    assert reliability.brier(scores, right) == pytest.approx(0.46 / 3)
    assert reliability.brier(scores, right) == pytest.approx(brier_score_loss(right, scores))


def test_auroc_is_the_chance_that_a_right_answer_scores_higher() -> None:
    # Right .9 and .6, wrong .6 and .3: of four pairs three are in order and one is a tie.
    scores, right = [0.9, 0.6, 0.6, 0.3], [True, True, False, False]
    assert reliability.auroc(scores, right) == pytest.approx(3.5 / 4)
    assert reliability.auroc(scores, right) == pytest.approx(roc_auc_score(right, scores))


@pytest.mark.parametrize("right", [[], [True], [False], [True, True], [False, False]])
def test_with_one_kind_of_answer_there_is_no_auroc(right: list[bool]) -> None:
    assert reliability.auroc([0.7] * len(right), right) is None


def test_no_answer_has_no_calibration_figure() -> None:
    assert reliability.ece([], []) is reliability.brier([], []) is reliability.ece_by_chance([]) is None
    assert reliability.bins([], []) == ()


def test_one_answer_has_a_figure_without_meaning_much() -> None:
    assert reliability.ece([0.8], [True]) == pytest.approx(0.2)
    assert math.isclose(reliability.ece_by_chance([0.8]) or 0, 0.8)
