"""Routes, faults, slots and the prefix cache: a request in, a reply called back later."""

import asyncio
import json
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tests.scripted_llm import embeddings, payloads, routes
from tests.scripted_llm.constraints import RefusedConstraintError, constraint_of
from tests.scripted_llm.generation import Generation, Sampling, chat_model, text_model
from tests.scripted_llm.refusals import refusal
from tests.scripted_llm.script import Fault, Json, Script

COMPLETIONS = {"/v1/chat/completions", "/v1/completions"}
EMBEDDINGS = "/v1/embeddings"
MOST_TOKENS = 512
HTML = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it came; header names are in lower case, `body` is {} where there was none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str]


Answered = Callable[[Reply | None], None]
"""None drops the connection."""


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    chat: bool
    body: Json
    prompt: str
    fault: Fault
    answered: Answered


class Service:
    """Runs on one event loop; `script` may be set from any thread. `calls` counts requests for completions."""

    def __init__(self, script: Script, *, record: bool = True) -> None:
        self.script = script
        self.recorded: list[Recorded] = []
        self.calls = 0
        self.tokens = {"prompt": 0, "predicted": 0}
        self._record = record
        self._running = 0
        self._waiting: deque[_Call] = deque()
        self._prompts: deque[str] = deque(maxlen=script.cached_prompts)
        self._random = random.Random(0)

    def restart(self) -> None:
        """What a server forgets when it stops: requests under way and its prefix cache."""
        self._running = 0
        self._waiting.clear()
        self._prompts.clear()

    def serve(self, method: str, target: str, headers: Mapping[str, str], raw: bytes, answered: Answered) -> None:
        path = target.partition("?")[0]
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            answered(_json(HTTPStatus.BAD_REQUEST, payloads.error("the body is not JSON")))
            return
        if self._record:
            self.recorded.append(Recorded(method, path, headers, body))
        script = self.script
        if script.api_key and path.startswith("/v1/") and headers.get("authorization") != f"Bearer {script.api_key}":
            self.calls += path in COMPLETIONS
            message = payloads.error("Incorrect API key provided.", code="invalid_api_key")
            answered(_json(HTTPStatus.UNAUTHORIZED, message))
        elif method == "POST" and path in COMPLETIONS:
            self._complete(script, path, body, answered)
        elif (method, path) == ("POST", EMBEDDINGS):
            answered(self._embedded(script, body))
        else:
            answered(self._other(script, method, path, body))

    def _complete(self, script: Script, path: str, body: Json, answered: Answered) -> None:
        fault = script.fault(self.calls, path, body) or Fault()
        self.calls += 1
        chat = path == "/v1/chat/completions"
        prompt: Any = _chat_text(body) if chat else body.get("prompt")
        refused = refusal(script, path.removeprefix("/v1/"), body, prompt)
        if fault.status >= HTTPStatus.BAD_REQUEST:
            spoilt = _json(fault.status, payloads.error(f"scripted {fault.status}", kind="scripted"), fault.headers)
            asyncio.get_running_loop().call_later(fault.delay_s, lambda: answered(spoilt))
        elif refused:
            answered(_json(refused.status, refused.body))
        else:
            self._enter(_Call(script, chat, body, prompt, fault, answered))

    def _embedded(self, script: Script, body: Json) -> Reply:
        fault = script.fault(self.calls, EMBEDDINGS, body) if callable(script.faults) else None
        if fault and fault.status >= HTTPStatus.BAD_REQUEST:
            return _json(fault.status, payloads.error(f"scripted {fault.status}", kind="scripted"), fault.headers)
        refused = embeddings.refused(body, script)
        return _json(*refused) if refused else _json(HTTPStatus.OK, embeddings.embeddings(script, body))

    def _enter(self, call: _Call) -> None:
        if call.script.slots is not None and self._running >= call.script.slots:
            self._waiting.append(call)
            return
        self._running += 1
        try:
            answer = self._answer(call)
        except RefusedConstraintError as refused:
            self._leave(call, _json(HTTPStatus.BAD_REQUEST, payloads.error(str(refused), param="grammar")))
            return
        steps = sum(len(generation.steps) for generation in answer.generations)
        reply = _reply(call, answer)
        delay_s = call.fault.delay_s + call.script.latency_s + call.script.per_token_s * steps
        asyncio.get_running_loop().call_later(delay_s, lambda: self._finish(call, answer, reply))

    def _finish(self, call: _Call, answer: payloads.Answer, reply: Reply | None) -> None:
        self._prompts.appendleft(call.prompt)
        used = payloads.usage(call.script, answer)
        self.tokens["prompt"] += used["prompt_tokens"]
        self.tokens["predicted"] += used["completion_tokens"]
        self._leave(call, reply)

    def _leave(self, call: _Call, reply: Reply | None) -> None:
        self._running -= 1
        call.answered(reply)
        if self._waiting:
            self._enter(self._waiting.popleft())

    def _answer(self, call: _Call) -> payloads.Answer:
        script, body = call.script, call.body
        constraint = constraint_of(body, script)
        if call.chat:
            prefill = _prefill(body)
            model = chat_model(script, call.prompt, prefill, constraint, thinks=script.thinks(body))
        else:
            model = text_model(script, call.prompt, constraint)
        seed = body.get("seed")
        rng = random.Random(f"{seed}") if seed is not None and script.honours_seed else self._random
        sampling = _sampling(body)
        made: tuple[Generation, ...] = tuple(model.generate(sampling, rng) for _ in range(body.get("n") or 1))
        asked = body.get("logprobs") not in {None, False} and call.fault.spoil != "no_logprobs"
        return payloads.Answer(body, call.prompt, made, self.calls, self._cached(call.prompt), asked)

    def _cached(self, prompt: str) -> int:
        """Characters that the prompt's start shares with one of the recent prompts."""
        longest = 0
        for other in self._prompts:
            if len(other) > longest and prompt.startswith(other[: longest + 1]):
                longest = _common_prefix(prompt, other)
        return longest

    def _other(self, script: Script, method: str, path: str, body: Json) -> Reply:
        if (method, path) == ("GET", "/metrics") and script.dialect == "llama.cpp":
            return Reply(HTTPStatus.OK, routes.metrics(self._counters()).encode(), {"Content-Type": "text/plain"})
        route = routes.find(script, method, path)
        if route:
            return _json(HTTPStatus.OK, route(script, body))
        return _json(HTTPStatus.NOT_FOUND, payloads.error(f"Invalid URL ({method} {path})", kind="not_found_error"))

    def _counters(self) -> dict[str, int]:
        return {
            "prompt_tokens_total": self.tokens["prompt"],
            "tokens_predicted_total": self.tokens["predicted"],
            "n_decode_total": self.calls,
            "requests_processing": self._running,
            "requests_deferred": len(self._waiting),
        }


