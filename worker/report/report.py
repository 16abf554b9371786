"""What is known of a project's prompt: how right it is, how sure that is, and what it cost. Pure: values in, one JSON
document out.

Labels that had a part in making a version flatter it. Its figures are therefore given twice: on the labels that had
none, and on all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from backend.labeling.schema import LabelingSchema
from backend.storage.alarms import Raised
from backend.storage.runs import RunRecord
from backend.storage.versions import Activation
from worker.acceptance import acceptable
from worker.acceptance.acceptable import Pool, Scored
from worker.labels.examples import Example, Split
from worker.labels.polls import Poll
from worker.labels.unseen import Unseen
from worker.labels.used import NONE, Used
from worker.predictions.frame import ProjectScores
from worker.report import metrics
from worker.report import summary as report_summary
from worker.report.document import (
    AcceptanceJson,
    AlarmJson,
    PointJson,
    Report,
    RunJson,
    ShareJson,
    SplitJson,
    VersionJson,
)
from worker.report.figures import share
from worker.report.people import Crowd, people
from worker.report.project import Counted, whole_project
from worker.report.spend import total
from worker.report.versions import Comparison
from worker.report.versions import Judged as Judged
from worker.report.whole_document import PrefillJson, WholeJson
from worker.statistics import intervals


@dataclass(frozen=True, slots=True)
class Material:
    """`project` is its key, `title` how people call it. `runs` and `activations` may come in any order; `left_out`,
    `contested`, `polls` and `undecided` are ground truth's. `audited` are ids of the examples in the audit slice,
    `open` the active version's scores of the tasks without a label. Without `scores` nothing is said of the whole
    project."""

    project: str
    title: str
    schema: LabelingSchema
    examples: Sequence[Example] = field(repr=False)
    active: Judged
    made_at: datetime
    others: Sequence[Judged] = ()
    runs: Sequence[RunRecord] = ()
    activations: Sequence[Activation] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    contested: Sequence[str] = ()
    polls: Sequence[Poll] = ()
    undecided: Sequence[Example] = field(default=(), repr=False)
    audited: frozenset[str] = frozenset()
    open: Sequence[Scored] = field(default=(), repr=False)
    alarms: Sequence[Raised] = ()
    scores: ProjectScores | None = None
    used: Used = NONE


def build(material: Material) -> Report:
    """The same from the same material; JSON as it is."""
    runs = sorted(material.runs, key=lambda run: run.started_at, reverse=True)
    activations = sorted(material.activations, key=lambda each: each.at, reverse=True)
    others = sorted(material.others, key=lambda each: each.version.name, reverse=True)
    comparison = Comparison(material.schema, material.examples, activations, Unseen(runs, material.used))
    versions = [comparison.of(judged, material.active) for judged in (material.active, *others)]
    whole, prefill = _whole(material, comparison, versions)
    found: Report = {
        "project": material.project,
        "title": material.title,
        "made_at": material.made_at.isoformat(),
        "labels": len(material.examples),
        "active": material.active.version.name,
        "words": [],
        "versions": versions,
        "whole": whole,
        "prefill": prefill,
        "curve": _curve(material, runs[::-1], versions[0]),
        "acceptance": _acceptance(material.examples),
        "acceptable": acceptable.document(pool(material, comparison)),
        "spend": total([run.spend for run in runs]),
        "splits": [_split(material.examples, split) for split in get_args(Split)],
        "left_out": dict(material.left_out),
        "contested": list(material.contested),
        "people": people(_crowd(material, comparison), material.active),
        "last_run": _run(runs[0]) if runs else None,
        "activations": [{"version": a.version, "by": a.by, "at": a.at.isoformat()} for a in activations],
        "drift": [_alarm(raised) for raised in material.alarms],
    }
    found["words"] = report_summary.words(found)
    return found


def _whole(
    material: Material, comparison: Comparison, versions: Sequence[VersionJson]
) -> tuple[WholeJson | None, PrefillJson | None]:
    """Each version on the labels that its other figures are worth reading on."""
    if material.scores is None:
        return None, None
    flattered = frozenset(each["version"] for each in versions if each["basis"] == "all")
    judged = (material.active, *material.others)
    return whole_project(material.scores, Counted(comparison, judged, flattered, material.audited))


def _crowd(material: Material, comparison: Comparison) -> Crowd:
    everything = (*material.examples, *material.undecided)
    unseen = frozenset(each.id for each in everything if comparison.unseen.by(material.active.version, each))
    return Crowd(material.polls, everything, unseen)


def pool(material: Material, comparison: Comparison) -> Pool:
    """The active version's scores: on labels drawn by lot that had no part in making it, and on open tasks."""
    version = material.active.version
    examples = [
        each for each in material.examples if each.id in material.audited and comparison.unseen.by(version, each)
    ]
    return Pool(
        version=version.name,
        calibrated_on=version.prompt.calibration.fitted_on,
        checked=acceptable.checked(material.schema, examples, material.active.graded),
        open=material.open,
    )


