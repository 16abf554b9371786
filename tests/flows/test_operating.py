"""The service as operators see it: two gunicorn processes, stopping, request ids, logs, and what is never kept."""

import copy
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.flows.conftest import Logs, Web, until
from tests.flows.gunicorn_server import GunicornServer
from tests.flows.label_studio_stub import KEY, LabelStudioStub
from tests.flows.payloads import (
    CONFIG,
    HATED,
    LOVED,
    OTHER_CONFIG,
    complaints,
    label,
    predict_body,
    setup_body,
    tasks,
)
from tests.redis_server import RedisServer
from tests.scripted_llm import Fault, Script, ScriptedLLM
from tests.scripted_llm.answers import keyword_label

USER, PASSWORD, SECRET, OPENAI_KEY = "label-studio", "correct-horse", "battery-staple", "sk-scripted-key"
AUTH = (USER, PASSWORD)
PRIVATE = "Ms Private called about her broken kettle"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture(scope="module")
def llm() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(api_key=OPENAI_KEY) as served:
        yield served


@pytest.fixture(scope="module")
def settings(redis_server: RedisServer, llm: ScriptedLLM) -> Iterator[dict[str, str]]:
    with LabelStudioStub() as label_studio:
        yield {
            "REDIS_URL": redis_server.url,
            "OPENAI_BASE_URL": llm.base_url,
            "OPENAI_API_KEY": OPENAI_KEY,
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": KEY,
            "BASIC_AUTH_USER": USER,
            "BASIC_AUTH_PASS": PASSWORD,
            "WEBHOOK_SECRET": SECRET,
            "LOG_FORMAT": "json",
        }


@pytest.fixture(scope="module")
def running(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GunicornServer]:
    with GunicornServer(settings, tmp_path_factory.mktemp("gunicorn") / "log") as server:
        yield server


@pytest.fixture
def server(running: GunicornServer, redis_client: Redis, llm: ScriptedLLM) -> Iterator[GunicornServer]:
    """The running one, with nothing stored and an LLM in good health."""
    llm.script = Script(api_key=OPENAI_KEY)
    yield running
    running.all()


def post(server: GunicornServer, path: str, body: Any, **headers: str) -> httpx.Response:
    with server.client() as client:
        return client.post(path, json=body, auth=AUTH, headers=headers)


def version(server: GunicornServer, config: str) -> str:
    name: str = post(server, "/setup", setup_body(config=config)).json()["model_version"]
    return name


