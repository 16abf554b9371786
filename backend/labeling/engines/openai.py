"""The one engine: any OpenAI-compatible endpoint (OpenAI, Azure, vLLM, SGLang, Ollama, llama.cpp)."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from backend.labeling.engines import dialect, probe
from backend.labeling.engines.base import Capabilities, Completion, Request
from backend.labeling.engines.wire import Wire

# Endpoints are upgraded under their address: what was found is found anew after a day.
REMEMBER_S = 24 * 3600.0
# What was found less long ago is not doubted: a task that has no log-probs each time must not start a probe each time.
_TRUSTED_S = 600.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Where what a probe found is kept for other processes; both may do nothing."""

    load: Callable[[], Capabilities | None] = lambda: None
    save: Callable[[Capabilities], None] = lambda _: None


class OpenAIEngine:
    """With `model` empty, the first that the endpoint lists. `clock` gives seconds since the epoch."""

    def __init__(
        self, wire: Wire, model: str = "", memory: Memory | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._wire = wire
        self._model = model
        self._memory = memory or Memory()
        self._clock = clock
        self._known: tuple[Capabilities, float] | None = None  # and since when
        self._doubted = False
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        if not self._model:
            self._model = probe.first_model(self._wire)
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        able = self._remembered()
        if able is None:
            with self._lock:
                able = self._remembered() or self._found()
        return able

    def _remembered(self) -> Capabilities | None:
        able, since = self._known or (None, 0.0)
        return able if self._clock() - since < REMEMBER_S else None

    def _found(self) -> Capabilities:
        """By another process, unless it is in doubt."""
        able = (None if self._doubted else self._memory.load()) or self._probed()
        self._known, self._doubted = (able, self._clock()), False
        return able

    def _probed(self) -> Capabilities:
        found = replace(probe.capabilities(self._wire, self.model), found_at=self._clock())
        self._memory.save(found)
        return found

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:
        able = self.capabilities
        body = dialect.body(request, self.model, able)
        completion = dialect.completion(self._wire.post(dialect.path(request), body, timeout_s=timeout_s).document)
        if _lacks_logprobs(request, able, completion) and self._clock() - able.found_at >= _TRUSTED_S:
            self._doubt(able)
        return completion

    def _doubt(self, able: Capabilities) -> None:
        """The next call finds anew what the endpoint can do, unless that happened meanwhile."""
        with self._lock:
            if self._known and self._known[0] is able:
                self._known, self._doubted = None, True


def _lacks_logprobs(request: Request, able: Capabilities, completion: Completion) -> bool:
    """An empty answer has none anywhere."""
    promised = request.top_logprobs and able.logprobs_for("chat" if request.messages else "text")
    return bool(promised and completion.text and not completion.steps)
