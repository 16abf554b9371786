import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from backend.labeling.errors import SchemaError, TaskError
from backend.labeling.schema import parse
from tests.labeling.building import TEXT, choices

CONTRACT = json.loads((Path(__file__).parents[1] / "data/label_studio/label_interface_by_tag.json").read_text())
IMAGE = '<Image name="image" value="$image"/>'
TWO = ("a", "b")


def labels(config: str) -> list[str]:
    return [label.value for label in parse(config).controls[0].labels]


@pytest.mark.parametrize("kind", ["choices_default", "choices_single", "choices_single_radio"])
def test_a_choice_is_one_of_the_set_unless_it_says_multiple(kind: str) -> None:
    (control,) = parse(CONTRACT[kind]["config"]).controls
    assert not control.multiple
    assert [label.value for label in control.labels] == CONTRACT[kind]["schema"]["properties"]["c"]["enum"]


def test_multiple_choice_asks_of_each_label_whether_it_applies() -> None:
    (control,) = parse(choices("red", "blue", attributes='choice="multiple"')).controls
    assert [(question.about.text, len(question.labels)) for question in control.questions({}) if question.about] == [
        ("red", 2),
        ("blue", 2),
    ]


def test_an_alias_is_stored_and_the_shown_value_is_asked_for() -> None:
    (control,) = parse(choices('<Choice value="Very good" alias="vg" hint="five stars"/>', "bad")).controls
    first = control.labels[0]
    assert (first.value, first.text, first.hint) == ("vg", "Very good", "five stars")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["x", "y"], [("x", "x"), ("y", "y")]),
        ([{"value": "X", "alias": "x", "hint": "h"}, {"value": "Y"}], [("x", "X"), ("Y", "Y")]),
        (["x", "x", " ", "", None, {"value": "y"}], [("x", "x"), ("y", "y")]),
        ([{"value": "A", "alias": "1"}, {"value": "A", "alias": "2"}], [("1", "1"), ("2", "2")]),
        (["two\nlines", "a\ud800"], [("two\nlines", "two lines"), ("a\ud800", "a?")]),
        ([1, 2.5], [("1", "1"), ("2.5", "2.5")]),
    ],
)
def test_dynamic_options_come_from_the_task(options: list[Any], expected: list[tuple[str, str]]) -> None:
    (control,) = parse(choices(attributes='value="$options"')).controls
    assert [(label.value, label.text) for label in control.labels_for({"options": options})] == expected


def test_dynamic_options_follow_the_fixed_ones_as_in_label_studio() -> None:
    (control,) = parse(choices("other", attributes='value="$options"')).controls
    assert [label.value for label in control.labels_for({"options": ["x", "other"]})] == ["other", "x"]


@pytest.mark.parametrize("data", [{}, {"options": []}, {"options": "a,b"}, {"options": None}, {"options": [" "]}])
def test_a_task_without_usable_options_is_refused_by_the_fields_name(data: dict[str, Any]) -> None:
    (control,) = parse(choices(attributes='value="$options"')).controls
    with pytest.raises(TaskError, match='"options"'):
        control.labels_for(data)


def test_several_fields_are_read_in_the_order_of_the_configuration() -> None:
    objects = '<HyperText name="page" value="$html"/><Paragraphs name="talk" value="$turns"/>' + TEXT
    values = parse(choices(*TWO, objects=objects)).values(
        {"text": "t", "turns": [{"author": "A", "text": "hi"}], "html": "<p>one</p><p>two</p>"}
    )
    assert [(value.name, value.text) for value in values] == [("page", "one\ntwo"), ("talk", "A: hi"), ("text", "t")]


def test_a_field_that_no_control_points_at_may_be_absent() -> None:
    parsed = parse(choices(*TWO, objects='<Text name="context" value="$context"/>' + TEXT))
    assert [value.name for value in parsed.values({"text": "t"})] == ["text"]


