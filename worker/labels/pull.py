"""Annotations out of Label Studio into the store: what changed since last time, or all that differs."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from backend.label_studio import LabelStudioClient, TaskRow, TaskStamp
from backend.labeling.schema import LabelingSchema, TextArea
from worker.labels.annotation_store import AnnotationStore, Cursor
from worker.labels.annotations import AnnotatedTask, Wanted, fingerprint, parse, scope

_log = structlog.get_logger(__name__)

_PAGE = 100
# A change becomes visible when its transaction ends, which for a large import is minutes after its own time.
_OVERLAP = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PullReport:
    """`listed` tasks were looked at, `read` ones were new or different, `dropped` have no annotation any more or are
    gone. `whole` says whether all of the project was compared, which the first pull does without being told."""

    listed: int
    read: int
    dropped: int
    whole: bool


def pull(
    client: LabelStudioClient,
    store: AnnotationStore,
    project_id: int,
    key: str,
    schema: LabelingSchema,
    *,
    whole: bool,
    rationale: TextArea | None = None,
    clock: Callable[[], float] = time.time,
) -> PullReport:
    """Raises `LabelStudioError` and `StoreError`; what was read until then is kept, and the next pull goes on there.

    Without `whole` it finds new, edited and deleted annotations and imported ones, but no deleted task. Only stamps are
    held in memory, and one page of tasks. The caller has made sure that the project is the one of `key`. Of what stands
    in TextAreas only `rationale` is kept.
    """
    project, cursor = _Project(project_id, key, schema, rationale), store.cursor(key)
    if cursor is None or cursor.scope != project.scope:
        whole, cursor = True, None
    stored = store.stamps(key)
    listed = {stamp.id: stamp for stamp in _listed(client, project_id, cursor, whole=whole)}
    ids = [stamp.id for stamp in listed.values() if _differs(stamp, stored, project)]
    ids += sorted(stored.keys() - listed.keys()) if whole else []
    read = _read(client, store, project, ids)
    newest = max((stamp.updated_at for stamp in listed.values()), default=None)
    _move_cursor(store, project, newest, datetime.fromtimestamp(clock(), UTC))
    dropped = sum(1 for task_id in ids if task_id in stored and task_id not in read)
    report = PullReport(len(listed), len(read), dropped, whole)
    _log.info("annotations pulled", project=key, listed=report.listed, read=report.read, dropped=dropped, whole=whole)
    return report


@dataclass(frozen=True, slots=True)
class _Project:
    id: int
    key: str
    schema: LabelingSchema
    rationale: TextArea | None

    @property
    def scope(self) -> str:
        return scope(self.schema, self.rationale)


def _listed(client: LabelStudioClient, project_id: int, cursor: Cursor | None, *, whole: bool) -> Iterator[TaskStamp]:
    if whole or cursor is None:
        return client.annotated(project_id)
    return client.changed(project_id, cursor.updated_at - _OVERLAP)


def _differs(stamp: TaskStamp, stored: dict[int, str], project: _Project) -> bool:
    if stamp.annotations == 0 and stamp.id not in stored:
        return False
    return stored.get(stamp.id) != _stamp(stamp, project)


def _read(client: LabelStudioClient, store: AnnotationStore, project: _Project, ids: Sequence[int]) -> set[int]:
    """Ids of the tasks that have annotations; the others are dropped."""
    read: set[int] = set()
    for start in range(0, len(ids), _PAGE):
        asked = ids[start : start + _PAGE]
        ticket = store.ticket(project.key)
        rows = client.task_rows(project.id, asked, page_size=_PAGE)
        known = store.known(project.key, asked)
        tasks = [_annotated(row, project).remembering(known.get(row.id)) for row in rows]
        store.merge(project.key, tasks, ticket=ticket)
        store.drop_tasks(project.key, sorted(set(asked) - {task.id for task in tasks}), ticket=ticket)
        read |= {task.id for task in tasks if task.annotations}
    return read


def _annotated(row: TaskRow, project: _Project) -> AnnotatedTask:
    schema, wanted = project.schema, Wanted.of(project.schema, project.rationale)
    seen = fingerprint(schema, row.data)
    annotations = [parse({"task": row.id, **each}, row.predictions, wanted) for each in row.annotations]
    data = {key: row.data[key] for key in schema.keys if key in row.data}
    return AnnotatedTask(
        row.id, data, _stamp(row.stamp, project), tuple(replace(annotation, seen=seen) for annotation in annotations)
    )


def _stamp(stamp: TaskStamp, project: _Project) -> str:
    return f"{stamp.updated_at.isoformat()} {stamp.annotations} {project.scope}"


def _move_cursor(store: AnnotationStore, project: _Project, newest: datetime | None, now: datetime) -> None:
    """Never past our own clock: deleting annotations in bulk stamps tasks with Label Studio's local time as if it were
    UTC, in the east hours ahead, and everything before that would go unseen."""
    if newest is not None:
        store.move_cursor(project.key, Cursor(min(newest, now), project.scope))
