"""What the HTTP routes and the worker do, without the web: projects, the active version, predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

import structlog

from backend.calls.embedding import make_embedder
from backend.calls.engine import endpoint_key, limits, make_engine, make_wire
from backend.calls.lanes import Failure
from backend.calls.limiter import Limiter, Priority
from backend.calls.patience import Deadline
from backend.labeling import reasons
from backend.labeling import schema as schemas
from backend.labeling.engines.base import Engine
from backend.labeling.errors import StoreError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import PromptVersion
from backend.labeling.schema import LabelingSchema, TextArea
from backend.predictions.batch import Batch, BatchLabeler, Outcome
from backend.predictions.blind import is_blind, lacks_annotations
from backend.prompts.fixed_demonstrations import FixedDemonstrations
from backend.prompts.succession import MODEL, Succession
from backend.queue.dispatch import Dispatch
from backend.settings import Settings
from backend.storage.counters import Counters
from backend.storage.redis_client import connect
from backend.storage.run_store import RunStore
from backend.storage.store import ProjectRecord, Store
from backend.storage.windows import Windows

# Failures of one request that get a line each.
_SHOWN = 20
# Somebody who opened a task waits for as long as one call may take, but not less: short calls are tried again.
_PATIENCE_S = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Current:
    """A project's labeling at one moment: read once a request."""

    version: PromptVersion
    schema: LabelingSchema


@dataclass(frozen=True, slots=True)
class Seen:
    """What Label Studio told of a project, by itself or when it was asked; None is what it did not tell. `name` is what
    people call it. What is seen is not `gone`."""

    config: str
    label_studio_url: str | None = None
    expert_instruction: str | None = None
    name: str | None = None
    gone: bool = False