def lines(log: str) -> list[dict[str, Any]]:
    """Gunicorn's first lines come before the settings say in which form to log."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def test_processes_agree_on_the_version_from_the_first_request_on(
    server: GunicornServer, threads: ThreadPoolExecutor
) -> None:
    for config in (CONFIG, OTHER_CONFIG, CONFIG):
        assert len(set(threads.map(lambda _, c=config: version(server, c), range(16)))) == 1


def test_each_process_serves_what_the_other_published(server: GunicornServer) -> None:
    one, other = server.workers
    server.only(one)
    name = version(server, CONFIG)
    server.only(other)
    assert version(server, CONFIG) == name
    changed = version(server, OTHER_CONFIG)
    server.only(one)
    (result,) = post(server, "/predict", predict_body(tasks([LOVED]), config=OTHER_CONFIG)).json()["results"]
    assert result["model_version"] == changed != name


def test_batches_at_the_same_time_are_all_answered_in_order(
    server: GunicornServer, threads: ThreadPoolExecutor
) -> None:
    bodies = [predict_body(tasks([f"{LOVED} {batch}", f"{HATED} {batch}"] * 5)) for batch in range(8)]
    answers = list(threads.map(lambda body: post(server, "/predict", body).json()["results"], bodies))
    name = version(server, CONFIG)
    for results in answers:
        assert [label(result) for result in results] == ["positive", "negative"] * 5
        assert complaints(CONFIG, results, name) == []


def test_a_batch_under_way_is_finished_before_the_service_stops(
    settings: dict[str, str], tmp_path: Path, redis_client: Redis, llm: ScriptedLLM, threads: ThreadPoolExecutor
) -> None:
    with GunicornServer(settings, tmp_path / "log") as server:
        post(server, "/predict", predict_body(tasks(["It holds water."])))
        opened = threading.Event()
        llm.change(label=lambda prompt: opened.wait(60) and keyword_label(prompt))
        calls = llm.calls
        body = predict_body(tasks(f"{LOVED} {number}" for number in range(20)))
        under_way = threads.submit(post, server, "/predict", body)
        until(lambda: llm.calls > calls)
        server.terminate()
        until(lambda: "Handling signal: term" in server.log)
        opened.set()
        assert [label(result) for result in under_way.result().json()["results"]] == ["positive"] * 20
        assert server.wait() == 0


def test_nothing_secret_and_no_text_is_logged_or_kept(
    server: GunicornServer, llm: ScriptedLLM, redis_client: Redis, captured: Callable[[str], Any]
) -> None:
    """After requests of every kind, good and bad, with an LLM that fails at times."""
    project = {"token": "PROJECT-TOKEN", "task_data_login": "DATA-LOGIN", "task_data_password": "DATA-PASSWORD"}
    for number, fault in enumerate((None, Fault(400), Fault(500), Fault(spoil="html"))):
        llm.change(faults=lambda *_, fault=fault: fault)
        body = predict_body(tasks([f"{PRIVATE} {number}", f"{PRIVATE} {number} times"]))
        body["params"] = {"login": "DATA-LOGIN", "password": "DATA-PASSWORD", "context": None}
        assert post(server, "/predict", body).status_code == 200
    post(server, "/setup", setup_body())
    for name in ("webhook_tasks_created", "webhook_annotation_created", "webhook_project_updated"):
        event = copy.deepcopy(captured(name)["body"])
        event["project"] |= project
        for row in event.get("tasks", []):
            row["data"]["text"] = PRIVATE
        assert post(server, "/webhook", event, **{"X-Whetstone-Secret": SECRET}).status_code == 201
    with server.client() as client:
        assert client.post("/predict", json=body, auth=(USER, "WRONG-PASSWORD")).status_code == 401
        client.post("/predict", content=b"{" + PRIVATE.encode(), auth=AUTH)
    kept, log = everything(redis_client), server.log
    handed_over = [*project.values(), "HANDED-OVER-TOKEN", "WRONG-PASSWORD"]
    for secret in [*handed_over, USER + ":", PASSWORD, SECRET, OPENAI_KEY, KEY, PRIVATE]:
        assert secret not in kept
        assert secret not in log
    assert "no prediction" in log
    assert "label_chunk" in kept


def everything(client: Redis) -> str:
    """Every key with all it holds; RQ compresses what a job is given."""
    found: list[Any] = []
    for key in client.scan_iter():
        match client.type(key):
            case b"string":
                value: Any = client.get(key)
            case b"hash":
                value = {name: _inflated(stored) for name, stored in client.hgetall(key).items()}
            case b"zset":
                value = client.zrange(key, 0, -1)
            case b"set":
                value = client.smembers(key)
            case b"list":
                value = client.lrange(key, 0, -1)
            case b"stream":
                value = client.xrange(key)
            case other:
                pytest.fail(f"{key!r} is a {other!r}, which this test cannot read")
        found += [key, value]
    return str(found)


def _inflated(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


def test_answers_and_log_lines_carry_the_request_id(server: GunicornServer) -> None:
    given = post(server, "/setup", setup_body(), **{"X-Request-ID": "asked-for-42"})
    made = post(server, "/setup", setup_body())
    assert given.headers["X-Request-ID"] == "asked-for-42"
    assert made.headers["X-Request-ID"] not in {"", "asked-for-42"}
    found = {line["request_id"]: line for line in lines(server.log) if line.get("event") == "request"}
    assert found["asked-for-42"]["route"] == "/setup"
    assert made.headers["X-Request-ID"] in found


# -- one process is enough for these


def test_a_fault_is_answered_without_details_and_logged_with_them(web: Web, logged: Logs, redis_client: Redis) -> None:
    client = web()
    client.post("/setup", json=setup_body())
    redis_client.hset("whetstone:project:1.1795346384:record", "config", "no JSON: SECRET-VALUE")
    response = client.post("/setup", json=setup_body())
    assert response.status_code == 500
    assert response.json == {"error": "an internal error, see the log", "request_id": response.headers["X-Request-ID"]}
    (line,) = [line for line in logged() if line["event"] == "fault"]
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert "Traceback" in line["exception"]


def test_lines_from_the_threads_of_a_batch_carry_the_request_id(web: Web, logged: Logs, redis_client: Redis) -> None:
    client = web()
    client.post("/predict", json=predict_body(tasks([LOVED])))
    logged()
    redis_client.config_set("maxmemory", 1)
    try:
        response = client.post("/predict", json=predict_body(tasks([HATED])))
    finally:
        redis_client.config_set("maxmemory", 0)
    lines = logged()
    assert len(lines) > 1
    assert {line.get("request_id") for line in lines} == {response.headers["X-Request-ID"]}


def test_a_request_id_is_cut_to_a_sane_length(web: Web) -> None:
    response = web().get("/health", headers={"X-Request-ID": "x" * 5000})
    assert response.headers["X-Request-ID"] == "x" * 64
