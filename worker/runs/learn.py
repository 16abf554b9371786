"""One optimization run of a project: read the labels, look for a better prompt, publish it if the gain is real."""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from backend.labeling.errors import EngineError, StoreError, WhetstoneError
from backend.labeling.prompt import PromptVersion
from backend.projects import pushing
from backend.projects.pushing import Target
from backend.queue.run_lock import Lock, LockLostError
from backend.service import Service
from backend.settings import Settings
from backend.storage.runs import Decision, RunRecord, Spend
from worker.calls.evaluator import Evaluator
from worker.calls.ledger import Ledger, RunLedger
from worker.calls.paid_embedding import PaidEmbedding
from worker.calls.teacher import Teacher, is_capable
from worker.labels import annotated
from worker.labels.annotation_store import AnnotationStore, Learned
from worker.labels.examples import Example
from worker.labels.ground_truth import GroundTruth
from worker.optimizer.optimize import Finding, Tools, optimize
from worker.report import reporting
from worker.runs import publication, retreat
from worker.runs.journal import Journal, begun, failed
from worker.runs.problem import posed
from worker.runs.weighing import weighed

_log = structlog.get_logger(__name__)
_WEIGHING = 0.1  # of the calls, at most, to tell how many tasks each label stands for

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Options:
    """What one run does otherwise than the settings say; None is as they say. `budget_calls` also caps its calls. With
    an `instruction` it searches nothing, but holds this one against the active prompt."""

    budget_calls: int | None = None
    rounds: int | None = None
    require_approval: bool | None = None
    instruction: str = ""

    def over(self, settings: Settings) -> Settings:
        asked = {
            "run_max_calls": self.budget_calls,
            "optimize_rounds": self.rounds,
            "require_approval": self.require_approval,
        }
        return settings.model_copy(update={name: value for name, value in asked.items() if value is not None})


class CanceledError(WhetstoneError):
    """Somebody asked the run to stop."""

    hint = "Start another with `whetstone optimize`."


def _utc_now() -> datetime:
    return datetime.now(UTC)


def run(
    service: Service,
    project: str,
    *,
    trigger: str,
    options: Options | None = None,
    revision: int | None = None,
    now: Now = _utc_now,
) -> RunRecord:
    """To its verdict. One that was interrupted is taken up under its id: it pays only for what is new. `revision` is
    that of the job's request, None where no job asked.

    Raises `RunningError` when another is under way, `LockLostError` when another worker took it over, and what may pass
    by itself (`retryable`): the caller tries again, or gives up. Any other error is the run's verdict.
    """
    with service.dispatch.run_lock(project) as lock:
        journal = Journal(service.runs, begun(service, project, trigger, now()))
        learning = _Learning(service, options or Options(), journal, lock, revision, now)
        try:
            learning.go()
            ended = replace(journal.record, state="done")
        except CanceledError:
            ended = journal.record.canceled(now())
            learning.note_labels()
        except LockLostError:  # the record is another worker's by now
            raise
        except WhetstoneError as error:
            if error.retryable:
                lock.check()
                journal.keep(replace(journal.record, stage=f"waits: {error}"))
                raise
            ended = failed(journal.record, error)
            learning.note_labels()
        lock.check()
        return _end(service, ended, now())


def watch(service: Service, project: str, *, revision: int | None = None, now: Now = _utc_now) -> RunRecord | None:
    """Tests the version that a run published on the labels that came after it. It is a run of its own where that
    version goes, else None; so it is where no budget is left to tell, or the endpoint refuses.

    Raises `RunningError`, and what may pass by itself.
    """
    with service.dispatch.run_lock(project) as lock:
        journal = Journal(service.runs, begun(service, project, "watch", now()), hidden=True)
        try:
            if not _Learning(service, Options(), journal, lock, revision, now).retreat():
                return None
            ended = replace(journal.record, state="done")
        except WhetstoneError as error:
            if error.retryable:
                raise
            _log.warning("the active version is not tested", project=project, reason=str(error))
            if journal.hidden:
                return None
            ended = failed(journal.record, error)
        lock.check()
        return _end(service, ended, now())


