"""What all processes share in Redis: projects, prompt versions, predictions, what endpoints can do, progress.

Redis runs without eviction, so whatever grows is bounded here. A project's key is Label Studio's "id.created".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from redis import Redis
from redis.exceptions import LockNotOwnedError

from backend.labeling.errors import StoreError
from backend.storage import scripts
from backend.storage.redis_client import as_text, project_key, translated
from backend.storage.versions import VersionStore

_PROJECTS = "whetstone:projects"
_BY_AGE = "whetstone:predictions"
_BULK_TTL_S = 7 * 24 * 3600
_SCANNED = 500


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """All that is kept of a project: Label Studio's payloads hold tokens, which must not come here.

    `name` is what people call it. `backend_id` and `title` are of our row in Label Studio, as last set there. `gone`:
    Label Studio said so when last asked for it. `labels` there were when annotations were last read, `new_labels` of
    them since the last run; None before.
    """

    key: str
    numeric_id: int
    label_studio_url: str
    config: str
    expert_instruction: str
    backend_id: int | None = None
    title: str = ""
    name: str = ""
    gone: bool = False
    labels: int | None = None
    new_labels: int | None = None


@dataclass(frozen=True, slots=True)
class BulkProgress:
    total: int
    done: int
    failed: int

    @property
    def finished(self) -> bool:
        return self.done + self.failed >= self.total


class Store(VersionStore):
    """Each method is one round trip, unless it says more, and raises `StoreError` only."""

    def __init__(self, client: Redis, *, max_predictions: int) -> None:
        super().__init__(client)
        self._max_predictions = max_predictions
        self._update = client.register_script(scripts.UPDATE_PROJECT)
        self._keep = client.register_script(scripts.KEEP_PREDICTIONS)
        self._advance = client.register_script(scripts.ADVANCE_BULK)
        self._begin_epoch = client.register_script(scripts.BEGIN_EPOCH)

    @translated()
    def ping(self) -> None:
        """Raises `StoreError` when Redis does not answer."""
        self._client.ping()

    # -- projects

    @translated()
    def save_project(self, record: ProjectRecord) -> None:
        with self._client.pipeline() as pipe:
            pipe.hset(project_key(record.key, "record"), mapping=_encoded(asdict(record)))
            pipe.sadd(_PROJECTS, record.key)
            pipe.execute()

    @translated()
    def project(self, key: str) -> ProjectRecord | None:
        return _decoded(self._client.hgetall(project_key(key, "record")))

    @translated()
    def projects(self) -> list[ProjectRecord]:
        """Two round trips; sorted by key."""
        with self._client.pipeline(transaction=False) as pipe:
            for key in sorted(self._client.smembers(_PROJECTS)):
                pipe.hgetall(project_key(as_text(key), "record"))
            return [record for record in map(_decoded, pipe.execute()) if record]

    @translated()
    def update_project(self, key: str, **changes: str | int | None) -> bool:
        """False when the project is not known. Two processes that change different fields both succeed."""
        unknown = changes.keys() - {field.name for field in fields(ProjectRecord)} | changes.keys() & {"key"}
        if unknown:
            raise TypeError(f"a project's record has no {sorted(unknown)} to change")
        values = [part for pair in _encoded(changes).items() for part in pair]
        return bool(self._update(keys=[project_key(key, "record")], args=values))

    @contextmanager
    def held(self, key: str, what: str, *, most_s: float = 60.0) -> Iterator[None]:
        """One process at a time, over all machines; raises `StoreError` when others hold it for so long. One that died
        holds it no longer than that."""
        lock = self._client.lock(project_key(key, f"{what}:lock"), timeout=most_s, blocking_timeout=most_s)
        with translated():
            taken = lock.acquire()
        if not taken:
            raise StoreError(f"another process has been busy with the {what} of project {key} for {most_s:.0f} s")
        try:
            yield
        finally:
            with translated(), suppress(LockNotOwnedError):
                lock.release()

    @translated()
    def forget_project(self, key: str) -> None:
        """Many round trips: all of its keys and predictions go."""
        for found in self._client.scan_iter(match=project_key(key, "*"), count=1000):
            self._client.unlink(found)
        for member, _ in self._client.zscan_iter(_BY_AGE, match=f"{key}|*", count=1000):
            self._client.zrem(_BY_AGE, member)
        self._client.srem(_PROJECTS, key)
        self._forget(key)

    # -- predictions

    @translated()
    def predictions(self, project: str, version_name: str, data_hashes: Sequence[str]) -> list[bytes | None]:
        """In the order asked, None where none is kept."""
        if not data_hashes:
            return []
        found: list[Any] = self._client.hmget(_predictions_key(project, version_name), list(data_hashes))
        return found

    @translated()
    def predictions_kept(self, project: str, version_name: str) -> int:
        return int(self._client.hlen(_predictions_key(project, version_name)))

    @translated()
    def keep_predictions(self, project: str, version_name: str, predictions: Mapping[str, bytes]) -> None:
        """The oldest of all projects' predictions make room."""
        if not predictions:
            return
        kept = [part for pair in predictions.items() for part in pair]
        keys = [_predictions_key(project, version_name), _BY_AGE]
        self._keep(keys=keys, args=[self._max_predictions, f"{project}|{version_name}|", *kept])

    @translated()
    def scan_predictions(self, project: str, version: str, cursor: int = 0) -> tuple[int, dict[str, bytes]]:
        """Some hundreds of those that are kept, by data hash, and the cursor to go on with: 0 after the last. One may
        come twice."""
        found: Any
        after, found = self._client.hscan(_predictions_key(project, version), cursor=cursor, count=_SCANNED)
        return int(after), {as_text(key): value for key, value in found.items()}

    # -- what an endpoint can do

    @translated()
    def capabilities(self, endpoint_key: str) -> str | None:
        text = self._client.get(_capabilities_key(endpoint_key))
        return None if text is None else as_text(text)

    @translated()
    def keep_capabilities(self, endpoint_key: str, text: str, ttl_s: float) -> None:
        self._client.set(_capabilities_key(endpoint_key), text, px=int(ttl_s * 1000))

    @translated()
    def model_epoch(self, endpoint_key: str) -> int:
        """How often the model behind this endpoint was found to be another one under its old name."""
        return int(self._client.get(_epoch_key(endpoint_key)) or 0)

    @translated()
    def begin_model_epoch(self, endpoint_key: str, known: int) -> bool:
        """The one after `known`, in which the endpoint is tried anew. False when another was quicker."""
        keys = [_epoch_key(endpoint_key), _capabilities_key(endpoint_key)]
        return bool(self._begin_epoch(keys=keys, args=[known]))

    # -- bulk labeling

    @translated()
    def begin_bulk(self, project: str, version: str, total: int, *, done: int = 0) -> None:
        """`total` counts the `done` ones too, so that beginning again resumes. Forgotten a week after its last task."""
        key = project_key(project, f"bulk:{version}")
        with self._client.pipeline() as pipe:
            pipe.hset(key, mapping={"total": total, "done": done, "failed": 0})
            pipe.expire(key, _BULK_TTL_S)
            pipe.execute()

    @translated()
    def advance_bulk(self, project: str, version: str, *, done: int = 0, failed: int = 0) -> BulkProgress | None:
        """None when no bulk labeling is under way, and then nothing is counted."""
        counts = self._advance(keys=[project_key(project, f"bulk:{version}")], args=[done, failed, _BULK_TTL_S])
        return BulkProgress(*map(int, counts)) if counts else None

    @translated()
    def bulk(self, project: str, version: str) -> BulkProgress | None:
        total, done, failed = self._client.hmget(project_key(project, f"bulk:{version}"), ["total", "done", "failed"])
        return BulkProgress(int(total), int(done or 0), int(failed or 0)) if total is not None else None

    @translated()
    def end_bulk(self, project: str, version: str) -> None:
        self._client.delete(project_key(project, f"bulk:{version}"))


def _predictions_key(project: str, version_name: str) -> str:
    return project_key(project, f"predictions:{version_name}")


def _capabilities_key(endpoint_key: str) -> str:
    return f"whetstone:capabilities:{endpoint_key}"


def _epoch_key(endpoint_key: str) -> str:
    return f"whetstone:epoch:{endpoint_key}"


def _encoded(values: Mapping[str, str | int | None]) -> dict[Any, str]:
    return {name: json.dumps(value) for name, value in values.items()}


def _decoded(stored: Mapping[Any, bytes | str]) -> ProjectRecord | None:
    if not stored:
        return None
    return ProjectRecord(**{as_text(name): json.loads(value) for name, value in stored.items()})
