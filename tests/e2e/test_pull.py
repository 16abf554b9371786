"""What Label Studio really lists after each thing that people and scripts do to annotations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from redis import Redis

from backend.label_studio import LabelStudioClient, Project
from backend.labeling.schema import parse
from demo.label_studio_server import LabelStudioServer
from tests.e2e.conftest import MakeProject
from worker.labels import ground_truth
from worker.labels.annotation_store import AnnotationStore
from worker.labels.ground_truth import OTHER_DATA, SKIPPED, UNSEEN
from worker.labels.pull import PullReport, pull

VERSION = "p0001-aaaa"


def choices(label: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [label]}, **fields}]


@dataclass
class Desk:
    """A project with four tasks, one person's API, and what was pulled."""

    api: httpx.Client
    client: LabelStudioClient
    project: Project
    store: AnnotationStore

    @property
    def tasks(self) -> list[int]:
        return list(self.client.task_ids(self.project.id))

    def annotate(self, task_id: int, label: str, **fields: Any) -> int:
        body = {"result": choices(label), "lead_time": 3.0, **fields}
        return int(self.call("POST", f"/api/tasks/{task_id}/annotations/", body)["id"])

    def predict(self, *task_ids: int) -> None:
        rows = [{"task": n, "result": choices("negative", score=0.8), "score": 0.8} for n in task_ids]
        self.client.import_predictions(self.project.id, [{**row, "model_version": VERSION} for row in rows])

    def act(self, action: str, *task_ids: int, **fields: Any) -> None:
        chosen = {"selectedItems": {"all": False, "included": list(task_ids)}, **fields}
        self.call("POST", f"/api/dm/actions?id={action}&project={self.project.id}", chosen)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        response = self.api.request(method, path, json=body).raise_for_status()
        return response.json() if response.content else None

    def pull(self, *, whole: bool = False) -> PullReport:
        schema = parse(self.project.config)
        return pull(self.client, self.store, self.project.id, self.project.key, schema, whole=whole)

    def found(self) -> ground_truth.GroundTruth:
        return ground_truth.examples(self.store.tasks(self.project.key), parse(self.project.config))

    def truths(self) -> dict[str, str]:
        return {example.data["text"]: example.truth["sentiment"][0] for example in self.found().examples}


@pytest.fixture
def desk(
    label_studio: LabelStudioServer, client: LabelStudioClient, make_project: MakeProject, redis_client: Redis
) -> Iterator[Desk]:
    project = make_project(label_studio, texts=("one", "two", "three", "four"))
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as api:
        yield Desk(api, client, project, AnnotationStore(redis_client))


def test_annotations_edits_flags_and_skips_arrive(desk: Desk) -> None:
    one, two, three, _ = desk.tasks
    annotation = desk.annotate(one, "positive")
    desk.annotate(two, "negative")
    desk.annotate(three, "negative", was_cancelled=True)
    desk.pull()
    assert (desk.truths(), desk.found().left_out) == ({"one": "positive", "two": "negative"}, {SKIPPED: 1})
    desk.call("PATCH", f"/api/annotations/{annotation}/", {"result": choices("negative"), "ground_truth": True})
    assert desk.pull().read == 1
    assert desk.truths() == {"one": "negative", "two": "negative"}
    assert desk.pull(whole=True).read == 0


def test_every_kind_of_deletion_arrives(desk: Desk) -> None:
    one, two, three, four = desk.tasks
    annotation = desk.annotate(one, "positive")
    for task_id in (two, three, four):
        desk.annotate(task_id, "negative")
    desk.pull()
    desk.call("DELETE", f"/api/annotations/{annotation}/")
    desk.act("delete_tasks_annotations", two)
    desk.call("DELETE", f"/api/tasks/{three}/")
    assert desk.pull().dropped == 2
    assert desk.pull(whole=True).dropped == 1
    assert desk.truths() == {"four": "negative"}


def test_what_was_accepted_in_bulk_stays_out_also_when_its_predictions_are_deleted(desk: Desk) -> None:
    one, two, _, _ = desk.tasks
    desk.predict(one, two)
    desk.act("predictions_to_annotations", one, two, model_version=VERSION)
    desk.pull()
    assert desk.found().left_out == {UNSEEN: 2}
    desk.act("delete_tasks_predictions", one, two)
    desk.store.drop_tasks(desk.project.key, [one, two])
    assert desk.pull(whole=True).read == 2
    assert desk.found().left_out == {UNSEEN: 2}


def test_the_prediction_shown_outlives_its_deletion(desk: Desk) -> None:
    one, two, _, _ = desk.tasks
    desk.predict(one)
    annotation = desk.annotate(one, "positive")
    desk.annotate(two, "positive")
    desk.pull()
    desk.act("delete_tasks_predictions", one)
    desk.call("PATCH", f"/api/annotations/{annotation}/", {"result": choices("positive")})
    assert desk.pull().read == 1
    shown = {example.data["text"]: example.shown and example.shown.version for example in desk.found().examples}
    assert shown == {"one": VERSION, "two": None}


def test_imports_with_annotations_and_edited_data_arrive(desk: Desk) -> None:
    desk.annotate(desk.tasks[0], "positive")
    desk.pull()
    row = {"data": {"text": "five"}, "annotations": [{"result": choices("negative")}]}
    desk.call("POST", f"/api/projects/{desk.project.id}/import", [row])
    desk.pull()
    assert desk.truths() == {"one": "positive", "five": "negative"}
    desk.call("PATCH", f"/api/tasks/{desk.tasks[0]}/", {"data": {"text": "another"}})
    desk.pull()
    assert (desk.truths(), desk.found().left_out) == ({"five": "negative"}, {OTHER_DATA: 1})
