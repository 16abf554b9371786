"""Work for the worker, in RQ's queues. Jobs are named by text: the worker imports the backend, never the reverse."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry, Worker
from rq.job import Job, JobStatus
from rq.queue import EnqueueData
from rq.serializers import JSONSerializer

from backend.redis_client import as_text, project_key, translated

LABEL, OPTIMIZE = "label", "optimize"
QUEUES = (LABEL, OPTIMIZE)  # in order of priority

_T = TypeVar("_T")
_CHUNK_BASE_S, _CHUNK_TASK_S = 600, 60
_RETRY_AFTER_S = (10, 60, 300)
_RESULT_TTL_S = 300
_FAILURE_TTL_S = 7 * 24 * 3600
_FORGOTTEN_S = 6 * 3600
_MOST_FAILED = 100
_OVER = {None, JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}


@dataclass(frozen=True, slots=True)
class Kind:
    """Work of which a project has at most one job pending; the job is the function of the kind's name."""

    queue: str
    timeout_s: int


KINDS = {"label_project": Kind(LABEL, timeout_s=3600)}


@dataclass(frozen=True, slots=True)
class FailedJob:
    """`reason` is the last line of what was raised in the last try."""

    queue: str
    description: str
    ended_at: datetime | None
    reason: str


class Dispatch:
    """`jobs` is the module that holds the jobs. A failed one is tried again after 10 s, 1 min and 5 min, for which a
    worker needs RQ's scheduler. Raises `StoreError` only."""

    def __init__(self, client: Redis, *, jobs: str = "worker.jobs") -> None:
        self._client = client
        self._jobs = jobs
        self._queues = {name: Queue(name, connection=client, serializer=JSONSerializer) for name in QUEUES}

    def label_project(self, project: str) -> int:
        return self.touch(project, "label_project")

    @translated()
    def label_tasks(self, project: str, task_ids: Iterable[int], *, chunk: int) -> int:
        """Jobs of `label_chunk(project, ids)`; how many tasks were not already waiting for one.

        A task that waited for six hours may be queued again, in case its job was lost.
        """
        asked = list(dict.fromkeys(task_ids))
        return self._transaction(_waiting_key(project), lambda pipe: self._queue_tasks(pipe, project, asked, chunk))

    @translated()
    def taken(self, project: str, task_ids: Iterable[int]) -> None:
        """A job has these tasks in hand: whoever asks for them from now on queues them again."""
        ids = list(task_ids)
        if ids:
            self._client.zrem(_waiting_key(project), *ids)

    @translated()
    def touch(self, project: str, kind: str) -> int:
        """There is something new to work on: the revision moves, and a job is queued unless one is pending.

        The job reads `revision` when it begins and calls `settle` with it when it ends.
        """
        return self._transaction(_kind_key(project, kind), lambda pipe: self._move(pipe, project, kind))

    @translated()
    def revision(self, project: str, kind: str) -> int:
        """0 before the first `touch`."""
        return int(self._client.hget(_kind_key(project, kind), "revision") or 0)

    @translated()
    def settle(self, project: str, kind: str, seen_revision: int) -> bool:
        """The pending job is done with what it saw. True when there is more by now and another job is queued."""
        key = _kind_key(project, kind)
        return self._transaction(key, lambda pipe: self._settle(pipe, project, kind, seen_revision))

    @translated()
    def queue_lengths(self) -> dict[str, int]:
        """Jobs that wait; those under way or scheduled for another try do not count."""
        return {name: queue.count for name, queue in self._queues.items()}

    @translated()
    def workers(self, queue: str = LABEL) -> int:
        """How many workers listen to a queue; one that died counts until its heartbeat lapses."""
        return Worker.count(queue=self._queues[queue])

    @translated()
    def failed(self) -> list[FailedJob]:
        """The last hundred of each queue that no further try is due for, latest first."""
        return [job for queue in self._queues.values() for job in self._failed(queue)]

    def _queue_tasks(self, pipe: Pipeline, project: str, asked: Sequence[int], chunk: int) -> int:
        key, now = _waiting_key(project), time.time()
        if not asked:
            return 0
        since = pipe.zmscore(key, [str(task_id) for task_id in asked])
        fresh = [task_id for task_id, at in zip(asked, since, strict=True) if at is None or at < now - _FORGOTTEN_S]
        pipe.multi()
        if fresh:
            pipe.zadd(key, {str(task_id): now for task_id in fresh})
            chunks = [fresh[start : start + chunk] for start in range(0, len(fresh), chunk)]
            jobs = [
                self._job("label_chunk", project, ids, timeout_s=_CHUNK_BASE_S + _CHUNK_TASK_S * len(ids))
                for ids in chunks
            ]
            self._queues[LABEL].enqueue_many(jobs, pipeline=pipe)
        return len(fresh)

    def _move(self, pipe: Pipeline, project: str, kind: str) -> int:
        key = _kind_key(project, kind)
        revision, job_id = pipe.hmget(key, ["revision", "job"])
        pending = job_id is not None and self._status(as_text(job_id)) not in _OVER
        pipe.multi()
        pipe.hincrby(key, "revision", 1)
        if not pending:
            self._enqueue(pipe, project, kind)
        return int(revision or 0) + 1

    def _settle(self, pipe: Pipeline, project: str, kind: str, seen_revision: int) -> bool:
        key = _kind_key(project, kind)
        moved = int(pipe.hget(key, "revision") or 0) > seen_revision
        pipe.multi()
        if moved:
            self._enqueue(pipe, project, kind)
        else:
            pipe.hdel(key, "job")
        return moved

    def _enqueue(self, pipe: Pipeline, project: str, kind: str) -> None:
        job = self._job(kind, project, timeout_s=KINDS[kind].timeout_s)
        queued = self._queues[KINDS[kind].queue].enqueue_many([job], pipeline=pipe)
        pipe.hset(_kind_key(project, kind), "job", queued[0].id)

    def _job(self, function: str, project: str, *more: Any, timeout_s: int) -> EnqueueData:
        return Queue.prepare_data(
            f"{self._jobs}.{function}",
            args=(project, *more),
            timeout=timeout_s,
            result_ttl=_RESULT_TTL_S,
            failure_ttl=_FAILURE_TTL_S,
            description=f"{function} of project {project}",
            retry=Retry(max=len(_RETRY_AFTER_S), interval=_RETRY_AFTER_S),
        )

    def _status(self, job_id: str) -> JobStatus | None:
        found = Job.fetch_many([job_id], connection=self._client, serializer=JSONSerializer)[0]
        return found.get_status(refresh=False) if found else None

    def _failed(self, queue: Queue) -> list[FailedJob]:
        ids = queue.failed_job_registry.get_job_ids(end=_MOST_FAILED - 1, desc=True)
        found = Job.fetch_many(ids, connection=self._client, serializer=JSONSerializer)
        return [FailedJob(queue.name, job.description or "", job.ended_at, _reason(job)) for job in found if job]

    def _transaction(self, key: str, change: Callable[[Pipeline], _T]) -> _T:
        """`change` reads, then queues its writes after `multi`; all again when `key` changed in between."""
        return cast(_T, self._client.transaction(cast(Any, change), key, value_from_callable=True))


def _reason(job: Job) -> str:
    result = job.latest_result()
    lines = (result.exc_string or "").split("\n") if result else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "unknown")


def _waiting_key(project: str) -> str:
    return project_key(project, "waiting")


def _kind_key(project: str, kind: str) -> str:
    return project_key(project, f"work:{kind}")
