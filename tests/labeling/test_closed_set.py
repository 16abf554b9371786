import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from backend.labeling.answers import Distribution, Label
from backend.labeling.controls.choices import ChoicesForm
from backend.labeling.controls.closed_set import NO, YES, ClosedSet
from tests.labeling.building import choices

LABELS = (Label("neg", "negative"), Label("pos", "positive"))
SINGLE = ClosedSet("sentiment", ("text",), LABELS, ChoicesForm())
MULTIPLE = ClosedSet("sentiment", ("text",), LABELS, ChoicesForm(), multiple=True)
CHANCE = st.floats(0, 1)


def yes_or_no(*chances: float) -> list[Distribution]:
    return [Distribution(("yes", "no"), (chance, 1 - chance)) for chance in chances]


def test_a_single_choice_is_the_likeliest_label_and_its_probability_the_score() -> None:
    read = SINGLE.read(SINGLE.questions({}), [Distribution(("neg", "pos"), (0.3, 0.7), 0.9, ("neg",))])
    assert (read.values, read.score, read.label_mass, read.censored) == (("pos",), 0.7, 0.9, ("neg",))
    assert read.margin == pytest.approx(0.4)


def test_a_multiple_choice_has_the_labels_that_are_more_likely_than_not() -> None:
    read = MULTIPLE.read(MULTIPLE.questions({}), yes_or_no(0.9, 0.2))
    assert read.values == ("neg",)
    assert read.probabilities == {"neg": 0.9, "pos": 0.2}
    assert read.score == pytest.approx(0.9 * 0.8)
    # The least certain label is "pos": .8 against .2. Entropies of independent answers add up.
    assert read.margin == pytest.approx(0.6)
    assert read.entropy == pytest.approx(-sum(p * math.log(p) for p in (0.9, 0.1, 0.2, 0.8)))


def test_a_multiple_choice_may_have_no_label_and_then_no_item() -> None:
    read = MULTIPLE.read(MULTIPLE.questions({}), yes_or_no(0.1, 0.2))
    assert read.values == ()
    assert MULTIPLE.to_result(read) is None
    assert read.score == pytest.approx(0.9 * 0.8)


def test_a_multiple_choice_names_the_labels_whose_answer_is_a_bound() -> None:
    answers = [Distribution(("yes", "no"), (0.9, 0.1), 0.5, ("no",)), Distribution(("yes", "no"), (0.5, 0.5), 0.8)]
    read = MULTIPLE.read(MULTIPLE.questions({}), answers)
    assert (read.censored, read.label_mass) == (("neg",), 0.5)


@given(st.lists(CHANCE, min_size=2, max_size=2))
def test_a_score_is_a_probability(chances: list[float]) -> None:
    assert 0 <= MULTIPLE.read(MULTIPLE.questions({}), yes_or_no(*chances)).score <= 1


@pytest.mark.parametrize("control", [SINGLE, MULTIPLE])
def test_what_goes_into_a_result_comes_out_of_it(control: ClosedSet) -> None:
    answers = yes_or_no(0.9, 0.8) if control.multiple else [Distribution(("neg", "pos"), (0.3, 0.7))]
    read = control.read(control.questions({}), answers)
    item = control.to_result(read)
    assert item
    assert control.from_result([{"from_name": "other", "type": "choices", "value": {"choices": ["x"]}}, item]) == (
        read.values
    )


@pytest.mark.parametrize("result", [[], [{"from_name": "other", "type": "choices"}], [{"from_name": "sentiment"}]])
def test_a_result_without_this_control_has_no_answer(result: list[dict[str, str]]) -> None:
    assert SINGLE.from_result(result) is None


def test_a_result_is_what_label_studio_takes() -> None:
    item = SINGLE.to_result(SINGLE.read(SINGLE.questions({}), [Distribution(("neg", "pos"), (0.3, 0.7))]))
    config = choices('<Choice value="negative" alias="neg"/>', '<Choice value="positive" alias="pos"/>')
    assert LabelInterface(config).validate_prediction({"result": [item], "score": 0.7}, return_errors=True) == []


def test_yes_and_no_are_the_answers_about_a_label() -> None:
    question = MULTIPLE.questions({})[1]
    assert (question.labels, question.about) == ((YES, NO), LABELS[1])
