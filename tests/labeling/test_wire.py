import gc
import json
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx2
import openai
import pytest

from backend.labeling.engines.wire import Wire
from backend.labeling.errors import (
    ContentFilterError,
    EngineAnswerError,
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineUnreachableError,
    PromptTooLongError,
)
from tests.loopback import Answer, LoopbackServer
from tests.scripted_llm import OPENAI, Fault, ScriptedLLM

KEY = "sk-very-secret-key"
ASK = {"model": "scripted-1", "messages": [{"role": "user", "content": "hi"}], "logprobs": True, "top_logprobs": 2}
ROUTE = "/chat/completions"


@contextmanager
def wire_to(base_url: str, *, key: str = KEY, timeout_s: float = 30) -> Iterator[Wire]:
    with closing(Wire(base_url, key, timeout_s=timeout_s)) as wire:
        yield wire


def error_of(wire: Wire, body: dict[str, Any] | None = None) -> EngineError:
    with pytest.raises(EngineError) as raised:
        wire.post(ROUTE, body or ASK)
    said = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + raised.value.hint
    assert KEY not in said
    return raised.value


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> EngineError:
    return answered(status, {"error": {"message": message, "code": "c"}}, headers)


def answered(status: int, body: Any, headers: dict[str, str] | None = None) -> EngineError:
    answer = Answer(status, body, headers or {})
    with LoopbackServer({f"POST /v1{ROUTE}": answer}) as server, wire_to(f"{server.url}/v1") as wire:
        return error_of(wire)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "the request exceeds the available context size (2048 tokens), try increasing it",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The input token count (2100000) exceeds the maximum number of tokens allowed (1048576).",
    ],
)
def test_a_prompt_that_is_too_long_is_no_fault_of_the_endpoint(message: str) -> None:
    error = refused(400, message)
    assert isinstance(error, PromptTooLongError)
    assert not error.retryable


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (400, {"error": {"message": "Please shorten.", "code": "context_length_exceeded"}}, "Please shorten."),
        (413, "<html>Request Entity Too Large</html>", "Error code: 413"),
        (422, {"error": "The input is too long: 5000 of 4096 tokens"}, "The input is too long: 5000 of 4096 tokens"),
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_code_status_or_words(status: int, body: Any, shown: str) -> None:
    error = answered(status, body)
    assert isinstance(error, PromptTooLongError)
    assert str(error).endswith(f"refused ({status}): {shown}")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}],
            "API key not valid.",
        ),
        ({"detail": "Not authenticated"}, "Not authenticated"),
        (
            {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Not permitted", "input": "a text"}
                ]
            },
            "['body', 'seed']: Not permitted",
        ),
        ({"detail": [7, {}]}, "Error code: 400"),
        ([], "Error code: 400"),
        ("<html>a proxy's page</html>", "Error code: 400"),
    ],
)
def test_a_refusal_is_told_in_whatever_form_the_server_gives_it(body: Any, shown: str) -> None:
    assert str(answered(400, body)).endswith(f"refused (400): {shown}")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "The response was filtered", "code": "content_filter"}),
        (400, {"message": "No.", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}),
        (403, {"message": "Your chosen model requires moderation and your input was flagged", "code": 403}),
        (400, {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy."}),
    ],
    ids=["Azure", "Azure, inside", "OpenRouter", "OpenAI"],
)
def test_a_text_that_moderation_stops_is_no_fault_of_the_endpoint(status: int, error: dict[str, Any]) -> None:
    found = answered(status, {"error": error})
    assert isinstance(found, ContentFilterError)
    assert (found.of_task, found.retryable) == (True, False)
    assert f"content filter ({status}): {error['message']}" in str(found)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, EngineRefusedError, False),
        (401, EngineRefusedError, False),
        (403, EngineRefusedError, False),
        (404, EngineRefusedError, False),
        (408, EngineUnreachableError, True),
        (409, EngineUnreachableError, True),
        (413, PromptTooLongError, False),
        (422, EngineRefusedError, False),
        (429, EngineBusyError, True),
        (500, EngineUnreachableError, True),
        (502, EngineUnreachableError, True),
        (503, EngineUnreachableError, True),
        (529, EngineUnreachableError, True),
    ],
)
def test_every_status_becomes_an_error_that_names_the_address_and_the_status(
    status: int, kind: type[EngineError], retryable: bool
) -> None:
    error = refused(status, f"no, {KEY} is wrong")
    assert type(error) is kind
    assert error.retryable is retryable
    assert "http://127.0.0.1" in str(error)
    assert str(status) in str(error)
    assert error.hint


