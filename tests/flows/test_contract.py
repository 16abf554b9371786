"""Label Studio's recorded requests, and the points of its contract in which the backend has a part."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend.queue.dispatch import OPTIMIZE
from backend.web.model import WhetstoneModel
from tests.conftest import CAPTURES, TESTS
from tests.flows.conftest import Web, queued, service_of
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import (
    CONFIG,
    HATED,
    LOVED,
    OTHER_CONFIG,
    PROJECT,
    complaints,
    event,
    label,
    predict_body,
    sent_to,
    setup_body,
    task,
    tasks,
)
from tests.scripted_llm import ScriptedLLM

Captured = Callable[[str], Any]

REQUESTS = sorted(path.stem for path in CAPTURES.glob("*_request*.json"))
WEBHOOKS = sorted(path.stem for path in CAPTURES.glob("webhook_*.json"))
ANNOTATION_EVENTS = [name for name in WEBHOOKS if name.startswith("webhook_annotation")]
MARKER = "what the annotator said"


def replay(client: Any, recorded: dict[str, Any]) -> Any:
    """The recorded bytes' equal, with the recorded headers that are not about the transport."""
    return client.open(
        recorded["path"],
        method=recorded["method"],
        data=None if recorded["body"] is None else json.dumps(recorded["body"]),
        headers={
            name: recorded["headers"][name] for name in ("User-Agent", "Content-Type") if name in recorded["headers"]
        },
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_every_recorded_request_gets_the_answer_label_studio_needs(name: str, web: Web, captured: Captured) -> None:
    client, recorded = web(), captured(name)
    version = replay(client, captured("setup_request")).json["model_version"]
    response = replay(client, recorded)
    assert response.status_code == 200
    body = response.json
    match recorded["path"]:
        case "/setup":
            assert isinstance(body["model_version"], str)
            assert body["model_version"]
        case "/versions":
            assert body["versions"] == [version]
        case "/predict":
            assert len(body["results"]) == len(recorded["body"]["tasks"])
            assert complaints(recorded["body"]["label_config"], body["results"], version) == []


@pytest.mark.parametrize("name", WEBHOOKS)
def test_every_recorded_event_is_taken(name: str, web: Web, captured: Captured) -> None:
    response = replay(web(), captured(name))
    assert (response.status_code, response.json) == (201, {"status": "ok"})


def test_health_and_setup_call_neither_the_llm_nor_label_studio(
    web: Web, scripted_llm: ScriptedLLM, label_studio: LabelStudioStub, pushes: dict[str, str]
) -> None:
    """Point 1."""
    client = web(**pushes)
    assert client.get("/health").json["status"] == "UP"
    assert client.post("/setup", json=setup_body()).status_code == 200
    assert (scripted_llm.requests, label_studio.calls) == ([], [])


def test_health_touches_nothing_at_all(web: Web) -> None:
    client = web(redis_url="redis://127.0.0.1:1/0", openai_base_url="http://127.0.0.1:1/v1")
    response = client.get("/health")
    assert response.status_code == 200
    assert "Retry-After" not in response.headers


def test_a_task_that_fails_keeps_its_place(web: Web) -> None:
    """Point 3."""
    rows = tasks([LOVED, "", HATED])
    results = web().post("/predict", json=predict_body(rows)).json["results"]
    assert results[1] == {}
    assert [label(results[0]), label(results[2])] == ["positive", "negative"]


def test_setup_and_predictions_name_the_same_version(web: Web) -> None:
    """Point 4, before and after the configuration changes."""
    client = web()
    for config in (CONFIG, OTHER_CONFIG):
        version = client.post("/setup", json=setup_body(config=config)).json["model_version"]
        body = predict_body(tasks([LOVED, HATED]), config=config)
        results = client.post("/predict", json=body).json["results"]
        assert {result["model_version"] for result in results} == {version}


def test_a_project_that_predicts_before_it_is_set_up_has_the_version_that_setup_names_later(web: Web) -> None:
    client = web()
    (result,) = client.post("/predict", json=predict_body([task(1, LOVED)])).json["results"]
    assert client.post("/setup", json=setup_body()).json["model_version"] == result["model_version"]


def test_a_version_published_elsewhere_is_served_with_the_next_request(web: Web) -> None:
    """Point 4: the active version is read for each request, not kept by a process."""
    one, other = web(), web()
    first = one.post("/setup", json=setup_body()).json["model_version"]
    second = other.post("/setup", json=setup_body(config=OTHER_CONFIG)).json["model_version"]
    assert second != first
    assert one.post("/setup", json=setup_body(config=OTHER_CONFIG)).json["model_version"] == second


def test_the_guideline_of_the_project_becomes_the_instruction(
    web: Web, captured: Captured, scripted_llm: ScriptedLLM
) -> None:
    client = web()
    replay(client, captured("webhook_project_updated"))
    replay(client, captured("predict_request"))
    assert "Label how the customer feels now." in sent_to(scripted_llm)


def test_nothing_is_ever_null_and_scores_are_probabilities(web: Web) -> None:
    """Point 6."""
    response = web().post("/predict", json=predict_body(tasks([LOVED, HATED, "", "It holds water."])))
    assert "null" not in response.text
    for result in filter(None, response.json["results"]):
        assert 0 <= result["score"] <= 1
        assert result["model_version"]


def test_annotations_and_earlier_predictions_never_reach_the_llm(web: Web, scripted_llm: ScriptedLLM) -> None:
    """Point 7."""
    known = [{"id": 7, "result": [{"value": {"choices": [MARKER]}}], "completed_by": MARKER}]
    row = task(1, LOVED, annotations=known, predictions=known, drafts=known, meta={"note": MARKER})
    body = predict_body([row]) | {"params": {"context": {"result": known}, "login": MARKER, "password": MARKER}}
    assert label(web().post("/predict", json=body).json["results"][0]) == "positive"
    assert scripted_llm.calls
    assert MARKER not in sent_to(scripted_llm)


@pytest.mark.parametrize("name", ANNOTATION_EVENTS)
def test_no_annotation_event_makes_the_annotator_wait_for_anything(
    name: str,
    web: Web,
    captured: Captured,
    redis_client: Redis,
    scripted_llm: ScriptedLLM,
    label_studio: LabelStudioStub,
    pushes: dict[str, str],
) -> None:
    """Points 8 to 11: skips, bulk-made and deleted ones alike."""
    assert replay(web(**pushes), captured(name)).status_code == 201
    assert (scripted_llm.requests, label_studio.calls) == ([], [])
    assert queued(redis_client) == [("follow", [PROJECT])]


def test_a_training_request_per_annotation_becomes_one_job(
    web: Web, captured: Captured, redis_client: Redis, pushes: dict[str, str]
) -> None:
    """Point 12."""
    client = web(**pushes)
    for _ in range(5):
        replay(client, captured("webhook_start_training"))
    assert queued(redis_client) == [("label_project", [PROJECT])]
    assert queued(redis_client, OPTIMIZE) == [("optimize", [PROJECT])]


def test_a_reused_task_id_with_other_data_is_labelled_anew(web: Web) -> None:
    """Point 18."""
    client = web()
    labels = [
        label(client.post("/predict", json=predict_body([task(1, text)])).json["results"][0]) for text in (LOVED, HATED)
    ]
    assert labels == ["positive", "negative"]


@pytest.mark.parametrize("through", ["/setup", "/predict", "/webhook"])
def test_a_changed_configuration_has_the_whole_project_labelled_anew(
    through: str, web: Web, captured: Captured, redis_client: Redis, pushes: dict[str, str]
) -> None:
    """Point 19: Label Studio does not ask again for tasks that have a prediction, whatever tells us of the swap."""
    client = web(**pushes)
    client.post("/setup", json=setup_body())
    assert queued(redis_client) == []
    bodies = {
        "/setup": setup_body(config=OTHER_CONFIG),
        "/predict": predict_body([task(1, LOVED)], config=OTHER_CONFIG),
        "/webhook": event("PROJECT_UPDATED", captured("webhook_project_updated"), config=OTHER_CONFIG),
    }
    client.post(through, json=bodies[through])
    assert queued(redis_client) == [("label_project", [PROJECT])]


def test_routes_that_label_studio_no_longer_calls_do_no_harm(web: Web, redis_client: Redis) -> None:
    client = web()
    assert client.post("/train", data="anything").status_code == 201
    answer = client.post(
        "/validate", json={"config": CONFIG.replace("</View>", '<Number name="r" toName="text"/></View>')}
    )
    assert "Number" in answer.json["notes"][0]
    assert queued(redis_client) == []


def test_versions_lists_the_newest_first(web: Web) -> None:
    client = web()
    names = [
        client.post("/setup", json=setup_body(config=config)).json["model_version"] for config in (CONFIG, OTHER_CONFIG)
    ]
    assert client.get("/versions").json == {"versions": names[::-1]}


# -- the class behind it


def test_the_class_works_as_label_studio_ml_1_0_9_calls_it(web: Web, captured: Captured) -> None:
    service = service_of(web())
    model = WhetstoneModel(label_config=CONFIG, train_output={}, hostname="", access_token="", service=service)
    (result,) = model.predict([task(1, LOVED)], login=None, password=None, context=None)
    assert label(result) == "positive"
    recorded = captured("webhook_annotation_created")["body"]
    data = {name: value for name, value in recorded.items() if name != "action"}
    answer = model.process_event("ANNOTATION_CREATED", data, "1", {"workdir": "/nowhere"})
    assert answer == {"status": "ok"}


def test_the_class_finds_its_settings_in_the_environment(
    redis_url: str, scripted_llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("OPENAI_BASE_URL", scripted_llm.base_url)
    (result,) = WhetstoneModel(label_config=CONFIG).predict([task(1, HATED)])
    assert label(result) == "negative"


UPSTREAM = """
import json, sys
from backend.web.model import WhetstoneModel
given = json.load(sys.stdin)
model = WhetstoneModel(project_id="1", label_config=given["config"])
results = model.predict(given["tasks"], context=None, login=None)
fitted = WhetstoneModel("1").fit("ANNOTATION_CREATED", given["event"])
json.dump([model.get("model_version"), results, fitted], sys.stdout)
"""


def test_the_class_works_as_upstream_main_calls_it(
    redis_url: str, scripted_llm: ScriptedLLM, captured: Captured
) -> None:
    given = {"config": CONFIG, "tasks": [task(1, LOVED)], "event": captured("webhook_annotation_created")["body"]}
    environment = {"REDIS_URL": redis_url, "OPENAI_BASE_URL": scripted_llm.base_url}
    paths = os.pathsep.join([str(TESTS / "flows" / "upstream_main"), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-c", UPSTREAM],
        input=json.dumps(given),
        env={**os.environ, **environment, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path("/"),
    )
    assert done.returncode == 0, done.stderr
    version, (result,), fitted = json.loads(done.stdout)
    assert (result["model_version"], label(result), fitted) == (version, "positive", {"status": "ok"})
