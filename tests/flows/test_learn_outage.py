"""Redis restarts while a run is on."""

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
import redis

from backend.labeling.errors import StoreError
from backend.queue.dispatch import LABEL, OPTIMIZE
from backend.storage.redis_client import project_key
from tests.flows.conftest import Learner, retry_now, until, work
from tests.flows.learning import at_call, questions
from tests.flows.payloads import PROJECT
from tests.redis_server import RedisServer
from worker.labels.annotation_store import AnnotationStore

LABELS = 24


@pytest.fixture
def learn_settings(learn_settings: dict[str, str], own_redis: RedisServer) -> dict[str, str]:
    return {**learn_settings, "redis_url": own_redis.url}


def has_ended(learn: Learner) -> bool:
    """After another look at what is to be done, as a worker takes that comes back when it has lost Redis; whatever it
    had in hand is free again by then."""
    with suppress(redis.ConnectionError, redis.TimeoutError, StoreError):
        learn.redis.delete(project_key(PROJECT, "run:lock"))
        for execution in learn.redis.zrange("rq:wip:optimize", 0, -1):
            learn.redis.zadd("rq:wip:optimize", {execution: 1})
        learn.service.dispatch.free_abandoned()
        retry_now(learn.redis, OPTIMIZE)
        work(learn.redis, queues=[OPTIMIZE])
        return learn.run.state != "running"
    return False


def restarts(server: RedisServer) -> None:
    server.restart()


def is_away_for_a_second(server: RedisServer) -> None:
    server.stop()
    threading.Timer(1.0, server.start).start()


@pytest.mark.parametrize("befalls", [restarts, is_away_for_a_second])
def test_a_run_comes_to_its_end_though_redis(
    befalls: Callable[[RedisServer], None], learn: Learner, own_redis: RedisServer
) -> None:
    learn.annotate(LABELS)
    learn.tell()
    work(learn.redis, queues=[LABEL])
    at_call(learn.llm, 60, lambda: befalls(own_redis))
    until(lambda: has_ended(learn))
    (run,) = learn.service.runs.runs(PROJECT)
    assert (run.decision, learn.version) == ("published", run.challenger)
    assert [each.by for each in learn.service.store.activations(PROJECT)] == [f"run {run.id}", "seed"]
    assert len(AnnotationStore(learn.redis).tasks(PROJECT)) == LABELS
    assert run.spend.student_calls <= questions(learn.llm)
