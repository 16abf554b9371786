"""The annotations of each project as last pulled, in Redis: what a run reads, and how far pulling has come."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter
from redis import Redis

from backend.storage.redis_client import as_text, project_key, translated
from worker.labels.annotations import AnnotatedTask
from worker.labels.used import Used

_TASKS_A_CALL = 200

# KEYS[1] tasks by id, KEYS[2] "ticket stamp" by id
# ARGV[1] the ticket, then id, stamp, task, id, stamp, task...
_MERGE = """
for i = 2, #ARGV, 3 do
  local ticket = string.match(redis.call('HGET', KEYS[2], ARGV[i]) or '', '^%d+')
  if not ticket or tonumber(ticket) <= tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[1] .. ' ' .. ARGV[i + 1])
  end
end
return 0
"""

# KEYS as of _MERGE
# ARGV[1] the ticket, then ids
_DROP = """
for i = 2, #ARGV do
  local ticket = string.match(redis.call('HGET', KEYS[2], ARGV[i]) or '', '^%d+')
  if ticket and tonumber(ticket) <= tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Cursor:
    """All changes before `updated_at`, by Label Studio's clock, have been pulled under `scope`."""

    updated_at: datetime
    scope: str


@dataclass(frozen=True, slots=True)
class Learned:
    """So many labels, the last of them decided at `until`, by Label Studio's clock; None where that is not known."""

    labels: int = 0
    until: datetime | None = None


_TASK = TypeAdapter(AnnotatedTask)
_CURSOR = TypeAdapter(Cursor)


class AnnotationStore:
    """Holds the tasks with at least one annotation. Raises `StoreError` only.

    Two pulls may run at once. Each takes a `ticket` before it asks Label Studio, and never overwrites or drops what one
    with a later ticket wrote.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._merge = client.register_script(_MERGE)
        self._drop = client.register_script(_DROP)

    @translated()
    def tasks(self, project: str) -> list[AnnotatedTask]:
        """By rising id."""
        found = dict(self._client.hscan_iter(_tasks_key(project), count=_TASKS_A_CALL))  # a scan may repeat itself
        return sorted((_TASK.validate_json(text) for text in found.values()), key=lambda task: task.id)

    @translated()
    def known(self, project: str, ids: Collection[int]) -> dict[int, AnnotatedTask]:
        """Those of the tasks that are stored."""
        if not ids:
            return {}
        texts = self._client.hmget(_tasks_key(project), [str(task_id) for task_id in ids])
        found = [_TASK.validate_json(text) for text in texts if text is not None]
        return {task.id: task for task in found}

    @translated()
    def stamps(self, project: str) -> dict[int, str]:
        """Of all tasks, by id."""
        found = self._client.hgetall(_stamps_key(project))
        return {int(task_id): as_text(stamp).partition(" ")[2] for task_id, stamp in found.items()}

    @translated()
    def ticket(self, project: str) -> int:
        """From 1, rising."""
        return int(self._client.incr(project_key(project, "annotations:ticket")))

    @translated()
    def merge(self, project: str, tasks: Iterable[AnnotatedTask], *, ticket: int | None = None) -> None:
        """In place of what is stored of these tasks. Those with no annotation are dropped. Without a ticket it is as
        with the next one."""
        number = self.ticket(project) if ticket is None else ticket
        batch = list(tasks)
        self._write(project, batch, number)
        self.drop_tasks(project, [task.id for task in batch if not task.annotations], ticket=number)

    @translated()
    def drop_tasks(self, project: str, ids: Sequence[int], *, ticket: int | None = None) -> None:
        number = self.ticket(project) if ticket is None else ticket
        for start in range(0, len(ids), _TASKS_A_CALL):
            self._drop(keys=_keys(project), args=[number, *ids[start : start + _TASKS_A_CALL]])

    def _write(self, project: str, tasks: Iterable[AnnotatedTask], ticket: int) -> None:
        rows = [(task.id, task.stamp, _TASK.dump_json(task)) for task in tasks if task.annotations]
        for start in range(0, len(rows), _TASKS_A_CALL):
            batch = (part for row in rows[start : start + _TASKS_A_CALL] for part in row)
            self._merge(keys=_keys(project), args=[ticket, *batch])

    @translated()
    def cursor(self, project: str) -> Cursor | None:
        """None before the first pull."""
        text = self._client.get(project_key(project, "annotations:cursor"))
        return None if text is None else _CURSOR.validate_json(text)

    @translated()
    def move_cursor(self, project: str, cursor: Cursor) -> None:
        self._client.set(project_key(project, "annotations:cursor"), _CURSOR.dump_json(cursor))

    @translated()
    def learned(self, project: str) -> Learned:
        """Nothing before the first run."""
        labels, _, until = as_text(self._client.get(project_key(project, "annotations:run")) or b"0").partition(" ")
        return Learned(int(labels), datetime.fromisoformat(until) if until else None)

    @translated()
    def note_run(self, project: str, learned: Learned) -> None:
        """What an optimization run has learned from."""
        until = learned.until.isoformat() if learned.until else ""
        self._client.set(project_key(project, "annotations:run"), f"{learned.labels} {until}".strip())

    @translated()
    def note_used(self, project: str, config: str, ids: Iterable[str], at: datetime) -> None:
        """That a run which began `at` reads these examples, under a labeling configuration with that hash. Of each one
        entry is kept, that of the first run."""
        with self._client.pipeline(transaction=False) as pipe:
            for each in ids:
                pipe.hsetnx(_used_key(project, config), each, f"{at.timestamp():.6f}")
            pipe.execute()

    @translated()
    def used(self, project: str, config: str) -> Used:
        found = self._client.hgetall(_used_key(project, config))
        return Used.of({as_text(each): datetime.fromtimestamp(float(at), UTC) for each, at in found.items()})

    @translated()
    def watched(self, project: str) -> datetime | None:
        """When the last label was decided by which a published version was tested; None before the first test."""
        text = self._client.get(project_key(project, "annotations:watched"))
        return None if text is None else datetime.fromisoformat(as_text(text))

    @translated()
    def note_watch(self, project: str, until: datetime) -> None:
        self._client.set(project_key(project, "annotations:watched"), until.isoformat())


def _keys(project: str) -> list[str]:
    return [_tasks_key(project), _stamps_key(project)]


def _tasks_key(project: str) -> str:
    return project_key(project, "annotations")


def _stamps_key(project: str) -> str:
    return project_key(project, "annotations:stamps")


def _used_key(project: str, config: str) -> str:
    return project_key(project, f"annotations:used:{config}")
