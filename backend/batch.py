"""Many tasks at once: what is known comes from the store, the rest is labelled with bounded concurrency, in order.

The service and the worker label through this very code, so what is evaluated is what is served.
"""

import json
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import structlog

from backend.counters import Count, Counters
from backend.labeling.answers import TaskPrediction
from backend.labeling.engines.base import Usage
from backend.labeling.errors import EngineBusyError, StoreError, WhetstoneError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import PromptVersion
from backend.labeling.schema import LabelingSchema
from backend.limiter import Limiter, Priority, Slots
from backend.patience import Deadline, PatientEngine
from backend.store import Store

_log = structlog.get_logger(__name__)
_FLUSH_AFTER = 50


@dataclass(frozen=True, slots=True)
class Batch:
    """Tasks' data in the order of the answer."""

    project: str
    version: PromptVersion
    schema: LabelingSchema
    tasks: Sequence[Mapping[str, Any]]
    priority: Priority
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no prediction; `retryable` when trying later may help."""

    reason: str
    retryable: bool


Outcome = dict[str, Any] | Failure


class BatchLabeler:
    """Holds a pool of threads: make it after forking."""

    def __init__(self, labeler: Labeler, store: Store, limiter: Limiter, counters: Counters, *, threads: int) -> None:
        self._labeler = labeler
        self._store = store
        self._limiter = limiter
        self._counters = counters
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="label")

    def label(self, batch: Batch) -> list[Outcome]:
        """One outcome a task, in order. Equal data is labelled once; what was labelled before costs no call."""
        hashes = [batch.schema.data_hash(data) for data in batch.tasks]
        outcomes: dict[str, Outcome] = self._known(batch, hashes)
        missing = {key: data for key, data in zip(hashes, batch.tasks, strict=True) if key not in outcomes}
        self._counters.count("prediction_cache_hits", amount=sum(key in outcomes for key in hashes))
        if missing:
            outcomes |= self._label_missing(batch, missing)
        return [outcomes[key] for key in hashes]

    def _known(self, batch: Batch, hashes: Sequence[str]) -> dict[str, Outcome]:
        unique = list(dict.fromkeys(hashes))
        try:
            found = self._store.predictions(batch.project, batch.version.name, unique)
        except StoreError as error:
            _log.warning("stored predictions cannot be read: labelling anew", reason=str(error))
            return {}
        return {key: json.loads(value) for key, value in zip(unique, found, strict=True) if value is not None}

    def _label_missing(self, batch: Batch, missing: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
        engine = PatientEngine(self._labeler.engine, self._limiter, batch.deadline)
        run = _Run(batch, replace(self._labeler, engine=engine), missing, self._store)
        try:
            while waiting := run.waiting:
                with self._limiter.slots(batch.priority, waiting, wait_s=max(0.0, batch.deadline.left_s)) as slots:
                    run.work(slots, self._pool)
        except EngineBusyError as error:
            run.give_up(str(error))
        run.flush()
        self._count(run, engine)
        return run.outcomes()

    def _count(self, run: "_Run", engine: PatientEngine) -> None:
        usage, results = run.spent()
        self._counters.count_many([
            *(Count("predictions", {"outcome": name}, amount) for name, amount in results.items()),
            *(Count("llm_errors", {"kind": name}, amount) for name, amount in Counter(engine.errors).items()),
            Count("llm_calls", value=len(engine.durations_s)),
            Count("llm_prompt_tokens", value=usage.prompt_tokens),
            Count("llm_cached_tokens", value=usage.cached_tokens),
            Count("llm_completion_tokens", value=usage.completion_tokens),
        ])  # fmt: skip
        if engine.durations_s:
            self._counters.observe("llm_call_seconds", *engine.durations_s)


class _Run:
    """One batch under way: lanes take tasks from one queue, as many lanes as slots are held."""

    def __init__(self, batch: Batch, labeler: Labeler, missing: Mapping[str, Mapping[str, Any]], store: Store) -> None:
        self._batch = batch
        self._labeler = labeler
        self._store = store
        self._missing = missing
        self._waiting = deque(missing)
        self._done: dict[str, TaskPrediction | Failure] = {}
        self._unsaved: dict[str, bytes] = {}
        self._lanes = 0
        self._over = False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Tasks that no lane has taken."""
        return len(self._waiting)

    def work(self, slots: Slots, pool: ThreadPoolExecutor) -> None:
        """Returns when every task has an outcome, when all slots were given back, or when the deadline has passed."""
        self._open_lanes(slots.count, slots, pool)
        with self._changed:
            self._changed.wait_for(lambda: not self._lanes, timeout=max(0.0, self._batch.deadline.left_s))
            if self._waiting and not self._lanes and self._batch.deadline.left_s > 0:
                return
        self.give_up("the batch's time was up")

    def give_up(self, reason: str) -> None:
        """What has no outcome yet fails with `reason`; a lane still under way may yet store its prediction."""
        with self._changed:
            self._over = True
            self._waiting.clear()
            for key in self._missing:
                self._done.setdefault(key, Failure(reason, retryable=True))

    def outcomes(self) -> dict[str, Outcome]:
        with self._changed:
            return {
                key: outcome.to_json() if isinstance(outcome, TaskPrediction) else outcome
                for key, outcome in self._done.items()
            }

    def spent(self) -> tuple[Usage, Mapping[str, int]]:
        with self._changed:
            done = list(self._done.values())
        labelled = [outcome for outcome in done if isinstance(outcome, TaskPrediction)]
        usage = sum((outcome.usage for outcome in labelled), Usage())
        return usage, {"labelled": len(labelled), "failed": len(done) - len(labelled)}

    def flush(self) -> None:
        with self._changed:
            unsaved, self._unsaved = self._unsaved, {}
        try:
            self._store.keep_predictions(self._batch.project, self._batch.version.name, unsaved)
        except StoreError as error:
            _log.warning("predictions are not stored: they will be labelled again", reason=str(error))

    def _open_lanes(self, count: int, slots: Slots, pool: ThreadPoolExecutor) -> None:
        with self._changed:
            lanes = min(count, len(self._waiting))
            self._lanes += lanes
        for _ in range(lanes):
            pool.submit(copy_context().run, self._lane, slots, pool)  # with the request's id, for the log

    def _lane(self, slots: Slots, pool: ThreadPoolExecutor) -> None:
        try:
            while (key := self._next()) is not None:
                self._settle(key, self._outcome(self._missing[key]))
                if self._over:  # the slots are no longer ours
                    return
                if slots.should_yield():
                    slots.release()
                    return
                self._open_lanes(slots.grow(len(self._waiting) + self._lanes), slots, pool)
        finally:
            with self._changed:
                self._lanes -= 1
                self._changed.notify_all()

    def _next(self) -> str | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _outcome(self, data: Mapping[str, Any]) -> TaskPrediction | Failure:
        try:
            return self._labeler.label(self._batch.version, self._batch.schema, data)
        except WhetstoneError as error:
            return Failure(str(error), error.retryable)
        except Exception:  # noqa: BLE001 - the thread's boundary: one task's fault must not take its neighbours along
            _log.exception("labelling a task failed unexpectedly")
            return Failure("an internal error, see the log", retryable=False)

    def _settle(self, key: str, outcome: TaskPrediction | Failure) -> None:
        with self._changed:
            late = key in self._done
            self._done.setdefault(key, outcome)
            if isinstance(outcome, TaskPrediction):
                self._unsaved[key] = json.dumps(outcome.to_json()).encode()
            full = len(self._unsaved) >= _FLUSH_AFTER
        if late or full:
            self.flush()
