"""Once a day: is what a project's prompt predicts, and the model behind it, still what it was?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from backend.calls.engine import endpoint_key
from backend.label_studio import LabelStudioClient
from backend.labeling import selection
from backend.labeling.cascade import alone
from backend.predictions.audit import is_audit
from backend.projects.pushing import Target
from backend.service import Service
from backend.storage.alarms import Alarm
from backend.storage.windows import KEPT_DAYS, Windows
from worker.acceptance import served
from worker.calls.evaluations import prompt_key
from worker.calls.evaluator import Evaluator
from worker.calls.ledger import Ledger, Purpose
from worker.labels import annotated
from worker.labels.annotation_store import AnnotationStore
from worker.labels.examples import Example
from worker.statistics import intervals
from worker.watching import alarms, canary, drift, promise
from worker.watching.canary import Answers, Baseline, Frozen
from worker.watching.store import DriftStore

_DAY = timedelta(days=1)
_PAGE = 200


def watch(service: Service, client: LabelStudioClient, to: Target, now: datetime) -> tuple[Alarm, ...]:
    """What was found is told before the model is asked, which may fail: raises `BudgetError`, `EngineError`,
    `LabelStudioError` and `StoreError`."""
    found = (*_drifted(service, to, now), *_broken(service, to))
    alarms.sound(service, to.record.key, to.current.version.name, found, now)
    return found + _Canary(service, client, to, now).look()


def _drifted(service: Service, to: Target, now: datetime) -> tuple[Alarm, ...]:
    """By what was predicted on the days before today."""
    project, version, store = to.record.key, to.current.version.name, DriftStore(service.redis)
    reference, today = store.reference(project, version), now.astimezone(UTC).date()
    since = max(today - KEPT_DAYS * _DAY, (reference.compared_until or now.min.date()) + _DAY)
    bulk = service.store.bulk(project, version)
    found, looked = drift.look(
        reference,
        Windows(service.redis).days(project, version, since, today - _DAY),
        today,
        is_bulk_under_way=bulk is not None and not bulk.finished,
    )
    store.keep_reference(project, version, looked)
    return found


def _broken(service: Service, to: Target) -> tuple[Alarm, ...]:
    """By the labels that came since the version was made active, of tasks drawn by lot."""
    project, version, store = to.record.key, to.current.version.name, DriftStore(service.redis)
    promised = _promised(service, project, version)
    activated = next((each.at for each in service.store.activations(project) if each.version == version), None)
    if promised is None or activated is None:
        return ()
    reference = store.reference(project, version)
    since, share = max(activated, reference.labels_since or activated), service.settings.audit_share
    used = AnnotationStore(service.redis).used(project, to.current.schema.config_hash)
    examples = [
        e
        for e in annotated.truth(service, to).examples
        if used.is_later(e, activated) and e.annotated_at > since and is_audit(project, e.id, share)
    ]
    found = promise.watch(_rights(service, to, examples), promised)
    alarm = drift.accuracy(found, promised, version)
    if alarm is None:
        return ()
    store.keep_reference(project, version, replace(reference, labels_since=examples[-1].annotated_at))
    return (alarm,)


def _promised(service: Service, project: str, version: str) -> intervals.Share | None:
    """By the run that published the version; None for one that no run compared."""
    for run in service.runs.runs(project, 200):
        if run.challenger == version and run.estimate is not None and run.estimate.n:
            return intervals.share(round(run.estimate.challenger_accuracy * run.estimate.n), run.estimate.n)
    return None


def _rights(service: Service, to: Target, examples: Sequence[Example]) -> list[bool]:
    """Of the examples of which a served prediction is kept."""
    data = [example.data for example in examples]
    found = served.of(service, to.record.key, to.current.version.name, to.current.schema, data)
    return [each.agrees(example.truth) for example, each in zip(examples, found, strict=True) if each]


class _Canary:
    """Frozen tasks asked again under the active version, uncached, paid from the month's budget."""

    def __init__(self, service: Service, client: LabelStudioClient, to: Target, now: datetime) -> None:
        self._service, self._client, self._to, self._now = service, client, to, now
        self._project = to.record.key
        self._store = DriftStore(service.redis)
        self._endpoint = endpoint_key(service.settings, model=service.settings.llm_model)

    def look(self) -> tuple[Alarm, ...]:
        """Of a new version the first two runs are made, and nothing is compared yet."""
        frozen = self._frozen()
        if frozen is None:
            return ()
        ask = self._asking(frozen)
        baseline, said = self._store.baseline(self._project), ask()
        if baseline is None or baseline.under != self._under:
            self._begin(said, ask())
            return ()
        version = self._to.current.version
        found = canary.compare(baseline, said)
        alarm = canary.alarm(found, baseline, self._models, version.name)
        if alarm is None:
            self._store.keep_baseline(self._project, replace(baseline, epoch=self._epoch))
            return ()
        if baseline.epoch == self._epoch:  # else another project's canary found it first
            self._service.store.begin_model_epoch(self._endpoint, baseline.epoch)
        alarms.sound(self._service, self._project, version.name, (alarm,), self._now)
        self._begin(said, ask())
        return (alarm,)

    def _begin(self, first: Answers, again: Answers) -> None:
        self._store.keep_baseline(self._project, Baseline(self._under, self._epoch, self._now, first, again))

    @property
    def _epoch(self) -> int:
        return self._service.store.model_epoch(self._endpoint)

    @property
    def _models(self) -> list[str]:
        """Of a cascade two."""
        strong = self._service.strong if self._to.current.version.prompt.escalate_below else None
        return [engine.model for engine in (self._service.engine, strong) if engine]

    @property
    def _under(self) -> str:
        """The version's name, and what else an answer depends on but the weights: settings change, too. Where the model
        answers is not among it: at another address it may be another one."""
        version, models = self._to.current.version, ",".join(self._models)
        chosen_by = selection.rule(version.prompt, self._service.embedder)
        key = prompt_key(
            version.prompt,
            version.config_hash,
            models,
            "",
            self._service.limits,
            chosen_by,
            several=self._to.current.schema.asks_each_label,
        )
        return f"{version.name} {key}"

    def _frozen(self) -> Frozen | None:
        """Chosen once, among the labels that the teacher may see too, or among Label Studio's first tasks while those
        are few. None while there are too few tasks."""
        known, schema = self._store.frozen(self._project), self._to.current.schema
        if known is not None and known.config_hash == schema.config_hash:
            return known
        train = [each.data for each in annotated.truth(self._service, self._to).examples if each.split == "train"]
        chosen = canary.choose(schema, self._project, train)
        if chosen is None:
            tasks = islice(self._client.tasks(self._to.project_id, page_size=_PAGE), _PAGE)
            chosen = canary.choose(schema, self._project, [*train, *(task.data for task in tasks)])
        if chosen is not None:
            self._store.freeze(self._project, chosen)
        return chosen

    def _asking(self, frozen: Frozen) -> Callable[[], Answers]:
        """One call asks all tasks once."""
        schema, prompt = self._to.current.schema, self._to.current.version.prompt
        models: dict[Purpose, str] = {"student": self._service.engine.model}
        ledger = Ledger(self._service.redis, self._service.settings, models=models, now=lambda: self._now)
        paid = ledger.open(self._project, f"canary-{self._now:%Y%m%d}")
        evaluator = Evaluator(self._service, schema, paid, lambda: None, fresh=True)
        tasks = [Example(name, data, {}, self._now) for name, data in frozen.tasks.items()]

        def ask() -> Answers:
            outcomes = [evaluator.label(each, tasks) for each in alone(prompt)]
            return canary.said(prompt, [{t.id: o for t, o in zip(tasks, each, strict=True)} for each in outcomes])

        return ask
