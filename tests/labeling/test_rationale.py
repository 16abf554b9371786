"""Reasons before the label: `gen`, then the label's distribution; several of them averaged."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.labeling.answers import Label, Question
from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.fields import Value
from backend.labeling.labeler import Limits
from backend.labeling.prompt import Demonstration, Prompt, render
from tests.labeling.building import HOSTED, LIKED, LOCAL, MUTE, SENTIMENT, TOPICS, chosen, connected, details, label
from tests.scripted_llm import REASONING, Script, ScriptedLLM

QUESTION = Question("sentiment", (Label("neg", "negative"), Label("pos", "positive")))
WORDS = ("negative", "positive")
TASK = (Value("text", "the task"),)
SHOWN = Demonstration((Value("text", "shown before"),), {"sentiment": ("pos",)}, "It is glad.")


def reasons(answers: Mapping[str, float], rationale: str = " It says love.\n") -> Script:
    """Asked for a reason it gives one; asked for the label after it, `answers`."""
    return Script(answer=lambda prompt: {rationale: 1.0} if prompt.rstrip().endswith("Reason:") else answers)


def prompts(llm: ScriptedLLM) -> list[str]:
    return [_shown(request.body) for request in llm.requests if "completions" in request.path]


def _shown(body: Mapping[str, Any]) -> str:
    return str(body.get("prompt") or "\n".join(turn["content"] for turn in body.get("messages", ())))


def test_a_plain_completion_reasons_in_one_line_before_the_label() -> None:
    prompt = Prompt("Tell.", style="text", rationale=True, demonstrations=(SHOWN,))
    asked = render(prompt, QUESTION, TASK, WORDS, None).text
    assert asked.endswith("<text>\nthe task\n</text>\nReason:")
    assert "shown before\n</text>\nReason: It is glad.\nsentiment: positive" in asked
    answered = render(prompt, QUESTION, TASK, WORDS, "It is dull.").text
    assert answered == f"{asked} It is dull.\nsentiment:"


def test_in_chat_the_reason_has_a_turn_of_its_own() -> None:
    prompt = Prompt("Tell.", rationale=True, demonstrations=(SHOWN,))
    turns = render(prompt, QUESTION, TASK, WORDS, "It is dull.").messages
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * 3, "user"]
    assert [turn.content for turn in turns[2:5]] == ["It is glad.", "sentiment:", "positive"]
    assert (turns[-2].content, turns[-1].content) == ("It is dull.", "sentiment:")


def test_without_a_rationale_in_the_prompt_no_reason_is_shown() -> None:
    assert "glad" not in render(Prompt("Tell.", style="text", demonstrations=(SHOWN,)), QUESTION, TASK, WORDS).text


@pytest.mark.parametrize(("able", "style"), [(LOCAL, "text"), (LOCAL, "chat"), (HOSTED, "chat")])
def test_the_label_is_read_after_the_reason_in_two_calls(able: Any, style: str) -> None:
    with ScriptedLLM(reasons({"positive": 0.8, "negative": 0.2})) as llm, connected(llm, able) as engine:
        made = label(engine, SENTIMENT, LIKED, style=style, rationale=True)
        asked = prompts(llm)
    assert (chosen(made), made.calls, made.rationale) == (["positive"], 2, "It says love.")
    assert details(made)["score_kind"] == "logprob"
    assert made.score == pytest.approx(0.8, abs=0.02)
    assert "It says love." in asked[-1]


def test_several_rationales_are_drawn_with_seeds_of_their_own_and_averaged() -> None:
    drawn = iter(["one", "two", "three"])
    said = {"one": {"positive": 0.9, "negative": 0.1}, "two": {"negative": 1.0}, "three": {"positive": 1.0}}

    def answer(prompt: str) -> Mapping[str, float]:
        if prompt.endswith("Reason:"):
            return {f" {next(drawn)}\n": 1.0}
        return next(each for word, each in said.items() if f"Reason: {word}" in prompt)

    with ScriptedLLM(Script(answer=answer, off_label=0)) as llm, connected(llm, LOCAL) as engine:
        made = label(engine, SENTIMENT, LIKED, style="text", rationale=True, samples=3)
        bodies = [request.body for request in llm.requests if request.body.get("stop")]
    assert made.score == pytest.approx(1.9 / 3, abs=0.02)
    assert (made.calls, made.rationale) == (6, "one")
    assert [(body["seed"], body["temperature"]) for body in bodies] == [(0, 0.7), (1, 0.7), (2, 0.7)]


def test_sampling_stops_when_the_answer_is_settled() -> None:
    with ScriptedLLM(reasons({"positive": 1.0})) as llm, connected(llm, LOCAL) as engine:
        made = label(engine, SENTIMENT, LIKED, style="text", rationale=True, samples=50)
    assert made.calls < 2 * 8


def test_yes_or_no_questions_of_one_control_share_their_rationale() -> None:
    with ScriptedLLM(reasons({"yes": 1.0})) as llm, connected(llm, LOCAL) as engine:
        made = label(engine, TOPICS, LIKED, style="text", rationale=True)
    assert made.calls == 1 + 3


def test_an_empty_reason_is_left_out() -> None:
    with ScriptedLLM(reasons({"positive": 1.0}, rationale="\n")) as llm, connected(llm, LOCAL) as engine:
        made = label(engine, SENTIMENT, LIKED, style="text", rationale=True)
        asked = prompts(llm)
    assert (chosen(made), made.rationale) == (["positive"], "")
    assert "Reason:" not in asked[-1]


def test_a_rationale_is_one_line_and_has_an_end() -> None:
    long = " word" * 500 + "\nsentiment: negative"
    with ScriptedLLM(reasons({"positive": 1.0}, rationale=long)) as llm, connected(llm, HOSTED) as engine:
        made = label(engine, SENTIMENT, LIKED, rationale=True)
    assert 0 < len(made.rationale) <= 600
    assert "\n" not in made.rationale


@pytest.mark.parametrize(
    "said",
    ['{"rationale": "It says love.", "label": "positive"}', "It says\nlove.\npositive", "It says love.\npositive"],
)
def test_without_log_probs_each_vote_brings_its_reason(said: str) -> None:
    script = Script(answer=lambda _: {said: 1.0}, honours=frozenset(), off_label=0)
    with ScriptedLLM(script) as llm, connected(llm, MUTE) as engine:
        made = label(engine, SENTIMENT, LIKED, Limits(votes=3), rationale=True)
    assert (chosen(made), made.rationale, made.calls) == (["positive"], "It says love.", 3)
    assert details(made)["score_kind"] == "votes"


def test_one_grammar_generates_the_reason_and_selects_the_label() -> None:
    with ScriptedLLM(reasons({"positive": 1.0})) as llm, connected(llm, MUTE) as engine:
        label(engine, SENTIMENT, LIKED, Limits(votes=1), rationale=True)
        schema = llm.requests[-1].body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["rationale", "label"]


def test_a_model_that_always_thinks_is_not_asked_to_reason_once_more() -> None:
    with ScriptedLLM(REASONING) as llm, connected(llm) as engine:
        label(engine, SENTIMENT, LIKED, rationale=True)
        asked = prompts(llm)
    assert not any("Reason:" in each for each in asked)


def test_an_engine_needs_no_grammar_for_a_reason(mute: OpenAIEngine, llm: ScriptedLLM) -> None:
    llm.script = Script(answer=lambda _: {"So it is.\nnegative": 1.0}, honours=frozenset(), off_label=0)
    assert chosen(label(mute, SENTIMENT, LIKED, rationale=True)) == ["negative"]