def with_alarms(report: Report, alarms: Sequence[Raised]) -> Report:
    """A report that was made before these alarms, the latest of which comes first."""
    found: Report = {**report, "drift": [_alarm(raised) for raised in alarms]}
    found["words"] = report_summary.words(found)
    return found


def _alarm(raised: Raised) -> AlarmJson:
    alarm = raised.alarm
    return {
        "kind": alarm.kind,
        "words": alarm.words,
        "strength": round(alarm.strength, 3),
        "version": raised.version,
        "at": raised.at.isoformat(),
    }


def _curve(material: Material, runs: Sequence[RunRecord], active: VersionJson) -> list[PointJson]:
    points = [point for run in runs if (point := _point(run))]
    if active["unseen"]["labels"]:
        now: PointJson = {
            "labels": len(material.examples),
            "at": material.made_at.isoformat(),
            "run": None,
            "kind": "unseen",
            "decision": None,
            "version": active["version"],
            "accuracy": active["unseen"]["accuracy"],
            "active": active["version"],
            "active_accuracy": active["unseen"]["accuracy"],
            "challenger": None,
            "challenger_accuracy": None,
        }
        points.append(now)
    return points


def _point(run: RunRecord) -> PointJson | None:
    """None where nothing was compared."""
    estimate = run.estimate
    if estimate is None or not estimate.n:
        return None
    before, after = _counted(estimate.active_accuracy, estimate.n), _counted(estimate.challenger_accuracy, estimate.n)
    won = run.decision == "published" and run.challenger is not None
    return {
        "labels": run.labels,
        "at": (run.ended_at or run.started_at).isoformat(),
        "run": run.id,
        "kind": estimate.kind,
        "decision": run.decision,
        "version": run.challenger if won and run.challenger else run.active,
        "accuracy": after if won else before,
        "active": run.active,
        "active_accuracy": before,
        "challenger": run.challenger,
        "challenger_accuracy": after,
    }


def _counted(accuracy: float, n: int) -> ShareJson:
    return share(intervals.share(round(accuracy * n), n))


def _acceptance(examples: Sequence[Example]) -> AcceptanceJson:
    names = sorted({example.shown.version for example in examples if example.shown}, reverse=True)
    by_version = {
        name: share(metrics.acceptance(e for e in examples if e.shown and e.shown.version == name)) for name in names
    }
    shown = share(metrics.acceptance(examples))
    said = f"Of the predictions that were shown, people kept {shown['words']}."
    return {
        "shown": shown,
        "by_version": by_version,
        "words": said if shown["n"] else "No label began with a shown prediction yet.",
    }


def _split(examples: Sequence[Example], split: Split) -> SplitJson:
    inside = [example for example in examples if example.split == split]
    blind = sum(example.shown is None for example in inside)
    return {
        "split": split,
        "labels": len(inside),
        "blind": blind,
        "prefilled": len(inside) - blind,
        "divided": sum(not example.unanimous for example in inside),
    }


def _run(run: RunRecord) -> RunJson:
    return {
        "id": run.id,
        "state": run.state,
        "started_at": run.started_at.isoformat(),
        "labels": run.labels,
        "trigger": run.trigger,
        "active": run.active,
        "challenger": run.challenger,
        "decision": run.decision,
        "words": list(run.words),
        "fixes": list(run.fixes),
        "breaks": list(run.breaks),
    }
