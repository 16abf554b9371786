"""A task becomes a prediction that a person sees, in a real Label Studio: strict about predictions, and as it comes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.label_studio import LabelStudioClient, Project
from tests.e2e.browser import chromium, sign_in, wait_for, wait_for_text
from tests.e2e.conftest import MakeProject
from tests.e2e.whetstone import Whetstone, running, wait_until

TEXTS = (
    "I love this phone, it is great.",
    "A terrible, awful, broken toy.",
    "Great sound and an excellent screen.",
    "Still waiting for the parcel.",
)
SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"


@pytest.fixture(scope="module", params=["strict", "default"])
def whetstone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whetstone]:
    server = request.getfixturevalue("label_studio" if request.param == "strict" else "label_studio_default")
    with running(server, tmp_path_factory.mktemp("whetstone")) as up:
        yield up


@dataclass(frozen=True, slots=True)
class Connected:
    """A project that was connected while empty, and then got its tasks."""

    project: Project
    client: LabelStudioClient
    whetstone: Whetstone
    version: str

    def get(self, path: str, **params: Any) -> Any:
        headers = {"Authorization": f"Token {self.whetstone.label_studio.token}"}
        answer = httpx.get(f"{self.client.url}{path}", params=params, headers=headers, timeout=120)
        return answer.raise_for_status().json()

    def predictions(self) -> list[dict[str, Any]]:
        return list(self.get("/api/predictions/", project=self.project.id))


@pytest.fixture(scope="module")
def connected(whetstone: Whetstone, make_project: MakeProject) -> Connected:
    server = whetstone.label_studio
    project = make_project(server)
    report = whetstone.run("connect", str(project.id), "--json")
    assert report.returncode == 0, report.stdout + report.stderr
    client = LabelStudioClient(server.url, server.token)
    headers = {"Authorization": f"Token {server.token}"}
    tasks = [{"data": {"text": text}} for text in TEXTS]
    url = f"{server.url}/api/projects/{project.id}/import"
    httpx.post(url, json=tasks, headers=headers, timeout=120).raise_for_status()
    return Connected(project, client, whetstone, json.loads(report.stdout)["version"])


def test_imported_tasks_are_pre_annotated_by_the_worker(connected: Connected) -> None:
    wait_until("the tasks have predictions", lambda: len(connected.predictions()) == len(TEXTS))
    labels = {p["task"]: p["result"][0]["value"]["choices"][0] for p in connected.predictions()}
    assert list(dict(sorted(labels.items())).values())[:3] == ["positive", "negative", "positive"]
    assert {p["model_version"] for p in connected.predictions()} == {connected.version}


def test_the_title_is_the_version_so_that_the_score_column_is_filled(connected: Connected) -> None:
    wait_until("the tasks have predictions", lambda: len(connected.predictions()) == len(TEXTS))
    assert [row.title for row in connected.client.backends(connected.project.id)] == [connected.version]
    query = json.dumps({"ordering": ["tasks:predictions_score"]})
    page = connected.get("/api/tasks/", project=connected.project.id, query=query, fields="all")
    scores = [task["predictions_score"] for task in page["tasks"]]
    assert scores == sorted(scores)
    assert all(0 < score <= 1 for score in scores)


def test_connecting_again_changes_nothing(connected: Connected) -> None:
    again = connected.whetstone.run("connect", str(connected.project.id), "--json")
    assert {step["state"] for step in json.loads(again.stdout)["steps"]} == {"already"}


def test_the_label_stream_asks_live_and_adds_no_second_prediction(connected: Connected) -> None:
    wait_until("the tasks have predictions", lambda: len(connected.predictions()) == len(TEXTS))
    task = connected.get(f"/api/projects/{connected.project.id}/next")
    assert [p["model_version"] for p in task["predictions"]] == [connected.version]
    assert len(connected.predictions()) == len(TEXTS)


def test_a_task_that_comes_without_a_prediction_is_labelled_when_opened(
    whetstone: Whetstone, make_project: MakeProject
) -> None:
    project = make_project(whetstone.label_studio, texts=TEXTS)
    assert whetstone.run("connect", str(project.id)).returncode == 0
    headers = {"Authorization": f"Token {whetstone.label_studio.token}"}
    url = f"{whetstone.label_studio.url}/api/projects/{project.id}/next"
    task = httpx.get(url, headers=headers, timeout=120).raise_for_status().json()
    assert task["predictions"][0]["result"][0]["value"]["choices"]


def test_a_whole_project_is_labelled_by_one_command_and_once(whetstone: Whetstone, make_project: MakeProject) -> None:
    project = make_project(whetstone.label_studio, texts=TEXTS * 30)
    assert whetstone.run("connect", str(project.id)).returncode == 0
    first = whetstone.run("label", str(project.id), "--json")
    assert json.loads(first.stdout)["pushed"] == len(TEXTS) * 30, first.stdout + first.stderr
    again = whetstone.run("label", str(project.id), "--here", "--json")
    assert (json.loads(again.stdout)["lacking"], again.returncode) == (0, 0)


def test_the_doctor_finds_a_connected_project_in_order(connected: Connected) -> None:
    checkup = connected.whetstone.run("doctor", "--project", str(connected.project.id))
    assert checkup.returncode == 0, checkup.stdout + checkup.stderr


def test_a_person_sees_the_scores_in_the_table_and_the_label_filled_in(connected: Connected, tmp_path: Path) -> None:
    wait_until("the tasks have predictions", lambda: len(connected.predictions()) == len(TEXTS))
    server, first = connected.whetstone.label_studio, connected.predictions()[0]
    SCREENSHOTS.mkdir(exist_ok=True)
    with chromium(tmp_path) as driver:
        sign_in(driver, server.url, server.login, server.password)
        driver.get(f"{server.url}/projects/{connected.project.id}/data")
        wait_for_text(driver, "Least certain first")
        wait_for_text(driver, f"{first['score']:.3f}")
        driver.save_screenshot(str(SCREENSHOTS / "table.png"))
        driver.get(f"{server.url}/projects/{connected.project.id}/data?task={first['task']}")
        label = first["result"][0]["value"]["choices"][0]
        wait_for(driver, f"input[name={label}]:checked")
        driver.save_screenshot(str(SCREENSHOTS / "task.png"))
        assert not driver.find_elements("css selector", "input[name=negative]:checked")
