"""Another prompt version made the active one by hand."""

from dataclasses import dataclass

from backend.labeling.prompt import PromptVersion
from backend.projects.catalog import version
from backend.projects.naming import ConflictError
from backend.prompts.succession import put, under_model
from backend.service import Service
from backend.storage.store import ProjectRecord


@dataclass(frozen=True, slots=True)
class Swap:
    """`before` was active until now; None where none was. Both are the same where nothing was to be done."""

    project: int
    before: str | None
    active: str


def activate(service: Service, record: ProjectRecord, name: str, *, by: str) -> Swap:
    """`by` is recorded with it. Of a version made for another model than labels now the prompt is taken, as a version
    of its own. Open tasks are queued to be predicted anew. Raises `NotKnownError` for no such version,
    `ConflictError` for one of other labels or when another is made active at the same moment."""
    wanted = version(service, record, name)
    _check(service, record, wanted)
    active = service.store.active(record.key)
    before = active.name if active else None
    if active:
        wanted = under_model(service.store, record.key, wanted, active.model)
        name = wanted.name
    if before == name:
        return Swap(record.numeric_id, before, name)
    if not put(service.store, record.key, wanted, before, by=by):
        raise ConflictError(f"{name} is not active: another version was made active meanwhile", hint="Look, try again.")
    service.label_open_tasks(record.key)
    return Swap(record.numeric_id, before, name)


def roll_back(service: Service, record: ProjectRecord, *, by: str) -> Swap:
    """To the version that was active before, of the same labeling configuration. Raises `ConflictError` where there is
    none."""
    previous = service.store.previous(record.key)
    if previous is None:
        raise ConflictError(
            f"project {record.numeric_id} has no earlier version to return to",
            hint="A version of another labeling configuration does not count: its labels are others.",
        )
    return activate(service, record, previous, by=by)


def _check(service: Service, record: ProjectRecord, wanted: PromptVersion) -> None:
    """The next request would replace a version of another configuration at once."""
    if wanted.config_hash != service.schema(record.config).config_hash:
        raise ConflictError(
            f"{wanted.name} was made for another labeling configuration of project {record.numeric_id}",
            hint="Only a version of the labels that the project has now can be active.",
        )
