"""The TextArea for reasons: added by `connect`, missed by `doctor`."""

from typing import Any

import pytest

from backend.label_studio import LabelStudioClient, Project
from backend.labeling.errors import SchemaError
from backend.labeling.schema import parse
from backend.projects import rationale_area
from backend.settings import Settings
from tests.flows.payloads import CONFIG
from tests.loopback import Answer, LoopbackServer

NOTED = CONFIG.replace("</View>", '  <TextArea name="note" toName="text"/>\n</View>')
TAKEN = CONFIG.replace("</View>", '  <TextArea name="rationale" toName="text" perRegion="true"/>\n</View>')
ADDED = (
    '  <TextArea name="rationale" toName="text" editable="true" rows="3" maxSubmissions="1" '
    'placeholder="Why this label?"/>\n</View>'
)


def project(config: str) -> Project:
    return Project(1, "1.1", "Kettles", config, "", "", 0, shows_predictions=True)


def settings(**changes: Any) -> Settings:
    return Settings(openai_base_url="http://llm.test/v1", **changes)


def test_the_text_area_comes_below_the_controls_and_the_rest_stays_as_it_was_written() -> None:
    changed = rationale_area.added(CONFIG, "rationale")
    assert changed == CONFIG.replace("</View>", ADDED)
    assert parse(changed).config_hash == parse(CONFIG).config_hash
    assert [area.name for area in parse(changed).text_areas] == ["rationale"]


@pytest.mark.parametrize("name", ["why", 'a "quoted" <name>'])
def test_it_has_the_name_that_the_setting_gives(name: str) -> None:
    assert parse(rationale_area.added(CONFIG, name)).text_area(name) is not None


def test_a_declaration_and_a_comment_inside_do_no_harm() -> None:
    config = '<?xml version="1.0" encoding="UTF-8"?>' + CONFIG.replace("</View>", "<!-- </Choices> -->\n</View>")
    assert parse(rationale_area.added(config, "rationale")).text_area("rationale") is not None


@pytest.mark.parametrize(
    ("config", "name", "says"),
    [
        (CONFIG, "sentiment", '"sentiment" is taken by Choices: set RATIONALE_CONTROL'),
        (TAKEN, "rationale", '"rationale" is taken by TextArea'),
        (CONFIG + "<!-- </View> -->", "rationale", 'by hand: <TextArea name="rationale"'),
    ],
)
def test_where_it_cannot_be_added_the_way_out_is_named(config: str, name: str, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        rationale_area.added(config, name)


@pytest.mark.parametrize(
    ("config", "changes", "says"),
    [
        (CONFIG, {}, ""),
        (NOTED, {}, ""),
        (NOTED, {"rationale_control": "note"}, ""),
        (NOTED, {"rationale_control": "why"}, 'RATIONALE_CONTROL is set, but the configuration has no TextArea "why"'),
        (NOTED, {"rationale_control": "why"}, "(it has: note)"),
        (CONFIG, {"explain_below": 0.9}, 'EXPLAIN_BELOW is set, but the configuration has no TextArea "rationale"'),
        (CONFIG, {"explain_below": 0.9}, "(it has: none)"),
    ],
)
def test_a_setting_without_its_text_area_is_named_and_silence_kept_where_nobody_asked(
    config: str, changes: dict[str, Any], says: str
) -> None:
    found = rationale_area.missing(parse(config), settings(**changes))
    assert (says in found) if says else found == ""


def ensure(config: str, answer: Answer, *, add: bool, **changes: Any) -> tuple[rationale_area.Step | None, list[Any]]:
    """The step, and the changes that Label Studio was asked for."""
    with LoopbackServer({"PATCH /api/projects/1/": answer}) as server:
        client = LabelStudioClient(server.url, "abc")
        step = rationale_area.ensure(client, project(config), settings(**changes), add=add)
        return step, [asked.body for asked in server.asked]


def test_it_is_added_once() -> None:
    step, asked = ensure(CONFIG, Answer(200, {}), add=True)
    assert step is not None
    assert step.state == "done"
    assert asked == [{"label_config": CONFIG.replace("</View>", ADDED)}]
    again, asked = ensure(CONFIG.replace("</View>", ADDED), Answer(200, {}), add=True)
    assert again is not None
    assert (again.state, asked) == ("already", [])


def test_what_label_studio_has_against_it_is_told() -> None:
    step, _ = ensure(CONFIG, Answer(400, {"detail": "Annotations would be lost"}), add=True)
    assert step is not None
    assert (step.state, step.detail) == ("failed", "Annotations would be lost")


def test_without_the_option_nothing_is_added_and_a_missing_one_is_named() -> None:
    assert ensure(CONFIG, Answer(200, {}), add=False) == (None, [])
    step, asked = ensure(CONFIG, Answer(200, {}), add=False, rationale_control="why")
    assert step is not None
    assert (step.state, asked) == ("failed", [])
    assert "whetstone connect 1 --with-rationale" in step.detail
