"""What the pages show, read from the stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from backend.labeling.errors import SchemaError
from backend.pages import charts
from backend.pages.charts import Mark
from backend.projects import catalog
from backend.projects import naming as projects
from backend.projects.catalog import ProjectEntry, VersionEntry, VersionPage
from backend.projects.run_text import DECISIONS
from backend.prompts import prompt_text
from backend.queue.dispatch import OPTIMIZE
from backend.service import Service
from backend.storage.alarms import AlarmStore, Raised
from backend.storage.report_layout import BASIS, Section
from backend.storage.runs import RunRecord
from backend.storage.store import BulkProgress, ProjectRecord

_MOST_RUNS = 10


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """`address` names it in a page's path: its number, or its key where another instance has the same number. `called`
    is its name, or its number where Label Studio has not told. `labels` are those that its configuration offers, `site`
    where its Label Studio is."""

    entry: ProjectEntry
    address: str
    called: str
    labels: tuple[str, ...]
    site: str


@dataclass(frozen=True, slots=True)
class ReportPart:
    """`right`, `kept` and `labels` are its main figures, the first two as the report words them; `of` says which
    version on which labels. The charts are SVG, "" with nothing to draw."""

    made_at: str
    labels: int
    of: str
    right: Mapping[str, Any]
    kept: Mapping[str, Any]
    curve: str
    reliability: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Annotated:
    """Labels there were when annotations were last read, how many of them are `new` since the last run, and how many
    new ones start the next."""

    labels: int
    new: int
    due_at: int


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """`run` is the latest if it is not over, `verdict` the last that is, `runs` the latest of all. `running`: somebody
    is at work; `busy`: or there is work that waits for one of the `workers`. `versions`: the active one first, then
    the latest. `bulk` is of the active one, None where none is known of; `alarms`: those since the report."""

    id: int
    called: str
    link: str
    site: str
    labels: tuple[str, ...]
    active: VersionEntry | None
    previous: str | None
    versions: tuple[VersionEntry, ...]
    run: RunRecord | None
    verdict: RunRecord | None
    runs: tuple[RunRecord, ...]
    running: bool
    busy: bool
    workers: int
    can_learn: bool
    annotated: Annotated | None
    bulk: BulkProgress | None
    alarms: tuple[Raised, ...]
    report: ReportPart | None


@dataclass(frozen=True, slots=True)
class PromptPage:
    """`diff` are the lines in which it differs `against` another: the active version, or for the active one what it was
    made from; None where there is no other."""

    called: str
    version: VersionPage
    against: str | None
    diff: tuple[str, ...]


def overview(service: Service) -> list[ProjectLine]:
    """Sorted by number, those that are gone last."""
    records = service.store.projects()
    return [
        ProjectLine(
            catalog.entry(service, record),
            projects.address(records, record),
            _called(record.numeric_id, record.name),
            _labels(service, record.config),
            _site(record.label_studio_url),
        )
        for record in sorted(records, key=lambda record: (record.gone, record.numeric_id, record.key))
    ]


def project(service: Service, record: ProjectRecord) -> ProjectPage:
    known = catalog.history(service, record)
    found, runs = known.listed(service.store.all_versions(record.key)), tuple(known.runs[:_MOST_RUNS])
    running, report = service.dispatch.is_running(record.key), service.runs.report(record.key)
    return ProjectPage(
        id=record.numeric_id,
        called=_called(record.numeric_id, record.name),
        link=_link(record),
        site=_site(record.label_studio_url),
        labels=_labels(service, record.config),
        active=next((entry for entry in found.versions if entry.active), None),
        previous=found.previous,
        versions=tuple(sorted(found.versions, key=lambda entry: not entry.active)),
        run=next((run for run in runs[:1] if not run.is_over), None),
        verdict=next((run for run in runs if run.is_over), None),
        runs=runs,
        running=running,
        busy=running or service.dispatch.is_pending(record.key, "optimize"),
        workers=service.dispatch.workers(OPTIMIZE),
        can_learn=service.settings.can_push,
        annotated=_annotated(service, record),
        bulk=service.store.bulk(record.key, found.active) if found.active else None,
        alarms=_alarms(service, record, report),
        report=_report(service, record, report) if report else None,
    )


def prompt(service: Service, record: ProjectRecord, name: str) -> PromptPage:
    """Raises `NotKnownError`."""
    page, called = catalog.page(service, record, name), _called(record.numeric_id, record.name)
    active = service.store.active(record.key)
    other = page.entry.parent if active and active.name == name else active.name if active else None
    before = service.store.version(record.key, other) if other else None
    if before is None:
        return PromptPage(called, page, None, ())
    this = catalog.version(service, record, name)
    return PromptPage(called, page, before.name, tuple(prompt_text.diff(before, this)[2:]))


def _called(number: int, name: str) -> str:
    return name or f"Project {number}"


def _labels(service: Service, config: str) -> tuple[str, ...]:
    """None of a configuration that cannot be labelled with, or whose labels come with each task."""
    try:
        controls = service.schema(config).controls
    except SchemaError:
        return ()
    return tuple(label.value for control in controls for label in control.labels)


def _site(url: str) -> str:
    """Host and port, without what may be secret in an address."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _link(record: ProjectRecord) -> str:
    """The project in Label Studio; "" where its address is none that a browser should open."""
    parts = urlsplit(record.label_studio_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return ""
    return (
        f"{parts.scheme}://{_site(record.label_studio_url)}{parts.path.rstrip('/')}/projects/{record.numeric_id}/data"
    )


def _annotated(service: Service, record: ProjectRecord) -> Annotated | None:
    if record.labels is None or record.new_labels is None:
        return None
    return Annotated(record.labels, record.new_labels, service.settings.learn_after_labels)


def _alarms(service: Service, record: ProjectRecord, report: Mapping[str, Any] | None) -> tuple[Raised, ...]:
    raised = AlarmStore(service.redis).alarms(record.key)
    since = datetime.fromisoformat(report["made_at"]) if report else None
    return tuple(each for each in raised if since is None or each.at > since)


def _report(service: Service, record: ProjectRecord, document: Mapping[str, Any]) -> ReportPart:
    active = document["versions"][0]
    figures = active[active["basis"]]
    return ReportPart(
        made_at=document["made_at"],
        labels=document["labels"],
        of=f"{active['version']}, {BASIS[active['basis']]}",
        right=figures["accuracy"],
        kept=document["acceptance"]["shown"],
        curve=charts.learning_curve([_served(point) for point in document["curve"]]),
        reliability=charts.reliability([_kept_word(each) for each in figures["calibration"]["bins"]]),
        sections=service.runs.report_layout(record.key),
    )


def _served(point: Mapping[str, Any]) -> Mark:
    """Hollow where the prompt stayed."""
    share = point["accuracy"]
    decision = DECISIONS.get(point["decision"], "serves now")
    said = f"{point['labels']} labels, {point['version']}: right on {share['words']}; {decision}"
    changed = point["decision"] == "published"
    return Mark(point["labels"], share["value"] or 0.0, share["low"], share["high"], said, hollow=not changed)


def _kept_word(found: Mapping[str, Any]) -> Mark:
    """A report from before intervals were kept has none to show."""
    score, right = found["score"], found["accuracy"]
    said = f"{found['n']} labels with a score of {score:.2f} on average: {right:.0%} right"
    return Mark(score, right, found.get("low", right), found.get("high", right), said)
