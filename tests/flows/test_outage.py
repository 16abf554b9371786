"""Redis goes away, and comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from tests.flows.conftest import LIMIT_S, Logs, Web, service_of, until
from tests.flows.payloads import (
    CONFIG,
    HATED,
    LOVED,
    OTHER_CONFIG,
    PROJECT,
    complaints,
    label,
    predict_body,
    setup_body,
    task,
    tasks,
)
from tests.redis_server import RedisServer
from tests.scripted_llm import ScriptedLLM
from tests.scripted_llm.answers import keyword_label


@pytest.fixture
def client(web: Web, own_redis: RedisServer) -> FlaskClient:
    return web(redis_url=own_redis.url)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def version(client: FlaskClient, **fields: Any) -> str:
    response = client.post("/setup", json=setup_body(**fields))
    assert response.status_code == 200
    name: str = response.json["model_version"]
    return name


def predict(client: FlaskClient, *texts: str, config: str = CONFIG) -> list[dict[str, Any]]:
    response = client.post("/predict", json=predict_body(tasks(texts), config=config))
    assert response.status_code == 200
    results: list[dict[str, Any]] = response.json["results"]
    return results


def test_a_redis_that_hangs_is_waited_for_once_and_labels_come_with_the_last_known_version(
    client: FlaskClient, own_redis: RedisServer
) -> None:
    """One wait of 1 s; each command its own waits were 30 s for /setup and minutes for /predict."""
    name = version(client)
    own_redis.hang()
    began = time.monotonic()
    assert version(client) == name
    assert complaints(CONFIG, predict(client, LOVED, HATED), name) == []
    assert time.monotonic() - began < LIMIT_S / 3
    own_redis.wake()
    until(lambda: client.get("/versions").status_code == 200)
    assert version(client) == name


def test_a_service_that_starts_without_redis_labels_all_the_same(
    client: FlaskClient, own_redis: RedisServer, logged: Logs
) -> None:
    own_redis.stop()
    name = version(client)
    assert complaints(CONFIG, predict(client, LOVED, HATED), name) == []
    warnings = [line["event"] for line in logged() if line["level"] == "warning"]
    assert "Redis is away: serving the last known version" in warnings
    own_redis.start()
    assert version(client) == name
    assert service_of(client).store.active(PROJECT)


def test_the_version_served_last_goes_on_being_served(client: FlaskClient, own_redis: RedisServer) -> None:
    version(client)
    name = version(client, config=OTHER_CONFIG)
    own_redis.stop()
    assert version(client, config=OTHER_CONFIG) == name
    assert complaints(OTHER_CONFIG, predict(client, LOVED, config=OTHER_CONFIG), name) == []
    own_redis.start()
    assert version(client, config=OTHER_CONFIG) == name


def test_the_guideline_is_kept_through_an_outage(
    client: FlaskClient, own_redis: RedisServer, captured: Callable[[str], Any]
) -> None:
    """The first version, made from what only Redis knows, is remembered by the process that published it."""
    client.post("/webhook", json=captured("webhook_project_updated")["body"])
    config = captured("webhook_project_updated")["body"]["project"]["label_config"]
    own_redis.stop()
    (result,) = predict(client, LOVED, config=config)
    own_redis.start()
    assert version(client, config=config) == result["model_version"]


def test_stored_predictions_survive_and_are_found_again(
    client: FlaskClient, own_redis: RedisServer, scripted_llm: ScriptedLLM
) -> None:
    first = predict(client, LOVED)
    own_redis.stop()
    assert predict(client, LOVED) == first
    own_redis.start()
    calls = scripted_llm.calls
    assert predict(client, LOVED) == first
    assert scripted_llm.calls == calls


def test_a_batch_during_which_redis_goes_away_is_finished(
    client: FlaskClient, own_redis: RedisServer, scripted_llm: ScriptedLLM, threads: ThreadPoolExecutor
) -> None:
    predict(client, "It holds water.")
    opened = threading.Event()
    scripted_llm.change(label=lambda prompt: opened.wait(60) and keyword_label(prompt))
    calls = scripted_llm.calls
    under_way = threads.submit(predict, client, *(f"{LOVED} {number}" for number in range(20)))
    until(lambda: scripted_llm.calls > calls)
    own_redis.stop()
    opened.set()
    assert [label(result) for result in under_way.result()] == ["positive"] * 20


def test_readiness_says_that_redis_is_away_and_health_does_not_care(
    client: FlaskClient, own_redis: RedisServer
) -> None:
    assert client.get("/ready").status_code == 200
    own_redis.stop()
    assert client.get("/health").status_code == 200
    response = client.get("/ready")
    assert response.status_code == 503
    assert response.json["llm"] == "ok"
    assert "cannot be reached" in response.json["redis"]
    assert "REDIS_URL" in response.json["redis"]
    own_redis.start()
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/metrics"), ("GET", "/versions"), ("POST", "/webhook")])
def test_what_needs_redis_says_so(
    method: str, path: str, client: FlaskClient, own_redis: RedisServer, captured: Callable[[str], Any]
) -> None:
    own_redis.stop()
    body = captured("webhook_start_training")["body"] if method == "POST" else None
    response = client.open(path, method=method, json=body)
    assert response.status_code == 503
    assert "cannot be reached" in response.json["error"]
    assert "REDIS_URL" in response.json["hint"]
    own_redis.start()
    assert client.open(path, method=method, json=body).status_code < 300


def test_tasks_that_cannot_be_queued_are_left_out_with_a_warning(
    web: Web, own_redis: RedisServer, scripted_llm: ScriptedLLM, logged: Logs, pushes: dict[str, str]
) -> None:
    client = web(redis_url=own_redis.url, **pushes)
    own_redis.stop()
    scripted_llm.stop()
    assert predict(client, LOVED) == [{}]
    assert "tasks cannot be queued" in [line["event"] for line in logged()]


def test_a_redis_that_is_full_costs_no_prediction(client: FlaskClient, own_redis: RedisServer, logged: Logs) -> None:
    name = version(client)
    with redis.Redis.from_url(own_redis.url) as direct:
        direct.config_set("maxmemory", 1)
    assert version(client) == name
    assert complaints(CONFIG, predict(client, LOVED), name) == []
    assert "predictions are not stored: they will be labelled again" in [line["event"] for line in logged()]


def test_two_processes_agree_before_during_and_after_an_outage(
    web: Web, own_redis: RedisServer, threads: ThreadPoolExecutor
) -> None:
    clients = [web(redis_url=own_redis.url) for _ in range(2)]
    for step in (lambda: None, own_redis.stop, own_redis.start):
        step()
        names = set(threads.map(version, clients * 2))
        rows = threads.map(lambda each: each.post("/predict", json=predict_body([task(1, LOVED)])).json, clients)
        assert names == {answer["results"][0]["model_version"] for answer in rows}
        assert len(names) == 1
