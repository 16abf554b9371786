"""Two runs of one project, one after another: over processes, with Redis as the only thing they share."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from backend.labeling.errors import StoreError
from backend.queue.dispatch import Dispatch
from backend.queue.run_lock import Lock, LockLostError, RunningError, run_lock
from backend.storage.redis_client import connect
from tests.redis_server import RedisServer

PROJECT, OTHER = "1.1795346384", "2.1795346384"
KEY = f"whetstone:project:{PROJECT}:run:lock"
TTL_S = 0.3


@pytest.fixture
def dispatch(redis_client: Redis) -> Dispatch:
    return Dispatch(redis_client)


def until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, "did not come true"
        threading.Event().wait(0.01)


def is_lost(lock: Lock) -> bool:
    try:
        lock.check()
    except LockLostError:
        return True
    return False


def test_a_second_run_of_a_project_is_refused_and_another_projects_is_not(dispatch: Dispatch) -> None:
    with dispatch.run_lock(PROJECT):
        with pytest.raises(RunningError, match=PROJECT), dispatch.run_lock(PROJECT):
            pass
        with dispatch.run_lock(OTHER) as other:
            other.check()
        assert dispatch.is_running(PROJECT)
    assert not dispatch.is_running(PROJECT)
    with dispatch.run_lock(PROJECT) as lock:
        lock.check()


def test_of_many_that_begin_at_once_one_runs(redis_client: Redis) -> None:
    together, over = threading.Barrier(8), threading.Barrier(8)

    def begin(_: int) -> bool:
        together.wait()
        try:
            with run_lock(redis_client, PROJECT):
                over.wait()
                return True
        except RunningError:
            over.wait()
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(begin, range(8))) == 1


def test_a_run_longer_than_the_lock_keeps_it_by_its_heartbeat(redis_client: Redis) -> None:
    began = time.monotonic()
    with run_lock(redis_client, PROJECT, ttl_s=TTL_S) as lock:
        while time.monotonic() - began < 4 * TTL_S:
            threading.Event().wait(0.02)
            lock.check()
            assert redis_client.exists(KEY)


def test_the_lock_of_a_worker_that_died_lapses(redis_client: Redis) -> None:
    redis_client.set(KEY, "the dead worker's", px=int(TTL_S * 1000))
    with pytest.raises(RunningError), run_lock(redis_client, PROJECT):
        pass
    until(lambda: not redis_client.exists(KEY))
    with run_lock(redis_client, PROJECT) as lock:
        lock.check()


def test_a_run_that_another_took_over_is_told_and_leaves_the_others_lock_alone(redis_client: Redis) -> None:
    with run_lock(redis_client, PROJECT, ttl_s=TTL_S) as lock:
        redis_client.set(KEY, "another's")
        until(lambda: is_lost(lock))
    assert redis_client.get(KEY) == b"another's"


def test_a_lock_that_lapsed_and_that_nobody_took_is_taken_again(redis_client: Redis) -> None:
    """As when a clock jumps, or Redis came back without its last second."""
    with run_lock(redis_client, PROJECT, ttl_s=TTL_S) as lock:
        redis_client.delete(KEY)
        until(lambda: redis_client.exists(KEY))
        lock.check()


def test_with_redis_away_for_longer_than_the_lock_the_run_is_told() -> None:
    with RedisServer() as server:
        client = connect(server.url)
        with run_lock(client, PROJECT, ttl_s=TTL_S) as lock:
            server.stop()
            until(lambda: is_lost(lock))
        with pytest.raises(StoreError), run_lock(client, PROJECT):
            pass


def test_a_run_is_told_to_stop_and_the_next_one_is_not(dispatch: Dispatch) -> None:
    assert not dispatch.cancel(PROJECT)
    with dispatch.run_lock(PROJECT):
        assert not dispatch.is_canceled(PROJECT)
        assert dispatch.cancel(PROJECT)
        assert dispatch.is_canceled(PROJECT)
        assert not dispatch.is_canceled(OTHER)
    with dispatch.run_lock(PROJECT):
        assert not dispatch.is_canceled(PROJECT)


def test_a_run_that_takes_over_from_a_dead_worker_is_told_too_and_one_asked_for_later_is_not(
    dispatch: Dispatch, redis_client: Redis
) -> None:
    asked = dispatch.touch(PROJECT, "optimize", trigger="labels")
    redis_client.set(KEY, "the dead worker's")
    assert dispatch.cancel(PROJECT)
    redis_client.delete(KEY)
    with dispatch.run_lock(PROJECT):
        assert dispatch.is_canceled(PROJECT, asked)
        assert not dispatch.is_canceled(PROJECT)
        assert not dispatch.is_canceled(PROJECT, dispatch.touch(PROJECT, "optimize"))
        assert not dispatch.is_canceled(OTHER, asked)


def test_a_run_that_only_waits_is_withdrawn(dispatch: Dispatch) -> None:
    dispatch.touch(PROJECT, "optimize", trigger="forced")
    assert dispatch.cancel(PROJECT)
    assert dispatch.queue_lengths()["optimize"] == 0


def test_a_turn_comes_to_one_of_many(dispatch: Dispatch) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: dispatch.turn("sweep", ttl_s=60), range(12))) == 1
    assert dispatch.turn("another", ttl_s=60)
