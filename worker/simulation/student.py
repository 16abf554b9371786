"""The LLMs that label and teach, asked directly: no Redis, no queue. An evaluation is paid for once in a process."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from backend.calls.embedding_sources import Bill
from backend.labeling import selection
from backend.labeling.embedding import Embedder, Vector
from backend.labeling.engines.base import Capabilities, Completion, Engine, Request, Usage
from backend.labeling.errors import EmbeddingRefusedError, EngineBusyError, EngineError, WhetstoneError
from backend.labeling.labeler import Labeler, Limits
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.storage.runs import Spend
from worker.calls.evaluations import prompt_key
from worker.calls.teacher import request_for
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome
from worker.simulation.purse import MeteredEmbedder, Purse

# Dollars for so much usage in so many calls; None where the price is unknown.
Price = Callable[[Usage, int], float | None]

_TRIES = 4
_FIRST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Prices:
    student: Price
    teacher: Price
    embeddings: Price


@dataclass(slots=True)
class MeteredEngine:
    """An engine that counts, tries again where that may help, and pays from `purse` if there is one. A call that is
    tried again counts once."""

    engine: Engine
    purse: Purse | None = None
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def model(self) -> str:
        return self.engine.model

    @property
    def capabilities(self) -> Capabilities:
        return self.engine.capabilities

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:
        """Raises `BudgetError` before the call, else the last try's error."""
        self._reserve()
        for attempt in range(_TRIES):
            try:
                completion = self.engine.complete(request, timeout_s=timeout_s)
                break
            except EngineError as error:
                if not error.retryable or attempt == _TRIES - 1:
                    raise
                self.sleep(_pause_s(error, attempt))
        with self._lock:
            self.usage += completion.usage
        return completion

    def _reserve(self) -> None:
        if self.purse:
            self.purse.take()
        with self._lock:
            self.calls += 1


class Student:
    """`label` gives one outcome an example, in order; what was asked before costs nothing."""

    def __init__(
        self,
        meter: MeteredEngine,
        schema: LabelingSchema,
        limits: Limits,
        *,
        threads: int,
        embedder: Embedder | None = None,
    ) -> None:
        self.meter = meter
        self.schema = schema
        self._limits = limits
        self._embedder = embedder
        self._labeler = Labeler(meter, limits, embedder=embedder)
        self._known: dict[tuple[str, str], Outcome] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="student")

    def label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """Raises `BudgetError` and `EngineError`, when what is under way has ended; what succeeded is remembered."""
        name = prompt_key(
            prompt,
            self.schema.config_hash,
            self.meter.model,
            self.meter.capabilities.fingerprint,
            self._limits,
            selection.rule(prompt, self._embedder),
        )
        keys = [(name, self.schema.data_hash(example.data)) for example in examples]
        missing = {key: e for key, e in zip(keys, examples, strict=True) if key not in self._known}
        self._ask(prompt, missing)
        return [self._known[key] for key in keys]

    def _ask(self, prompt: Prompt, missing: Mapping[tuple[str, str], Example]) -> None:
        stopped = threading.Event()

        def one(key: tuple[str, str], example: Example) -> None:
            if stopped.is_set():
                return
            try:
                self._known[key] = self._outcome(prompt, example)
            except Exception:
                stopped.set()
                raise

        asked = [self._pool.submit(one, key, example) for key, example in missing.items()]
        wait(asked)
        for future in asked:
            future.result()

    def _outcome(self, prompt: Prompt, example: Example) -> Outcome:
        try:
            return Outcome(self._labeler.ask(prompt, self.schema, example.data))
        except WhetstoneError as error:
            if not error.of_task:
                raise
            return Outcome(None, str(error), error.spent)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _pause_s(error: EngineError, attempt: int) -> float:
    asked = error.retry_after_s if isinstance(error, EngineBusyError) else None
    return asked if asked is not None else _FIRST_PAUSE_S * 2.0**attempt


