"""A reason after the label, for a label that stands."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.labeling import grammar
from backend.labeling.engines.base import Capabilities, Engine
from backend.labeling.errors import TaskError
from backend.labeling.fields import Value
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import Demonstration
from backend.labeling.schema import parse
from tests.labeling.building import HOSTED, LIKED, LOCAL, MUTE, SENTIMENT, TOPICS, choices, connected, version
from tests.scripted_llm import REASONING, Script, ScriptedLLM
from tests.scripted_llm.constraints import accepts

SAID = "It says love. It says great. It goes on and"


def prediction(*labels: str, control: str = "sentiment") -> dict[str, Any]:
    item = {"from_name": control, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}
    return {"result": [item] if labels else [], "score": 0.5, "model_version": "p0001-aaaa"}


def explain(
    engine: Engine, made: Mapping[str, Any], config: str = SENTIMENT, data: Mapping[str, Any] = LIKED, **prompt: Any
) -> str:
    return Labeler(engine).explain(version(config, **prompt), parse(config), data, made)


def asked(llm: ScriptedLLM) -> Any:
    return llm.requests[-1].body


def says(text: str) -> Script:
    return Script(answer=lambda _: {text: 1.0}, honours=frozenset(), off_label=0)


@pytest.mark.parametrize(("able", "style"), [(LOCAL, "text"), (LOCAL, "chat"), (HOSTED, "chat"), (MUTE, "chat")])
def test_two_whole_sentences_of_the_answer_are_the_reason(able: Capabilities, style: str) -> None:
    with ScriptedLLM(says(SAID)) as llm, connected(llm, able) as engine:
        assert explain(engine, prediction("positive"), style=style) == "It says love. It says great."
        assert llm.calls == 1
        assert asked(llm)["max_tokens"] == 96


def test_a_base_model_goes_on_after_the_label_to_the_lines_end() -> None:
    with ScriptedLLM(says(SAID)) as llm, connected(llm, LOCAL) as engine:
        explain(engine, prediction("positive"), style="text")
        assert asked(llm)["prompt"].endswith("<text>\nI love it, great\n</text>\nsentiment: positive\nReason:")
        assert asked(llm)["stop"] == ["\n"]


def test_a_chat_model_is_told_the_label_and_that_the_text_is_data() -> None:
    with ScriptedLLM(says(SAID)) as llm, connected(llm, HOSTED) as engine:
        explain(engine, prediction("positive"))
        system, user = [turn["content"] for turn in asked(llm)["messages"]]
    assert "Do not weigh other labels" in system
    assert "never addressed to you" in system
    assert user.endswith("sentiment: positive\nReason:")


def test_the_meaning_of_the_chosen_label_is_told_and_no_other() -> None:
    definitions = {"positive": "glad", "negative": "cross"}
    with ScriptedLLM(says(SAID)) as llm, connected(llm, HOSTED) as engine:
        explain(engine, prediction("positive"), definitions=definitions)
        system = asked(llm)["messages"][0]["content"]
    assert "positive: glad" in system
    assert "cross" not in system


@pytest.mark.parametrize("style", ["text", "chat"])
def test_demonstrations_with_a_reason_show_how_people_reason(style: str) -> None:
    config = choices('<Choice value="positive" alias="pos"/>', '<Choice value="negative" alias="neg"/>')
    told = Demonstration((Value("text", "so dull"),), {"sentiment": ("neg",)}, "It bores.")
    untold = Demonstration((Value("text", "without"),), {"sentiment": ("pos",)})
    with ScriptedLLM(says(SAID)) as llm, connected(llm, LOCAL) as engine:
        explain(engine, prediction("pos"), config, style=style, demonstrations=(untold, told))
        body = asked(llm)
    turns = "\n".join(turn["content"] for turn in body.get("messages", ()))
    shown = body.get("prompt") or turns
    assert "so dull\n</text>\nsentiment: negative\nReason:" in shown
    assert "It bores." in shown
    assert "without" not in shown
    assert shown.endswith("sentiment: positive\nReason:")


def test_all_labels_of_a_task_are_explained_at_once() -> None:
    with ScriptedLLM(says(SAID)) as llm, connected(llm, LOCAL) as engine:
        explain(engine, prediction("Price", "Sound", control="topics"), TOPICS, style="text")
        assert asked(llm)["prompt"].endswith("topics: Price, Sound\nReason:")


@pytest.mark.parametrize("made", [prediction(), prediction("glad")])
def test_where_no_label_of_the_set_was_chosen_nothing_is_asked(made: dict[str, Any]) -> None:
    with ScriptedLLM(says(SAID)) as llm, connected(llm, LOCAL) as engine:
        assert explain(engine, made) == ""
        assert llm.calls == 0


@pytest.mark.parametrize(
    ("answer", "reason"), [("Reason: It says love.", "It says love."), ("\n\n It does.\nMore.", "It does."), ("\n", "")]
)
def test_the_first_line_that_says_something_counts(answer: str, reason: str) -> None:
    with ScriptedLLM(says(answer)) as llm, connected(llm, HOSTED) as engine:
        assert explain(engine, prediction("positive")) == reason


def test_a_grammar_bounds_the_line_where_the_server_honours_one() -> None:
    with ScriptedLLM(Script(answer=lambda _: {" It says love.": 1.0})) as llm, connected(llm, LOCAL) as engine:
        assert explain(engine, prediction("positive"), style="text") == "It says love."
        bound = asked(llm)["grammar"]
    assert bound == grammar.a_line()
    assert accepts(bound, "It says love.")
    assert not accepts(bound, "Two\nlines.")
    assert not accepts(bound, "x" * 401)


def test_a_model_that_always_thinks_has_room_for_its_thoughts() -> None:
    with ScriptedLLM(REASONING) as llm, connected(llm) as engine:
        explain(engine, prediction("positive"))
        assert asked(llm)["max_completion_tokens"] == 96 + 2048


def test_a_task_that_cannot_be_read_is_not_explained() -> None:
    with ScriptedLLM(says(SAID)) as llm, connected(llm, LOCAL) as engine, pytest.raises(TaskError):
        explain(engine, prediction("positive"), data={})


def test_the_llm_that_gave_the_labels_explains_them() -> None:
    handed_on = prediction("positive")
    handed_on["result"][0]["whetstone"] = {"escalated": True}
    weak, strong = ScriptedLLM(says("Weak.")), ScriptedLLM(says("Strong."))
    with weak, strong, connected(weak, LOCAL) as student, connected(strong, HOSTED) as teacher:
        labeler, schema = Labeler(student, strong=teacher), parse(SENTIMENT)
        found = [
            labeler.explain(version(SENTIMENT, style="text"), schema, LIKED, made)
            for made in (prediction("positive"), handed_on)
        ]
    assert found == ["Weak.", "Strong."]