def test_a_refusal_is_told_in_the_servers_own_words_without_the_key() -> None:
    assert str(refused(401, f"Incorrect API key: {KEY}")).endswith("refused (401): Incorrect API key: ***")


def test_a_key_at_the_end_of_what_is_shown_is_not_shown_in_part() -> None:
    assert KEY[:6] not in str(refused(400, "x" * 290 + KEY))


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("inf", None), ("nan", None)],
)
def test_retry_after_is_handed_on_in_seconds(header: str, expected: float | None) -> None:
    error = refused(429, "slow down", {"Retry-After": header})
    assert isinstance(error, EngineBusyError)
    assert error.retry_after_s == expected


def test_a_429_that_says_no_time_has_none() -> None:
    error = refused(429, "slow down")
    assert isinstance(error, EngineBusyError)
    assert error.retry_after_s is None


def test_prompts_that_fill_llama_cpp_together_are_too_many_at_once() -> None:
    error = refused(500, "Context size has been exceeded.")
    assert isinstance(error, EngineBusyError)
    assert "no room for all prompts" in str(error)


def test_an_empty_purse_is_no_rate_limit() -> None:
    answer = Answer(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    with LoopbackServer({f"POST /v1{ROUTE}": answer}) as server, wire_to(f"{server.url}/v1") as wire:
        error = error_of(wire)
    assert isinstance(error, EngineRefusedError)
    assert "You exceeded your quota" in str(error)


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        ("html", EngineAnswerError, r"not JSON \(text/html"),
        ("truncated", EngineAnswerError, r"not JSON \(application/json, \d+ bytes\)"),
        ("nan", EngineAnswerError, "not JSON"),
        ("drop", EngineUnreachableError, "cannot be reached"),
    ],
)
def test_a_spoiled_answer_is_an_error_that_may_pass(spoil: Any, kind: type[EngineError], words: str) -> None:
    with ScriptedLLM(OPENAI, faults=[Fault(spoil=spoil)]) as llm, wire_to(llm.base_url) as wire:
        with pytest.raises(kind, match=words) as raised:
            wire.post(ROUTE, ASK)
        assert raised.value.retryable
        assert wire.post(ROUTE, ASK).document["choices"]


@pytest.mark.parametrize("body", [[1], "text", None, 7])
def test_json_that_is_no_object_is_refused(body: Any) -> None:
    answer = Answer(200, body) if not isinstance(body, str) else Answer(200, json.dumps(body))
    with LoopbackServer({f"POST /v1{ROUTE}": answer}) as server, wire_to(f"{server.url}/v1") as wire:
        assert "not an object" in str(error_of(wire))


def test_json_nested_without_end_is_refused() -> None:
    with (
        LoopbackServer({f"POST /v1{ROUTE}": Answer(200, "[" * 100_000)}) as server,
        wire_to(f"{server.url}/v1") as wire,
    ):
        assert isinstance(error_of(wire), EngineAnswerError)


def test_a_server_that_does_not_answer_in_time_is_unreachable() -> None:
    with LoopbackServer() as server, wire_to(f"{server.url}/v1", timeout_s=0.2) as wire:
        server.silent.set()
        error = error_of(wire)
    assert isinstance(error, EngineUnreachableError)
    assert "did not answer in time" in str(error)


def test_a_call_may_shorten_the_limit_but_not_lengthen_it() -> None:
    with LoopbackServer() as server, wire_to(f"{server.url}/v1", timeout_s=0.2) as wire:
        server.silent.set()
        with pytest.raises(EngineUnreachableError, match="in time"):
            wire.post(ROUTE, ASK, timeout_s=3600)


def test_a_server_that_is_down_is_unreachable() -> None:
    with ScriptedLLM() as llm:
        address = llm.base_url
    with wire_to(address) as wire:
        error = error_of(wire)
    assert isinstance(error, EngineUnreachableError)
    assert address in str(error)


def test_nothing_is_tried_twice() -> None:
    with ScriptedLLM(faults=[Fault(status=500), Fault(status=429)]) as llm, wire_to(llm.base_url) as wire:
        error_of(wire)
        assert llm.calls == 1


def test_the_key_goes_into_the_header_and_its_white_space_does_not() -> None:
    with ScriptedLLM(api_key=KEY) as llm, wire_to(llm.base_url, key=f" {KEY}\n") as wire:
        assert wire.post(ROUTE, ASK).document["choices"]