def give_up(service: Service, project: str, error: Exception, *, now: Now = _utc_now) -> None:
    """A run that was interrupted is tried no more: `error` is its verdict, and the next one begins anew. Its labels are
    still to be learned from."""
    with suppress(StoreError):
        latest = service.runs.latest(project)
        if latest and latest.state == "running" and not service.dispatch.is_running(project):
            _end(service, failed(latest, error), now())


def _end(service: Service, ended: RunRecord, at: datetime) -> RunRecord:
    ended = replace(ended, stage="", progress=1.0, ended_at=at)
    service.runs.save(ended)
    _log.info("run ended", project=ended.project, run=ended.id, state=ended.state, decision=ended.decision)
    return ended


class _Learning:
    """What one run holds while it is under way."""

    def __init__(
        self, service: Service, options: Options, journal: Journal, lock: Lock, revision: int | None, now: Now
    ) -> None:
        self._service = service
        self._settings = options.over(service.settings)
        self._instruction = options.instruction
        self._journal = journal
        self._lock = lock
        self._revision = revision
        self._now = now
        self._project = journal.record.project
        self._client = pushing.make_client(self._settings)
        self._ledger = self._opened_ledger()
        self._learned: Learned | None = None

    def go(self) -> None:
        """To the decision, which is kept before it is carried out: of a run that dies after the pointer moved only the
        report is made anew."""
        try:
            self._learn()
        except WhetstoneError as error:
            if not error.retryable:
                self._journal.note(spend=self._spend())
            raise

    def note_labels(self) -> None:
        """They are learned from, as far as they were read: so that the next label alone does not begin again what
        somebody ended, or what would fail again. One instruction on trial learns nothing from them."""
        if self._learned and not self._instruction:
            AnnotationStore(self._service.redis).note_run(self._project, self._learned)
            self._service.store.update_project(self._project, labels=self._learned.labels, new_labels=0)

    def retreat(self) -> bool:
        """On the labels that were read last. False where the active version stays, or was tested on them before."""
        to = self._target()
        store, truth = AnnotationStore(self._service.redis), annotated.truth(self._service, to)
        found = retreat.watched(self._service, to, truth.examples)
        if found is None or not found.is_due(store.watched(self._project)):
            return False
        self._journal.note(labels=len(truth.examples), active=to.current.version.name)
        evaluator = Evaluator(self._service, to.current.schema, self._ledger, self._check)
        if not self._retreated(to, truth.examples, evaluator):
            return False
        self._close(to, truth, evaluator)
        return True

    def _learn(self) -> None:
        to = self._target()
        truth = self._truth(to)
        evaluator = Evaluator(self._service, to.current.schema, self._ledger, self._check)
        if not self._journal.record.decision:
            self._journal.note(labels=len(truth.examples), active=to.current.version.name)
            if not self._retreated(to, truth.examples, evaluator):
                self._settle(to, self._found(to, truth.examples, evaluator))
        self._close(to, truth, evaluator)

    def _target(self) -> Target:
        """The project as Label Studio has it now."""
        return pushing.target(self._service, self._client, int(self._project.partition(".")[0]), key=self._project)

    def _truth(self, to: Target) -> GroundTruth:
        annotated.refresh(self._service, self._client, to, whole=True)
        truth = annotated.truth(self._service, to)
        until = max((example.annotated_at for example in truth.examples), default=None)
        self._learned = Learned(len(truth.examples), until)
        return truth

    def _retreated(self, to: Target, examples: Sequence[Example], evaluator: Evaluator) -> bool:
        """False where the active version holds its own, or is none that a run published."""
        found = retreat.watched(self._service, to, examples) if self._settings.auto_rollback else None
        if found is None:
            return False
        back = retreat.due(self._service, to, found, evaluator.label)
        AnnotationStore(self._service.redis).note_watch(self._project, found.until)
        if back is None:
            return False
        self._decide("rolled_back", Finding("rolled_back", objections=(back.words,)), to)
        by, active = publication.by_rollback(self._journal.record.id), to.current.version.name
        if not self._service.store.activate(self._project, back.version, expected=active, by=by):
            self._decide("overtaken", Finding("overtaken"), to)
        return True

    def _found(self, to: Target, examples: tuple[Example, ...], evaluator: Evaluator) -> Finding:
        """The search has the calls that are left to it; it has the same when the run is taken up again."""
        settings = self._settings
        ids, began = [example.id for example in examples], self._journal.record.started_at
        AnnotationStore(self._service.redis).note_used(self._project, to.current.schema.config_hash, ids, began)
        problem = posed(self._service, settings, to, examples, self._instruction)
        calls = int(_WEIGHING * problem.calls)
        problem = replace(problem, examples=weighed(self._service, to, examples, evaluator.label, calls=calls))
        if settings.run_max_calls:
            problem = replace(problem, calls=max(1, problem.calls - self._ledger.before_search()))
        embed = PaidEmbedding(self._service.embedder, self._ledger).embed
        if not is_capable(settings):
            return optimize(problem, Tools(evaluator.label, None, self._tell, embed))
        with closing(Teacher(settings, self._service.redis, self._ledger, self._check)) as teacher:
            return optimize(problem, Tools(evaluator.label, teacher.ask, self._tell, embed))

    def _settle(self, to: Target, finding: Finding) -> None:
        """Publishes what may be, and keeps what may become it. Label Studio is asked once more: the project's labels
        may be others by now, or the project be gone."""
        self._check()
        now = self._target() if finding.decision in ("published", "kept") else to
        model, approval = self._settings.model_name, self._settings.require_approval
        decision = publication.decided(finding, to, now, model=model, require_approval=approval)
        version = publication.version_of(self._service, finding, to, self._now())
        if version and decision == "published":
            self._decide("published", finding, to, version)
            by = publication.by_run(self._journal.record.id)
            if self._service.store.publish(self._project, version, to.current.version.name, by=by):
                return
            decision = "overtaken"
        if version:
            self._service.store.add_version(self._project, version)
        self._decide(decision, finding, to, version)

    def _close(self, to: Target, truth: GroundTruth, evaluator: Evaluator) -> None:
        """What was decided stays, whatever becomes of the report."""
        self.note_labels()
        self._service.dispatch.label_project(self._project)
        self._journal.note(stage="writing the report")
        ended = replace(self._journal.record, state="done")
        try:
            reporting.save(self._service, to, truth, evaluator, ended)
        except (CanceledError, EngineError) as error:
            _log.warning("the report stays as it was", project=self._project, run=ended.id, reason=str(error))

    # -- what others see, and what they may say

    def _check(self) -> None:
        """Raises when the run must stop; else tells what it has cost so far."""
        self._lock.check()
        if self._service.dispatch.is_canceled(self._project, self._revision):
            raise CanceledError(f"the run of project {self._project} was canceled")
        if self._journal.is_due:
            self._journal.note(spend=self._spend())

    def _tell(self, stage: str, progress: float, alive: int, best: float | None) -> None:
        self._lock.check()
        self._journal.note(stage=stage, progress=progress, candidates=alive, best=best, spend=self._spend())

    def _decide(self, decision: Decision, finding: Finding, to: Target, version: PromptVersion | None = None) -> None:
        self._lock.check()
        self._journal.keep(publication.told(self._journal.record, decision, finding, to, version, self._spend()))

    def _spend(self) -> Spend:
        """A clock that was set back counts as one that stood still."""
        seconds = (self._now() - self._journal.record.started_at).total_seconds()
        return replace(self._ledger.spend(), seconds=max(0.0, seconds))

    def _opened_ledger(self) -> RunLedger:
        models = {"student": self._service.engine.model}
        ledger = Ledger(self._service.redis, self._settings, models=models, now=self._now)  # type: ignore[arg-type]
        return ledger.open(self._project, self._journal.record.id)
