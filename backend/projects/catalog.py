"""What is known of projects, their prompt versions and runs, as the API and the commands show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.labeling.errors import SchemaError
from backend.labeling.prompt import Prompt, PromptVersion
from backend.projects import naming as projects
from backend.projects.naming import NotKnownError
from backend.prompts import prompt_text
from backend.service import Service
from backend.storage.run_store import MOST_RUNS
from backend.storage.runs import Decision, Estimate, RunRecord
from backend.storage.store import ProjectRecord
from backend.storage.versions import Activation, previous


@dataclass(frozen=True, slots=True)
class ProjectEntry:
    """`id` is Label Studio's, `key` tells it from the same id of another instance, `name` is what people call it, ""
    where Label Studio has not told. `run` is the latest. `gone`: Label Studio has it no more."""

    id: int
    key: str
    name: str
    label_studio_url: str
    active: str | None
    run: RunRecord | None
    gone: bool


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """`run` made it, with the `decision` and `estimate` of that run; the initial prompt was made by none.
    `summary` says in a line what the prompt is made of, `fits` whether it is of the labeling configuration that the
    project has now. `activations`: latest first."""

    name: str
    active: bool
    fits: bool
    origin: str
    parent: str | None
    model: str
    config_hash: str
    created_at: datetime
    summary: str
    activations: tuple[Activation, ...]
    run: str | None
    decision: Decision | None
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class VersionPage:
    """`text` is the prompt as people read it; `run` is the whole record, with its verdict in words."""

    entry: VersionEntry
    prompt: Prompt
    text: str
    run: RunRecord | None


@dataclass(frozen=True, slots=True)
class VersionList:
    """Latest first. `previous` is what a rollback returns to."""

    active: str | None
    previous: str | None
    versions: tuple[VersionEntry, ...]


def entries(service: Service) -> list[ProjectEntry]:
    return [entry(service, record) for record in service.store.projects()]


def entry(service: Service, record: ProjectRecord) -> ProjectEntry:
    active = service.store.active(record.key)
    return ProjectEntry(
        id=record.numeric_id,
        key=record.key,
        name=record.name,
        label_studio_url=record.label_studio_url,
        active=active.name if active else None,
        run=service.runs.latest(record.key),
        gone=record.gone,
    )


def project(service: Service, given: str) -> ProjectRecord:
    """By key or numeric id. Raises `NotKnownError` or `ConflictError`."""
    return projects.find(service.store.projects(), given)


def versions(service: Service, record: ProjectRecord) -> VersionList:
    """Those that were never active too."""
    return history(service, record).listed(service.store.all_versions(record.key))


def version(service: Service, record: ProjectRecord, name: str) -> PromptVersion:
    """Raises `NotKnownError`."""
    found = service.store.version(record.key, name)
    if found is None:
        hint = f"`whetstone prompts list {record.numeric_id}` names them all."
        raise NotKnownError(f"project {record.numeric_id} has no prompt version {name!r}", hint=hint)
    return found


def page(service: Service, record: ProjectRecord, name: str) -> VersionPage:
    """Raises `NotKnownError`."""
    found, known = version(service, record, name), history(service, record)
    return VersionPage(known.entry(found), found.prompt, prompt_text.render(found), known.made(found))


def run(service: Service, record: ProjectRecord, run_id: str | None = None) -> RunRecord:
    """The latest unless named. Raises `NotKnownError`."""
    found = service.runs.run(record.key, run_id) if run_id else service.runs.latest(record.key)
    if found is None:
        what = f"no run {run_id!r}" if run_id else "no run yet"
        hint = "`whetstone jobs list` names the runs; `whetstone optimize PROJECT` starts one."
        raise NotKnownError(f"project {record.numeric_id} has {what}", hint=hint)
    return found


@dataclass(frozen=True, slots=True)
class History:
    """What entries of one project are made from. `config_hash` is of its labeling configuration now; activations and
    runs: latest first."""

    active: PromptVersion | None
    config_hash: str | None
    activations: Sequence[Activation]
    runs: Sequence[RunRecord]

    def listed(self, stored: Sequence[PromptVersion]) -> VersionList:
        before = previous(self.active, self.activations, stored) if self.active else None
        return VersionList(
            self.active.name if self.active else None, before, tuple(self.entry(version) for version in stored)
        )

    def made(self, version: PromptVersion) -> RunRecord | None:
        """The run that did."""
        return next((run for run in self.runs if run.challenger == version.name), None)

    def entry(self, version: PromptVersion) -> VersionEntry:
        made_by = self.made(version)
        return VersionEntry(
            name=version.name,
            active=self.active is not None and version.name == self.active.name,
            fits=version.config_hash == self.config_hash,
            origin=version.origin,
            parent=version.parent,
            model=version.model,
            config_hash=version.config_hash,
            created_at=version.created_at,
            summary=prompt_text.summary(version.prompt),
            activations=tuple(one for one in self.activations if one.version == version.name),
            run=made_by.id if made_by else None,
            decision=made_by.decision if made_by else None,
            estimate=made_by.estimate if made_by else None,
        )


def history(service: Service, record: ProjectRecord) -> History:
    """Four round trips."""
    store, key = service.store, record.key
    runs = service.runs.runs(key, MOST_RUNS)
    return History(store.active(key), _config_hash(service, record), store.activations(key), runs)


def _config_hash(service: Service, record: ProjectRecord) -> str | None:
    """None for a configuration that cannot be labelled with."""
    try:
        return service.schema(record.config).config_hash
    except SchemaError:
        return None
