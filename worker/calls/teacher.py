"""The LLM that rewrites instructions: asked over its own endpoint, paid from the run's budget."""

import hashlib
from collections.abc import Callable

from redis import Redis

from backend.labeling.engines.base import Capabilities, Engine, Message, Request, Usage
from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.engines.wire import Wire
from backend.labeling.shortening import most_tokens
from backend.settings import Settings
from backend.storage.redis_client import as_text, translated
from worker.calls.ledger import RunLedger

_ANSWER_TOKENS = 700
_TEMPERATURE = 0.7
_REMEMBERED_S = 7 * 24 * 3600
_TIMEOUT_S = 120.0  # it writes, and may think first


def is_capable(settings: Settings) -> bool:
    """The student teaches where no teacher is named, unless it is the small local LLM, which writes poorly."""
    return bool(settings.teacher_model or settings.teacher_base_url) or not settings.uses_local_llm


class Teacher:
    """`ask` gives the answer's text; the same request is asked once a week, so that a run taken up again pays once."""

    def __init__(self, settings: Settings, client: Redis, ledger: RunLedger, check: Callable[[], None]) -> None:
        self._client = client
        self._ledger = ledger
        self._check = check
        self._thinking_tokens = settings.llm_thinking_tokens
        self._wire = make_wire(settings)
        self._engine: Engine = OpenAIEngine(self._wire, settings.teacher_model or settings.llm_model)

    def close(self) -> None:
        self._wire.close()

    def ask(self, text: str) -> str:
        """Raises `BudgetError`, `EngineError`, and what `check` raises when the run must stop."""
        self._check()
        digest = hashlib.sha256("\0".join([self._engine.model, text]).encode()).hexdigest()
        key = f"whetstone:taught:{digest[:32]}"
        with translated():
            known = self._client.get(key)
        if known is not None:
            return as_text(known)
        answer = self._asked(text)
        with translated():
            self._client.set(key, answer, ex=_REMEMBERED_S)
        return answer

    def _asked(self, text: str) -> str:
        request = request_for(text, self._engine.capabilities, self._thinking_tokens)
        longest = request.max_tokens
        asked = most_tokens(text) + longest
        reservation = self._ledger.reserve("teacher", 1, asked, completion_tokens=longest)
        usage = Usage()
        try:
            completion = self._engine.complete(request)
            usage = completion.usage
        finally:
            self._ledger.settle(reservation, usage)
        return completion.text


def request_for(text: str, able: Capabilities, thinking_tokens: int) -> Request:
    longest = _ANSWER_TOKENS + (thinking_tokens if able.thinking == "always" else 0)
    return Request(messages=(Message("user", text),), max_tokens=longest, temperature=_TEMPERATURE, seed=1)


def make_wire(settings: Settings) -> Wire:
    own = settings.teacher_api_key.get_secret_value()
    same = not settings.teacher_base_url or settings.teacher_base_url == settings.llm_base_url
    key = own or (settings.openai_api_key.get_secret_value() if same else "")
    return Wire(settings.teacher_base_url or settings.llm_base_url, key, timeout_s=_TIMEOUT_S)
