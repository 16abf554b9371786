"""Real neighbours for every test: a Redis, an LLM server that says what it is told, Label Studio's recorded traffic."""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from backend.service import Service
from backend.settings import Settings
from tests.histories import History
from tests.redis_server import RedisServer
from tests.scripted_llm import ScriptedLLM

TESTS = Path(__file__).parent
CAPTURES = TESTS / "data" / "label_studio"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TESTS / "e2e" in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Of an empty database; answers are bytes."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_url(redis_client: redis.Redis, redis_server: RedisServer) -> str:
    """Of an empty database."""
    return redis_server.url


@pytest.fixture
def scripted_llm() -> Iterator[ScriptedLLM]:
    with ScriptedLLM() as llm:
        yield llm


@pytest.fixture
def history(redis_url: str) -> Iterator[History]:
    """Of a project whose LLM is away."""
    yield History(
        Service(Settings(redis_url=redis_url, llm_model="scripted-1", openai_base_url="http://127.0.0.1:1/v1"))
    )
    gc.collect()


@pytest.fixture
def captured() -> Callable[[str], Any]:
    """Loads a recorded payload by its name, without the ending."""
    return lambda name: json.loads((CAPTURES / f"{name}.json").read_text())
