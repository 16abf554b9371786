import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling import schema as schemas
from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.calibration import LEAST, Calibration
from backend.labeling.schema import LabelingSchema
from tests.labeling.building import TEXT
from tests.optimizer.world import ACTIVE, BOTH, BROUGHT, DAY, FOUR, PAIR, SEVERAL
from worker.labels.examples import Example
from worker.optimizer.fitting import fit
from worker.optimizer.outcomes import FAILED, Graded, Outcome, grade, truths

Chances = Mapping[str, Sequence[float]]


def graded(
    schema: LabelingSchema,
    chances: Chances,
    truth: Mapping[str, tuple[str, ...]],
    *,
    calibration: Calibration | None = None,
    options: Sequence[str] = (),
    soft: Mapping[str, Mapping[str, float]] | None = None,
) -> Graded:
    """`chances` by question, in the order of its labels; `soft` is what people think where they differ."""
    data = {"text": "t", "options": list(options)}
    asked = {question.key: question for control in schema.controls for question in control.questions(data)}
    found = {
        key: Distribution(tuple(label.value for label in asked[key].labels), tuple(ps)) for key, ps in chances.items()
    }
    prompt = replace(ACTIVE, calibration=calibration or Calibration())
    example = Example("1", data, truth, DAY, unanimous=soft is None, soft=soft or {})
    return grade(schema, prompt, example, Outcome(TaskAnswers(found)))


@pytest.mark.parametrize(
    ("chances", "truth", "right", "margin"),
    [
        ((0.4, 0.3, 0.2, 0.1), "north", True, math.log(4 / 3)),
        ((0.4, 0.3, 0.2, 0.1), "south", False, math.log(1 / 2)),  # against the likeliest other: .2 to .4
        ((1.0, 0.0, 0.0, 0.0), "east", False, math.log(LEAST)),  # nothing counts as less than the least
        ((1.0, 0.0, 0.0, 0.0), "north", True, -math.log(LEAST)),
    ],
)
def test_the_margin_is_the_truth_against_its_best_rival_in_nats(
    chances: tuple[float, ...], truth: str, right: bool, margin: float
) -> None:
    found = graded(FOUR, {"side": chances}, {"side": (truth,)})
    assert (found.right, found.margin) == (right, pytest.approx(margin))
    assert found.score == max(chances)


@given(st.lists(st.integers(1, 1000), min_size=4, max_size=4, unique=True), st.sampled_from(["north", "east", "west"]))
def test_a_margin_is_above_0_exactly_when_right(weights: list[int], truth: str) -> None:
    found = graded(FOUR, {"side": [weight / sum(weights) for weight in weights]}, {"side": (truth,)})
    assert (found.margin > 0) == found.right


def test_where_people_differ_the_margin_is_the_mean_over_what_they_think() -> None:
    # north against the best other: log(.4 / .3); south: log(.2 / .4). Two of three say south.
    soft = {"side": {"south": 2 / 3, "north": 1 / 3}}
    found = graded(FOUR, {"side": (0.4, 0.3, 0.2, 0.1)}, {"side": ("south",)}, soft=soft)
    assert found.margin == pytest.approx(math.log(1 / 2) * 2 / 3 + math.log(4 / 3) / 3)
    assert not found.right


def test_where_people_differ_on_one_of_several_labels_that_one_is_softened() -> None:
    chances = {"topics: price": (0.9, 0.1), "topics: screen": (0.8, 0.2), "topics: sound": (0.1, 0.9)}
    soft = {"topics": {"price": 1.0, "screen": 0.75, "sound": 0.0}}
    found = graded(SEVERAL, chances, {"topics": ("price", "screen")}, soft=soft)
    # screen: three of four say yes: (.75 - .25) log 4; the others are log 9.
    assert (found.right, found.margin) == (True, pytest.approx(math.log(4) / 2))


def test_the_calibration_counts() -> None:
    # log .6 - 1 against log .4: -.510826 - 1 + .916291 = -.594535, halved by temperature 2.
    calibration = Calibration({"relevant": {"yes": 1.0}}, temperature=2.0)
    found = graded(PAIR, {"relevant": (0.6, 0.4)}, {"relevant": ("yes",)}, calibration=calibration)
    assert found.margin == pytest.approx(-0.594535 / 2, abs=1e-6)
    assert found.values == {"relevant": ("no",)}


YES, NO = (0.8, 0.2), (0.1, 0.9)
SAID = {"topics: price": YES, "topics: screen": NO, "topics: sound": YES}


@pytest.mark.parametrize(
    ("truth", "right", "margin"),
    [
        (("sound", "price"), True, math.log(4)),  # the order is nothing; the least of log 4, log 9, log 4
        (("price",), False, -math.log(4)),
        ((), False, -math.log(4)),
        (("price", "screen", "sound"), False, -math.log(9)),
    ],
)
def test_of_several_labels_all_must_agree_and_the_weakest_counts(
    truth: tuple[str, ...], right: bool, margin: float
) -> None:
    found = graded(SEVERAL, SAID, {"topics": truth})
    assert (found.right, found.margin) == (right, pytest.approx(margin))
    assert found.score == pytest.approx(0.8 * 0.9 * 0.8)


