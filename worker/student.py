"""The LLMs that label and teach, asked directly: no Redis, no queue. An evaluation is paid for once in a process."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from backend.labeling import selection
from backend.labeling.embedding import Embedder
from backend.labeling.engines.base import Capabilities, Completion, Engine, Request, Usage
from backend.labeling.errors import AnswerError, BudgetError, EngineBusyError, EngineError, TaskError
from backend.labeling.labeler import Labeler, Limits
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.runs import Spend
from worker.evaluations import prompt_key
from worker.examples import Example
from worker.outcomes import Outcome
from worker.teacher import request_for

# Dollars for so much usage in so many calls, of the student and of the teacher; None where the price is unknown.
Price = Callable[[Usage, int], float | None]
Prices = tuple[Price, Price]

_TRIES = 4
_FIRST_PAUSE_S = 0.5


@dataclass(slots=True)
class Meter:
    """An engine that counts, tries again where that may help, and refuses calls that nobody pays for.

    `left` is the number of calls that it still lets through, None for any. A call that is tried again counts once.
    """

    engine: Engine
    left: int | None = None
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
        with self._lock:
            if self.left is not None:
                if self.left <= 0:
                    raise BudgetError("the run's budget of calls is used up", hint="Raise the budget.")
                self.left -= 1
            self.calls += 1


class Student:
    """`label` gives one outcome an example, in order; what was asked before costs nothing."""

    def __init__(
        self,
        meter: Meter,
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
        except (AnswerError, TaskError) as error:
            return Outcome(None, str(error))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _pause_s(error: EngineError, attempt: int) -> float:
    asked = error.retry_after_s if isinstance(error, EngineBusyError) else None
    return asked if asked is not None else _FIRST_PAUSE_S * 2.0**attempt


@dataclass(frozen=True, slots=True)
class Teacher:
    """The LLM that rewrites instructions, asked directly."""

    meter: Meter
    thinking_tokens: int

    def ask(self, text: str) -> str:
        """Raises `BudgetError` and `EngineError`."""
        return self.meter.complete(request_for(text, self.meter.capabilities, self.thinking_tokens)).text


class Account:
    """Tells runs, each paid from a budget of `calls` to the student and the `teacher`, from what is asked beside them,
    to measure."""

    def __init__(
        self,
        student: Student,
        calls: int,
        prices: Prices,
        teacher: Teacher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._student = student
        self._teacher = teacher
        self._budget = self._left = calls
        self._prices = prices
        self._clock = clock
        self._calls, self._usage = 0, Usage()
        self._began, self._beside_s = clock(), 0.0

    def begin_run(self) -> None:
        self._left = self._budget

    def label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """Raises `BudgetError` when the run's calls are used up."""
        meter = self._student.meter
        calls, usage = meter.calls, meter.usage
        with self._paid(meter):
            try:
                return self._student.label(prompt, examples)
            finally:
                self._calls += meter.calls - calls
                self._usage += _beyond(usage, meter.usage)

    @property
    def ask(self) -> Callable[[str], str] | None:
        """The teacher, paid from the same budget; None without one."""
        teacher = self._teacher
        if teacher is None:
            return None

        def asked(text: str) -> str:
            with self._paid(teacher.meter):
                return teacher.ask(text)

        return asked

    @contextmanager
    def _paid(self, meter: Meter) -> Iterator[None]:
        meter.left = self._left
        try:
            yield
        finally:
            self._left, meter.left = meter.left, None

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
        usage = self._usage + (taught.usage if taught else Usage())
        dollars = [self._prices[0](self._usage, self._calls)]
        dollars += [self._prices[1](taught.usage, taught.calls)] if taught and taught.calls else []
        return Spend(
            student_calls=self._calls,
            teacher_calls=taught.calls if taught else 0,
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
