"""Rationales as people read them, and as Label Studio takes them."""

from typing import Any

import pytest
from label_studio_sdk.label_interface import LabelInterface

from backend.labeling import reasons
from backend.labeling.schema import parse
from tests.labeling.building import SENTIMENT, TOPICS

AREA = '<TextArea name="rationale" toName="text" editable="true" rows="3" maxSubmissions="1"/>'


def with_area(config: str) -> str:
    return config.replace("</View>", f"{AREA}</View>")


def stored(*results: dict[str, Any], rationale: str = "It says love.") -> dict[str, Any]:
    return {"result": list(results), "score": 0.8, "model_version": "p0001-aaaa", "rationale": rationale}


def answer(*labels: str, control: str = "sentiment") -> dict[str, Any]:
    return {"from_name": control, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("It is short.", 20, "It is short."),
        ("  two\n lines ", 20, "two lines"),
        ("One is here. Two is here. Three.", 26, "One is here. Two is here."),
        ('He said "no." Then he left.', 15, 'He said "no."'),
        ("It costs 3.50 and more.", 12, "It costs…"),
        ("no end in sight", 10, "no end in…"),
        ("unbreakable", 5, "unbr…"),
        ("好。很好。不好。", 5, "好。很好。"),
        ("", 5, ""),
    ],
)
def test_a_rationale_is_cut_at_a_sentence_else_at_a_word(text: str, most: int, expected: str) -> None:
    assert reasons.shorten(text, most) == expected
    assert len(reasons.shorten(text, most)) <= most


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It says love. It says great. It says more.", "It says love. It says great."),
        ("It says love. Because it", "It says love."),
        ("it says love", "it says love"),
        ("Version 1.5 broke! Why? Nobody knows.", "Version 1.5 broke! Why?"),
        ("", ""),
    ],
)
def test_of_a_rambling_answer_two_whole_sentences_stay(text: str, expected: str) -> None:
    assert reasons.sentences(text, 2) == expected


@pytest.mark.parametrize("config", [SENTIMENT, TOPICS])
def test_a_rationale_is_one_item_that_label_studios_validator_takes(config: str) -> None:
    schema = parse(with_area(config))
    name, label = schema.controls[0].name, schema.controls[0].labels[0].value
    made = reasons.shown(stored(answer(label, control=name)), schema.text_area("rationale"), "hash")
    assert LabelInterface(with_area(config)).validate_prediction(made, return_errors=True) == []
    assert made["result"][-1] | {"id": ""} == {
        "id": "",
        "from_name": "rationale",
        "to_name": "text",
        "type": "textarea",
        "value": {"text": ["It says love."]},
    }


def test_several_controls_share_one_rationale() -> None:
    both = with_area(SENTIMENT.replace("</View>", TOPICS[TOPICS.index("<Choices") :]))
    schema = parse(both)
    made = reasons.shown(
        stored(answer("positive"), answer("Price", control="topics")), schema.text_area("rationale"), "hash"
    )
    assert [item["from_name"] for item in made["result"]] == ["sentiment", "topics", "rationale"]
    assert LabelInterface(both).validate_prediction(made, return_errors=True) == []


def test_the_items_id_follows_from_version_and_data() -> None:
    area = parse(with_area(SENTIMENT)).text_area("rationale")
    ids = [reasons.shown(stored(), area, data_hash)["result"][0]["id"] for data_hash in ("one", "one", "other")]
    assert ids[0] == ids[1] != ids[2]


def test_without_a_place_or_a_rationale_the_labels_go_alone() -> None:
    bare = {"result": [answer("positive")], "score": 0.8, "model_version": "p0001-aaaa"}
    area = parse(with_area(SENTIMENT)).text_area("rationale")
    assert reasons.shown(stored(answer("positive")), None, "hash") == bare
    assert reasons.shown(stored(answer("positive"), rationale=""), area, "hash") == bare


def test_a_rationale_that_is_longer_than_wanted_is_cut() -> None:
    area = parse(with_area(SENTIMENT)).text_area("rationale")
    (item,) = reasons.shown(stored(rationale="A sentence. " * 100), area, "hash")["result"]
    assert len(item["value"]["text"][0]) <= 600
    assert item["value"]["text"][0].endswith("A sentence.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"text": ["one", " two\nlines "]}, "one two lines"),
        ({"text": "a string"}, "a string"),
        ({"text": [None, 3, ""]}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_what_stands_in_a_text_area_is_read_in_any_form(value: Any, text: str) -> None:
    assert reasons.read([{"from_name": "why", "type": "textarea", "value": value}], "why") == text


def test_other_controls_of_the_name_are_not_read() -> None:
    assert reasons.read([answer("positive", control="why")], "why") == ""
