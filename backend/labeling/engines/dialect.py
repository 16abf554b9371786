"""Requests and completions in the words of OpenAI's API, and of the servers that speak it with an accent."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from backend.labeling.engines.base import Capabilities, Completion, Message, Request, Step, Token, Usage
from backend.labeling.errors import ContentFilterError, EngineAnswerError

_SHOWN_CHARACTERS = 300
CHAT, TEXT = "/chat/completions", "/completions"

# Some chat templates open the thought in the prompt.
_THOUGHT = re.compile(r"^\s*(?:<think>(.*?)(?:</think>|\Z)|(.*?)</think>)", re.DOTALL)


def path(request: Request) -> str:
    return CHAT if request.messages else TEXT


def body(request: Request, model: str, able: Capabilities) -> dict[str, Any]:
    """Only what the endpoint was seen to accept."""
    document: dict[str, Any] = {"model": model}
    if request.messages:
        turns = request.messages if able.system_role else _without_system(request.messages)
        document["messages"] = [{"role": turn.role, "content": turn.content} for turn in turns]
        document[able.token_limit] = request.max_tokens
    else:
        document["prompt"] = request.text
        document["max_tokens"] = request.max_tokens
        if request.stop:
            document["stop"] = [request.stop]
    if able.temperature:
        document["temperature"] = request.temperature
    if able.seed and request.seed is not None:
        document["seed"] = request.seed
    return document | _logprobs(request, able) | _constraint(request, able) | _thinking(request, able)


def _without_system(turns: Sequence[Message]) -> Sequence[Message]:
    """What the system message says begins the first user turn."""
    first, *others = turns
    if first.role != "system":
        return turns
    texts = [turn.content for turn in (first, *others[:1])]
    return [Message("user", "\n\n".join(texts)), *others[1:]]


def _logprobs(request: Request, able: Capabilities) -> dict[str, Any]:
    wanted = min(request.top_logprobs, able.logprobs_for("chat" if request.messages else "text"))
    if not wanted:
        return {}
    return {"logprobs": True, "top_logprobs": wanted} if request.messages else {"logprobs": wanted}


def _constraint(request: Request, able: Capabilities) -> dict[str, Any]:
    if not request.grammar:
        return {}
    match able.constraint:
        case "llguidance":
            return {"grammar": request.grammar}
        case "structured_outputs":
            return {"structured_outputs": {"grammar": request.grammar}}
        case "json_schema" if request.messages:
            schema = {"name": "answer", "strict": True, "schema": json.loads(request.json_schema)}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case _:
            return {}


def _thinking(request: Request, able: Capabilities) -> dict[str, Any]:
    if not request.messages:
        return {}
    if able.thinking == "template_off":
        return {"chat_template_kwargs": {"enable_thinking": False}}
    effort = "none" if able.thinking == "effort_off" else able.effort
    return {"reasoning_effort": effort} if effort else {}


def completion(document: Mapping[str, Any]) -> Completion:
    """Raises `EngineAnswerError` for anything that is not a completion, or holds log-probs that are no numbers, and
    `ContentFilterError` where the answer was withheld."""
    try:
        choice = document["choices"][0]
        message = choice.get("message") or {}
        text = _text(choice.get("text") or message.get("content"))
        steps = _steps(choice.get("logprobs"))
        usage = _usage(document.get("usage") or {})
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise EngineAnswerError(f"the LLM's answer is not a completion: {type(error).__name__} {error}") from error
    if not steps and (reason := _withheld(choice, message, text)):
        raise ContentFilterError(f"the LLM gives no answer about this task: {reason}")
    thought = _THOUGHT.match(text)
    return Completion(
        text=text[thought.end() :] if thought else text,
        steps=steps,
        usage=usage,
        reasoning=str(
            message.get("reasoning_content")
            or message.get("reasoning")
            or (thought and (thought[1] or thought[2]))
            or ""
        ),
        finished=choice.get("finish_reason") != "length",
    )


def _text(content: Any) -> str:
    """Some servers send a list of parts, of which thoughts and refusals hold no `text`."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return str(content or "")


def _withheld(choice: Mapping[str, Any], message: Mapping[str, Any], text: str) -> str:
    """Why; empty where nothing was. Gemini's `finish_reason` goes on after the word."""
    if str(choice.get("finish_reason")).startswith("content_filter"):
        return "its content filter withheld it"
    refusal = "" if text else message.get("refusal")
    return f"it refused ({' '.join(str(refusal).split())[:_SHOWN_CHARACTERS]})" if refusal else ""


def _steps(logprobs: Mapping[str, Any] | None) -> tuple[Step, ...]:
    """Chat's list of tokens (llama.cpp uses it for plain completions too), or the older parallel lists."""
    if not logprobs:
        return ()
    if logprobs.get("content"):
        if not any(place.get("top_logprobs") for place in logprobs["content"]):  # some send the chosen tokens unasked
            return ()
        return tuple(
            Step(_raw(place), _ranked([(top, top["logprob"]) for top in place.get("top_logprobs") or ()]))
            for place in logprobs["content"]
        )
    tops = logprobs.get("top_logprobs") or ()
    written = logprobs.get("tokens") or [""] * len(tops)
    return tuple(
        Step(str(token).encode(), _ranked([({"token": other}, value) for other, value in (top or {}).items()]))
        for token, top in zip(written, tops, strict=False)
    )


def _ranked(pairs: Sequence[tuple[Mapping[str, Any], Any]]) -> tuple[Token, ...]:
    """Log-probs may be rounded a little above 0; -inf is a probability of 0."""
    numbers = [float(value) for _, value in pairs]
    if math.isnan(sum(numbers)) or max(numbers, default=0.0) > 0.01:  # noqa: PLR2004 - rounding
        raise ValueError("a log-prob that is above 0, or no number")
    tokens = [
        Token(str(top["token"]), max(number, -1000.0), _raw(top))
        for (top, _), number in zip(pairs, numbers, strict=True)
    ]
    return tuple(sorted(tokens, key=attrgetter("logprob"), reverse=True))


def _raw(place: Mapping[str, Any]) -> bytes:
    """A token's bytes, where the server tells them."""
    return bytes(place.get("bytes") or ()) or str(place.get("token") or "").encode()


def _usage(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )
