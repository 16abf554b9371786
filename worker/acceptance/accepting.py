"""The open tasks that a certificate lets through, and what may be made of them: a tab, or annotations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.label_studio import LabelStudioClient
from backend.predictions.audit import is_audit
from backend.projects.connection import HIDDEN_COLUMNS
from backend.projects.pushing import Target, settle_title
from backend.service import Service
from worker.acceptance import acceptable, served
from worker.acceptance.acceptable import Pool
from worker.acceptance.certify import Certificate
from worker.acceptance.served import Served
from worker.labels import annotated
from worker.labels.annotation_store import AnnotationStore
from worker.labels.unseen import Unseen

_PAGE = 2000
_BATCH = 200  # Label Studio on SQLite writes one at a time: annotators get their turn in between
_MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class OpenTask:
    """One that nobody has annotated or skipped, with the active version's prediction."""

    id: int
    served: Served


@dataclass(frozen=True, slots=True)
class Found:
    """`pool` is what a certificate is made of; `tasks` are its open ones."""

    pool: Pool
    tasks: Sequence[OpenTask] = field(repr=False)

    def accepted(self, certificate: Certificate) -> list[OpenTask]:
        """Those with a score at or above the threshold and of its kind, by rising id."""
        least, kind = certificate.threshold, certificate.score_kind
        if least is None:
            return []
        return [
            task
            for task in self.tasks
            if task.served.scored.score >= least and acceptable.fits(task.served.scored, kind)
        ]


def look(service: Service, client: LabelStudioClient, to: Target) -> Found:
    """Labels and open tasks as Label Studio has them now, predictions as they were served: no LLM is asked. Raises
    `LabelStudioError` and `StoreError`."""
    project, version, schema = to.record.key, to.current.version, to.current.schema
    annotated.refresh(service, client, to, whole=False)
    examples = annotated.truth(service, to).examples
    used = AnnotationStore(service.redis).used(project, schema.config_hash)
    unseen = Unseen(service.runs.runs(project, _MOST_RUNS), used)
    audited = served.audited(service, project, examples)
    drawn = [each for each in examples if each.id in audited and unseen.by(version, each)]
    known = served.of(service, project, version.name, schema, [each.data for each in drawn])
    untouched = [(task.id, each) for task, each in served.untouched(service, client, to)]
    tasks = [OpenTask(number, each) for number, each in untouched if each]
    pool = Pool(
        version=version.name,
        calibrated_on=version.prompt.calibration.fitted_on,
        checked=served.checked(drawn, known, schema),
        open=[task.served.scored for task in tasks],
        unscored=len(untouched) - len(tasks),
    )
    return Found(pool, tasks)


def rows(tasks: Sequence[OpenTask], version: str) -> Iterator[dict[str, Any]]:
    """As they are exported: `labels` by control, a list each."""
    for task in tasks:
        labels = {control: list(values) for control, values in task.served.values.items()}
        yield {"task": task.id, "labels": labels, "score": task.served.scored.score, "version": version}


def put_tab(service: Service, client: LabelStudioClient, to: Target, certificate: Certificate) -> str:
    """Its title. Its scores are those of the version that Label Studio shows, which is made the active one first."""
    assert certificate.threshold is not None  # noqa: S101 - the caller has looked
    title = f"Accept: {100 * certificate.target:g} %"  # longer titles are cut in Label Studio
    settle_title(service, client, to)
    client.put_tab_of_surest(
        to.project_id,
        title,
        score=certificate.threshold,
        version=to.current.version.name,
        hidden=HIDDEN_COLUMNS,
    )
    return title


def annotatable(service: Service, to: Target, tasks: Sequence[OpenTask]) -> list[int]:
    """Ids of those outside the audit slice: were its surest tasks taken out of the queue, it would speak for all tasks
    no more."""
    share = service.settings.audit_share
    return [task.id for task in tasks if not is_audit(to.record.key, task.id, share)]


def annotate(client: LabelStudioClient, to: Target, task_ids: Sequence[int]) -> int:
    """How many became annotations. Label Studio notes the prediction they come from and no time spent on them, by which
    ground truth leaves them out (`Annotation.unseen`). May be done again after an error."""
    version = to.current.version.name
    return sum(
        client.annotate_from_predictions(to.project_id, task_ids[start : start + _BATCH], version)
        for start in range(0, len(task_ids), _BATCH)
    )
