"""/predict: order, what is kept, deadlines, and bad input."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from redis import Redis

from tests.flows.conftest import LIMIT_S, Logs, Web, queued_tasks, service_of, until
from tests.flows.payloads import (
    CONFIG,
    HATED,
    LOVED,
    OTHER_CONFIG,
    PROJECT,
    complaints,
    label,
    predict_body,
    sent_to,
    setup_body,
    task,
    tasks,
)
from tests.scripted_llm import Fault, ScriptedLLM
from tests.scripted_llm.answers import keyword_label

DYNAMIC = CONFIG.replace('choice="single">', 'choice="single" value="$options">').replace("<Choice ", "<Header ")
SEVERAL = CONFIG.replace(
    "</View>",
    """<Choices name="about" toName="text" choice="multiple"><Choice value="positive"/><Choice value="negative"/>
</Choices><Number name="stars" toName="text"/></View>""",
)


@pytest.fixture
def gate(scripted_llm: ScriptedLLM) -> Iterator[threading.Event]:
    """While it is closed, the LLM answers nothing."""
    opened = threading.Event()
    opened.set()

    def answer(prompt: str) -> Mapping[str, float]:
        opened.wait(LIMIT_S)
        return keyword_label(prompt)

    scripted_llm.change(label=answer)
    yield opened
    opened.set()


def test_results_come_in_the_order_of_the_tasks(web: Web) -> None:
    texts = [LOVED if number % 3 else HATED for number in range(40)]
    rows = tasks(f"{text} {number}" for number, text in enumerate(texts))
    results = web().post("/predict", json=predict_body(rows)).json["results"]
    assert [label(result) for result in results] == ["negative" if text == HATED else "positive" for text in texts]


def test_asking_again_costs_no_call_whatever_the_tasks_ids(web: Web, scripted_llm: ScriptedLLM) -> None:
    client = web()
    first = client.post("/predict", json=predict_body([task(1, LOVED), task(2, HATED)])).json["results"]
    calls = scripted_llm.calls
    again = client.post("/predict", json=predict_body([task(2, HATED), task(7, LOVED)])).json["results"]
    assert again == first[::-1]
    assert scripted_llm.calls == calls


def test_another_process_costs_no_call_either(web: Web, scripted_llm: ScriptedLLM) -> None:
    body = predict_body([task(1, LOVED)])
    first = web().post("/predict", json=body).json
    calls = scripted_llm.calls
    assert web().post("/predict", json=body).json == first
    assert scripted_llm.calls == calls


def test_equal_tasks_of_a_batch_are_labelled_once(web: Web, scripted_llm: ScriptedLLM) -> None:
    client = web()
    client.post("/predict", json=predict_body([task(1, HATED)]))
    calls = scripted_llm.calls
    rows = [task(number, LOVED, meta={"nr": number}) for number in range(2, 22)]
    for row in rows:
        row["data"]["ticket"] = 1  # no control reads it
    results = client.post("/predict", json=predict_body(rows)).json["results"]
    assert {label(result) for result in results} == {"positive"}
    assert scripted_llm.calls == calls + 1


def test_a_new_version_is_asked_anew(web: Web, scripted_llm: ScriptedLLM) -> None:
    client = web()
    client.post("/predict", json=predict_body([task(1, LOVED)]))
    calls = scripted_llm.calls
    client.post("/predict", json=predict_body([task(1, LOVED)], config=OTHER_CONFIG))
    assert scripted_llm.calls == calls + 1


def test_projects_of_two_label_studios_with_the_same_id_share_nothing(web: Web, scripted_llm: ScriptedLLM) -> None:
    client = web()
    client.post("/predict", json=predict_body([task(1, LOVED)]))
    calls = scripted_llm.calls
    client.post("/predict", json=predict_body([task(1, LOVED)], project="1.1795000000"))
    assert scripted_llm.calls == calls + 1


def test_a_thousand_predicted_tasks_come_back_complete(web: Web, scripted_llm: ScriptedLLM) -> None:
    client = web()
    (one,) = client.post("/predict", json=predict_body([task(1, LOVED)])).json["results"]
    service, rows = service_of(client), tasks(f"{LOVED} {number}" for number in range(1000))
    kept = [one | {"score": number / 1000} for number in range(1000)]
    hashes = [service.schema(CONFIG).data_hash(row["data"]) for row in rows]
    stored = {key: json.dumps(prediction).encode() for key, prediction in zip(hashes, kept, strict=True)}
    service.store.keep_predictions(PROJECT, one["model_version"], stored)
    calls = scripted_llm.calls
    assert client.post("/predict", json=predict_body(rows)).json["results"] == kept
    assert scripted_llm.calls == calls


def test_options_that_come_with_the_task_are_the_only_ones_chosen(web: Web) -> None:
    rows = [task(1, LOVED), task(2, LOVED), task(3, HATED)]
    for row, options in zip(rows, (["negative", "positive"], [{"value": "negative"}, "neutral"], []), strict=True):
        row["data"]["options"] = options
    results = web().post("/predict", json=predict_body(rows, config=DYNAMIC)).json["results"]
    assert label(results[0]) == "positive"
    assert label(results[1]) in {"negative", "neutral"}
    assert results[2] == {}


def test_every_control_that_can_be_labelled_is_and_others_are_left_alone(web: Web) -> None:
    client = web()
    (result,) = client.post("/predict", json=predict_body([task(1, LOVED)], config=SEVERAL)).json["results"]
    assert {item["from_name"] for item in result["result"]} == {"sentiment", "about"}
    assert len({item["id"] for item in result["result"]}) == 2
    assert complaints(SEVERAL, [result], result["model_version"]) == []


def test_one_bad_task_among_twenty_fails_alone(web: Web, logged: Logs) -> None:
    client, rows = web(), tasks(f"{LOVED} {number}" for number in range(20))
    rows[7]["data"] = {"title": "no text here"}
    results = client.post("/predict", json=predict_body(rows)).json["results"]
    assert [place for place, result in enumerate(results) if not result] == [7]
    (line,) = [line for line in logged() if line["event"] == "no prediction"]
    assert (line["task"], line["retry"]) == (8, False)
    assert 'no field "text"' in line["reason"]


@pytest.mark.parametrize("data", [None, [], "text", {}, {"text": None}, {"text": ["a"]}, {"text": "\x00\x01\x02"}])
def test_a_task_without_usable_data_fails_alone(data: Any, web: Web) -> None:
    results = web().post("/predict", json=predict_body([task(1, "x") | {"data": data}, task(2, LOVED)])).json["results"]
    assert results[0] == {}
    assert label(results[1]) == "positive"


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000 + " I love it", "\u05d0\u05e0\u05d9 I love it", "I love it \U0001f600" * 50, "a\ud800b I love it"],
    ids=["1 MB", "right to left", "emoji", "half a surrogate pair"],
)
def test_any_text_is_labelled(text: str, web: Web) -> None:
    body = json.dumps(predict_body([task(1, text)]))
    (result,) = web().post("/predict", data=body).json["results"]
    assert label(result) == "positive"
    assert result["result"][0]["whetstone"]["text_cut"] == (len(text) > 10_000)


def test_no_tasks_give_no_results(web: Web) -> None:
    assert web().post("/predict", json=predict_body([])).json == {"results": []}


def test_a_request_without_configuration_uses_the_one_last_seen(web: Web) -> None:
    client = web()
    client.post("/setup", json=setup_body())
    body = predict_body([task(1, LOVED)]) | {"label_config": None}
    assert label(client.post("/predict", json=body).json["results"][0]) == "positive"


def test_what_is_not_done_at_the_deadline_is_left_out_queued_and_kept_when_it_comes(
    web: Web, gate: threading.Event, scripted_llm: ScriptedLLM, redis_client: Redis, pushes: dict[str, str]
) -> None:
    client = web(**pushes, predict_deadline_s=3)
    client.post("/predict", json=predict_body([task(1, HATED)]))
    gate.clear()
    rows = [task(1, HATED), *[task(number, f"{LOVED} {number}") for number in range(2, 6)]]
    known, *late = client.post("/predict", json=predict_body(rows)).json["results"]
    assert (label(known), late) == ("negative", [{}] * 4)
    assert queued_tasks(redis_client) == [2, 3, 4, 5]
    gate.set()
    service = service_of(client)
    version = service.store.active(PROJECT)
    assert version
    hashes = [service.schema(CONFIG).data_hash(row["data"]) for row in rows[1:]]
    until(lambda: all(service.store.predictions(PROJECT, version.name, hashes)))
    calls = scripted_llm.calls
    assert {label(result) for result in client.post("/predict", json=predict_body(rows[1:])).json["results"]} == {
        "positive"
    }
    assert scripted_llm.calls == calls


def test_an_llm_that_pauses_everyone_for_long_does_not_move_the_deadline(
    web: Web, scripted_llm: ScriptedLLM, redis_client: Redis, pushes: dict[str, str]
) -> None:
    client = web(**pushes, predict_deadline_s=3)
    client.post("/predict", json=predict_body([task(1, HATED)]))
    scripted_llm.change(faults=lambda *_: Fault(429, {"Retry-After": "3600"}))
    began = time.monotonic()
    results = client.post("/predict", json=predict_body(tasks(f"{LOVED} {n}" for n in range(20)))).json["results"]
    assert results == [{}] * 20
    assert time.monotonic() - began < 3 + LIMIT_S / 2
    assert len(queued_tasks(redis_client)) == 20


# -- requests that are none


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"tasks=1", "the body is not JSON"),
        (b"\xff\xfe\x00", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body is a JSON list, not an object"),
        (b"null", "the body is a JSON NoneType, not an object"),
        (b"{}", '"project" is None, which names no project'),
        (b'{"project": 1}', '"project" is 1, which names no project'),
        (b'{"project": "1.2:*"}', "which names no project"),
        (b'{"project": "1.2"}', '"tasks" must be a list of objects'),
        (b'{"project": "1.2", "tasks": {}}', '"tasks" must be a list of objects'),
        (b'{"project": "1.2", "tasks": [null]}', '"tasks" must be a list of objects'),
        (b'{"project": "1.2", "tasks": [{}]}', "project 1.2 is not known"),
        (b'{"project": "1.2", "tasks": [{}], "label_config": 5}', "project 1.2 is not known"),
        (b'{"project": "1.2", "tasks": [{}], "label_config": "<View>"}', "not well-formed XML"),
        (b'{"project": "1.2", "tasks": [{}], "label_config": "<View/>"}', "no control that Whetstone labels"),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(body: bytes, reason: str, web: Web) -> None:
    response = web().post("/predict", data=body, content_type="application/json")
    assert response.status_code == 400
    assert reason in response.json["error"]
    assert not response.json["error"].endswith((" ", ":"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": None}, '"schema" must hold the labeling configuration'),
        ({"schema": " "}, '"schema" must hold the labeling configuration'),
        (
            {"schema": "<View><Number name='r' toName='t'/><Text name='t' value='$t'/></View>"},
            'Number "r" is left alone',
        ),
        ({"project": "../1"}, "names no project"),
    ],
)
def test_setup_is_told_what_is_wrong(fields: dict[str, Any], reason: str, web: Web) -> None:
    response = web().post("/setup", json=setup_body() | fields)
    assert response.status_code == 400
    assert reason in response.json["error"]


@pytest.mark.parametrize(
    "extra", [None, "", "text", [], {"expert_instruction": None}, {"expert_instruction": {"a": 1}}, {"name": 7}]
)
def test_setup_takes_any_extra_parameters(extra: Any, web: Web) -> None:
    assert web().post("/setup", json=setup_body(extra_params=extra)).status_code == 200


def test_setup_keeps_what_connect_tells_of_the_project(web: Web) -> None:
    client = web()
    client.post("/setup", json=setup_body(extra_params={"expert_instruction": "<b>Say it.</b>", "name": "Reviews"}))
    client.post("/setup", json=setup_body())  # Label Studio's own tells neither
    record = service_of(client).store.project(PROJECT)
    assert record
    assert (record.name, record.expert_instruction) == ("Reviews", "<b>Say it.</b>")


def test_a_body_that_is_too_large_is_refused_by_name(web: Web) -> None:
    body = json.dumps(predict_body([task(1, "x" * 1_100_000)]))
    response = web(max_body_mb=1).post("/predict", data=body)
    assert response.status_code == 413
    assert "MAX_BODY_MB" in response.json["error"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/", 404)])
def test_wrong_addresses_are_answered_in_json(method: str, path: str, status: int, web: Web) -> None:
    response = web().open(path, method=method)
    assert (response.status_code, list(response.json)) == (status, ["error"])


def test_the_prompt_holds_only_the_fields_that_the_configuration_shows(web: Web, scripted_llm: ScriptedLLM) -> None:
    row = task(1, LOVED)
    row["data"]["customer"] = "Ms Private"
    web().post("/predict", json=predict_body([row]))
    assert "Ms Private" not in sent_to(scripted_llm)