def test_a_field_that_a_control_points_at_may_not() -> None:
    with pytest.raises(TaskError, match=r'no field "text".*it has: title'):
        parse(choices(*TWO)).values({"title": "x"})


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ('<Number name="n" toName="text"/>', 'Number "n" is left alone: controls of type Number are not labelled yet'),
        ('<Rating name="r" toName="text" maxRating="1"/>', 'its maxRating is "1"'),
        ('<Rating name="r" toName="text" maxRating="101"/>', "not a whole number from 2 to 100"),
        ('<Rating name="r" toName="text" maxRating="many"/>', 'its maxRating is "many"'),
        ('<Pairwise name="p" toName="text"/>', 'Pairwise "p" is left alone: it compares text, which are not two texts'),
        (IMAGE + '<Pairwise name="p" toName="text,image"/>', "it compares text and image, which are not two texts"),
        ('<Taxonomy name="t" toName="text" value="$tree"/>', 'Taxonomy "t" is left alone: its labels come from'),
        ('<Taxonomy name="t" toName="text" apiUrl="http://x"/>', "its labels come from elsewhere"),
        ('<Taxonomy name="t" toName="text"/>', 'Taxonomy "t" has no choice'),
        ('<Labels name="ner" toName="text"><Label value="PER"/></Labels>', 'Labels "ner" is left alone'),
        ('<TextArea name="why" toName="text"/>', 'TextArea "why" is left alone'),
        (choices(*TWO, name="span", objects="", attributes='perRegion="true"')[6:-7], "answered once a region"),
        (choices(*TWO, name="n", objects="", attributes='allowNested="true"')[6:-7], "its choices are nested"),
        (choices("a", '<Choice value="b"><Choice value="c"/></Choice>', name="n", objects="")[6:-7], "are nested"),
        (choices(*TWO, name="c", objects="", attributes='visibleWhen="choice-selected"')[6:-7], "another control"),
        (
            f'<View visibleWhen="choice-selected"><View>{choices(*TWO, name="c", objects="")[6:-7]}</View></View>',
            '"c" is left alone: it is shown only when another control',
        ),
        (IMAGE + choices(*TWO, name="seen", objects="")[6:-7].replace('toName="text"', 'toName="image"'), "not text"),
        (choices(*TWO, name="", objects="")[6:-7], "Choices is left alone: it has no name"),
        (IMAGE, 'Image "image" is not read'),
        ('<Text name="static" value="Read this"/>', 'Text "static" is not read: its value names no data field'),
        ('<Text name="far" value="$far" valueType="url"/>', 'Text "far" is not read: it loads its text'),
    ],
)
def test_what_is_left_alone_is_named_with_the_reason_and_the_rest_works(more: str, note: str) -> None:
    parsed = parse(choices(*TWO).replace("</View>", "") + more + "</View>")
    assert [control.name for control in parsed.controls] == ["sentiment"]
    assert any(note in said for said in parsed.notes), parsed.notes


def test_what_is_left_to_people_on_purpose_needs_no_note() -> None:
    own = '<Rating name="sure" toName="text" whetstone="off"/>'
    parsed = parse(choices(*TWO).replace("</View>", f"{own}</View>"))
    assert ([control.name for control in parsed.controls], parsed.notes) == (["sentiment"], ())
    with pytest.raises(SchemaError, match='Rating "sure" is left alone: the configuration says whetstone="off"'):
        parse(f"<View>{TEXT}{own}</View>")


@pytest.mark.parametrize("name", CONTRACT)
def test_every_control_of_the_contract_is_labelled_or_named(name: str) -> None:
    labelled: list[str] = []
    try:
        parsed = parse(CONTRACT[name]["config"])
        labelled, said = [control.name for control in parsed.controls], " ".join(parsed.notes)
    except SchemaError as error:
        said = str(error)
    for tag in LabelInterface(CONTRACT[name]["config"]).controls:
        assert tag.name in labelled or f'"{tag.name}" is left alone' in said


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (("a", "a", "b"), ["a", "b"], '"a" 2 times'),
        (("a", "", "b"), ["a", "b"], "no name"),
        (("a", "  ", "b"), ["a", "b"], "no name"),
        (("a", "<Choice/>", "b"), ["a", "b"], ""),
        (('<Choice value="a" alias="x"/>', '<Choice value="b" alias="x"/>', "c"), ["x", "c"], '"x" 2 times'),
    ],
)
def test_duplicate_and_empty_choices_are_dropped_and_named(values: list[str], expected: list[str], note: str) -> None:
    assert labels(choices(*values)) == expected
    assert any(note in said for said in parse(choices(*values)).notes) or not note


def test_choices_shown_alike_are_asked_for_by_what_is_stored() -> None:
    (control,) = parse(choices('<Choice value="Other" alias="o1"/>', '<Choice value="Other" alias="o2"/>')).controls
    assert [(label.value, label.text) for label in control.labels] == [("o1", "o1"), ("o2", "o2")]


def test_a_choice_keeps_its_white_space_where_it_is_stored_only() -> None:
    (control,) = parse(choices(" two  words ", "b")).controls
    assert (control.labels[0].value, control.labels[0].text) == (" two  words ", "two words")


def test_two_hundred_choices_are_read() -> None:
    assert len(labels(choices(*(f"label {i}" for i in range(200))))) == 200


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "not well-formed"),
        ("nonsense", "not well-formed"),
        ("<View>", "not well-formed"),
        ("<View>&undefined;</View>", "not well-formed"),
        ("\x00", "not well-formed"),
        ("<View name='\ud800'/>", "not well-formed"),
        ("<View/>", "no control that Whetstone labels"),
        (f"<View>{TEXT}</View>", "no control that Whetstone labels"),
        (choices(), "has no choice"),
        ('<View><Rating name="r" toName="t"/></View>', 'Rating "r" is left alone: it points at t, which is not text'),
        (choices(*TWO, objects=""), "which is not text"),
    ],
)
def test_a_configuration_that_cannot_be_labelled_with_says_why(config: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        parse(config)


@pytest.mark.parametrize("depth", [2, 10])
def test_entities_are_never_expanded(depth: int) -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "boom"}">' for i in range(depth))
    config = f"<!DOCTYPE View [{entities}]>" + choices(f'<Choice value="&e{depth - 1};"/>', "b")
    with pytest.raises(SchemaError, match=r"DOCTYPE|amplification"):
        parse(config)


