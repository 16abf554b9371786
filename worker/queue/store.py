"""Why each task was put into a queue, with which probability, in Redis: what weighted figures and the gate rest on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from redis import Redis

from backend.storage.redis_client import as_text, project_key, translated
from worker.queue.order import CHOSEN, Place, Reason

MOST = 50_000


@dataclass(frozen=True, slots=True)
class Drawn:
    reason: Reason
    probability: float

    @property
    def chosen(self) -> bool:
        """For its score or a disagreement, not by lot."""
        return self.reason in CHOSEN


_DRAWN = TypeAdapter(Drawn)


class QueueStore:
    """Of a project the `most` tasks that were queued last. Raises `StoreError` only. `Store.forget_project` forgets
    these too."""

    def __init__(self, client: Redis, *, most: int = MOST) -> None:
        self._client = client
        self._most = most

    @translated()
    def keep(self, project: str, places: Sequence[Place]) -> None:
        """A task that was queued before is kept under its latest reason. Two round trips, or four."""
        if not places:
            return
        rows = {str(place.task): _DRAWN.dump_json(Drawn(place.reason, place.probability)) for place in places}
        turn = self._client.incr(_turn(project))
        with self._client.pipeline() as pipe:
            pipe.hset(_drawn(project), mapping=rows)  # type: ignore[arg-type] # bytes are values too
            pipe.zadd(_order(project), dict.fromkeys(rows, turn))
            pipe.zcard(_order(project))
            known = int(pipe.execute()[-1])
        self._forget_oldest(project, known - self._most)

    def _forget_oldest(self, project: str, excess: int) -> None:
        if excess > 0:
            popped: list[Any] = self._client.zpopmin(_order(project), excess)
            self._client.hdel(_drawn(project), *(task for task, _ in popped))

    @translated()
    def drawn(self, project: str) -> dict[str, Drawn]:
        """By the task's id, as examples have it."""
        found = dict(self._client.hscan_iter(_drawn(project), count=1000))
        return {as_text(task): _DRAWN.validate_json(text) for task, text in found.items()}


def _drawn(project: str) -> str:
    return project_key(project, "queue")


def _order(project: str) -> str:
    return project_key(project, "queue:order")


def _turn(project: str) -> str:
    return project_key(project, "queue:turn")
