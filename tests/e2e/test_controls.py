"""Rating, Pairwise and Taxonomy in a real Label Studio that validates strictly: shown, submitted, read back."""

from pathlib import Path
from typing import Any

import httpx

from backend.label_studio import LabelStudioClient
from backend.labeling.answers import Distribution
from backend.labeling.controls import Control
from backend.labeling.schema import parse
from demo.label_studio_server import LabelStudioServer
from tests.e2e.browser import chromium, sign_in, wait_for
from tests.e2e.conftest import MakeProject
from tests.e2e.whetstone import wait_until

VERSION = "p0001-aaaa"
CONFIG = """<View>
  <Text name="first" value="$a"/>
  <Text name="second" value="$b"/>
  <Pairwise name="better" toName="first,second"/>
  <Rating name="quality" toName="first" maxRating="4"/>
  <Rating name="own" toName="first" whetstone="off"/>
  <Taxonomy name="kind" toName="first" maxUsages="1"><Choice value="Animal"><Choice value="Dog"/>
    <Choice value="Cat" alias="c"/></Choice><Choice value="Plant"/></Taxonomy>
  <Taxonomy name="kinds" toName="first"><Choice value="Animal"><Choice value="Dog"/></Choice>
    <Choice value="Plant"/></Taxonomy>
</View>"""
SAID = {
    "better": ("right",),
    "quality": ("3",),
    "kind": ("Animal / c",),
    "kinds": ("Animal / Dog", "Plant"),
}


def predicted(control: Control) -> dict[str, Any]:
    """A place in a tree applies where one below it does."""
    said = SAID[control.name]
    answers = []
    for question in control.questions({}):
        about = question.about and question.about.value
        applies = any(value == about or value.startswith(f"{about} / ") for value in said)
        right = said[0] if about is None else "yes" if applies else "no"
        rest = 0.1 / (len(question.labels) - 1)
        chances = tuple(0.9 if label.value == right else rest for label in question.labels)
        answers.append(Distribution(tuple(label.value for label in question.labels), chances))
    item = control.to_result(control.read(control.questions({}), answers))
    assert item
    return {"id": control.name, **item}


def test_answers_come_back_as_they_were_predicted(
    label_studio: LabelStudioServer, client: LabelStudioClient, make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project(label_studio, config=CONFIG)
    headers = {"Authorization": f"Token {label_studio.token}"}
    url = f"{label_studio.url}/api/projects/{project.id}/import"
    httpx.post(url, json=[{"data": {"a": "one text", "b": "another"}}], headers=headers, timeout=60).raise_for_status()
    schema = parse(client.project(project.id).config)
    assert [control.name for control in schema.controls] == list(SAID)
    (task_id,) = client.task_ids(project.id)
    result = [predicted(control) for control in schema.controls]
    sent = {"task": task_id, "result": result, "score": 0.6, "model_version": VERSION}
    assert client.import_predictions(project.id, [sent]) == 1
    client.set_model_version(project.id, VERSION)
    client.show_predictions(project.id)
    with chromium(tmp_path) as driver:
        sign_in(driver, label_studio.url, label_studio.login, label_studio.password)
        driver.get(f"{label_studio.url}/projects/{project.id}/data?labeling=1")
        wait_for(driver, "[data-testid=bottombar-submit-button]").click()
        wait_until("it is submitted", lambda: bool(list(client.annotated(project.id))))
    (row,) = client.task_rows(project.id, [task_id])
    (annotation,) = row.annotations
    assert {control.name: control.from_result(annotation["result"]) for control in schema.controls} == SAID
