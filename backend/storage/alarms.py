"""Alarms: what drifted, in words, and how strongly. The last ones of each project, in Redis."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import TypeAdapter
from redis import Redis

from backend.storage.redis_client import project_key, translated

# Predicted labels, their margins, probability outside the labels, accuracy on new labels, the model behind its name.
Kind = Literal["labels", "margins", "label_mass", "accuracy", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST = 20


@dataclass(frozen=True, slots=True)
class Alarm:
    """`words` hold no task's text. `strength` is 1 at the threshold and rises with what was found."""

    kind: Kind
    words: str
    strength: float


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm while `version` was active."""

    alarm: Alarm
    version: str
    at: datetime


_RAISED = TypeAdapter(Raised)


class AlarmStore:
    """Raises `StoreError` only. `Store.forget_project` forgets these too."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @translated()
    def add(self, project: str, raised: Raised) -> None:
        """The oldest of more than `MOST` go."""
        key = project_key(project, "alarms")
        with self._client.pipeline() as pipe:
            pipe.lpush(key, _RAISED.dump_json(raised))
            pipe.ltrim(key, 0, MOST - 1)
            pipe.execute()

    @translated()
    def alarms(self, project: str) -> list[Raised]:
        """Latest first."""
        found: list[Any] = self._client.lrange(project_key(project, "alarms"), 0, -1)
        return [_RAISED.validate_json(text) for text in found]
