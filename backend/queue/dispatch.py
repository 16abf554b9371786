"""Work for the worker, in RQ's queues. Jobs are named by text: the worker imports the backend, never the reverse."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry, Worker
from rq.job import Job, JobStatus
from rq.queue import EnqueueData
from rq.serializers import JSONSerializer

from backend.queue import run_lock
from backend.queue.job_ends import FailedJob, failed, free_abandoned, is_lost
from backend.queue.kinds import KINDS, TRIGGERS, Request
from backend.queue.kinds import LABEL as LABEL
from backend.queue.kinds import OPTIMIZE as OPTIMIZE
from backend.queue.kinds import QUEUES as QUEUES
from backend.queue.run_lock import Lock
from backend.storage.redis_client import as_text, project_key, translated

_T = TypeVar("_T")
_CHUNK_BASE_S, _CHUNK_TASK_S = 600, 60
_RETRY_AFTER_S = (10, 60, 300)
_RESULT_TTL_S = 300
_FAILURE_TTL_S = 7 * 24 * 3600
_FORGOTTEN_S = 6 * 3600
_DAY_S = 24 * 3600
_WAITS = {JobStatus.QUEUED, JobStatus.SCHEDULED}
_OVER = {None, JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}


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
    def is_labelling(self, project: str) -> bool:
        """Whether some of its tasks wait for a job that labels them, or for the one that looks which there are."""
        since = time.time() - _FORGOTTEN_S
        waiting = self._client.zcount(_waiting_key(project), since, "+inf")
        return bool(waiting) or self.is_pending(project, "label_project")

    @translated()
    def unasked(self, project: str, version: str, task_ids: Iterable[int]) -> list[int]:
        """Those of the tasks about which this was not asked within a day, for this version."""
        ids, now, key = list(task_ids), time.time(), project_key(project, f"missed:{version}")
        if not ids:
            return []
        self._client.zremrangebyscore(key, "-inf", now - _DAY_S)
        known = self._client.zmscore(key, [str(task_id) for task_id in ids])
        found = [task_id for task_id, asked_at in zip(ids, known, strict=True) if asked_at is None]
        if found:
            self._client.zadd(key, {str(task_id): now for task_id in found})
            self._client.expire(key, _DAY_S)
        return found

    @translated()
    def touch(self, project: str, kind: str, *, trigger: str = "", options: Mapping[str, Any] | None = None) -> int:
        """There is something new to work on: the revision moves, and a job is queued unless one is pending.

        The job reads its `request` when it begins and calls `settle` with the request's revision when it ends.
        `trigger` is one of TRIGGERS; `options` must be JSON.
        """
        asked = (TRIGGERS.index(trigger), dict(options or {}))
        return self._transaction(_kind_key(project, kind), lambda pipe: self._move(pipe, project, kind, *asked))

    @translated()
    def request(self, project: str, kind: str) -> Request:
        """Revision 0 before the first `touch`. It stays until settled: a job tried again reads the same."""
        revision, asked = self._client.hmget(_kind_key(project, kind), ["revision", "asked"])
        _, urgency, options = json.loads(asked) if asked else (0, 0, {})
        return Request(int(revision or 0), TRIGGERS[urgency], options)

    @translated()
    def settle(self, project: str, kind: str, seen_revision: int) -> bool:
        """The pending job is done with what it saw. True when there is more by now and another job is queued."""
        key = _kind_key(project, kind)
        return self._transaction(key, lambda pipe: self._settle(pipe, project, kind, seen_revision))

    @translated()
    def is_pending(self, project: str, kind: str) -> bool:
        """Whether a job waits, is under way, or will be tried again."""
        job_id = self._client.hget(_kind_key(project, kind), "job")
        return job_id is not None and self._status(as_text(job_id)) not in _OVER

    @translated()
    def withdraw(self, project: str, kind: str) -> bool:
        """The job that waits goes, with all that was asked. False when there is none that waits."""
        key = _kind_key(project, kind)
        return self._transaction(key, lambda pipe: self._withdraw(pipe, project, kind))

    @translated()
    def take_up(self, project: str, kind: str) -> bool:
        """Queues the work again when its job is lost, as the last call saw it lost already."""
        return self._transaction(_kind_key(project, kind), lambda pipe: self._take_up(pipe, project, kind))

    @translated()
    def free_abandoned(self) -> None:
        """Jobs of workers that died are tried again."""
        for queue in self._queues.values():
            free_abandoned(queue)

    def run_lock(self, project: str, *, ttl_s: float = 60) -> AbstractContextManager[Lock]:
        """See `run_lock.run_lock`."""
        return run_lock.run_lock(self._client, project, ttl_s=ttl_s)

    def cancel(self, project: str) -> bool:
        """The run under way stops at its next step, also where another worker must take it up first, and one that waits
        does not begin. False when there is neither."""
        waited = self.withdraw(project, "optimize")
        begun = self.is_pending(project, "optimize")
        revision = self.request(project, "optimize").revision
        return run_lock.cancel(self._client, project, revision) or waited or begun

    def is_canceled(self, project: str, revision: int | None = None) -> bool:
        """For the run under way to ask, with the revision of its request."""
        return run_lock.is_canceled(self._client, project, revision)

    def canceled_up_to(self, project: str) -> int:
        """See `run_lock.canceled_up_to`."""
        return run_lock.canceled_up_to(self._client, project)

    def is_running(self, project: str) -> bool:
        return run_lock.is_running(self._client, project)

    def turn(self, name: str, *, ttl_s: float) -> bool:
        """See `run_lock.turn`."""
        return run_lock.turn(self._client, name, ttl_s=ttl_s)

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
        return [job for queue in self._queues.values() for job in failed(queue)]

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

    def _move(self, pipe: Pipeline, project: str, kind: str, urgency: int, options: Mapping[str, Any]) -> int:
        key = _kind_key(project, kind)
        revision, job_id, asked = pipe.hmget(key, ["revision", "job", "asked"])
        pending = job_id is not None and self._status(as_text(job_id)) not in _OVER
        moved_to = int(revision or 0) + 1
        pipe.multi()
        pipe.hset(key, "revision", moved_to)
        if urgency and (asked is None or json.loads(asked)[1] <= urgency):
            pipe.hset(key, "asked", json.dumps([moved_to, urgency, options]))
        if not pending:
            self._enqueue(pipe, project, kind)
        return moved_to

    def _settle(self, pipe: Pipeline, project: str, kind: str, seen_revision: int) -> bool:
        key = _kind_key(project, kind)
        revision, asked = pipe.hmget(key, ["revision", "asked"])
        moved = int(revision or 0) > seen_revision
        pipe.multi()
        if asked is not None and json.loads(asked)[0] <= seen_revision:
            pipe.hdel(key, "asked")
        if moved:
            self._enqueue(pipe, project, kind)
        else:
            pipe.hdel(key, "job")
        return moved

    def _withdraw(self, pipe: Pipeline, project: str, kind: str) -> bool:
        key = _kind_key(project, kind)
        job_id = pipe.hget(key, "job")
        found = Job.fetch_many([as_text(job_id)], connection=self._client, serializer=JSONSerializer) if job_id else []
        waits = [job for job in found if job and job.get_status(refresh=False) in _WAITS]
        pipe.multi()
        for job in waits:
            job.delete(pipeline=pipe)
            pipe.hdel(key, "job", "asked")
        return bool(waits)

    def _take_up(self, pipe: Pipeline, project: str, kind: str) -> bool:
        key = _kind_key(project, kind)
        job_id, suspect = pipe.hmget(key, ["job", "suspect"])
        lost = job_id is not None and is_lost(self._queues[KINDS[kind].queue], as_text(job_id))
        pipe.multi()
        if not lost:
            pipe.hdel(key, "suspect")
        elif job_id == suspect:
            self._enqueue(pipe, project, kind)
        else:
            pipe.hset(key, "suspect", job_id)
        return lost and job_id == suspect

    def _enqueue(self, pipe: Pipeline, project: str, kind: str) -> None:
        job = self._job(kind, project, timeout_s=KINDS[kind].timeout_s, first=KINDS[kind].first)
        queued = self._queues[KINDS[kind].queue].enqueue_many([job], pipeline=pipe)
        pipe.hset(_kind_key(project, kind), "job", queued[0].id)

    def _job(self, function: str, project: str, *more: Any, timeout_s: int, first: bool = False) -> EnqueueData:
        return Queue.prepare_data(
            f"{self._jobs}.{function}",
            args=(project, *more),
            timeout=timeout_s,
            result_ttl=_RESULT_TTL_S,
            failure_ttl=_FAILURE_TTL_S,
            description=f"{function} of project {project}",
            at_front=first,
            retry=Retry(max=len(_RETRY_AFTER_S), interval=_RETRY_AFTER_S),
        )

    def _status(self, job_id: str) -> JobStatus | None:
        found = Job.fetch_many([job_id], connection=self._client, serializer=JSONSerializer)[0]
        return found.get_status(refresh=False) if found else None

    def _transaction(self, key: str, change: Callable[[Pipeline], _T]) -> _T:
        """`change` reads, then queues its writes after `multi`; all again when `key` changed in between."""
        return cast(_T, self._client.transaction(cast(Any, change), key, value_from_callable=True))


def _waiting_key(project: str) -> str:
    return project_key(project, "waiting")


def _kind_key(project: str, kind: str) -> str:
    return project_key(project, f"work:{kind}")
