"""What a person does who wants to trust the labels: what to label next, what to accept unseen, and the pages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.label_studio import LabelStudioClient, Project
from tests.e2e.browser import chromium, sign_in, wait_for_text
from tests.e2e.conftest import MakeProject
from tests.e2e.whetstone import Whetstone, running
from tests.flows.learning import texts, truth

TASKS, LABELS, QUEUED = 70, 40, 10
SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"


@pytest.fixture(scope="module")
def whetstone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whetstone]:
    """Every task is drawn by lot, and no run is made."""
    server = request.getfixturevalue("label_studio")
    never = {"audit_share": 1, "learn_after_labels": 10_000, "learn_after_errors": 10_000}
    with running(server, tmp_path_factory.mktemp("whetstone"), llm_prompt_style="text", **never) as up:
        yield up


@dataclass(frozen=True, slots=True)
class Desk:
    """A project that is predicted and in part labelled, all as the LLM says."""

    project: Project
    client: LabelStudioClient
    whetstone: Whetstone

    def run(self, command: str, *arguments: str) -> Any:
        result = self.whetstone.run(command, str(self.project.id), *arguments, "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Token {self.whetstone.label_studio.token}"}
        answer = httpx.request(method, f"{self.client.url}{path}", headers=headers, timeout=120, **more)
        return answer.raise_for_status().json()

    def tab(self, title: str) -> int:
        views = self.ask("GET", "/api/dm/views/", params={"project": self.project.id})
        return next(int(view["id"]) for view in views if view["data"]["title"] == title)

    def shown(self, tab: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("GET", "/api/tasks/", params={"view": tab, "project": self.project.id})[
            "tasks"
        ]
        return rows


@pytest.fixture(scope="module")
def desk(whetstone: Whetstone, make_project: MakeProject) -> Desk:
    server = whetstone.label_studio
    project = make_project(server, texts=tuple(texts(TASKS)))
    found = Desk(project, LabelStudioClient(server.url, server.token), whetstone)
    found.run("connect")
    assert whetstone.run("label", str(project.id)).returncode == 0
    for index, task in enumerate(list(found.client.tasks(project.id))[:LABELS]):
        choice = {"choices": [truth(index)]}
        result = [{"from_name": "sentiment", "to_name": "text", "type": "choices", "value": choice}]
        found.ask("POST", f"/api/tasks/{task.id}/annotations/", json={"result": result, "lead_time": 3.1})
    return found


def test_the_queue_stands_first_in_its_tab_in_its_order(desk: Desk) -> None:
    desk.run("queue", "--count", str(QUEUED))
    rows = desk.shown(desk.tab("Label next"))
    assert [row["data"]["whetstone_queue"] for row in rows] == list(range(1, QUEUED + 1))
    assert all(not row["total_annotations"] for row in rows)


def test_what_may_be_accepted_is_a_tab_of_open_tasks_with_a_sure_score(desk: Desk) -> None:
    found = desk.run("accept", "--target", "0.9", "--tab")["certificate"]
    assert found["errors"] == 0
    rows = desk.shown(desk.tab("Accept: 90 %"))
    assert len(rows) == found["tasks"] > 0
    assert all(row["predictions_score"] >= found["threshold"] and not row["total_annotations"] for row in rows)


def test_a_person_sees_both_tabs_and_the_pages(desk: Desk, tmp_path: Path) -> None:
    server = desk.whetstone.label_studio
    SCREENSHOTS.mkdir(exist_ok=True)
    with chromium(tmp_path) as browser:
        sign_in(browser, server.url, server.login, server.password)
        for title, name in (("Label next", "queue"), ("Accept: 90 %", "accept")):
            browser.get(f"{server.url}/projects/{desk.project.id}/data?tab={desk.tab(title)}")
            wait_for_text(browser, "No 4")
            wait_for_text(browser, title)
            browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
        browser.get(desk.whetstone.stack.backend_url)
        wait_for_text(browser, f"Project {desk.project.id}")
        browser.get(f"{desk.whetstone.stack.backend_url}/projects/{desk.project.id}")
        wait_for_text(browser, "p0001")
        browser.save_screenshot(str(SCREENSHOTS / "page.png"))