@pytest.mark.parametrize(
    ("truth", "right", "margin"),
    [
        ({"tone": ("glad",), "kind": ("tell",)}, True, math.log(0.7 / 0.3)),
        ({"tone": ("glad",), "kind": ("ask",)}, False, math.log(0.3 / 0.7)),
        ({"tone": ("glad",)}, True, math.log(9)),  # a control that nobody labelled does not count
    ],
)
def test_of_two_controls_those_that_were_labelled_must_agree(
    truth: Mapping[str, tuple[str, ...]], right: bool, margin: float
) -> None:
    found = graded(BOTH, {"tone": (0.9, 0.1), "kind": (0.3, 0.7)}, truth)
    assert (found.right, found.margin) == (right, pytest.approx(margin))


def test_options_that_a_task_brings_are_its_labels() -> None:
    found = graded(BROUGHT, {"answer": (0.7, 0.3)}, {"answer": ("b",)}, options=["a", "b"])
    assert (found.right, found.values) == (False, {"answer": ("a",)})


def test_a_truth_that_is_no_option_any_more_can_not_have_been_chosen() -> None:
    found = graded(BROUGHT, {"answer": (0.7, 0.3)}, {"answer": ("c",)}, options=["a", "b"])
    assert (found.right, found.margin) == (False, math.log(LEAST))


def test_a_single_option_is_right_without_being_asked() -> None:
    found = graded(BROUGHT, {"answer": (1.0,)}, {"answer": ("a",)}, options=["a"])
    assert (found.right, found.margin) == (True, -math.log(LEAST))


def test_an_answer_that_cannot_be_used_is_as_wrong_as_can_be() -> None:
    example = Example("1", {"text": "t"}, {"side": ("north",)}, DAY)
    assert grade(FOUR, ACTIVE, example, Outcome(None, "nonsense")) == FAILED
    assert FAILED.margin == graded(FOUR, {"side": (0, 1, 0, 0)}, {"side": ("north",)}).margin


def test_several_true_values_of_a_single_choice_are_asked_for_by_the_first() -> None:
    (asked,) = truths(FOUR, Example("1", {"text": "t"}, {"side": ("west", "east")}, DAY))
    assert (asked[0].key, asked[1]) == ("side", "west")


def test_no_label_where_one_must_be_said_is_never_agreed_with() -> None:
    found = graded(FOUR, {"side": (0.4, 0.3, 0.2, 0.1)}, {"side": ()})
    assert (found.right, found.margin) == (False, FAILED.margin)


def said(**chances: float) -> Mapping[str, Distribution]:
    """Of the tree's places by p(yes); what is not named was not asked, below an A of .05."""
    keys = [question.key for question in TREE.controls[0].questions({})]
    asked = {key: Distribution(("yes", "no"), (p, 1 - p)) for key in keys if (p := chances.get(key[-1])) is not None}
    return {key: asked.get(key, Distribution(("yes", "no"), (0.05, 0.95), censored=("yes", "no"))) for key in keys}


TREE = schemas.parse(
    f'<View>{TEXT}<Taxonomy name="kind" toName="text"><Choice value="A"><Choice value="B"/><Choice value="C"/></Choice>'
    '<Choice value="D"/></Taxonomy></View>'
)


@pytest.mark.parametrize(
    ("chances", "true", "right", "margin"),
    [
        ({"A": 0.9, "B": 0.8, "C": 0.3, "D": 0.1}, ("A / B",), True, math.log(7 / 3)),
        ({"A": 0.9, "B": 0.8, "C": 0.3, "D": 0.1}, ("A",), False, math.log(1 / 4)),  # B is a no
        ({"A": 0.05, "D": 0.9}, ("D",), True, math.log(9)),  # B and C suppose a yes to A
        ({"A": 0.4, "B": 0.9, "C": 0.3, "D": 0.9}, ("D",), True, math.log(6 / 4)),
        ({"A": 0.05, "D": 0.9}, ("A / B", "D"), False, math.log(1 / 19)),  # A, and B that was not asked
    ],
)
def test_in_a_tree_a_margin_is_above_0_exactly_when_right(
    chances: Mapping[str, float], true: tuple[str, ...], right: bool, margin: float
) -> None:
    example = Example("1", {"text": "t"}, {"kind": true}, DAY)
    found = grade(TREE, ACTIVE, example, Outcome(TaskAnswers(said(**chances))))
    assert (found.right, found.margin) == (right, pytest.approx(margin))


def test_what_was_not_asked_is_not_calibrated_with() -> None:
    example = Example("1", {"text": "t"}, {"kind": ("A / B",)}, DAY)
    fitted = fit(TREE, [example] * 4, [Outcome(TaskAnswers(said(A=0.05, D=0.9)))] * 4)
    assert fitted.bias.keys() == {"kind: A", "kind: D"}