def test_files_are_never_read() -> None:
    with pytest.raises(SchemaError, match="DOCTYPE"):
        parse('<!DOCTYPE View [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + choices("a", "b"))


def test_an_xml_declaration_and_comments_do_no_harm() -> None:
    assert labels('<?xml version="1.0" encoding="UTF-8"?><!-- hello -->' + choices(*TWO)) == ["a", "b"]


@given(st.text())
def test_any_text_is_parsed_or_refused_as_a_configuration(config: str) -> None:
    with suppress(SchemaError):
        parse(config)


def test_the_configurations_hash_does_not_depend_on_white_space_or_comments() -> None:
    spread = choices(*TWO).replace("><", ">\n  <").replace(' name="text"', '\n  name="text"')
    assert parse(spread + "<!-- note -->").config_hash == parse(choices(*TWO)).config_hash


@pytest.mark.parametrize("other", [choices("a", "c"), choices("b", "a"), choices(*TWO, name="other")])
def test_the_configurations_hash_depends_on_what_is_asked(other: str) -> None:
    assert parse(other).config_hash != parse(choices(*TWO)).config_hash


DYNAMIC = parse(choices(attributes='value="$options"'))


@pytest.mark.parametrize(
    "other",
    [
        {"text": "t", "options": [{"hint": "h", "value": "a"}], "id": 7},
        {"options": [{"value": "a", "hint": "h"}], "text": "t", "more": {"x": 1}},
    ],
)
def test_the_data_hash_depends_on_the_fields_in_use_only_and_on_no_order(other: dict[str, Any]) -> None:
    data = {"text": "t", "options": [{"value": "a", "hint": "h"}]}
    assert DYNAMIC.data_hash(other) == DYNAMIC.data_hash(data)


def test_values_of_different_kinds_have_different_data_hashes() -> None:
    values = [True, 1, "1", "true", None, "", [1], ["1"], {"1": 1}, "\ud800", "\ufffd"]
    assert len({DYNAMIC.data_hash({"text": value}) for value in values}) == len(values)


def test_a_changed_option_changes_the_data_hash() -> None:
    assert DYNAMIC.data_hash({"options": ["a"]}) != DYNAMIC.data_hash({"options": ["b"]})


PATHS = parse(
    '<View><Text name="text" value="Title: $review.title"/><Text name="more" value="$items[0].text"/>'
    '<Choices name="topic" toName="text" value="$options.topics"/></View>'
)


def test_paths_are_read_from_a_task_and_tell_which_of_its_keys_to_keep() -> None:
    data = {"review": {"title": "T"}, "items": [{"text": "t"}], "options": {"topics": ["a", "b"]}, "other": 1}
    assert [value.text for value in PATHS.values(data)] == ["Title: T", "t"]
    assert [label.value for label in PATHS.controls[0].labels_for(data)] == ["a", "b"]
    kept = {key: data[key] for key in PATHS.keys if key in data}
    assert kept.keys() == data.keys() - {"other"}
    assert PATHS.data_hash(kept) == PATHS.data_hash({**data, "review": {"title": "T", "stars": 5}})
    assert PATHS.data_hash(kept) != PATHS.data_hash({**data, "items": [{"text": "u"}]})


AREA = '<TextArea name="why" toName="text" rows="3"/>'


def added(element: str, config: str = choices(*TWO)) -> str:
    return config.replace("</View>", f"  {element}\n</View>")


def test_a_text_area_is_a_place_for_rationales_and_no_longer_left_alone_when_it_is_used() -> None:
    parsed = parse(added(AREA))
    area = parsed.text_area("why")
    assert area is not None
    assert (area.name, area.to_name) == ("why", "text")
    assert len(parsed.notes) == len(parsed.notes_but(None)) == 1
    assert parsed.notes_but(area) == ()
    assert parsed.text_area("rationale") is None


def test_a_text_area_of_regions_is_no_place_for_a_rationale() -> None:
    assert parse(added(AREA.replace("/>", ' perRegion="true"/>'))).text_areas == ()


@pytest.mark.parametrize("element", [AREA, AREA + AREA.replace("why", "note"), f"\n{AREA}<!-- why? -->\n"])
def test_a_text_area_that_comes_or_goes_leaves_the_configurations_hash(element: str) -> None:
    assert parse(added(element)).config_hash == parse(choices(*TWO)).config_hash


def test_configurations_without_a_text_area_hash_as_ever() -> None:
    """Versions and recorded answers are kept under this name."""
    assert parse(choices(*TWO)).config_hash == "a27e09cef60e"
    assert parse(choices("a", "c", attributes='choice="multiple"')).config_hash == "2ae684e0a5b1"


def test_what_a_text_area_holds_beside_text_counts() -> None:
    inside = (
        '<TextArea name="why" toName="text"><Choices name="c" toName="text"><Choice value="x"/></Choices></TextArea>'
    )
    assert parse(added(inside)).config_hash != parse(choices(*TWO)).config_hash
