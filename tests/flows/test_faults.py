"""An LLM that misbehaves: the tasks keep their places, the log says why, and all is well when the LLM is."""

import time
from typing import Any

import pytest
from redis import Redis

from tests.flows.conftest import Logs, Web, queued_tasks, until
from tests.flows.payloads import HATED, LOVED, label, predict_body, task, tasks
from tests.scripted_llm import Fault, ScriptedLLM

FAULTS = {
    "500": (Fault(500), "answered 500"),
    "503": (Fault(503), "answered 503"),
    "429": (Fault(429), "answered 429"),
    "429 for an hour": (Fault(429, {"Retry-After": "3600"}), "answered 429"),
    "a dropped connection": (Fault(spoil="drop"), "cannot be reached"),
    "HTML": (Fault(spoil="html"), "is not JSON"),
    "truncated JSON": (Fault(spoil="truncated"), "is not JSON"),
    "NaN": (Fault(spoil="nan"), "is not JSON"),
    "no choices": (Fault(spoil="empty_choices"), "is not a completion"),
}


def predict(client: Any, *texts: str, first: int = 1) -> list[dict[str, Any]]:
    rows = [task(number, text) for number, text in enumerate(texts, start=first)]
    response = client.post("/predict", json=predict_body(rows))
    assert response.status_code == 200
    results: list[dict[str, Any]] = response.json["results"]
    return results


@pytest.fixture
def client(web: Web, pushes: dict[str, str]) -> Any:
    """Of a service that has met its LLM in good health, and would push."""
    made = web(**pushes, predict_deadline_s=20)
    predict(made, "It holds water.")
    return made


@pytest.mark.parametrize("name", FAULTS)
def test_tasks_that_the_llm_fails_are_left_out_logged_and_queued(
    name: str, client: Any, scripted_llm: ScriptedLLM, redis_client: Redis, logged: Logs
) -> None:
    fault, reason = FAULTS[name]
    scripted_llm.change(faults=lambda _number, _path, body: fault if "kettle" in str(body) else None)
    results = predict(client, LOVED, "I hate it.", HATED)
    assert (results[0], label(results[1]), results[2]) == ({}, "negative", {})
    lines = [line for line in logged() if line["event"] == "no prediction"]
    assert [(line["task"], line["retry"]) for line in lines] == [(1, True), (3, True)]
    assert all(reason in line["reason"] or "no slot" in line["reason"] for line in lines)
    assert queued_tasks(redis_client) == [1, 3]


@pytest.mark.parametrize("name", [name for name in FAULTS if "hour" not in name])
def test_a_fault_that_passes_costs_no_prediction(name: str, client: Any, scripted_llm: ScriptedLLM) -> None:
    seen: list[int] = []

    def first_only(*_: Any) -> Fault | None:
        seen.append(1)
        return FAULTS[name][0] if len(seen) == 1 else None

    scripted_llm.change(faults=first_only)
    assert [label(result) for result in predict(client, LOVED, HATED)] == ["positive", "negative"]


def test_the_service_recovers_when_the_llm_does(client: Any, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.stop()
    assert predict(client, LOVED, HATED) == [{}, {}]
    scripted_llm.start()
    assert [label(result) for result in predict(client, LOVED, HATED)] == ["positive", "negative"]


def test_an_llm_that_is_down_at_the_start_is_found_when_it_comes(
    web: Web, scripted_llm: ScriptedLLM, redis_client: Redis, pushes: dict[str, str]
) -> None:
    scripted_llm.stop()
    client = web(**pushes)
    assert predict(client, LOVED) == [{}]
    assert queued_tasks(redis_client) == [1]
    assert client.get("/ready").status_code == 503
    scripted_llm.start()
    assert label(predict(client, LOVED)[0]) == "positive"
    assert client.get("/ready").json == {"ready": True, "redis": "ok", "llm": "ok"}


def test_readiness_names_what_is_wrong_and_the_way_out(web: Web, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.stop()
    report = web().get("/ready").json
    assert report["ready"] is False
    assert report["redis"] == "ok"
    assert scripted_llm.base_url in report["llm"]
    assert "OPENAI_BASE_URL" in report["llm"]
    assert ".." not in report["llm"].replace("://", "")


def test_readiness_shows_no_password_of_an_address(web: Web) -> None:
    text = web(openai_base_url="http://user:hunter2@127.0.0.1:1/v1").get("/ready").text
    assert "hunter2" not in text
    assert "127.0.0.1:1" in text


def test_a_server_that_says_when_to_come_back_is_asked_no_sooner(client: Any, scripted_llm: ScriptedLLM) -> None:
    """The fault ends only with a request that comes after the time that the server named."""
    refused: list[float] = []

    def busy_for_a_second(*_: Any) -> Fault | None:
        if refused and time.monotonic() - refused[0] >= 1.0:
            return None
        refused.append(time.monotonic())
        return Fault(429, {"Retry-After": "1"})

    scripted_llm.change(faults=busy_for_a_second)
    assert label(predict(client, LOVED)[0]) == "positive"
    assert len(refused) == 1


def test_the_limit_falls_when_the_server_is_busy_and_comes_back(
    client: Any, scripted_llm: ScriptedLLM, redis_client: Redis
) -> None:
    scripted_llm.change(faults=lambda number, *_: Fault(429, {"Retry-After": "0"}) if number % 12 == 0 else None)
    results = predict(client, *(f"{LOVED} {number}" for number in range(20)))  # 22 successes undo one fall
    assert all(results)
    (pace,) = redis_client.keys("whetstone:limiter:*:pace")
    assert float(redis_client.hget(pace, "limit") or 0) < 8
    scripted_llm.change(faults=())
    batches = iter(range(1, 1000))
    until(lambda: predict(client, f"{HATED} {next(batches)}") and float(redis_client.hget(pace, "limit") or 0) > 7)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"api_key": "another"}, "refused (401)"),
        ({"off_label": 0.999}, "LLM_MIN_LABEL_MASS"),
    ],
)
def test_what_would_fail_again_is_not_queued(
    changes: dict[str, Any], reason: str, client: Any, scripted_llm: ScriptedLLM, redis_client: Redis, logged: Logs
) -> None:
    scripted_llm.change(**changes)
    assert predict(client, LOVED) == [{}]
    (line,) = [line for line in logged() if line["event"] == "no prediction"]
    assert (reason in line["reason"], line["retry"]) == (True, False)
    assert queued_tasks(redis_client) == []


