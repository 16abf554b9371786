"""Predictions into Label Studio: a chunk of tasks is labelled, imported in bulk, and counted. Blind tasks wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from backend.calls.lanes import Failure
from backend.label_studio import BackendRow, LabelStudioClient, LabelStudioRefusedError, Project, Task
from backend.labeling.errors import LabelStudioError
from backend.predictions.blind import is_blind
from backend.service import Current, Seen, Service
from backend.settings import Settings
from backend.storage.store import ProjectRecord

_log = structlog.get_logger(__name__)
# A chunk waits this long for each of its tasks before it gives the rest back.
_TASK_S = 30.0


class ProjectGoneError(LabelStudioError):
    """Deleted, or never there: another Label Studio's."""

    exit_code = 1
    hint = "LABEL_STUDIO_URL must be the Label Studio that sent the event."


@dataclass(frozen=True, slots=True)
class Target:
    """A project in its Label Studio, with what labels it now. `task_number` counts all of its tasks."""

    record: ProjectRecord
    current: Current
    blind_share: float
    task_number: int = 0

    @property
    def project_id(self) -> int:
        return self.record.numeric_id

    def is_blind(self, task_id: int) -> bool:
        return is_blind(self.record.key, task_id, self.blind_share)

    def wants(self, task: Task) -> bool:
        """Whether it is to have a prediction: a blind one when it is annotated."""
        return task.labelled or not self.is_blind(task.id)


@dataclass(frozen=True, slots=True)
class Pushed:
    """`pushed` predictions are in Label Studio; `failed` tasks will never have one; `waiting` ids may, later.
    `reason` is why the first of them has none."""

    pushed: int
    failed: int
    waiting: tuple[int, ...]
    reason: str = ""


def make_client(settings: Settings) -> LabelStudioClient:
    if not settings.can_push:
        raise LabelStudioError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set")
    return LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())


def target(service: Service, client: LabelStudioClient, project_id: int, *, key: str = "") -> Target:
    """Asks Label Studio for the project as it is now. Raises `ProjectGoneError` when there is none, or when `key` names
    another instance's; it is kept that the project of `key` is gone, until it is seen again."""
    try:
        project = _project(client, project_id, key)
    except ProjectGoneError:
        if key:
            service.store.update_project(key, gone=True)
        raise
    seen = Seen(project.config, expert_instruction=project.expert_instruction, name=project.title)
    current = service.current_after_seeing(project.key, seen)
    record = service.store.project(project.key)
    assert record is not None  # noqa: S101 - just written
    return Target(record, current, service.settings.blind_share, project.task_number)


def _project(client: LabelStudioClient, project_id: int, key: str) -> Project:
    try:
        project = client.project(project_id)
    except LabelStudioRefusedError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise ProjectGoneError(str(error)) from None
        raise
    if key and project.key != key:
        raise ProjectGoneError(
            f"project {project_id} at {client.url} is {project.key}, not {key}: another Label Studio's"
        )
    return project


def push(service: Service, client: LabelStudioClient, to: Target, task_ids: Sequence[int]) -> Pushed:
    """Tasks that have a prediction of the active version are left alone, so that a chunk may be tried again; so are
    blind ones."""
    version = to.current.version.name
    tasks = [task for task in client.tasks(to.project_id, task_ids, lacking=version) if to.wants(task)]
    outcomes = service.label(
        to.record.key,
        to.current,
        [task.data for task in tasks],
        priority="bulk",
        deadline_s=_TASK_S * max(4, len(tasks)),
    )
    failures = [(task, outcome) for task, outcome in zip(tasks, outcomes, strict=True) if isinstance(outcome, Failure)]
    rows = [
        {"task": task.id, **outcome}
        for task, outcome in zip(tasks, outcomes, strict=True)
        if not isinstance(outcome, Failure)
    ]
    dropped = _import(client, to, rows)
    waiting = tuple(task.id for task, failure in failures if failure.retryable)
    _log.info(
        "predictions pushed",
        project=to.record.key,
        version=version,
        pushed=len(rows) - dropped,
        failed=len(failures) - len(waiting) + dropped,
        waiting=len(waiting),
    )
    reason = next((failure.reason for _, failure in failures), "")
    return Pushed(len(rows) - dropped, len(failures) - len(waiting) + dropped, waiting, reason)


def _import(client: LabelStudioClient, to: Target, rows: Sequence[dict[str, object]]) -> int:
    """How many Label Studio dropped: its answer is 201 all the same. Where it validates strictly it refuses all for
    the sake of one, so that a refused half is looked for."""
    if not rows:
        return 0
    try:
        created = client.import_predictions(to.project_id, rows)
    except LabelStudioRefusedError as error:
        if error.status != HTTPStatus.BAD_REQUEST:
            raise
        return _import_halves(client, to, rows, error)
    if created < len(rows):
        _log.warning(
            "Label Studio dropped predictions that its validator rejects",
            project=to.record.key,
            sent=len(rows),
            created=created,
        )
    return len(rows) - created


def _import_halves(
    client: LabelStudioClient, to: Target, rows: Sequence[dict[str, object]], error: LabelStudioRefusedError
) -> int:
    if len(rows) == 1:
        _log.warning(
            "Label Studio refused a prediction", project=to.record.key, task=rows[0]["task"], reason=str(error)
        )
        return 1
    middle = len(rows) // 2
    return _import(client, to, rows[:middle]) + _import(client, to, rows[middle:])


def settle_title(service: Service, client: LabelStudioClient, to: Target) -> None:
    """The backend's title becomes the version, without which Label Studio's score column is empty. Asked of Label
    Studio only when it is not what was set last, and never for a version that is no longer the active one.

    One process at a time: of two that set the titles of two versions, the one whose version went last wins.
    """
    with service.store.held(to.record.key, "title"):
        _settle_title(service, client, to)


def _settle_title(service: Service, client: LabelStudioClient, to: Target) -> None:
    version, key = to.current.version.name, to.record.key
    active, record = service.store.active(key), service.store.project(key)
    if active is None or active.name != version or (record and record.title == version):
        return
    backend = _own_backend(service.settings, client.backends(to.project_id))
    if backend is None:
        _log.warning("the project is not connected: run `whetstone connect`", project=key)
        return
    if backend.title != version:
        client.set_title(backend, version)
    service.store.update_project(key, title=version, backend_id=backend.id)


def _own_backend(settings: Settings, rows: Sequence[BackendRow]) -> BackendRow | None:
    """The one at our address, else the only one."""
    own = [row for row in rows if row.url.rstrip("/") == settings.backend_url]
    if own:
        return own[0]
    return rows[0] if len(rows) == 1 else None


def lacking(client: LabelStudioClient, to: Target) -> list[int]:
    """Ids of the tasks that are to have a prediction of the active version and have none, rising."""
    ids = list(client.task_ids(to.project_id, lacking=to.current.version.name))
    hidden = {task_id for task_id in ids if to.is_blind(task_id)}
    if hidden:
        hidden -= {task.id for task in client.tasks(to.project_id, hidden) if task.labelled}
    return [task_id for task_id in ids if task_id not in hidden]
