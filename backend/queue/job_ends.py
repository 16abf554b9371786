"""How jobs end that do not end well: failed in all tries, abandoned by a worker that died, or lost without a trace."""

from dataclasses import dataclass
from datetime import datetime

from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry

_MOST_FAILED = 100


@dataclass(frozen=True, slots=True)
class FailedJob:
    """`reason` is the last line of what was raised in the last try."""

    queue: str
    description: str
    ended_at: datetime | None
    reason: str


def failed(queue: Queue) -> list[FailedJob]:
    """The last hundred that no further try is due for, latest first."""
    ids = queue.failed_job_registry.get_job_ids(end=_MOST_FAILED - 1, desc=True)
    found = Job.fetch_many(ids, connection=queue.connection, serializer=queue.serializer)
    return [FailedJob(queue.name, job.description or "", job.ended_at, _reason(job)) for job in found if job]


def is_lost(queue: Queue, job_id: str) -> bool:
    """Its hash is gone, or it is in none of the places that a job of its status is in. A job on its way from the queue
    to a worker is nowhere for a moment: only what is lost twice is lost.

    A job that failed, or was ended, is not: its end was told.
    """
    found = Job.fetch_many([job_id], connection=queue.connection, serializer=queue.serializer)[0]
    if found is None:
        return True
    match found.get_status(refresh=False):
        case JobStatus.QUEUED:
            return job_id not in _waiting(queue)
        case JobStatus.STARTED:
            return job_id not in queue.started_job_registry.get_job_ids(cleanup=False)
        case JobStatus.SCHEDULED:
            return job_id not in queue.scheduled_job_registry.get_job_ids(cleanup=False)
    return False


def free_abandoned(queue: Queue) -> None:
    """What a worker had in hand when it died is tried again, or has failed: RQ's workers look for these only when they
    are idle, and only in queues they listen to."""
    StartedJobRegistry(queue=queue).cleanup()


def _waiting(queue: Queue) -> set[str]:
    on_the_way = IntermediateQueue(queue.key, queue.connection)
    return {*queue.get_job_ids(), *on_the_way.get_job_ids()}


def _reason(job: Job) -> str:
    result = job.latest_result()
    lines = (result.exc_string or "").split("\n") if result else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "unknown")
