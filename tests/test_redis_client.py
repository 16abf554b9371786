import pytest
import redis

from backend.labeling.errors import SettingsError, StoreError
from backend.redis_client import connect, translated


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
