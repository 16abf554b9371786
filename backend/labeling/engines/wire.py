"""HTTP to an OpenAI-compatible endpoint: a body out, a JSON object back, every failure translated once."""

import math
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import openai
from pydantic_core import from_json

from backend.labeling.errors import (
    ContentFilterError,
    EngineAnswerError,
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineUnreachableError,
    PromptTooLongError,
)

_SHOWN_CHARACTERS = 300
_SERVER_ERRORS = 500
_TOO_LARGE = 413
# llama.cpp's answer to all requests under way when their prompts do not fit into its cache together.
_FULL = "context size has been exceeded"
# What servers say of a prompt that is too long by itself: OpenAI and vLLM, llama.cpp, Anthropic, Gemini, xAI, Bedrock.
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "maximum model length",
    "context size",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "maximum prompt length",
    "input is too long",
)
# What Azure, OpenRouter, OpenAI, DeepSeek and Alibaba say of a text that their moderation stopped.
_MODERATED = (
    "content_filter",
    "responsibleaipolicyviolation",
    "input was flagged",
    "prompt was flagged",
    "content exists risk",
    "data_inspection_failed",
)
# Azure's classic addresses, `…/openai/deployments/NAME?api-version=…`, want the key in a header of its own.
_AZURE_VERSION, _AZURE_KEY = "api-version", "api-key"
# Timed out on the server's side, in conflict with another request, too early.
_PASSING = {408, 409, 425}


@dataclass(frozen=True, slots=True)
class Reply:
    document: dict[str, Any]
    headers: Mapping[str, str]


class Wire:
    """Thread-safe. Retries nothing: whoever calls knows the deadline and tells the limiter."""

    def __init__(
        self, base_url: str, api_key: str, *, timeout_s: float, connections: int = 64, server: str = "LLM"
    ) -> None:
        """A name and password in `base_url` are sent as basic auth, in the key's place, its query goes with every
        request, and neither is part of `self.base_url`. `server` is what errors call it. Raises `EngineRefusedError`
        for an address or a key that cannot be sent."""
        self._server = server
        self._key = _sendable(api_key.strip(), server)
        self._timeout_s = timeout_s
        address = _address(base_url)
        self.base_url = address.shown
        self._who = f"the {server} at {self.base_url}"
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = openai.OpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=timeout_s,
            http_client=openai.DefaultHttpxClient(limits=limits, timeout=timeout_s, auth=address.auth),
            default_query=address.query,
            default_headers={_AZURE_KEY: self._key} if self._key and _AZURE_VERSION in address.query else None,
        )
        weakref.finalize(self, self._client.close)  # a wire that nobody holds keeps no connections open

    def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None) -> Reply:
        """Raises `EngineError` only; messages never hold the key."""
        return self._sent("POST", path, min(timeout_s or self._timeout_s, self._timeout_s), body)

    def get(self, path: str, *, timeout_s: float = 5) -> Reply:
        """`path` is under the base URL, or a whole address for what stands beside it."""
        return self._sent("GET", path, timeout_s)

    def close(self) -> None:
        """Ends the connections that are kept open."""
        self._client.close()

    def _sent(self, method: Literal["GET", "POST"], path: str, limit_s: float, body: Any = None) -> Reply:
        client, limit = self._client, httpx2.Timeout(limit_s)
        try:
            if method == "GET":
                response = client.get(path, cast_to=httpx2.Response, options={"timeout": limit})
            else:
                response = client.post(path, cast_to=httpx2.Response, body=body, options={"timeout": limit})
        except openai.OpenAIError as error:
            raise self.translated(error) from None
        except (httpx2.InvalidURL, ValueError) as error:
            raise EngineRefusedError(f"the request to {self._who} cannot be sent: {type(error).__name__}") from None
        return _reply(response, self._server)

    def translated(self, error: openai.OpenAIError) -> EngineError:
        """Raised without the client's own error, which quotes the server, and the server may quote the key."""
        match error:
            case openai.APITimeoutError():
                return EngineUnreachableError(f"{self._who} did not answer in time")
            case openai.APIConnectionError():
                return EngineUnreachableError(f"{self._who} cannot be reached: {error.__cause__ or error}")
            case openai.RateLimitError() if "insufficient_quota" not in f"{error} {error.body}":
                return EngineBusyError(f"{self._who} answered 429", retry_after_s=_seconds(error.response.headers))
            case openai.APIStatusError() if error.status_code >= _SERVER_ERRORS or error.status_code in _PASSING:
                return self._passing(error)
            case openai.APIStatusError():
                return self._refused(error)
            case _:
                return EngineAnswerError(f"{self._who} gave no usable answer: {type(error).__name__}")

    def _passing(self, error: openai.APIStatusError) -> EngineError:
        if _FULL in str(error).lower():
            return EngineBusyError(f"{self._who} has no room for all prompts under way at once")
        return EngineUnreachableError(f"{self._who} answered {error.status_code}")

    def _refused(self, error: openai.APIStatusError) -> EngineError:
        said = f"({error.status_code}): {self._shown(error)}"
        if _is_moderated(error):
            return ContentFilterError(f"{self._who} declined this task's text, by its content filter {said}")
        kind = PromptTooLongError if _is_too_long(error) else EngineRefusedError
        return kind(f"{self._who} refused {said}")

    def _shown(self, error: openai.APIStatusError) -> str:
        """The server's own words, shortened, without the key."""
        text = " ".join((_words(error.body) or error.message).split())
        return (text.replace(self._key, "***") if self._key else text)[:_SHOWN_CHARACTERS]