def test_missing_log_probs_that_were_there_before_are_said_to_be_missing(
    client: Any, scripted_llm: ScriptedLLM, logged: Logs
) -> None:
    scripted_llm.change(faults=lambda *_: Fault(spoil="no_logprobs"))
    assert predict(client, LOVED) == [{}]
    assert "without log-probs" in next(line["reason"] for line in logged() if line["event"] == "no prediction")
    scripted_llm.change(faults=())
    assert label(predict(client, LOVED)[0]) == "positive"


def test_a_slow_llm_is_given_up_after_its_time_and_the_rest_goes_on(web: Web, scripted_llm: ScriptedLLM) -> None:
    client = web(llm_timeout_s=1, predict_deadline_s=4)
    predict(client, "It holds water.")
    scripted_llm.change(faults=lambda _number, _path, body: Fault(delay_s=3600) if "kettle" in str(body) else None)
    results = predict(client, LOVED, "I hate it.")
    assert (results[0], label(results[1])) == ({}, "negative")


def test_an_llm_that_hangs_is_waited_for_once_by_who_opens_tasks_one_after_the_other(
    web: Web, scripted_llm: ScriptedLLM, redis_client: Redis, pushes: dict[str, str]
) -> None:
    """Each task was asked four times, for as long as a /predict of a thousand tasks may take. A time of 3 s is long."""
    client = web(**pushes, llm_timeout_s=3)
    predict(client, "It holds water.")
    calls = scripted_llm.calls
    scripted_llm.change(faults=lambda *_: Fault(delay_s=3600))
    assert [predict(client, f"{LOVED} {number}", first=number) for number in range(1, 5)] == [[{}]] * 4
    assert scripted_llm.calls - calls <= 3
    assert queued_tasks(redis_client) == [1, 2, 3, 4]
    scripted_llm.change(faults=())
    until(lambda: all(predict(client, HATED)))


def test_many_failures_do_not_flood_the_log(client: Any, scripted_llm: ScriptedLLM, logged: Logs) -> None:
    scripted_llm.stop()
    logged()
    assert predict(client, *(f"{LOVED} {number}" for number in range(60))) == [{}] * 60
    lines = logged()
    assert len([line for line in lines if line["event"] == "no prediction"]) == 20
    assert [line["more"] for line in lines if line["event"] == "no prediction for more tasks"] == [40]


def test_without_a_key_for_label_studio_the_log_says_what_to_set(
    web: Web, scripted_llm: ScriptedLLM, redis_client: Redis, logged: Logs
) -> None:
    client = web()
    scripted_llm.stop()
    assert client.post("/predict", json=predict_body(tasks([LOVED]))).json == {"results": [{}]}
    assert any("LABEL_STUDIO_API_KEY" in line["event"] for line in logged())
    assert queued_tasks(redis_client) == []


def test_errors_and_calls_are_counted(client: Any, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(faults=lambda number, *_: Fault(500) if number % 2 else None)
    predict(client, LOVED, HATED)
    text = client.get("/metrics").text
    assert 'whetstone_llm_errors_total{kind="EngineUnreachableError"}' in text
    assert 'whetstone_predictions_total{outcome="labelled"} 3.0' in text
