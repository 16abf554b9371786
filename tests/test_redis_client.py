import time
from contextlib import suppress

import pytest
import redis

from backend.labeling.errors import SettingsError, StoreError
from backend.storage.redis_client import connect, translated
from tests.redis_server import RedisServer

LIMIT_S = 60


def redis_errors(base: type[redis.RedisError] = redis.RedisError) -> list[type[redis.RedisError]]:
    return [base, *(error for child in base.__subclasses__() for error in redis_errors(child))]


@pytest.mark.parametrize("error", redis_errors(), ids=lambda error: error.__name__)
def test_each_error_of_redis_becomes_a_store_error(error: type[redis.RedisError]) -> None:
    with pytest.raises(StoreError, match="Redis"), translated():
        raise error.__new__(error, "reason")


def test_a_redis_that_is_down_is_named_by_address_and_not_by_password() -> None:
    client = connect("redis://user:hunter2@127.0.0.1:1/0")
    with pytest.raises(StoreError, match=r"cannot be reached.*127\.0\.0\.1:1") as raised, translated():
        client.ping()
    assert "hunter2" not in str(raised.value)


def test_a_pipelines_error_does_not_quote_the_values(redis_client: redis.Redis) -> None:
    pipe = redis_client.pipeline().set("key", "text").lpush("key", "what a task says")
    with pytest.raises(StoreError, match="refused a command: WRONGTYPE") as raised, translated():
        pipe.execute()
    assert "what a task says" not in str(raised.value)


def test_an_address_that_makes_no_sense_is_a_settings_error_without_its_password() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL") as raised:
        connect("redis://user:hunter2@host:port/0")
    assert "hunter2" not in str(raised.value)


def test_a_unix_socket_is_an_address() -> None:
    with pytest.raises(StoreError, match="cannot be reached"), translated():
        connect("unix:///nowhere/redis.sock?db=0").ping()


def test_a_hurried_client_waits_for_a_redis_that_hangs_once_and_asks_it_again_later() -> None:
    """Each wait is a connection of its own, taken by the kernel; redis-server counts them when it wakes."""
    with RedisServer() as server:
        client = connect(server.url, hurried=True)
        before = connections(client)
        server.hang()
        for _ in range(20):
            with pytest.raises(StoreError, match="cannot be reached"), translated():
                client.pipeline().set("a", 1).get("a").execute()
        server.wake()
        assert connections(client) - before < 10


def test_a_client_in_no_hurry_may_block_for_longer(redis_url: str) -> None:
    assert connect(redis_url).blpop(["nothing"], timeout=3) is None


def connections(client: redis.Redis) -> int:
    """That Redis has taken so far, once it answers."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with suppress(redis.TimeoutError):
            return int(client.info("stats")["total_connections_received"])
        time.sleep(0.05)
    raise AssertionError("Redis does not answer")
