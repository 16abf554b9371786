"""A queue into Label Studio: which tasks are open, in which order people should label them, and numbers on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from backend.label_studio import LabelStudioClient, Task
from backend.labeling.embedding import Embedder
from backend.labeling.errors import EngineError, WhetstoneError
from backend.predictions.audit import is_audit
from backend.projects.connection import HIDDEN_COLUMNS
from backend.projects.pushing import Target
from backend.service import Service
from worker.acceptance import served
from worker.acceptance.served import Served
from worker.queue import challenge
from worker.queue.order import Embed, Open, Place, Shares, in_lot_order, order, tf_idf
from worker.queue.store import QueueStore

# A field of a task's data, 1 to be labelled first. Only what the labeling configuration names ever reaches a prompt.
FIELD = "whetstone_queue"
TAB = "Label next"
UNCERTAINTY = "Uncertainty sampling"

_log = structlog.get_logger(__name__)
_MOST_CHARACTERS = 1000  # of a task's text, to tell nearly equal ones by
_ASKED_A_PLACE = 5  # tasks that a challenger is asked about for each place among the disagreements


class FieldInUseError(WhetstoneError):
    """The project's own data would be overwritten."""

    hint = f"Rename the field {FIELD} in the tasks and the labeling configuration."


@dataclass(frozen=True, slots=True)
class Queue:
    """`open` tasks were there to choose from, `scored` of them with a score of `version`. `words` say what was done
    about disagreements."""

    project: str
    version: str
    open: int
    scored: int
    places: tuple[Place, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    task: Open
    values: challenge.Values


def plan(service: Service, client: LabelStudioClient, to: Target, count: int, *, calls: int) -> Queue:
    """What to label next; nothing is written. A waiting challenger is asked with at most so many `calls`."""
    if FIELD in to.current.schema.keys:
        raise FieldInUseError(f"project {to.project_id} labels by its own data field {FIELD!r}")
    untouched = served.untouched(service, client, to)
    found = {task.id: _found(service, to, task, prediction) for task, prediction in untouched}
    labels = max(to.task_number - len(found), 0)
    shares, key = Shares.after(labels), to.record.key
    asked = _asked_about(client, to, found, round(shares.disagreement * count) * _ASKED_A_PLACE)
    disagreeing = challenge.disagreements(service, to, asked, calls=calls)
    tasks = [replace(each.task, disagrees=disagreeing.by_task.get(number)) for number, each in found.items()]
    scored = sum(task.score is not None for task in tasks)
    places = order(tasks, count, shares=shares, project=key, embed=_embed(service.embedder))
    return Queue(key, to.current.version.name, len(tasks), scored, tuple(places), (disagreeing.words,))


def _embed(embedder: Embedder) -> Embed:
    """TF-IDF where no embeddings are to be had."""

    def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        try:
            return np.array([list(vector) for vector in embedder.embed(texts)])
        except EngineError as error:
            _log.warning("near repetitions are told by their letters: no embeddings", reason=str(error))
            return tf_idf(texts)

    return embed


def _found(service: Service, to: Target, task: Task, prediction: Served | None) -> _Found:
    """Of a blind task no score counts, even where a task with the same data has one."""
    texts = (str(raw) for field in to.current.schema.fields for raw in field.found(task.data).values())
    text = " ".join(texts)[:_MOST_CHARACTERS]
    audit = is_audit(to.record.key, task.id, service.settings.audit_share)
    if prediction is None or to.is_blind(task.id):
        return _Found(Open(task.id, text, None, audit), {})
    return _Found(Open(task.id, text, prediction.scored.score, audit), prediction.values)


def _asked_about(client: LabelStudioClient, to: Target, found: dict[int, _Found], count: int) -> list[challenge.Task]:
    """Tasks with a score, drawn by lot."""
    by_lot = [task.id for task in in_lot_order((each.task for each in found.values()), to.record.key)]
    drawn = [number for number in by_lot if found[number].task.score is not None][:count]
    data = {task.id: task.data for task in client.tasks(to.project_id, drawn)}
    return [challenge.Task(number, data[number], found[number].values) for number in drawn if number in data]


def deliver(service: Service, client: LabelStudioClient, to: Target, queue: Queue) -> None:
    """Numbers the tasks, takes older numbers away, makes the tab, and keeps why each task was taken."""
    QueueStore(service.redis).keep(to.record.key, queue.places)
    numbers = {place.task: number for number, place in enumerate(queue.places, 1)}
    clear(client, to, but=numbers)
    for task in client.tasks(to.project_id, numbers):
        if task.data.get(FIELD) != numbers[task.id]:
            client.set_data(task.id, {**task.data, FIELD: numbers[task.id]})
    if TAB not in client.tabs(to.project_id):
        client.create_tab_by_number(to.project_id, TAB, FIELD, hidden=HIDDEN_COLUMNS)


def clear(client: LabelStudioClient, to: Target, *, but: Iterable[int] = ()) -> int:
    """How many tasks had a number that is gone now. Those of `but` keep theirs."""
    kept, old = set(but), list(client.numbered(to.project_id, FIELD))
    gone: Sequence[Task] = [task for task in old if task.id not in kept]
    for task in gone:
        client.set_data(task.id, {key: value for key, value in task.data.items() if key != FIELD})
    return len(gone)