class Service:
    """One a process; connects to nothing until used."""

    def __init__(self, settings: Settings, *, serves: bool = False) -> None:
        """`serves` for the web service: projects go by its settings (see `Succession`), and it waits for Redis as
        shortly as `connect` says of who is hurried."""
        client = connect(settings.redis_address, hurried=serves)
        self.settings = settings
        self.redis = client  # for the worker's own stores
        self.store = Store(client, max_predictions=settings.max_cached_predictions)
        self.runs = RunStore(client)
        self.dispatch = Dispatch(client)
        self.counters = Counters(client)
        self.limiter = Limiter(client, name=endpoint_key(settings), most=settings.concurrency)
        self.wire = make_wire(settings)
        self.engine: Engine = make_engine(settings, self.wire, self.store)
        self.strong = _stronger(settings, self.store)
        self.limits = limits(settings)
        self.embedder = make_embedder(settings)
        self.fixed = FixedDemonstrations(settings.demonstrations)
        self.succession = Succession(self.store, settings, self.fixed, leads=serves)
        self.batches = BatchLabeler(
            Labeler(self.engine, self.limits, self.strong, self.embedder),
            self.store,
            self.limiter,
            self.counters,
            Windows(client),
            threads=settings.concurrency,
            patience_s=max(_PATIENCE_S, settings.llm_timeout_s),
        )

    def see_project(self, key: str, seen: Seen) -> None:
        """Keeps what Label Studio told of a project; what it did not tell stays. Written only when changed."""
        known = self.store.project(key)
        told = asdict(seen)
        if known is None:
            fresh = ProjectRecord(key, int(key.partition(".")[0]), "", seen.config, "")
            self.store.save_project(replace(fresh, **{name: value for name, value in told.items() if value}))
            return
        changes = {name: value for name, value in told.items() if value is not None and value != getattr(known, name)}
        if changes:
            self.store.update_project(key, **changes)
        if "expert_instruction" in changes:
            self.learn(key, trigger="guideline")

    def current_after_seeing(self, key: str, seen: Seen) -> Current:
        """`see_project`, then `current`; with Redis away nothing is kept, and the last known version serves."""
        try:
            self.see_project(key, seen)
        except StoreError as error:
            return self._last_known(key, schemas.parse(seen.config), error)
        return self.current(key, seen.config)

    def schema(self, config: str) -> LabelingSchema:
        """Raises `SchemaError`."""
        return schemas.parse(config)

    def current(self, key: str, config: str) -> Current:
        """The active version for this configuration. The first request of a project publishes its initial prompt; one
        after the configuration, the model or, before anything was learned or a person chose a version, the instruction
        changed publishes what follows (see `Succession`): open tasks are labelled anew, and for another model a run is
        asked for.

        With Redis away: what this process served last, else the initial prompt under the name it would have as the
        first. Raises `SchemaError`.
        """
        schema = schemas.parse(config)
        try:
            return Current(self._published(key, schema), schema)
        except StoreError as error:
            return self._last_known(key, schema, error)

    def _last_known(self, key: str, schema: LabelingSchema, error: StoreError) -> Current:
        _log.warning("Redis is away: serving the last known version", project=key, reason=str(error))
        last = self.store.last_active(key)
        if last is None or last.config_hash != schema.config_hash:
            last = self.succession.seed(1, schema, expert_instruction="")
        return Current(last, schema)

    def _published(self, key: str, schema: LabelingSchema) -> PromptVersion:
        serving = self.succession.serving(key, schema)
        if serving.by:
            notes = schema.notes_but(self.rationale_area(schema))
            _log.info("prompt published", project=key, version=serving.version.name, by=serving.by, schema_notes=notes)
        if serving.before:
            self.label_open_tasks(key)
        if serving.by == MODEL:
            self.learn(key, trigger="model")
        return serving.version

    def label(
        self,
        key: str,
        current: Current,
        tasks: Sequence[Mapping[str, Any]],
        *,
        priority: Priority,
        deadline_s: float,
    ) -> list[Outcome]:
        """`tasks` are tasks' data: nothing else of a task can reach a prompt. Predictions come as Label Studio takes
        them."""
        batch = Batch(key, current.version, current.schema, tasks, priority, Deadline.after(deadline_s))
        area = self.rationale_area(current.schema)
        return [
            reasons.shown(outcome, area, current.schema.data_hash(data)) if _is_reasoned(outcome) else outcome
            for data, outcome in zip(tasks, self.batches.label(batch), strict=True)
        ]

    def rationale_area(self, schema: LabelingSchema) -> TextArea | None:
        """Where reasons are shown; None where the configuration has no place for them."""
        return schema.text_area(self.settings.rationale_control)

    def predict(self, key: str, config: str, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Label Studio's tasks become its `results`: in order, `{}` for one that failed or is to stay blind. Those that
        may succeed later are queued and pushed into Label Studio when done."""
        current = self.current(key, config)
        share = self.settings.blind_share
        blinded = [is_blind(key, task.get("id"), share) and lacks_annotations(task) for task in tasks]
        seen = [task for task, hidden in zip(tasks, blinded, strict=True) if not hidden]
        data = [_data(task) for task in seen]
        outcomes = self.label(key, current, data, priority="live", deadline_s=self.settings.predict_deadline_s)
        self._report(key, seen, outcomes)
        results = iter([{} if isinstance(outcome, Failure) else outcome for outcome in outcomes])
        return [{} if hidden else next(results) for hidden in blinded]

    def _report(self, key: str, tasks: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]) -> None:
        failed = {
            task.get("id"): outcome
            for task, outcome in zip(tasks, outcomes, strict=True)
            if isinstance(outcome, Failure)
        }
        for task_id, failure in list(failed.items())[:_SHOWN]:
            _log.warning("no prediction", project=key, task=task_id, reason=failure.reason, retry=failure.retryable)
        if len(failed) > _SHOWN:
            _log.warning("no prediction for more tasks", project=key, more=len(failed) - _SHOWN)
        self.queue_tasks(key, [i for i, failure in failed.items() if failure.retryable and isinstance(i, int)])

    def queue_tasks(self, key: str, task_ids: Sequence[int]) -> None:
        """Without a key for Label Studio nothing could be pushed, so nothing is queued."""
        if not task_ids:
            return
        if not self.settings.can_push:
            _log.warning(
                "tasks are not pre-annotated in the background: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
                project=key,
                tasks=len(task_ids),
            )
            return
        try:
            self.dispatch.label_tasks(key, task_ids, chunk=self.settings.chunk_tasks)
        except StoreError as error:
            _log.warning("tasks cannot be queued", project=key, tasks=len(task_ids), reason=str(error))

    def label_open_tasks(self, key: str) -> None:
        """Queues whatever lacks a prediction of the active version, where it could be pushed."""
        if not self.settings.can_push:
            return
        try:
            self.dispatch.label_project(key)
        except StoreError as error:
            _log.warning("the project's tasks cannot be queued", project=key, reason=str(error))

    def explain_labels(self, key: str) -> None:
        """Has the worker give a reason for the labels of open tasks that score low, where that is wanted."""
        if not self.settings.can_push or not self.settings.explain_below:
            return
        try:
            self.dispatch.touch(key, "explain")
        except StoreError as error:
            _log.warning("reasons cannot be queued", project=key, reason=str(error))

    def follow(self, key: str, *, trigger: str = "") -> None:
        """Has the worker read what annotators decided, and improve the prompt when there is enough of it."""
        self._ask(key, "follow", trigger)

    def learn(self, key: str, *, trigger: str) -> None:
        """Has the worker improve the prompt, whatever the number of new labels."""
        self._ask(key, "optimize", trigger)

    def _ask(self, key: str, kind: str, trigger: str) -> None:
        """Without a key for Label Studio no annotation can be read."""
        if self.settings.can_push:
            self.dispatch.touch(key, kind, trigger=trigger)
        else:
            _log.warning("nothing is learned: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY", project=key)


def _stronger(settings: Settings, store: Store) -> Engine | None:
    """The LLM for what the student is not sure of."""
    theirs = settings.stronger
    return make_engine(theirs, make_wire(theirs), store) if theirs else None


def _is_reasoned(outcome: Outcome) -> TypeGuard[dict[str, Any]]:
    return not isinstance(outcome, Failure) and "rationale" in outcome


def _data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without usable data the task fails by itself, for its missing fields."""
    data = task.get("data")
    return data if isinstance(data, Mapping) else {}
