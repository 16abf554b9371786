"""The one engine: any OpenAI-compatible endpoint (OpenAI, Azure, vLLM, SGLang, Ollama, llama.cpp)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from backend.labeling.engines import dialect, probe
from backend.labeling.engines.base import Capabilities, Completion, Request
from backend.labeling.engines.wire import Wire


@dataclass(frozen=True, slots=True)
class Memory:
    """Where what a probe found is kept for other processes; both may do nothing."""

    load: Callable[[], Capabilities | None] = lambda: None
    save: Callable[[Capabilities], None] = lambda _: None


class OpenAIEngine:
    """With `model` empty, the first that the endpoint lists."""

    def __init__(self, wire: Wire, model: str = "", memory: Memory | None = None) -> None:
        self._wire = wire
        self._model = model
        self._memory = memory or Memory()
        self._capabilities: Capabilities | None = None
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        if not self._model:
            self._model = probe.first_model(self._wire)
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            with self._lock:
                if self._capabilities is None:
                    self._capabilities = self._memory.load() or self._probed()
        return self._capabilities

    def _probed(self) -> Capabilities:
        found = probe.capabilities(self._wire, self.model)
        self._memory.save(found)
        return found

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:
        body = dialect.body(request, self.model, self.capabilities)
        return dialect.completion(self._wire.post(dialect.path(request), body, timeout_s=timeout_s).document)