@dataclass(frozen=True, slots=True)
class Teacher:
    """The LLM that rewrites instructions, asked directly."""

    meter: MeteredEngine
    thinking_tokens: int

    def ask(self, text: str) -> str:
        """Raises `BudgetError` and `EngineError`."""
        return self.meter.complete(request_for(text, self.meter.capabilities, self.thinking_tokens)).text


class Account:
    """Tells runs, each paid from a budget of `calls` to the student, the `teacher` and the `embedder`, from what is
    asked beside them, to measure. The embedder is the student's own."""

    def __init__(
        self,
        student: Student,
        calls: int,
        prices: Prices,
        teacher: Teacher | None = None,
        embedder: MeteredEmbedder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._student = student
        self._teacher = teacher
        self._embedder = embedder
        self._budget, self._purse = calls, Purse(calls)
        self._prices = prices
        self._clock = clock
        self._calls, self._usage, self._bill = 0, Usage(), Bill()
        self._began, self._beside_s = clock(), 0.0

    def begin_run(self) -> None:
        self._purse = Purse(self._budget)

    def label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """Raises `BudgetError` when the run's calls are used up."""
        with self._paid():
            return self._student.label(prompt, examples)

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """For the search. Raises as `label`, and what the embedder raises."""
        if self._embedder is None:
            raise EmbeddingRefusedError("no embeddings are at hand")
        with self._paid():
            return self._embedder.embed(texts)

    @property
    def ask(self) -> Callable[[str], str] | None:
        """The teacher, paid from the same budget; None without one."""
        teacher = self._teacher
        if teacher is None:
            return None

        def asked(text: str) -> str:
            with self._paid():
                return teacher.ask(text)

        return asked

    @contextmanager
    def _paid(self) -> Iterator[None]:
        """All that is asked meanwhile is the run's."""
        student, meters = self._student.meter, self._metered()
        calls, usage, bill = student.calls, student.usage, self._embedded
        for meter in meters:
            meter.purse = self._purse
        try:
            yield
        finally:
            for meter in meters:
                meter.purse = None
            self._calls += student.calls - calls
            self._usage += _beyond(usage, student.usage)
            self._bill += Bill(self._embedded.calls - bill.calls, self._embedded.tokens - bill.tokens)

    def _metered(self) -> list[MeteredEngine | MeteredEmbedder]:
        teacher = [self._teacher.meter] if self._teacher else []
        return [self._student.meter, *teacher, *([self._embedder] if self._embedder else [])]

    @property
    def _embedded(self) -> Bill:
        return self._embedder.bill if self._embedder else Bill()

    def measure(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """Costs the runs nothing, nor any of their time."""
        began = self._clock()
        try:
            return self._student.label(prompt, examples)
        finally:
            self._beside_s += self._clock() - began

    def spend(self) -> Spend:
        """Of all runs so far."""
        taught = self._teacher.meter if self._teacher else None
        embedded = Usage(prompt_tokens=self._bill.tokens)
        usage = self._usage + (taught.usage if taught else Usage()) + embedded
        dollars = [self._prices.student(self._usage, self._calls)]
        dollars += [self._prices.teacher(taught.usage, taught.calls)] if taught and taught.calls else []
        dollars += [self._prices.embeddings(embedded, self._bill.calls)] if self._bill.calls else []
        return Spend(
            student_calls=self._calls,
            teacher_calls=taught.calls if taught else 0,
            embedding_calls=self._bill.calls,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            usd=None if None in dollars else sum(each or 0.0 for each in dollars),
            seconds=self._clock() - self._began - self._beside_s,
        )


def _beyond(before: Usage, after: Usage) -> Usage:
    return Usage(
        after.prompt_tokens - before.prompt_tokens,
        after.cached_tokens - before.cached_tokens,
        after.completion_tokens - before.completion_tokens,
    )
