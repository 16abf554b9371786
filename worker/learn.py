"""One optimization run of a project: read the labels, look for a better prompt, publish it if the gain is real."""

import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from backend import pushing
from backend.label_studio import LabelStudioClient
from backend.labeling.errors import WhetstoneError
from backend.labeling.fields import plain
from backend.labeling.prompt import Prompt, PromptVersion, Style, content_hash
from backend.pushing import Target
from backend.run_lock import Lock
from backend.runs import Decision, RunRecord, Spend
from backend.service import SEED, Service
from backend.settings import Settings
from worker import ground_truth, reporting, retreat, verdict
from worker.annotation_store import AnnotationStore
from worker.evaluator import Evaluator
from worker.examples import Example
from worker.ledger import Ledger, RunLedger
from worker.optimize import Finding, Problem, Tools, optimize
from worker.pull import pull
from worker.teacher import Teacher, is_capable

_log = structlog.get_logger(__name__)

_MOST_CHALLENGERS = 3
_SAVE_EVERY_S = 0.5
_UNCAPPED = 5000  # calls that the search is sized for where nothing caps them


@dataclass(frozen=True, slots=True)
class Options:
    """What one run does otherwise than the settings say; None is as they say. `budget_calls` also caps its calls."""

    budget_calls: int | None = None
    rounds: int | None = None
    require_approval: bool | None = None

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


def run(service: Service, project: str, *, trigger: str, options: Options | None = None) -> RunRecord:
    """To its verdict. One that was interrupted is taken up under its id: it pays only for what is new.

    Raises `RunningError` when another is under way, and what may pass by itself (`retryable`): the caller tries again.
    Any other error is the run's verdict.
    """
    with service.dispatch.run_lock(project) as lock:
        active = service.store.active(project)
        begun = _begun(service, project, trigger, active.name if active else "")
        service.runs.save(begun)
        journal = _Journal(service, begun)
        try:
            ended = _Learning(service, (options or Options()).over(service.settings), journal, lock).record()
        except CanceledError:
            ended = replace(journal.record, state="canceled", words=("Canceled before its end. Nothing was changed.",))
        except WhetstoneError as error:
            if error.retryable:
                journal.note(replace(journal.record, stage=f"waits: {error}"))
                raise
            words = verdict.words(
                "failed", None, (), "", journal.record.spend, journal.record.labels, objections=(str(error),)
            )
            ended = replace(journal.record, state="done", decision="failed", words=(*words, error.hint))
        ended = replace(ended, stage="", progress=1.0, ended_at=datetime.now(UTC))
        service.runs.save(ended)
        _log.info("run ended", project=project, run=ended.id, state=ended.state, decision=ended.decision)
        return ended


def _begun(service: Service, project: str, trigger: str, active: str) -> RunRecord:
    latest = service.runs.latest(project)
    if latest and latest.state == "running":
        return replace(latest, active=active, stage="taken up again")
    now = datetime.now(UTC)
    name = f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    return RunRecord(name, project, "running", now, labels=0, active=active, trigger=trigger, stage="reading labels")


class _Journal:
    """The run's record as others see it, written at most twice a second."""

    def __init__(self, service: Service, record: RunRecord) -> None:
        self.record = record
        self._service = service
        self._saved_at = datetime.min.replace(tzinfo=UTC)

    def note(self, record: RunRecord) -> None:
        self.record = record
        now = datetime.now(UTC)
        if (now - self._saved_at).total_seconds() >= _SAVE_EVERY_S:
            self._service.runs.save(record)
            self._saved_at = now


