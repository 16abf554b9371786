"""The report of a project as it is now, evaluated and kept for whoever asks."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from backend.labeling.errors import BudgetError
from backend.labeling.schema import LabelingSchema
from backend.projects.pushing import Target
from backend.service import Service
from backend.storage.alarms import AlarmStore
from backend.storage.runs import RunRecord
from worker.acceptance import served
from worker.calls.evaluator import Evaluator
from worker.labels.annotation_store import AnnotationStore
from worker.labels.examples import Example
from worker.labels.ground_truth import GroundTruth
from worker.optimizer.evaluate import Label, fair, graded
from worker.predictions import scored
from worker.report import report
from worker.report import sections as report_sections

_log = structlog.get_logger(__name__)
_MOST_UNDECIDED = 200


def save(service: Service, to: Target, truth: GroundTruth, evaluator: Evaluator, ended: RunRecord) -> None:
    """Of the version that is active after the run, and of those that were before it, as far as the budget goes. None
    where the labels are others by now."""
    project, schema = to.record.key, to.current.schema
    versions = served.versions(service, to)
    if versions[0].config_hash != schema.config_hash:
        return
    label = fair(schema, evaluator.label)
    judged = []
    for version in versions:
        try:
            judged.append(report.Judged(version, graded(schema, version.prompt, truth.examples, label)))
        except BudgetError as error:
            _log.warning(
                "a version is left out of the report", project=project, version=version.name, reason=str(error)
            )
    if not judged or judged[0].version != versions[0]:
        return
    judged[0] = _also_on(truth.undecided, judged[0], schema, label)
    material = report.Material(
        project=project,
        title=to.record.name or f"project {to.project_id}",
        schema=schema,
        examples=truth.examples,
        active=judged[0],
        made_at=datetime.now(UTC),
        others=judged[1:],
        runs=[ended, *(run for run in service.runs.runs(project, 200) if run.id != ended.id)],
        activations=service.store.activations(project),
        left_out=truth.left_out,
        contested=truth.contested,
        polls=truth.polls,
        undecided=truth.undecided,
        audited=served.audited(service, project, truth.examples),
        open=served.open_scores(service, project, versions[0].name, schema),
        alarms=AlarmStore(service.redis).alarms(project),
        scores=scored.scores(service, to, [version.name for version in versions]),
        used=AnnotationStore(service.redis).used(project, schema.config_hash),
    )
    document = report.build(material)
    service.runs.save_report(project, dict(document), report_sections.sections(document))


def _also_on(
    undecided: Sequence[Example], judged: report.Judged, schema: LabelingSchema, label: Label
) -> report.Judged:
    """What the active version says of tasks that people leave undecided: without those, people and the LLM would be
    compared where people agree. Left out where nobody pays for it."""
    try:
        more = graded(schema, judged.version.prompt, undecided[-_MOST_UNDECIDED:], label)
    except BudgetError:
        return judged
    return replace(judged, graded={**judged.graded, **more})
