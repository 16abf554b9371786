"""Reasons after the labels: given in the background, shown in Label Studio, learned from when corrected."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.calls.patience import Deadline
from backend.labeling.prompt import Prompt, PromptVersion
from backend.labeling.schema import parse
from backend.projects import pushing
from backend.queue.dispatch import LABEL
from tests.flows.conftest import Logs, Web, retry_now, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import CONFIG, HATED, LOVED, PROJECT, Json, predict_body, setup_body, task, tasks
from tests.scripted_llm import Fault, Script, ScriptedLLM
from tests.scripted_llm.answers import keyword_label
from worker.labels import ground_truth
from worker.labels.annotation_store import AnnotationStore
from worker.optimizer import demonstrations
from worker.predictions import explain

AREA = '<TextArea name="rationale" toName="text" editable="true" rows="3" maxSubmissions="1"/>'
WITH_AREA = CONFIG.replace("</View>", f"{AREA}</View>")
DULL = "It holds water, says the SECRET."
WHY = "It says SECRET things."


def answers(prompt: str) -> Mapping[str, float]:
    return {WHY: 1.0} if prompt.rstrip().endswith("Reason:") else keyword_label(prompt)


@pytest.fixture
def client(shared_web: Web, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM) -> FlaskClient:
    """Of a service whose project has the TextArea, and where a liked or hated text scores above the threshold."""
    scripted_llm.script = Script(answer=answers, honours=frozenset(), off_label=0)
    label_studio.config = WITH_AREA
    client = shared_web(explain_below="0.65", chunk_tasks="2")
    client.post("/setup", json=setup_body(config=WITH_AREA))
    return client


def label_all(client: FlaskClient) -> None:
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(service.redis, queues=[LABEL])


def rationale_of(prediction: Json) -> str:
    texts = [item["value"]["text"][0] for item in prediction["result"] if item["type"] == "textarea"]
    return " ".join(texts)


def shown(label_studio: LabelStudioStub) -> dict[int, list[str]]:
    return {number: [rationale_of(each) for each in rows] for number, rows in label_studio.predictions.items()}


def reasons_asked(llm: ScriptedLLM) -> int:
    return sum("Reason:" in json.dumps(each.body) for each in llm.requests)


def test_after_bulk_labeling_low_scores_alone_get_a_reason(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    label_studio.strict = True
    label_studio.add(*tasks([LOVED, DULL, HATED, "It is made of steel."]))
    label_all(client)
    assert shown(label_studio) == {1: [""], 2: [WHY], 3: [""], 4: [WHY]}
    assert reasons_asked(scripted_llm) == 2


def test_a_prediction_keeps_its_id_and_its_label(client: FlaskClient, label_studio: LabelStudioStub) -> None:
    label_studio.add(task(1, DULL))
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(service.redis, jobs=2)
    (before,) = [dict(each) for each in label_studio.predictions[1]]
    work(service.redis, queues=[LABEL])
    (after,) = label_studio.predictions[1]
    assert after["result"][:-1] == before["result"]
    assert {name: after[name] for name in ("id", "score", "created_at")} == {
        name: before[name] for name in ("id", "score", "created_at")
    }


def test_a_reason_that_is_known_is_served_by_predict_without_another_call(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    label_studio.add(task(1, DULL))
    label_all(client)
    calls = scripted_llm.calls
    body = client.post("/predict", json=predict_body([task(7, DULL)], config=WITH_AREA)).json
    assert rationale_of(body["results"][0]) == WHY
    assert "rationale" not in body["results"][0]
    assert scripted_llm.calls == calls


def test_predict_itself_never_asks_for_a_reason(client: FlaskClient, scripted_llm: ScriptedLLM) -> None:
    body = client.post("/predict", json=predict_body([task(7, DULL)], config=WITH_AREA)).json
    assert rationale_of(body["results"][0]) == ""
    assert reasons_asked(scripted_llm) == 0


def test_turned_off_nothing_is_asked_or_queued(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPLAIN_BELOW", "0")
    label_studio.add(*tasks([DULL] * 3))
    label_all(client)
    assert reasons_asked(scripted_llm) == 0
    assert not client.application.extensions["whetstone"].dispatch.is_pending(PROJECT, "explain")


def test_a_text_area_that_goes_takes_the_known_reasons_along(
    client: FlaskClient, label_studio: LabelStudioStub
) -> None:
    """Label Studio, validating strictly, would refuse a prediction of an unknown control."""
    label_studio.add(task(1, DULL))
    label_all(client)
    (result,) = client.post("/predict", json=predict_body([task(7, DULL)], config=CONFIG)).json["results"]
    assert [item["type"] for item in result["result"]] == ["choices"]


def test_a_configuration_without_the_text_area_is_labelled_all_the_same(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    label_studio.config = CONFIG
    label_studio.add(task(1, DULL))
    label_all(client)
    assert shown(label_studio) == {1: [""]}
    assert reasons_asked(scripted_llm) == 0


def test_annotated_tasks_keep_what_was_shown(client: FlaskClient, label_studio: LabelStudioStub) -> None:
    label_studio.add(*tasks([DULL, "It is made of steel."]))
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(service.redis, jobs=2)
    label_studio.annotate(1, "neutral")
    work(service.redis, queues=[LABEL])
    assert shown(label_studio) == {1: [""], 2: [WHY]}


def test_equal_texts_are_explained_once_and_shown_each(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    label_studio.add(*({**each, "data": {"text": DULL}} for each in tasks([DULL] * 3)))
    label_all(client)
    assert shown(label_studio) == {1: [WHY], 2: [WHY], 3: [WHY]}
    assert reasons_asked(scripted_llm) == 1


def test_an_llm_that_gives_no_reason_is_asked_once(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    silent = lambda prompt: {"\n": 1.0} if prompt.rstrip().endswith("Reason:") else keyword_label(prompt)  # noqa: E731
    scripted_llm.script = Script(answer=silent, honours=frozenset(), off_label=0)
    label_studio.add(task(1, DULL))
    label_all(client)
    label_all(client)
    assert shown(label_studio) == {1: [""]}
    assert reasons_asked(scripted_llm) == 1


def test_what_label_studio_did_not_take_is_tried_again(client: FlaskClient, label_studio: LabelStudioStub) -> None:
    label_studio.add(task(1, DULL))
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(service.redis, jobs=3)
    label_studio.outages = [200, 200, 200, 503]
    work(service.redis, queues=[LABEL])
    assert shown(label_studio) == {1: [""]}
    assert retry_now(service.redis) == 1
    work(service.redis, queues=[LABEL])
    assert shown(label_studio) == {1: [WHY]}


def test_an_llm_that_is_away_is_asked_again_later(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    label_studio.add(task(1, DULL))
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(service.redis, jobs=2)
    scripted_llm.change(faults=lambda *_: Fault(500))
    work(service.redis, queues=[LABEL])
    scripted_llm.change(faults=())
    assert retry_now(service.redis) == 1
    work(service.redis, queues=[LABEL])
    assert shown(label_studio) == {1: [WHY]}


def test_a_prediction_that_the_llm_reasoned_for_shows_its_rationale_and_is_not_explained_again(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    service = service_of(client)
    active = service.store.active(PROJECT)
    assert active
    reasoned = PromptVersion.of(
        2, Prompt("Tell.", rationale=True), config_hash=active.config_hash, model=active.model, origin="learned",
        created_at=active.created_at,
    )  # fmt: skip
    assert service.store.publish(PROJECT, reasoned, active.name, by="run")
    label_studio.add(task(1, DULL))
    label_all(client)
    assert shown(label_studio) == {1: [WHY]}
    assert sum("Do not weigh other labels" in json.dumps(each.body) for each in scripted_llm.requests) == 0


def test_no_reason_reaches_the_log(client: FlaskClient, label_studio: LabelStudioStub, logged: Logs) -> None:
    label_studio.add(task(1, DULL))
    label_all(client)
    lines = logged()
    assert any(line["event"] == "reasons given" for line in lines)
    assert "SECRET" not in json.dumps(lines, default=str)


def test_a_corrected_rationale_becomes_the_reason_of_a_demonstration(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks([DULL, "It is made of steel."]))
    label_all(client)
    service = service_of(client)
    corrected: dict[str, Any] = {"from_name": "rationale", "type": "textarea", "value": {"text": ["It is a fact."]}}
    for number, item in ((1, corrected), (2, label_studio.predictions[2][0]["result"][-1])):
        annotation = label_studio.annotate(
            number, "neutral", parent_prediction=label_studio.predictions[number][0]["id"]
        )
        annotation["result"] = [*annotation["result"], item]
    service.follow(PROJECT)
    work(redis_client, queues=[LABEL])
    schema = parse(WITH_AREA)
    examples = ground_truth.examples(AnnotationStore(redis_client).tasks(PROJECT), schema).examples
    assert [(each.truth, each.reason) for each in examples] == [
        ({"sentiment": ("neutral",)}, "It is a fact."),
        ({"sentiment": ("neutral",)}, ""),
    ]
    made = demonstrations.demonstration(schema, examples[0])
    assert made is not None
    assert made.reason == "It is a fact."


def test_many_are_explained_part_by_part(
    client: FlaskClient, label_studio: LabelStudioStub, scripted_llm: ScriptedLLM
) -> None:
    label_studio.add(*tasks([f"It holds {number} litres." for number in range(40)]))
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(service.redis, jobs=21)
    to_label = pushing.make_client(service.settings)
    to = pushing.target(service, to_label, 1)
    deadlines = [Deadline.after(0), Deadline.after(60)]
    parts = [explain.explain(service, to_label, to, below=0.65, deadline=each) for each in deadlines]
    assert parts == [True, False]
    assert reasons_asked(scripted_llm) == 40
    assert all(rows == [WHY] for rows in shown(label_studio).values())
