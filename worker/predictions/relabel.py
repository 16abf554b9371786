"""After a swap: which tasks get their new prediction first, and which old predictions go."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from backend.label_studio import LabelStudioClient, TaskRow
from backend.projects import pushing
from backend.projects.pushing import Target
from backend.service import Service

_log = structlog.get_logger(__name__)

_KEPT = 2  # the active version and the one before it, so that an annotator's open task does not lose its prediction
_PAGE = 500
_BATCH = 50  # Label Studio on SQLite writes one at a time: annotators get their turn in between


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task without a prediction of the active version. `score` is of the prediction it has, None without one."""

    id: int
    labelled: bool
    score: float | None


def in_order(service: Service, client: LabelStudioClient, to: Target) -> list[int]:
    """Ids of the tasks that are to have a prediction of the active version, the open ones first, by expected change."""
    before = _version_before(service, to)
    if before is None:
        return pushing.lacking(client, to)
    return ordered(_waiting(service, client, to, before))


def catch_up(service: Service, client: LabelStudioClient, to: Target) -> int:
    """Queues tasks that lack a prediction of the active version though none of the project's wait for one: the event
    that told of them was lost. How many; each once a day, so that one that fails each time is not asked for ever."""
    if service.dispatch.is_labelling(to.record.key):
        return 0
    missed = service.dispatch.unasked(to.record.key, to.current.version.name, pushing.lacking(client, to))
    if missed:
        _log.info("tasks of which no event told are queued", project=to.record.key, tasks=len(missed))
        service.queue_tasks(to.record.key, missed)
    return len(missed)


def ordered(tasks: Iterable[Waiting]) -> list[int]:
    """Open tasks before annotated ones; in each, by expected change, the largest first; equals by rising id.

    The expected change is 1 - score, the probability that the label of the version before is wrong: that of a task
    without a prediction is 1.
    """
    return [task.id for task in sorted(tasks, key=lambda task: (task.labelled, -_expected_change(task), task.id))]


def _expected_change(task: Waiting) -> float:
    return 1.0 if task.score is None else 1.0 - task.score


def _version_before(service: Service, to: Target) -> str | None:
    """The one that was active last, of any labeling configuration."""
    names = _by_activation(service, to)
    return names[1] if len(names) > 1 else None


def _by_activation(service: Service, to: Target) -> list[str]:
    """The active version, then those before it, each once, the latest activated first."""
    activated = (activation.version for activation in service.store.activations(to.record.key))
    return list(dict.fromkeys([to.current.version.name, *activated]))


def _waiting(service: Service, client: LabelStudioClient, to: Target, before: str) -> Iterator[Waiting]:
    """With no more than a page of tasks in memory."""
    tasks = client.tasks(to.project_id, lacking=to.current.version.name, page_size=_PAGE)
    while page := list(islice(tasks, _PAGE)):
        wanted = [task for task in page if to.wants(task)]
        hashes = [to.current.schema.data_hash(task.data) for task in wanted]
        found = service.store.predictions(to.record.key, before, hashes)
        for task, text in zip(wanted, found, strict=True):
            yield Waiting(task.id, task.labelled, json.loads(text)["score"] if text else None)


def prune(service: Service, client: LabelStudioClient, to: Target, *, most: int = 1000) -> bool:
    """Deletes predictions of our older versions from open tasks, so that two versions of ours stay on each; True when
    after about `most` there may be more. What others predicted stays.

    One by one, since Label Studio 1.23 has no bulk way that is safe. Deleting a whole version takes it from annotated
    tasks too, holds the database for seconds, and may empty the project's `model_version`, upon which no prediction is
    shown any more; the table's action `delete_tasks_predictions` takes every version of the chosen tasks, other models'
    among them, and importing again what should stay would leave annotators without it meanwhile and under other ids.
    Raises `LabelStudioError`; what was deleted until then stays so.
    """
    versions, deleted = _by_activation(service, to), 0
    crowded = _crowded(client, to, versions)
    for start in range(0, len(crowded), _BATCH):
        rows = client.task_rows(to.project_id, crowded[start : start + _BATCH])
        for prediction_id in [each for row in rows for each in superfluous(row, versions)]:
            client.delete_prediction(prediction_id)
            deleted += 1
        if deleted >= most:
            break
    if deleted:
        _log.info("predictions of older versions deleted", project=to.record.key, deleted=deleted)
    return deleted >= most


def _crowded(client: LabelStudioClient, to: Target, versions: Sequence[str]) -> list[int]:
    """Ids of open tasks with predictions of more versions of ours than may stay."""
    if len(versions) <= _KEPT:
        return []
    tasks = client.tasks(to.project_id, page_size=_PAGE)
    return [task.id for task in tasks if not task.labelled and len(task.versions & set(versions)) > _KEPT]


def superfluous(row: TaskRow, versions: Sequence[str]) -> list[int]:
    """Ids of the task's predictions of all but the first two of `versions` that it has. None where somebody has
    annotated it: what was shown there is evidence."""
    if row.annotations:
        return []
    there = {str(each["model_version"]) for each in row.predictions}
    gone = [name for name in versions if name in there][_KEPT:]
    return [int(each["id"]) for each in row.predictions if each["model_version"] in gone]
