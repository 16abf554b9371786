"""Many tasks at once: what is known comes from the store, the rest is labelled with bounded concurrency, in order.

The service and the worker label through this very code, so what is evaluated is what is served.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import structlog

from backend.calls.lanes import Failure, Lanes
from backend.calls.limiter import Limiter, Priority
from backend.calls.patience import Deadline, Hurry, PatientEngine, Silence
from backend.labeling.answers import TaskAnswers, TaskPrediction
from backend.labeling.engines.base import Usage
from backend.labeling.errors import EngineBusyError, StoreError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import Prompt, PromptVersion
from backend.labeling.schema import LabelingSchema
from backend.storage.counters import Count, Counters
from backend.storage.store import Store
from backend.storage.windows import Windows

_log = structlog.get_logger(__name__)
# So few tasks are such that somebody opened, and waits for.
_OPENED = 3


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
class Inquiry:
    """A prompt on trial. `keep` stores what was answered, by data hash; it must not raise."""

    prompt: Prompt
    schema: LabelingSchema
    deadline: Deadline
    keep: Callable[[Mapping[str, TaskAnswers]], None]


@dataclass(frozen=True, slots=True)
class Explaining:
    """`predictions` to give a reason for, of one version, by data hash; as they are stored or Label Studio has them."""

    version: PromptVersion
    schema: LabelingSchema
    predictions: Mapping[str, Mapping[str, Any]]
    deadline: Deadline


# A prediction as it is stored, with its rationale where there is one.
Outcome = dict[str, Any] | Failure


class BatchLabeler:
    """Holds a pool of threads: make it after forking. Somebody who opened a task waits until the LLM has answered
    nobody for `patience_s`."""

    def __init__(
        self,
        labeler: Labeler,
        store: Store,
        limiter: Limiter,
        counters: Counters,
        windows: Windows,
        *,
        threads: int,
        patience_s: float = 30.0,
    ) -> None:
        self._labeler = labeler
        self._store = store
        self._limiter = limiter
        self._counters = counters
        self._windows = windows
        self._patience_s = patience_s
        self._silences = Silence(), Silence()
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

    def ask(self, inquiry: Inquiry, tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, TaskAnswers | Failure]:
        """What the LLM says of each task, uncalibrated, at the lowest priority. `tasks` are their data by data hash."""
        labeler, engines = self._patient(inquiry.deadline)
        lanes = Lanes(
            tasks, lambda data: labeler.ask(inquiry.prompt, inquiry.schema, data), inquiry.keep, inquiry.deadline
        )
        self._drive(lanes, "optimize", inquiry.deadline)
        self._count(engines, {})
        return lanes.outcomes()

    def explain(self, asked: Explaining, tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, str | Failure]:
        """A reason for each prediction, at the lowest priority; nothing is stored. `tasks` are their data by data
        hash."""
        labeler, engines = self._patient(asked.deadline)

        def make(data: Mapping[str, Any]) -> str:
            prediction = asked.predictions[asked.schema.data_hash(data)]
            return labeler.explain(asked.version, asked.schema, data, prediction)

        lanes = Lanes(tasks, make, lambda _: None, asked.deadline)
        self._drive(lanes, "optimize", asked.deadline)
        self._count(engines, {})
        return lanes.outcomes()

    def _patient(self, deadline: Deadline) -> tuple[Labeler, list[PatientEngine]]:
        """One batch's labeler, and its views of the engines. They share the slots: a 429 of either slows both down."""
        own = PatientEngine(self._labeler.engine, self._limiter, deadline, self._silences[0])
        if self._labeler.strong is None:
            return replace(self._labeler, engine=own), [own]
        strong = PatientEngine(self._labeler.strong, self._limiter, deadline, self._silences[1])
        return replace(self._labeler, engine=own, strong=strong), [own, strong]

    def _label_missing(self, batch: Batch, missing: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
        deadline = self._deadline(batch, missing)
        labeler, engines = self._patient(deadline)
        lanes = Lanes(
            missing,
            lambda data: labeler.label(batch.version, batch.schema, data),
            lambda made: self._keep(batch, made),
            deadline,
        )
        self._drive(lanes, batch.priority, deadline)
        outcomes = lanes.outcomes()
        self._count(engines, _results(outcomes))
        made = [outcome for outcome in outcomes.values() if isinstance(outcome, TaskPrediction)]
        self._windows.note(batch.project, batch.version.name, batch.schema, made)
        return {
            key: outcome if isinstance(outcome, Failure) else outcome.to_json() for key, outcome in outcomes.items()
        }

    def _deadline(self, batch: Batch, missing: Mapping[str, Mapping[str, Any]]) -> Deadline:
        if batch.priority != "live" or len(missing) > _OPENED:
            return batch.deadline
        return Hurry(batch.deadline.at, time.monotonic(), self._patience_s, self._silences)

    def _drive(self, lanes: Lanes[Any], priority: Priority, deadline: Deadline) -> None:
        try:
            while waiting := lanes.waiting:
                with self._limiter.slots(priority, waiting, wait_s=max(0.0, deadline.left_s)) as slots:
                    lanes.work(slots, self._pool)
        except EngineBusyError as error:
            lanes.give_up(str(error))
        lanes.flush()

    def _keep(self, batch: Batch, made: Mapping[str, TaskPrediction]) -> None:
        rows = {key: json.dumps(prediction.to_json()).encode() for key, prediction in made.items()}
        try:
            self._store.keep_predictions(batch.project, batch.version.name, rows)
        except StoreError as error:
            _log.warning("predictions are not stored: they will be labelled again", reason=str(error))

    def _count(self, engines: Sequence[PatientEngine], results: Mapping[str, int]) -> None:
        usage = sum((engine.usage for engine in engines), Usage())
        errors = [name for engine in engines for name in engine.errors]
        durations_s = [seconds for engine in engines for seconds in engine.durations_s]
        self._counters.count_many([
            *(Count("predictions", {"outcome": name}, amount) for name, amount in results.items()),
            *(Count("llm_errors", {"kind": name}, amount) for name, amount in Counter(errors).items()),
            Count("llm_calls", value=len(durations_s)),
            Count("llm_prompt_tokens", value=usage.prompt_tokens),
            Count("llm_cached_tokens", value=usage.cached_tokens),
            Count("llm_completion_tokens", value=usage.completion_tokens),
        ])  # fmt: skip
        if durations_s:
            self._counters.observe("llm_call_seconds", *durations_s)


def _results(outcomes: Mapping[str, TaskPrediction | Failure]) -> dict[str, int]:
    failed = sum(isinstance(outcome, Failure) for outcome in outcomes.values())
    return {"labelled": len(outcomes) - failed, "failed": failed}
