"""What `whetstone accept` asks of the real Label Studio: untouched tasks, a tab of the surest, annotations in bulk."""

from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from backend.label_studio import LabelStudioClient, Project
from backend.labeling.schema import parse
from backend.projects.connection import HIDDEN_COLUMNS
from demo.label_studio_server import LabelStudioServer
from tests.e2e.conftest import MakeProject
from worker.labels import ground_truth
from worker.labels.annotation_store import AnnotationStore
from worker.labels.ground_truth import SKIPPED, UNSEEN
from worker.labels.pull import pull

VERSION = "p0001-aaaa"
SCORES = (0.95, 0.91, 0.9, 0.6)


@pytest.fixture
def project(label_studio: LabelStudioServer, make_project: MakeProject) -> Project:
    return make_project(label_studio, texts=tuple(f"text {score}" for score in (*SCORES, "skipped")))


@pytest.fixture
def api(label_studio: LabelStudioServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as client:
        yield client


def test_the_surest_are_shown_in_a_tab_and_become_annotations_that_are_no_ground_truth(
    client: LabelStudioClient, project: Project, api: httpx.Client, redis_client: Redis
) -> None:
    ids = [task.id for task in client.untouched(project.id)]
    result = [{"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": ["positive"]}}]
    rows = [
        {"task": n, "result": result, "score": score, "model_version": version}
        for version, scores in ((VERSION, SCORES), ("p0000-bbbb", [0.99] * 4))
        for n, score in zip(ids, scores, strict=False)
    ]
    assert client.import_predictions(project.id, rows) == 8
    client.set_model_version(project.id, VERSION)
    skip = {"result": result, "lead_time": 3.0, "was_cancelled": True}
    api.post(f"/api/tasks/{ids[4]}/annotations/", json=skip).raise_for_status()
    api.post(f"/api/tasks/{ids[0]}/annotations/", json={"result": result, "lead_time": 3.0}).raise_for_status()

    for _ in range(2):
        client.put_tab_of_surest(project.id, "sure", score=0.9, version=VERSION, hidden=HIDDEN_COLUMNS)
    assert client.tabs(project.id).count("sure") == 1
    (tab,) = [
        row
        for row in api.get("/api/dm/views/", params={"project": project.id}).json()
        if row["data"]["title"] == "sure"
    ]
    shown = api.get("/api/tasks/", params={"view": tab["id"], "project": project.id}).raise_for_status().json()["tasks"]
    assert [task["id"] for task in shown] == [ids[2], ids[1]]

    assert [task.id for task in client.untouched(project.id)] == ids[1:4]
    assert client.annotate_from_predictions(project.id, [*ids[:3], ids[4]], VERSION) == 2
    assert client.annotate_from_predictions(project.id, ids[:3], VERSION) == 0
    store, schema = AnnotationStore(redis_client), parse(project.config)
    pull(client, store, project.id, project.key, schema, whole=True)
    truth = ground_truth.examples(store.tasks(project.key), schema)
    assert (len(truth.examples), truth.left_out) == (1, {UNSEEN: 2, SKIPPED: 1})
