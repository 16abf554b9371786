from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from backend.label_studio import LabelStudioClient, LabelStudioRefusedError, Project
from demo.label_studio_server import LabelStudioServer
from tests.e2e.conftest import MakeProject

TEXTS = tuple(f"sentence {number}" for number in range(25))


@pytest.fixture
def filled(label_studio: LabelStudioServer, make_project: MakeProject) -> Project:
    return make_project(label_studio, texts=TEXTS)


def prediction(task_id: int, version: str, choice: str = "positive") -> dict[str, Any]:
    item = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [choice]}}
    return {"task": task_id, "result": [item], "score": 0.5, "model_version": version}


def test_the_client_knows_whom_it_talks_to(label_studio: LabelStudioServer, client: LabelStudioClient) -> None:
    assert client.version() == "1.23.2"
    assert client.whoami() == label_studio.login


def test_a_personal_token_works_as_a_legacy_one(label_studio: LabelStudioServer, project: Project) -> None:
    client = LabelStudioClient(label_studio.url, label_studio.personal_token())
    assert client.token_kind == "personal"
    assert client.project(project.id) == project


def test_all_tasks_come_once_by_rising_id_over_many_pages(client: LabelStudioClient, filled: Project) -> None:
    tasks = list(client.tasks(filled.id, page_size=10))
    assert [task.data["text"] for task in tasks] == list(TEXTS)
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    assert list(client.task_ids(filled.id, page_size=10)) == [task.id for task in tasks]


def test_a_project_without_tasks_has_none(client: LabelStudioClient, project: Project) -> None:
    assert list(client.tasks(project.id)) == []
    assert list(client.tasks(project.id, [])) == []


def test_tasks_are_found_by_id_and_absent_ones_left_out(client: LabelStudioClient, filled: Project) -> None:
    ids = list(client.task_ids(filled.id))
    assert [task.id for task in client.tasks(filled.id, [ids[7], ids[3], ids[3], 10**7])] == [ids[3], ids[7]]


def test_a_task_tells_its_predictions_versions(client: LabelStudioClient, filled: Project) -> None:
    first, second, *_ = client.task_ids(filled.id)
    sent = [prediction(first, "p0001-aaaa"), prediction(first, "p0002-bbbb"), prediction(second, "p0001-aaaa")]
    assert client.import_predictions(filled.id, sent) == 3
    tasks = list(client.tasks(filled.id))
    assert tasks[0].versions == {"p0001-aaaa", "p0002-bbbb"}
    assert tasks[1].versions == {"p0001-aaaa"}
    assert tasks[2].versions == frozenset()
    assert next(client.task_ids(filled.id, lacking="p0002-bbbb")) == second
    assert next(client.tasks(filled.id, [first, second], lacking="p0002-bbbb")).id == second


def test_no_task_is_skipped_when_those_seen_are_predicted_meanwhile(client: LabelStudioClient, filled: Project) -> None:
    for task in client.tasks(filled.id, lacking="p0003-cccc", page_size=4):
        client.import_predictions(filled.id, [prediction(task.id, "p0003-cccc")])
    assert list(client.task_ids(filled.id, lacking="p0003-cccc")) == []


def test_a_task_is_labelled_once_it_has_its_annotation(
    label_studio: LabelStudioServer, client: LabelStudioClient, filled: Project
) -> None:
    first = next(client.tasks(filled.id))
    body = {"result": prediction(first.id, "")["result"], "lead_time": 1.0}
    headers = {"Authorization": f"Token {label_studio.token}"}
    url = f"{label_studio.url}/api/tasks/{first.id}/annotations/"
    httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
    assert [task.labelled for task in client.tasks(filled.id)][:2] == [True, False]


def test_a_strict_label_studio_says_which_prediction_it_refuses(client: LabelStudioClient, filled: Project) -> None:
    first = next(client.task_ids(filled.id))
    with pytest.raises(LabelStudioRefusedError, match="Prediction 0"):
        client.import_predictions(filled.id, [prediction(first, "p1", choice="lukewarm")])


def test_a_default_label_studio_says_how_many_it_took(
    label_studio_default: LabelStudioServer, make_project: MakeProject
) -> None:
    project = make_project(label_studio_default, texts=TEXTS[:2])
    client = LabelStudioClient(label_studio_default.url, label_studio_default.token)
    good, bad = client.task_ids(project.id)
    sent = [prediction(good, "p1"), prediction(bad, "p1", choice="lukewarm")]
    assert client.import_predictions(project.id, sent) == 1


def test_a_project_that_is_not_there_is_named(client: LabelStudioClient) -> None:
    for call in (client.project, client.backends, lambda number: list(client.tasks(number))):
        with pytest.raises(LabelStudioRefusedError, match="has no project 987654"):
            call(987654)


@pytest.fixture
def without_legacy_tokens(label_studio: LabelStudioServer) -> Iterator[None]:
    with httpx.Client(base_url=label_studio.url, timeout=60) as api:
        refreshed = api.post("/api/token/refresh/", json={"refresh": label_studio.personal_token()})
        api.headers["Authorization"] = f"Bearer {refreshed.json()['access']}"
        for allowed in (False, True):
            body = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": allowed}
            api.post("/api/jwt/settings", json=body).raise_for_status()
            if not allowed:
                yield


@pytest.mark.usefixtures("without_legacy_tokens")
def test_a_legacy_token_that_is_disabled_is_told_so(client: LabelStudioClient) -> None:
    with pytest.raises(LabelStudioRefusedError, match="legacy tokens disabled") as raised:
        client.whoami()
    assert "personal access token" in raised.value.hint
