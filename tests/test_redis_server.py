"""The Redis that tests run on."""

import pytest
import redis

from tests.redis_server import RedisServer


def test_redis_keeps_its_data_over_an_outage() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.stop()
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        server.restart()
        assert client.get("key") == b"value"


def test_each_test_begins_with_an_empty_redis(redis_client: redis.Redis, redis_url: str) -> None:
    assert redis_client.dbsize() == 0
    with redis.Redis.from_url(redis_url) as another:
        assert another.ping()
