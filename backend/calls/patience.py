"""An engine that waits where waiting helps: it obeys 429s, tries lost connections again, and keeps to a deadline."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backend.calls.limiter import Limiter
from backend.labeling.engines.base import Capabilities, Completion, Engine, Request, Usage
from backend.labeling.errors import EngineBusyError, EngineError, EngineUnreachableError
from backend.outage import Outage

_TRIES = 4
_FIRST_PAUSE_S = 0.2
# After so many calls in a row that no try saved, further ones get one try: a batch does not wait long for a dead LLM.
_HOPELESS = 3
# A failure that took so long was silence; one that came sooner cost nobody much.
_LONG_S = 2.0
_SILENT_S = 10.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        return self.at - time.monotonic()


class Silence:
    """An LLM's, shared by all requests of a process. When somebody waited long while it answered nobody, those in a
    hurry do not ask for 10 s; then one does each 10 s, until it answers."""

    def __init__(self) -> None:
        self.answered_at = 0.0
        self._outage = Outage(_SILENT_S)

    def lets_try(self) -> bool:
        return self._outage.lets_try()

    def answered(self) -> None:
        self.answered_at = time.monotonic()
        self._outage.passed()

    def failed(self, began_at: float) -> None:
        if self.answered_at < began_at <= time.monotonic() - _LONG_S:
            self._outage.failed()


@dataclass(frozen=True, slots=True)
class Hurry(Deadline):
    """A deadline that comes sooner where none of the LLMs has answered anybody for `patience_s`, from `since` on."""

    since: float
    patience_s: float
    silences: Sequence[Silence]

    @property
    def left_s(self) -> float:
        heard_at = max(self.since, *(silence.answered_at for silence in self.silences))
        return min(self.at, heard_at + self.patience_s) - time.monotonic()


@dataclass(slots=True)
class PatientEngine:
    """One batch's view of the engine, which can do the same from the batch's first look on. `durations_s` collects how
    long each successful call took, `usage` what it took of tokens."""

    engine: Engine
    limiter: Limiter
    deadline: Deadline
    silence: Silence = field(default_factory=Silence)
    sleep: Callable[[float], None] = time.sleep
    durations_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failed_in_a_row: int = 0
    _able: Capabilities | None = None

    @property
    def model(self) -> str:
        return self.engine.model

    @property
    def capabilities(self) -> Capabilities:
        if self._able is None:
            self._able = self.engine.capabilities
        return self._able

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:
        """Up to four tries inside the deadline; raises the last try's error."""
        tries = 1 if self._failed_in_a_row >= _HOPELESS else _TRIES
        for attempt in range(tries):
            try:
                return self._once(request, timeout_s)
            except EngineError as error:
                self.errors.append(type(error).__name__)
                wait_s = self._wait_s(error, _FIRST_PAUSE_S * 2**attempt)
                if attempt == tries - 1 or not error.retryable or wait_s >= self.deadline.left_s:
                    self._failed_in_a_row += not (error.of_task or isinstance(error, EngineBusyError))
                    raise
                self.sleep(wait_s)
        raise AssertionError("unreachable")

    def _once(self, request: Request, timeout_s: float | None) -> Completion:
        """A call that began in time may end late: nobody waits for it any more, but its prediction is kept."""
        if self.deadline.left_s <= 0:
            raise EngineUnreachableError("the batch's time was up before this task's turn came")
        if isinstance(self.deadline, Hurry) and not self.silence.lets_try():
            raise EngineUnreachableError("the LLM let somebody wait a moment ago, and did not answer")
        began = time.monotonic()
        try:
            completion = self.engine.complete(request, timeout_s=timeout_s)
        except EngineError:
            self.silence.failed(began)
            raise
        self.silence.answered()
        self.durations_s.append(time.monotonic() - began)
        with self._lock:
            self.usage += completion.usage
        self.limiter.ease()
        self._failed_in_a_row = 0
        return completion

    def _wait_s(self, error: EngineError, pause_s: float) -> float:
        if not isinstance(error, EngineBusyError):
            return pause_s
        self.limiter.backoff(error.retry_after_s)
        return error.retry_after_s if error.retry_after_s is not None else pause_s
