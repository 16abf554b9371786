"""Reasons in a real Label Studio that validates strictly: where they stand, and what becomes of them."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome, Keys

from backend.label_studio import LabelStudioClient, Project
from backend.labeling import reasons
from backend.labeling.schema import parse
from backend.projects import rationale_area
from backend.settings import Settings
from demo.label_studio_server import LabelStudioServer
from tests.e2e.browser import chromium, sign_in, wait_for, wait_for_text
from tests.e2e.conftest import MakeProject
from tests.e2e.whetstone import wait_until
from worker.labels.annotations import Wanted
from worker.labels.annotations import parse as parse_annotation

VERSION = "p0001-aaaa"
LABEL = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": ["negative"]}}
STORED = {"result": [LABEL], "score": 0.6, "model_version": VERSION, "rationale": "It says awful."}


def call(server: LabelStudioServer, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Token {server.token}"}
    return (
        httpx.request(method, f"{server.url}{path}", json=body, headers=headers, timeout=60).raise_for_status().json()
    )


@pytest.fixture
def reasoned(label_studio: LabelStudioServer, client: LabelStudioClient, make_project: MakeProject) -> Project:
    """With a task that is annotated already; the TextArea came after that."""
    project = make_project(label_studio, texts=("so awful", "fine"))
    first = min(client.task_ids(project.id))
    call(label_studio, "POST", f"/api/tasks/{first}/annotations/", {"result": [LABEL], "lead_time": 3.0})
    step = rationale_area.ensure(client, project, Settings(), add=True)
    assert step is not None
    assert step.state == "done", step.detail
    return client.project(project.id)


def shown(project: Project) -> dict[str, Any]:
    schema = parse(project.config)
    return reasons.shown(STORED, schema.text_area("rationale"), "hash")


def test_the_text_area_is_added_to_a_project_with_annotations(client: LabelStudioClient, reasoned: Project) -> None:
    again = rationale_area.ensure(client, reasoned, Settings(), add=True)
    assert again is not None
    assert again.state == "already"


def test_a_prediction_gets_its_reason_and_stays_the_only_one(
    label_studio: LabelStudioServer, client: LabelStudioClient, reasoned: Project
) -> None:
    task_id = max(client.task_ids(reasoned.id))
    bare = {"task": task_id, **reasons.shown(STORED, None, "hash")}
    assert client.import_predictions(reasoned.id, [bare]) == 1
    (before,) = call(label_studio, "GET", f"/api/predictions/?task={task_id}")
    assert client.set_result(before["id"], task_id, shown(reasoned)["result"])
    (after,) = call(label_studio, "GET", f"/api/predictions/?task={task_id}")
    assert after["result"] == shown(reasoned)["result"]
    for name in ("id", "score", "model_version", "created_at"):
        assert after[name] == before[name]
    assert not client.set_result(before["id"] + 1000, task_id, [])


def test_a_reason_that_comes_with_its_prediction_is_taken(client: LabelStudioClient, reasoned: Project) -> None:
    task_id = max(client.task_ids(reasoned.id))
    assert client.import_predictions(reasoned.id, [{"task": task_id, **shown(reasoned)}]) == 1


def test_a_bulk_accepted_rationale_is_nobodys_words(
    label_studio: LabelStudioServer, client: LabelStudioClient, reasoned: Project
) -> None:
    task_id = max(client.task_ids(reasoned.id))
    client.import_predictions(reasoned.id, [{"task": task_id, **shown(reasoned)}])
    path = f"/api/dm/actions?id=predictions_to_annotations&project={reasoned.id}"
    call(label_studio, "POST", path, {"selectedItems": {"all": False, "included": [task_id]}, "model_version": VERSION})
    (row,) = client.task_rows(reasoned.id, [task_id])
    schema = parse(reasoned.config)
    wanted = Wanted.of(schema, schema.text_area("rationale"))
    found = parse_annotation({"task": task_id, **row.annotations[0]}, row.predictions, wanted)
    assert found.unseen
    assert (found.rationale, found.reason) == ("It says awful.", "")
    assert [item["from_name"] for item in found.result] == ["sentiment"]


def test_what_a_person_corrects_is_their_reason_and_what_they_leave_is_not(
    label_studio: LabelStudioServer, client: LabelStudioClient, reasoned: Project, tmp_path: Path
) -> None:
    call(label_studio, "POST", f"/api/projects/{reasoned.id}/import", [{"data": {"text": "awful too"}}])
    ids = sorted(client.task_ids(reasoned.id))[1:]
    client.import_predictions(reasoned.id, [{"task": task_id, **shown(reasoned)} for task_id in ids])
    client.set_model_version(reasoned.id, VERSION)
    client.show_predictions(reasoned.id)
    with chromium(tmp_path) as driver:
        sign_in(driver, label_studio.url, label_studio.login, label_studio.password)
        stream = f"{label_studio.url}/projects/{reasoned.id}/data?labeling=1"
        _submit(driver, stream, correction="It is a fact.")
        wait_until("the first is submitted", lambda: len(list(client.annotated(reasoned.id))) == 2)
        _submit(driver, stream, correction="")
        wait_until("the second is submitted", lambda: len(list(client.annotated(reasoned.id))) == 3)
    schema = parse(reasoned.config)
    wanted = Wanted.of(schema, schema.text_area("rationale"))
    found = [
        parse_annotation({"task": row.id, **row.annotations[0]}, row.predictions, wanted)
        for row in client.task_rows(reasoned.id, ids)
    ]
    assert sorted(each.reason for each in found) == ["", "It is a fact."]
    assert sorted(each.rationale for each in found) == ["It is a fact.", "It says awful."]
    assert {each.origins["sentiment"] for each in found} == {"prediction"}


def _submit(driver: Chrome, stream: str, *, correction: str) -> None:
    """The next task of the label stream."""
    driver.get(stream)
    wait_for_text(driver, "It says awful.")
    if correction:
        _correct(driver, correction)
    wait_for(driver, "[data-testid=bottombar-submit-button]").click()


def _correct(driver: Chrome, text: str) -> None:
    wait_for(driver, "[data-testid=htx-textbox-edit-button]").click()
    area = wait_for(driver, "[data-testid=textarea-region] textarea")
    area.send_keys(Keys.CONTROL, "a")
    area.send_keys(text)
    driver.execute_script("arguments[0].blur()", area)
    wait_for_text(driver, text)
