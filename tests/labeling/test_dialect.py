import json
from dataclasses import replace
from typing import Any

import pytest

from backend.labeling.engines import dialect
from backend.labeling.engines.base import Capabilities, Message, Request, Step, Token, Usage
from backend.labeling.errors import ContentFilterError, EngineAnswerError
from tests.labeling.building import HOSTED, LOCAL

CHAT = Request(messages=(Message("system", "s"), Message("user", "u")), max_tokens=3, top_logprobs=200)
TEXT = Request(text="prompt", top_logprobs=200)
HELD = replace(CHAT, grammar="%llguidance {}", json_schema='{"type": "object"}')


@pytest.mark.parametrize(
    ("request_", "able", "expected"),
    [
        (CHAT, LOCAL, {"max_tokens": 3, "temperature": 0.0, "logprobs": True, "top_logprobs": 200}),
        (CHAT, HOSTED, {"max_tokens": 3, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}),
        (TEXT, LOCAL, {"max_tokens": 1, "temperature": 0.0, "logprobs": 200}),
        (replace(TEXT, top_logprobs=5), LOCAL, {"max_tokens": 1, "temperature": 0.0, "logprobs": 5}),
        (CHAT, Capabilities(token_limit="max_completion_tokens", temperature=False), {"max_completion_tokens": 3}),
        (replace(CHAT, seed=7), Capabilities(), {"max_tokens": 3, "temperature": 0.0, "seed": 7}),
        (replace(CHAT, seed=7), Capabilities(seed=False), {"max_tokens": 3, "temperature": 0.0}),
        (CHAT, Capabilities(thinking="effort_off", temperature=False), {"max_tokens": 3, "reasoning_effort": "none"}),
        (
            CHAT,
            Capabilities(thinking="template_off", temperature=False),
            {"max_tokens": 3, "chat_template_kwargs": {"enable_thinking": False}},
        ),
        (
            CHAT,
            Capabilities(thinking="always", effort="low", temperature=False),
            {"max_tokens": 3, "reasoning_effort": "low"},
        ),
        (CHAT, Capabilities(thinking="always", temperature=False), {"max_tokens": 3}),
        (TEXT, Capabilities(thinking="always", effort="low", temperature=False), {"max_tokens": 1}),
        (TEXT, Capabilities(thinking="template_off", temperature=False), {"max_tokens": 1}),
    ],
)
def test_a_request_says_only_what_the_endpoint_accepts(
    request_: Request, able: Capabilities, expected: dict[str, Any]
) -> None:
    body = dialect.body(request_, "m", able)
    asked = {"messages", "prompt"} & body.keys()
    assert {name: value for name, value in body.items() if name not in asked} == {"model": "m", **expected}


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("llguidance", {"grammar": "%llguidance {}"}),
        ("structured_outputs", {"structured_outputs": {"grammar": "%llguidance {}"}}),
        ("none", {}),
    ],
)
def test_the_grammar_goes_where_the_server_honours_it(constraint: Any, expected: dict[str, Any]) -> None:
    body = dialect.body(HELD, "m", Capabilities(constraint=constraint))
    assert {name: body[name] for name in ("grammar", "structured_outputs", "response_format") if name in body} == (
        expected
    )


def test_a_json_schema_goes_to_chats_only() -> None:
    able = Capabilities(constraint="json_schema")
    held = dialect.body(HELD, "m", able)["response_format"]["json_schema"]
    assert (held["strict"], held["schema"]) == (True, {"type": "object"})
    assert "response_format" not in dialect.body(replace(HELD, messages=(), text="t"), "m", able)


def test_turns_keep_their_order_and_roles() -> None:
    assert dialect.body(CHAT, "m", LOCAL)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
    ]
    assert (dialect.path(CHAT), dialect.path(TEXT)) == ("/chat/completions", "/completions")


def test_without_a_system_role_its_text_begins_the_first_user_turn() -> None:
    others = (Message("assistant", "a"), Message("user", "v"))
    body = dialect.body(replace(CHAT, messages=CHAT.messages + others), "m", replace(LOCAL, system_role=False))
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == [
        ("user", "s\n\nu"),
        ("assistant", "a"),
        ("user", "v"),
    ]
    plain = dialect.body(Request(messages=(Message("user", "u"),)), "m", replace(LOCAL, system_role=False))
    assert plain["messages"] == [{"role": "user", "content": "u"}]


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [fields], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}


TOP = [{"token": " no", "logprob": -2.0}, {"token": " yes", "logprob": -0.25, "bytes": [*b" yes"]}]
LISTED = {"content": [{"token": " yes", "logprob": -0.25, "top_logprobs": TOP}]}
PARALLEL = {"tokens": [" yes"], "token_logprobs": [-0.25], "top_logprobs": [{" no": -2.0, " yes": -0.25}]}