def _reply(call: _Call, answer: payloads.Answer) -> Reply | None:
    make = payloads.chat if call.chat else payloads.completion
    body = make(call.script, answer)
    match call.fault.spoil:
        case "drop":
            return None
        case "html":
            return Reply(HTTPStatus.OK, HTML, {"Content-Type": "text/html", **call.fault.headers})
        case "empty_choices":
            body["choices"] = []
        case "withheld":
            shown = {"message": {"role": "assistant", "content": None}} if call.chat else {"text": ""}
            body["choices"] = [{"index": 0, **shown, "logprobs": None, "finish_reason": "content_filter"}]
        case "nan":
            body = _with_nan(body)
        case "truncated":
            whole = json.dumps(body).encode()
            return Reply(HTTPStatus.OK, whole[: len(whole) // 2], {"Content-Type": "application/json"})
    return _json(HTTPStatus.OK, body, call.fault.headers)


def _with_nan(value: Json, *, inside: bool = False) -> Json:
    """Every number in the log-probs becomes NaN, but for ids, bytes and offsets, which are whole."""

    def spoil(item: object, *, inside: bool) -> object:
        if isinstance(item, dict):
            return _with_nan(item, inside=inside)
        if isinstance(item, list):
            return [spoil(each, inside=inside) for each in item]
        return math.nan if inside and isinstance(item, float) else item

    return {name: spoil(item, inside=inside or name == "logprobs") for name, item in value.items()}


def _sampling(body: Json) -> Sampling:
    """Plain completions say how many alternatives in `logprobs`, chats in `top_logprobs`."""
    logprobs, temperature, limits = (
        body.get("logprobs"),
        body.get("temperature"),
        ("max_completion_tokens", "max_tokens"),
    )
    top = body.get("top_logprobs") or 0 if isinstance(logprobs, bool) else logprobs or 0
    stop = body.get("stop") or ()
    return Sampling(
        max_tokens=next((body[name] for name in limits if body.get(name) is not None), MOST_TOKENS),
        temperature=1.0 if temperature is None else temperature,
        top=top,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _chat_text(body: Json) -> str:
    """All turns but a started answer, one after the other."""
    turns = [_content(message) for message in body.get("messages") or ()]
    return "\n\n".join(turns[:-1] if _prefill(body) else turns)


def _prefill(body: Json) -> str:
    last = (body.get("messages") or [{}])[-1]
    return _content(last) if last.get("role") == "assistant" else ""


def _content(message: Json) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _common_prefix(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _json(status: int, body: Json, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})