@pytest.mark.parametrize("key", ["sk-\u00e9", "sk-\x00", "sk-\nX: y", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(EngineRefusedError, match="characters that an HTTP header cannot carry") as raised:
        Wire("http://127.0.0.1:1/v1", key, timeout_s=1)
    assert key not in str(raised.value)


def test_a_password_in_the_address_is_sent_and_never_shown() -> None:
    answer = Answer(200, {"choices": []})
    with LoopbackServer({f"POST /v1{ROUTE}": answer}) as server:
        with wire_to(f"http://me:pass-word@127.0.0.1:{server.url.rpartition(':')[2]}/v1", key="") as wire:
            wire.post(ROUTE, ASK)
            assert wire.base_url == f"{server.url}/v1"
        assert server.asked[0].headers["Authorization"].startswith("Basic ")
    with wire_to("http://me:pass-word@127.0.0.1:1/v1") as wire:
        assert "pass-word" not in str(error_of(wire))


def test_a_query_in_the_address_goes_with_every_request_and_azure_gets_the_key_its_own_way() -> None:
    path = "/openai/deployments/gpt4o"
    with LoopbackServer({f"POST {path}{ROUTE}": Answer(200, {"choices": []})}) as server:
        with wire_to(f"{server.url}{path}?api-version=2024-10-21") as wire:
            wire.post(ROUTE, ASK)
            assert wire.base_url == server.url + path
        assert server.asked[0].path == f"{path}{ROUTE}?api-version=2024-10-21"
        assert server.asked[0].headers["api-key"] == KEY


def test_a_query_may_be_secret_and_other_servers_get_the_key_once() -> None:
    with LoopbackServer() as server:
        with wire_to(f"{server.url}/v1?key=pass-word") as wire:
            assert "pass-word" not in str(error_of(wire))
        assert server.asked[0].path == f"/v1{ROUTE}?key=pass-word"
        assert server.asked[0].headers["api-key"] is None


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(EngineRefusedError, match="OPENAI_BASE_URL is no address"):
        Wire("http://[::bad/v1", "", timeout_s=1)


def test_an_address_without_a_scheme_is_named() -> None:
    with wire_to("localhost/v1") as wire:
        assert "localhost/v1 cannot be reached" in str(error_of(wire))


@pytest.mark.parametrize("content", ["\ud800", float("nan")])
def test_what_cannot_be_sent_is_refused(content: Any) -> None:
    with ScriptedLLM() as llm, wire_to(llm.base_url) as wire:
        error = error_of(wire, {"model": "m", "messages": [{"role": "user", "content": content}]})
    assert isinstance(error, EngineRefusedError)
    assert "cannot be sent" in str(error)


def test_what_stands_beside_the_api_can_be_asked() -> None:
    with ScriptedLLM() as llm, wire_to(llm.base_url) as wire:
        assert wire.get("/models").document["data"][0]["id"] == "scripted-1"
        assert wire.get(llm.base_url.removesuffix("/v1") + "/props").document["default_generation_settings"]


REQUEST = httpx2.Request("POST", "http://127.0.0.1:9/v1")


def made(kind: type[openai.OpenAIError]) -> openai.OpenAIError:
    """One of this class, made as its base class is."""
    error = kind.__new__(kind)
    if isinstance(error, openai.APIStatusError):
        response = httpx2.Response(getattr(kind, "status_code", 418), request=REQUEST)
        openai.APIStatusError.__init__(error, "no", response=response, body=None)
    elif isinstance(error, openai.APIError):
        openai.APIError.__init__(error, "no", REQUEST, body=None)
    return error


def all_errors(kind: type[openai.OpenAIError] = openai.OpenAIError) -> Iterator[type[openai.OpenAIError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from all_errors(inner)


@pytest.mark.parametrize("kind", sorted(set(all_errors()), key=lambda kind: kind.__name__))
def test_every_error_of_the_client_is_translated(kind: type[openai.OpenAIError]) -> None:
    with wire_to("http://127.0.0.1:9/v1") as wire:
        assert isinstance(wire.translated(made(kind)), EngineError)


def test_a_wire_that_nobody_holds_keeps_no_connections_open(llm: ScriptedLLM) -> None:
    wire = Wire(llm.base_url, "", timeout_s=30)
    client = wire._client
    wire.get("/models")
    assert not client.is_closed()
    del wire
    gc.collect()
    assert client.is_closed()
