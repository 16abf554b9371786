"""`whetstone worker`: does what is queued."""

import signal
import sys
import time
from contextlib import nullcontext
from types import FrameType

import click
import redis
import structlog
from rq import Worker
from rq.serializers import JSONSerializer

from backend import logs
from backend.queue.dispatch import QUEUES
from backend.settings import Settings, load
from backend.storage.redis_client import connect
from worker import jobs  # noqa: F401  imported before RQ forks for each job, so that no job waits for it
from worker.runs.sweep import sweeping

_log = structlog.get_logger(__name__)

_BETWEEN_TRIES_S = 1.0


@click.command()
@click.argument("queues", nargs=-1, type=click.Choice(QUEUES))
@click.option("--burst", is_flag=True, help="stop when the queues are empty")
def worker(queues: tuple[str, ...], burst: bool) -> None:
    """Do what is queued: label tasks in the background, and improve prompts.

    QUEUES are served in the order given, the first before the second; without any it is `label optimize`. Start as many
    workers as you like, on any machine that reaches Redis. `whetstone up` starts one for each queue.

    SIGTERM or Ctrl-C ends it after the job under way; a second one ends that job too, and it is done again later.

    \b
    Settings: REDIS_URL, LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, OPENAI_BASE_URL, OPENAI_API_KEY, LLM_MODEL.
    Example:  whetstone worker label
    """
    settings = load()
    logs.configure(settings)
    client = connect(settings.redis_address)
    with nullcontext() if burst else sweeping(settings):
        while not _work(client, settings, queues or QUEUES, burst=burst):
            _log.warning("the worker starts again")


def _work(client: redis.Redis, settings: Settings, queues: tuple[str, ...], *, burst: bool) -> bool:
    """Whether it ended because it should: RQ's worker also ends when it loses Redis at a bad moment."""
    _wait_for_redis(client, settings.redis_address)
    try:
        rq_worker = RecoveringWorker(
            queues,
            connection=client,
            serializer=JSONSerializer,
            worker_ttl=90,  # it looks up from an empty queue, and notices a scheduler that died, each minute
            maintenance_interval=60,
            log_job_description=False,  # a description quotes the job's arguments
        )
        rq_worker.work(burst=burst, with_scheduler=True, logging_level=settings.log_level)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        _log.warning("lost Redis", reason=str(error))
        return False
    return burst or rq_worker.told_to_stop


class RecoveringWorker(Worker):
    max_connection_wait_time = 5.0
    log_result_lifespan = False
    told_to_stop = False

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.told_to_stop = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]


def _wait_for_redis(client: redis.Redis, address: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    told = False
    while not _answers(client):
        if not told:
            _log.warning("waiting for Redis (REDIS_URL)", address=address)
            told = True
        time.sleep(_BETWEEN_TRIES_S)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
