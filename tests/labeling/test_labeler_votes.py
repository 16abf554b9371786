from typing import Any

import pytest

from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.errors import AnswerError
from backend.labeling.labeler import Limits
from tests.labeling.building import LIKED, SENTIMENT, chosen, connected, details, label, says
from tests.scripted_llm import REASONING, Script, ScriptedLLM


def test_without_log_probs_the_score_is_a_share_of_votes(llm: ScriptedLLM, mute: OpenAIEngine) -> None:
    says(llm, {"positive": 1.0}, rejects=frozenset({"logprobs", "top_logprobs"}))
    made = label(mute, SENTIMENT, LIKED)
    assert details(made)["score_kind"] == "votes"
    # Five votes, and one spread over three labels: (5 + 1/3) / 6.
    assert made.score == pytest.approx((5 + 1 / 3) / 6)
    assert (chosen(made), made.calls) == (["positive"], 5)


def test_votes_differ_in_their_seed_and_are_held_to_the_label_set(llm: ScriptedLLM, mute: OpenAIEngine) -> None:
    label(mute, SENTIMENT, LIKED)
    bodies = [request.body for request in llm.requests[-5:]]
    assert [body["seed"] for body in bodies] == [0, 1, 2, 3, 4]
    assert all(body["temperature"] == 0.7 for body in bodies)
    enum = bodies[0]["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]
    assert enum == ["positive", "negative", "neutral"]


def test_votes_outside_the_label_set_count_as_none(llm: ScriptedLLM, mute: OpenAIEngine) -> None:
    answers = iter(["positive", "positive!", "positively", "Positive.", "positive"])
    llm.script = Script(answer=lambda _: {next(answers): 1.0}, honours=frozenset(), off_label=0)
    made = label(mute, SENTIMENT, LIKED)
    assert details(made)["label_mass"] == pytest.approx(0.6)
    assert made.score == pytest.approx((3 + 1 / 3) / 4)


def test_half_the_votes_outside_the_label_set_fail_the_task(llm: ScriptedLLM, mute: OpenAIEngine) -> None:
    says(llm, {"no idea": 1.0}, honours=frozenset(), off_label=0)
    with pytest.raises(AnswerError, match='3 of 3 answers for "sentiment" are outside the label set'):
        label(mute, SENTIMENT, LIKED)


def test_answers_that_are_cut_off_before_a_label_name_the_setting(llm: ScriptedLLM, mute: OpenAIEngine) -> None:
    says(llm, {"well " * 99: 1.0}, honours=frozenset(), off_label=0)
    before = llm.calls
    with pytest.raises(AnswerError, match=r"3 of 3 answers .* LLM_THINKING_TOKENS \(2048\)"):
        label(mute, SENTIMENT, LIKED)
    assert llm.calls == before + 3


def test_a_model_that_always_thinks_is_given_room_and_scored_by_votes() -> None:
    with ScriptedLLM(REASONING) as llm, connected(llm) as engine:
        made = label(engine, SENTIMENT, LIKED, Limits(thinking_tokens=500))
        body = llm.requests[-1].body
    assert (chosen(made), details(made)["score_kind"]) == (["positive"], "votes")
    assert body["max_completion_tokens"] > 500
    assert "temperature" not in body


def test_a_thought_in_the_answer_itself_is_no_part_of_the_vote() -> None:
    with ScriptedLLM(thinking="always") as llm, connected(llm) as engine:
        assert chosen(label(engine, SENTIMENT, LIKED)) == ["positive"]


@pytest.mark.parametrize("thinking", ["template_off", "effort_off"])
def test_thinking_is_turned_off_where_the_server_allows(thinking: Any) -> None:
    with ScriptedLLM(thinking=thinking) as llm, connected(llm) as engine:
        made = label(engine, SENTIMENT, LIKED)
    assert (chosen(made), details(made)["score_kind"]) == (["positive"], "logprob")