class _Learning:
    """What one run holds while it is under way."""

    def __init__(self, service: Service, settings: Settings, journal: _Journal, lock: Lock) -> None:
        self._service = service
        self._settings = settings
        self._journal = journal
        self._lock = lock
        self._project = journal.record.project
        self._client = pushing.make_client(settings)
        self._ledger = self._opened_ledger()

    def record(self) -> RunRecord:
        """The record at its end."""
        to = pushing.target(self._service, self._client, int(self._project.partition(".")[0]), key=self._project)
        truth = self._truth(self._client, to)
        self._note(labels=len(truth.examples), active=to.current.version.name)
        evaluator = Evaluator(self._service, to.current.schema, self._ledger, self._check)
        back = self._retreated(to, truth.examples, evaluator)
        if back:
            ended = back
        else:
            finding = self._found(to, truth.examples, evaluator)
            ended = self._settled(to, finding, len(truth.examples))
        AnnotationStore(self._service.redis).note_run(self._project, len(truth.examples))
        self._note(stage="writing the report")
        reporting.save(self._service, to, truth, evaluator, ended)
        self._service.dispatch.label_project(self._project)
        return ended

    def _truth(self, client: LabelStudioClient, to: Target) -> ground_truth.GroundTruth:
        store = AnnotationStore(self._service.redis)
        pull(client, store, to.project_id, self._project, to.current.schema, whole=True)
        return ground_truth.examples(store.tasks(self._project), to.current.schema)

    def _retreated(self, to: Target, examples: Sequence[Example], evaluator: Evaluator) -> RunRecord | None:
        """None where the active version holds its own."""
        if not self._settings.auto_rollback:
            return None
        words = retreat.if_worse(self._service, to, examples, evaluator.label)
        if words is None:
            return None
        spend = self._spend()
        said = verdict.words("rolled_back", None, (), "", spend, len(examples), objections=(words,))
        return replace(self._journal.record, state="done", decision="rolled_back", words=said, spend=spend)

    def _found(self, to: Target, examples: tuple[Example, ...], evaluator: Evaluator) -> Finding:
        settings = self._settings
        problem = Problem(
            schema=to.current.schema,
            active=to.current.version.prompt,
            examples=examples,
            seeds=self._seeds(to),
            guideline=_guideline(to),
            styles=self._styles(),
            seed=len(examples),
            rounds=settings.optimize_rounds,
            calls=settings.run_max_calls or _UNCAPPED,
            teacher_sees_texts=settings.teacher_sees == "examples",
        )
        if not is_capable(settings):
            return optimize(problem, Tools(evaluator.label, None, self._tell))
        with closing(Teacher(settings, self._service.redis, self._ledger, self._check)) as teacher:
            return optimize(problem, Tools(evaluator.label, teacher.ask, self._tell))

    def _seeds(self, to: Target) -> tuple[Prompt, ...]:
        """The guideline as people wrote it, the prompt without anything learned, and the latest challengers."""
        active = to.current.version
        fresh = [
            version.prompt
            for version in self._service.store.all_versions(self._project)
            if version.config_hash == active.config_hash and version.name != active.name and version.origin != SEED
        ][:_MOST_CHALLENGERS]
        text = _guideline(to)
        style = self._settings.prompt_style
        guided = [Prompt(text, style=style)] if text and text != active.prompt.instruction else []
        return (*guided, *fresh)

    def _styles(self) -> tuple[Style, ...]:
        """Those that give log-probs, the configured one first; that one alone where none does."""
        preferred = self._settings.prompt_style
        styles: tuple[Style, ...] = ("chat", "text")
        able = self._service.engine.capabilities
        scored = [style for style in styles if able.logprobs_for(style) and (style == "chat" or able.continues)]
        return tuple(sorted(scored, key=lambda style: style != preferred)) or (preferred,)

    def _settled(self, to: Target, finding: Finding, labels: int) -> RunRecord:
        """Publishes what may be, keeps what may become it, and says so."""
        self._check()
        decision, version = self._decided(to, finding)
        spend = self._spend()
        before = to.current.version.prompt
        changes = verdict.changes(before, finding.challenger) if finding.challenger else ()
        words = verdict.words(
            decision, finding.estimate, changes, finding.origin, spend, labels, objections=finding.objections
        )
        return replace(
            self._journal.record,
            state="done",
            decision=decision,
            words=words,
            challenger=version.name if version else None,
            estimate=finding.estimate,
            fixes=finding.fixes,
            breaks=finding.breaks,
            spend=spend,
        )

    def _decided(self, to: Target, finding: Finding) -> tuple[Decision, PromptVersion | None]:
        if finding.challenger is None or finding.decision not in {"published", "kept"}:
            return finding.decision, None
        version = self._version(to, finding.challenger, finding.origin)
        if finding.decision == "kept":
            self._service.store.add_version(self._project, version)
            return "kept", version
        if self._settings.require_approval:
            self._service.store.add_version(self._project, version)
            return "awaiting_approval", version
        expected = to.current.version.name
        by = f"run {self._journal.record.id}"
        won = self._service.store.publish(self._project, version, expected, by=by)
        return ("published" if won else "overtaken"), version

    def _version(self, to: Target, prompt: Prompt, origin: str) -> PromptVersion:
        """The one that has this content already, else a new one."""
        active = to.current.version
        wanted = content_hash(prompt, active.config_hash, active.model)
        for version in self._service.store.all_versions(self._project):
            if content_hash(version.prompt, version.config_hash, version.model) == wanted:
                return version
        made = PromptVersion.of(
            self._service.store.next_number(self._project),
            prompt,
            config_hash=active.config_hash,
            model=active.model,
            origin=origin,
            created_at=datetime.now(UTC),
        )
        return replace(made, parent=active.name)

    # -- what others see, and what they may say

    def _check(self) -> None:
        """Raises when the run must stop."""
        self._lock.check()
        if self._service.dispatch.is_canceled(self._project):
            raise CanceledError(f"the run of project {self._project} was canceled")

    def _tell(self, stage: str, progress: float, alive: int, best: float | None) -> None:
        self._note(stage=stage, progress=progress, candidates=alive, best=best, spend=self._spend())

    def _note(self, **changes: object) -> None:
        self._journal.note(replace(self._journal.record, **changes))  # type: ignore[arg-type] # fields of the record

    def _spend(self) -> Spend:
        seconds = (datetime.now(UTC) - self._journal.record.started_at).total_seconds()
        return replace(self._ledger.spend(), seconds=seconds)

    def _opened_ledger(self) -> RunLedger:
        models = {"student": self._service.engine.model}
        ledger = Ledger(self._service.redis, self._settings, models=models)  # type: ignore[arg-type]
        return ledger.open(self._project, self._journal.record.id)


def _guideline(to: Target) -> str:
    return plain(to.record.expert_instruction).strip()