def _words(body: object) -> str:
    """Of a refusal: OpenAI's form, Gemini's list of it, FastAPI's detail without the input that it quotes, or plain
    text; empty for a web page."""
    match body:
        case [{"error": error}, *_]:
            return _words(error)
        case {"message": str(words)} | {"detail": str(words)}:
            return words
        case {"detail": [*mistakes]}:
            return "; ".join(f"{mistake['loc']}: {mistake['msg']}" for mistake in mistakes if _is_mistake(mistake))
        case str() if not body.startswith("<"):
            return body
        case _:
            return ""


def _is_mistake(value: object) -> bool:
    return isinstance(value, dict) and {"loc", "msg"} <= value.keys()


def _is_moderated(error: openai.APIStatusError) -> bool:
    return error.status_code in {400, 403} and _says(error, _MODERATED)


def _is_too_long(error: openai.APIStatusError) -> bool:
    return error.status_code == _TOO_LARGE or (error.status_code in {400, 422} and _says(error, _TOO_LONG))


def _says(error: openai.APIStatusError, words: Iterable[str]) -> bool:
    """In its message, its codes, or what it hands on from another server."""
    told = f"{error} {error.body}".lower()
    return any(each in told for each in words)


def _sendable(api_key: str, server: str) -> str:
    if api_key.isascii() and api_key.isprintable():
        return api_key
    raise EngineRefusedError(f"the {server}'s key holds characters that an HTTP header cannot carry")


@dataclass(frozen=True, slots=True)
class _Address:
    """`shown` is without what may be secret: `auth`, a name and password, and `query`."""

    shown: str
    auth: tuple[str, str] | None = None
    query: Mapping[str, str] = field(default_factory=dict)


def _address(url: str) -> _Address:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise EngineRefusedError(f"OPENAI_BASE_URL is no address: {error}") from None
    if not parsed.userinfo and not parsed.query:
        return _Address(url)
    auth = (parsed.username, parsed.password) if parsed.userinfo else None
    return _Address(str(parsed.copy_with(username=None, password=None, query=None)), auth, dict(parsed.params))


def _reply(response: httpx2.Response, server: str) -> Reply:
    """Strict JSON: `NaN` is no number. Hundreds of alternatives a call make the parser's speed matter."""
    try:
        document = from_json(response.content, allow_inf_nan=False)
    except ValueError as error:
        kind = response.headers.get("content-type", "no content type")
        raise EngineAnswerError(f"the {server}'s answer is not JSON ({kind}, {len(response.content)} bytes)") from error
    if not isinstance(document, dict):
        raise EngineAnswerError(f"the {server}'s answer is a JSON {type(document).__name__}, not an object")
    return Reply(document, response.headers)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds; its date form counts as unsaid."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
