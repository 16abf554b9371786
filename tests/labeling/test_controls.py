"""Each tag as Label Studio declares it, asks for it and stores it."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.labeling import templates
from backend.labeling.answers import Distribution, TaskPrediction
from backend.labeling.calibration import Calibration
from backend.labeling.controls import Control
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt, render
from backend.labeling.schema import parse
from tests.labeling.building import TEXT, complaints, connected, label, says
from tests.scripted_llm import Script, ScriptedLLM

CONTRACT = json.loads((Path(__file__).parents[1] / "data/label_studio/label_interface_by_tag.json").read_text())
RATING = f'<View>{TEXT}<Rating name="quality" toName="text" maxRating="4"/></View>'
PAIR = (
    '<View><Text name="first" value="$a"/><Text name="second" value="$b"/>'
    '<Pairwise name="better" toName="first,second"/></View>'
)
TREE = (
    '<Choice value="Animal"><Choice value="Dog" hint="barks"/><Choice value="Cat" alias="c"/><Choice value="Other"/>'
    '</Choice><Choice value="Plant" alias="p"><Choice value="Other"/></Choice>'
)


def taxonomy(inside: str = TREE, attributes: str = "") -> str:
    return f'<View>{TEXT}<Taxonomy name="kind" toName="text" {attributes}>{inside}</Taxonomy></View>'


def only(config: str) -> Control:
    (control,) = parse(config).controls
    return control


def labels(config: str) -> list[tuple[str, str, str]]:
    return [(label.value, label.text, label.hint) for label in only(config).labels]


def item(kind: str, value: Any, name: str = "c") -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": kind, "value": value}


# -- the contract's own examples


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("choices_single", None),
        ("rating", ("4",)),
        ("pairwise", ("left",)),
        ("taxonomy", ("Animal / Dog", "Plant")),
    ],
)
def test_what_label_studio_stores_is_read_and_written_as_it_was(name: str, values: tuple[str, ...] | None) -> None:
    control, stored = only(CONTRACT[name]["config"]), CONTRACT[name]["regions"]
    found = control.from_result(stored)
    assert found
    assert values in {None, found}
    assert set(found) <= {each.value for each in control.labels}
    assert control.form.type == stored[0]["type"]
    assert control.form.encode(found) == stored[0]["value"]


# -- Rating


def test_a_rating_is_one_of_its_numbers_and_its_ends_are_named() -> None:
    assert labels(RATING) == [("1", "1", "lowest"), ("2", "2", ""), ("3", "3", ""), ("4", "4", "highest")]
    assert len(only(RATING.replace('maxRating="4"', "")).labels) == 5


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({"rating": 3}, ("3",)),
        ({"rating": 3.0}, ("3",)),
        ({"rating": "3"}, ("3",)),
        ({"rating": 0}, ()),
        ({"rating": None}, ()),
        ({}, ()),
        (None, ()),
        ({"rating": 9}, ("9",)),
        ({"rating": 2.5}, ("2.5",)),
    ],
)
def test_a_rating_that_was_taken_back_is_no_answer_and_one_outside_comes_out_as_it_is(
    value: Any, values: tuple[str, ...]
) -> None:
    assert only(RATING).from_result([item("rating", value, "quality")]) == values


def test_the_first_instruction_of_a_rating_names_its_ends() -> None:
    said = templates.initial_instruction(parse(RATING))
    assert said == "Rate quality of the text from 1 (lowest) to 4 (highest)."


@pytest.mark.parametrize(
    ("most", "answers", "rating", "score"),
    [
        (4, {"3": 0.6, "4": 0.3, "1": 0.1}, 3, 0.6),
        (9, {"3": 0.6, "4": 0.3, "1": 0.1}, 3, 0.6),
        (10, {"C": 0.6, "D": 0.3, "A": 0.1}, 3, 0.6),  # "1" begins "10", so that letters stand for them
        (60, {"C": 0.8, "19": 0.1, "20": 0.1}, 19, 0.5),  # in groups: the third has 17 to 24
    ],
)
def test_a_rating_is_predicted_as_label_studio_takes_it(
    llm: ScriptedLLM, most: int, answers: dict[str, float], rating: int, score: float
) -> None:
    config = RATING.replace('maxRating="4"', f'maxRating="{most}"')
    says(llm, answers)
    with connected(llm) as engine:
        made = label(engine, config, {"text": "good"}, style="chat")
    assert complaints(config, made) == []
    assert made.result[0]["value"] == {"rating": rating}
    assert made.score == pytest.approx(score, abs=0.02)


# -- Pairwise


def test_a_pair_is_left_or_right_and_each_side_names_its_text() -> None:
    assert labels(PAIR) == [
        ("left", "left", '"first" rather than the other'),
        ("right", "right", '"second" rather than the other'),
    ]


def test_a_pairs_prompt_shows_both_texts() -> None:
    schema = parse(PAIR)
    prompt = Prompt(templates.initial_instruction(schema), style="text")
    (question,) = schema.controls[0].questions({})
    text = render(prompt, question, schema.values({"a": "uno", "b": "due"}), ("left", "right")).text
    assert text.startswith('Compare "first" (left) with "second" (right), and say which of them is better.\n')
    assert "<first>\nuno\n</first>\n<second>\ndue\n</second>\nbetter:" in text


def test_a_pair_is_predicted_as_label_studio_takes_it(llm: ScriptedLLM) -> None:
    says(llm, {"right": 0.8, "left": 0.2})
    with connected(llm) as engine:
        made = label(engine, PAIR, {"a": "uno", "b": "due"}, style="chat")
    assert complaints(PAIR, made) == []
    (found,) = made.result
    assert (found["to_name"], found["type"], found["value"]) == ("first", "pairwise", {"selected": "right"})


@pytest.mark.parametrize("to_name", ["better", "first", "first,second"])
def test_a_pairs_answer_is_read_whatever_it_says_it_is_to(to_name: str) -> None:
    """Label Studio's page writes the control's own name there."""
    stored = item("pairwise", {"selected": "left"}, "better") | {"to_name": to_name}
    assert only(PAIR).from_result([stored]) == ("left",)


# -- Taxonomy


def test_a_place_is_stored_as_its_path_and_read_by_its_own_name_where_no_other_has_it() -> None:
    assert labels(taxonomy()) == [
        ("Animal", "Animal", ""),
        ("Animal / Dog", "Dog", "in Animal: barks"),
        ("Animal / c", "Cat", "in Animal"),
        ("Animal / Other", "Animal / Other", ""),
        ("p", "Plant", ""),
        ("p / Other", "Plant / Other", ""),
    ]


def test_of_a_tree_of_leaves_only_leaves_are_labels() -> None:
    found = [value for value, _, _ in labels(taxonomy(attributes='leafsOnly="true"'))]
    assert found == ["Animal / Dog", "Animal / c", "Animal / Other", "p / Other"]


@pytest.mark.parametrize(("attributes", "multiple"), [("", True), ('maxUsages="1"', False), ('maxUsages="2"', True)])
def test_any_number_of_places_unless_one_is_all(attributes: str, multiple: bool) -> None:
    assert only(taxonomy(attributes=attributes)).multiple is multiple


# -- any number of places: asked from the top

WIDE = "".join(
    f'<Choice value="{top}">{"".join(f"""<Choice value="{top}{i}"/>""" for i in range(20))}</Choice>'
    for top in "ABCDEFGHIJ"
)


def tells(llm: ScriptedLLM, chances: dict[str, float], rest: float = 0.02) -> None:
    """p(yes) of a place by its name, `rest` of others."""

    def answer(prompt: str) -> dict[str, float]:
        name = prompt.rpartition('does "')[2].partition('"')[0]
        return {"yes": chances.get(name, rest), "no": 1 - chances.get(name, rest)}

    llm.script = Script(answer=answer, off_label=0)


def placed(llm: ScriptedLLM, config: str, calibration: Calibration | None = None) -> TaskPrediction:
    with connected(llm) as engine:
        return label(engine, config, {"text": "meow"}, style="text", calibration=calibration or Calibration())


@pytest.mark.parametrize("attributes", ["", 'leafsOnly="true"'])
def test_what_lies_below_an_excluded_place_is_not_asked_but_bounded(llm: ScriptedLLM, attributes: str) -> None:
    tells(llm, {"B": 0.9, "B3": 0.8})
    config = taxonomy(WIDE, attributes)
    made = placed(llm, config)
    assert made.calls == 10 + 20
    assert complaints(config, made) == []
    assert made.result[0]["value"] == {"taxonomy": [["B", "B3"]]}
    kept = made.result[0]["whetstone"]
    assert len(kept["censored"]) == 9 * 20
    assert kept["probabilities"]["A / A7"] == pytest.approx(0.02, abs=1e-3)
    assert kept["probabilities"]["B / B3"] == pytest.approx(0.9 * 0.8, abs=1e-3)
    # All answers that were given are right: B, B3, nine other tops, nineteen others below B.
    assert made.score == pytest.approx(0.9 * 0.8 * 0.98**28, abs=0.01)


def test_below_a_no_all_is_no_whether_it_was_asked_or_not(llm: ScriptedLLM) -> None:
    tells(llm, {"Animal": 0.3, "Dog": 0.9, "Plant": 0.05})
    made = placed(llm, taxonomy())
    (found,) = made.controls
    assert (made.calls, found.values, found.unasked) == (5, (), ("p / Other",))
    assert made.score == pytest.approx(0.7 * 0.95, abs=0.01)
    assert found.entropy == pytest.approx(0.6109 + 0.1985, abs=0.01)  # of .3 and of .05, in nats


def test_of_places_above_each_other_the_lowest_is_the_answer(llm: ScriptedLLM) -> None:
    tells(llm, {"Animal": 0.9, "Dog": 0.2, "Plant": 0.8, "Plant / Other": 0.7})
    assert placed(llm, taxonomy()).controls[0].values == ("Animal", "p / Other")


def test_an_inner_place_is_no_answer_where_only_leaves_are(llm: ScriptedLLM) -> None:
    tells(llm, {"Animal": 0.9}, rest=0.2)
    (found,) = placed(llm, taxonomy(attributes='leafsOnly="true"')).controls
    assert (found.values, list(found.probabilities)) == (
        (),
        ["Animal / Dog", "Animal / c", "Animal / Other", "p / Other"],
    )


def test_a_place_that_was_not_asked_is_not_chosen_by_calibration(llm: ScriptedLLM) -> None:
    tells(llm, {})
    bias = {f"kind: {place}": {"no": 9.0} for place in ("Animal", "Animal / Dog")}
    assert placed(llm, taxonomy(), Calibration(bias)).controls[0].values == ("Animal",)


def test_a_tree_of_one_level_is_asked_as_ever(llm: ScriptedLLM) -> None:
    tells(llm, {"A": 0.9})
    made = placed(llm, taxonomy('<Choice value="A"/><Choice value="B"/><Choice value="C"/>'))
    (found,) = made.controls
    assert (made.calls, found.values, found.censored, only(taxonomy("<Choice value='A'/>")).tree) == (3, ("A",), (), ())
    assert made.score == pytest.approx(0.9 * 0.98**2, abs=0.01)


def test_a_demonstration_says_yes_to_what_lies_above_its_answer() -> None:
    shown = Demonstration((Value("text", "woof"),), {"kind": ("Animal / Dog",)})
    prompt = Prompt("i", demonstrations=(shown,), style="text")
    for question, said in zip(only(taxonomy()).questions({}), ("yes", "yes", "no", "no", "no", "no"), strict=True):
        text = render(prompt, question, (Value("text", "t"),), ("yes", "no")).text
        assert f" apply? (yes or no): {said}\n" in text


def test_paths_that_read_alike_break_no_tree(llm: ScriptedLLM) -> None:
    tells(llm, {"A / B": 0.9})
    inside = '<Choice value="A / B"/><Choice value="A"><Choice value="B"><Choice value="C"/></Choice></Choice>'
    config = taxonomy(inside)
    assert complaints(config, placed(llm, config)) == []


def test_places_are_stored_as_whole_paths_with_aliases() -> None:
    control = only(taxonomy(attributes='maxUsages="1"'))
    names = tuple(each.value for each in control.labels)
    read = control.read(control.questions({}), [Distribution(names, (0.1, 0.1, 0.5, 0.1, 0.1, 0.1))])
    stored = control.to_result(read)
    assert stored
    assert stored["value"] == {"taxonomy": [["Animal", "c"]]}
    assert control.from_result([stored]) == ("Animal / c",)


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({"taxonomy": [["Animal", "Dog"], ["p"]]}, ("Animal / Dog", "p")),
        ({"taxonomy": ["p"]}, ("p",)),
        ({"taxonomy": [["Gone", "Dodo"]]}, ("Gone / Dodo",)),
        ({"taxonomy": []}, ()),
        ({}, ()),
    ],
)
def test_paths_are_read_and_unknown_ones_come_out_as_they_are(value: Any, values: tuple[str, ...]) -> None:
    assert only(taxonomy()).from_result([item("taxonomy", value, "kind")]) == values


def test_a_place_without_a_name_is_left_out_and_places_alike_count_as_one() -> None:
    inside = '<Choice value="A"/><Choice value=" "><Choice value="B"/></Choice><Choice value="A"/>'
    assert [value for value, _, _ in labels(taxonomy(inside))] == ["A"]
    assert parse(taxonomy(inside)).notes == ('Taxonomy "kind" has places alike: they count as one',)


def test_a_tree_is_predicted_as_label_studio_takes_it(llm: ScriptedLLM) -> None:
    config = taxonomy(attributes='maxUsages="1" leafsOnly="true"')
    says(llm, {"B": 0.7, "A": 0.2, "C": 0.05, "D": 0.05})
    with connected(llm) as engine:
        made = label(engine, config, {"text": "meow"}, style="chat", codes="letters")
    assert complaints(config, made) == []
    assert made.result[0]["value"] == {"taxonomy": [["Animal", "c"]]}