@pytest.mark.parametrize(
    "document",
    [
        choice(message={"content": " yes"}, logprobs=LISTED),
        choice(text=" yes", logprobs=LISTED),
        choice(text=" yes", logprobs=PARALLEL),
    ],
    ids=["chat", "llama.cpp's plain completion", "OpenAI's and vLLM's plain completion"],
)
def test_both_shapes_of_log_probs_are_read_likeliest_first(document: dict[str, Any]) -> None:
    completion = dialect.completion(document)
    assert completion.text == " yes"
    assert completion.steps == (Step(b" yes", (Token(" yes", -0.25), Token(" no", -2.0))),)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": []},
        {"content": None},
        {"content": [{"token": "a", "logprob": -0.1}]},
        {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": []}]},
        {"top_logprobs": None},
        {"top_logprobs": []},
    ],
)
def test_no_log_probs_are_no_alternatives(logprobs: Any) -> None:
    assert dialect.completion(choice(text="a", logprobs=logprobs)).steps == ()


def test_a_place_without_alternatives_is_kept_empty() -> None:
    assert dialect.completion(choice(text="a", logprobs={"top_logprobs": [None]})).steps == (Step(b"", ()),)


@pytest.mark.parametrize(("value", "read"), [(0.001, 0.0), (-9999.0, -1000.0), (float("-inf"), -1000.0), ("-1", -1.0)])
def test_log_probs_are_kept_within_their_range(value: Any, read: float) -> None:
    logprobs = {"top_logprobs": [{"a": value}]}
    (token,) = dialect.completion(choice(text="a", logprobs=logprobs)).steps[0].alternatives
    assert min(0.0, token.logprob) == pytest.approx(read)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.5, None, "many", [1]])
@pytest.mark.parametrize("shape", ["listed", "parallel"])
def test_log_probs_that_are_none_are_refused(value: Any, shape: str) -> None:
    listed = {"content": [{"top_logprobs": [{"token": "a", "logprob": value}]}]}
    logprobs = listed if shape == "listed" else {"top_logprobs": [{"a": value}]}
    with pytest.raises(EngineAnswerError, match="not a completion"):
        dialect.completion(choice(text="a", logprobs=logprobs))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": {}},
        {"choices": ["text"]},
        {"error": "x"},
        choice(text="a", logprobs={"content": ["a"]}),
        choice(message="a"),
        choice(message={"content": ["a"]}),
        {**choice(text="a"), "usage": "many"},
    ],
)
def test_what_is_no_completion_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(EngineAnswerError, match="not a completion"):
        dialect.completion(document)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "its content filter withheld it"),
        ({"message": {"content": "no"}, "finish_reason": "content_filter", "logprobs": None}, "withheld it"),
        ({"text": "", "finish_reason": "content_filter: PROHIBITED_CONTENT"}, "its content filter withheld it"),
        ({"message": {"content": None, "refusal": "I'm sorry,\nno."}}, r"it refused \(I'm sorry, no.\)"),
    ],
)
def test_an_answer_that_is_withheld_is_of_the_task(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ContentFilterError, match=words) as raised:
        dialect.completion(choice(**fields))
    assert (raised.value.of_task, raised.value.retryable) == (True, False)


def test_a_label_that_came_before_the_filter_cut_the_answer_counts() -> None:
    completion = dialect.completion(choice(text=" yes", logprobs=LISTED, finish_reason="content_filter"))
    assert completion.steps


@pytest.mark.parametrize(
    ("fields", "text", "reasoning"),
    [
        ({"message": {"content": "yes"}}, "yes", ""),
        ({"message": {"content": [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]}}, "yes", ""),
        ({"message": {"content": [{"type": "thinking", "thinking": []}, {"text": "yes"}]}}, "yes", ""),
        ({"message": {"content": None}}, "", ""),
        ({"text": None}, "", ""),
        ({"text": ""}, "", ""),
        ({"message": {"content": "yes", "reasoning_content": "hm"}}, "yes", "hm"),
        ({"message": {"content": "yes", "reasoning": "hm"}}, "yes", "hm"),
        ({"message": {"content": "<think>hm</think>yes"}}, "yes", "hm"),
        ({"message": {"content": "\n<think>\nhm"}}, "", "\nhm"),
        ({"message": {"content": "hm</think>yes"}}, "yes", "hm"),
        ({"text": "say <think>"}, "say <think>", ""),
    ],
)
def test_the_answer_is_told_from_the_thought(fields: dict[str, Any], text: str, reasoning: str) -> None:
    completion = dialect.completion(choice(**fields))
    assert (completion.text, completion.reasoning) == (text, reasoning)


@pytest.mark.parametrize(("reason", "finished"), [("stop", True), ("length", False), (None, True)])
def test_an_answer_that_ran_out_of_tokens_is_not_finished(reason: str | None, finished: bool) -> None:
    assert dialect.completion(choice(text="a", finish_reason=reason)).finished == finished


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ({}, Usage()),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}, Usage(9, 0, 1)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, 4, 0)),
        ({"prompt_tokens": None, "prompt_tokens_details": None}, Usage()),
    ],
)
def test_usage_counts_what_the_server_says(usage: Any, expected: Usage) -> None:
    assert dialect.completion({**choice(text="a"), "usage": usage}).usage == expected


def test_a_body_is_json() -> None:
    assert json.loads(json.dumps(dialect.body(HELD, "m", LOCAL)))
