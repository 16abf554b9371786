"""A person annotates in a real Label Studio, and a better prompt serves: seen by API and in a real browser."""

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
from tests.e2e.whetstone import Whetstone, running, wait_until
from tests.flows.learning import muddled, texts, truth
from tests.scripted_llm import Script

TASKS, LABELS = 50, 24
SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"


@pytest.fixture(scope="module")
def whetstone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whetstone]:
    server = request.getfixturevalue("label_studio")
    home = tmp_path_factory.mktemp("whetstone")
    # The run begins with the last label, not with one before it that comes late.
    with running(server, home, llm_prompt_style="text", learn_after_labels=LABELS, learn_after_errors=LABELS) as up:
        up.llm.script = Script(label=muddled)
        yield up


@dataclass(frozen=True, slots=True)
class Taught:
    """A project in which a person has annotated the first tasks; `before` is the version that they saw."""

    project: Project
    client: LabelStudioClient
    whetstone: Whetstone
    before: str

    def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Token {self.whetstone.label_studio.token}"}
        answer = httpx.request(method, f"{self.client.url}{path}", headers=headers, timeout=120, **more)
        return answer.raise_for_status().json()

    def runs(self) -> list[dict[str, Any]]:
        url = f"{self.whetstone.stack.backend_url}/api/projects/{self.project.id}/runs"
        found: list[dict[str, Any]] = httpx.get(url, timeout=60).raise_for_status().json()["runs"]
        return found

    def ended(self) -> dict[str, Any]:
        wait_until("a run has ended", lambda: any(run["state"] == "done" for run in self.runs()))
        return self.runs()[-1]


@pytest.fixture(scope="module")
def taught(whetstone: Whetstone, make_project: MakeProject) -> Taught:
    server = whetstone.label_studio
    project = make_project(server, texts=tuple(texts(TASKS)))
    report = whetstone.run("connect", str(project.id), "--json")
    assert report.returncode == 0, report.stdout + report.stderr
    client = LabelStudioClient(server.url, server.token)
    found = Taught(project, client, whetstone, json.loads(report.stdout)["version"])
    assert whetstone.run("label", str(project.id)).returncode == 0
    for index, task in enumerate(list(client.tasks(project.id))[:LABELS]):
        result = [
            {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [truth(index)]}}
        ]
        found.ask("POST", f"/api/tasks/{task.id}/annotations/", json={"result": result, "lead_time": 3.1})
    return found


def test_annotations_alone_bring_about_a_published_prompt(taught: Taught) -> None:
    run = taught.ended()
    assert run["decision"] == "published", run["words"]
    assert run["active"] == taught.before
    assert run["estimate"]["wins"] > run["estimate"]["losses"]


def test_the_score_column_follows_the_new_version(taught: Taught) -> None:
    version = taught.ended()["challenger"]

    def predicted() -> int:
        rows = taught.ask("GET", "/api/predictions/", params={"project": taught.project.id})
        return len({row["task"] for row in rows if row["model_version"] == version})

    wait_until("all tasks have predictions of the new version", lambda: predicted() == TASKS)
    wait_until(
        "the title is the new version",
        lambda: [row.title for row in taught.client.backends(taught.project.id)] == [version],
    )


def test_the_next_task_is_labelled_by_the_new_prompt_and_rightly(taught: Taught) -> None:
    version = taught.ended()["challenger"]
    tasks = [{"data": {"text": "An excellent lamp, I love it. One more."}}]
    taught.ask("POST", f"/api/projects/{taught.project.id}/import", json=tasks)
    newest = max(taught.client.task_ids(taught.project.id))

    def labels() -> list[str]:
        rows = taught.ask("GET", "/api/predictions/", params={"task": newest})
        return [row["result"][0]["value"]["choices"][0] for row in rows if row["model_version"] == version]

    wait_until("the new task has a prediction", lambda: bool(labels()))
    assert labels()[0] == "positive"


def test_the_commands_tell_what_happened(taught: Taught) -> None:
    version, project = taught.ended()["challenger"], str(taught.project.id)
    wait_until("the report is there", lambda: taught.whetstone.run("report", project).returncode == 0)
    assert version in taught.whetstone.run("prompts", "list", project).stdout
    assert "demonstration" in taught.whetstone.run("prompts", "diff", project).stdout.lower()
    assert "Published" in taught.whetstone.run("jobs", "show", project).stdout
    document = json.loads(taught.whetstone.run("report", project, "--json").stdout)
    assert document["labels"] == LABELS


def test_rolling_back_serves_the_prompt_before(taught: Taught) -> None:
    version, project = taught.ended()["challenger"], str(taught.project.id)
    back = taught.whetstone.run("prompts", "rollback", project)
    assert back.returncode == 0, back.stdout + back.stderr
    wait_until(
        "the title is the old version",
        lambda: [row.title for row in taught.client.backends(taught.project.id)] == [taught.before],
    )
    again = taught.whetstone.run("prompts", "activate", project, version)
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_person_sees_the_table_sorted_by_the_new_scores(taught: Taught, tmp_path: Path) -> None:
    server = taught.whetstone.label_studio
    with chromium(tmp_path) as browser:
        sign_in(browser, server.url, server.login, server.password)
        browser.get(f"{server.url}/projects/{taught.project.id}/data")
        wait_for_text(browser, "Least certain first")
        SCREENSHOTS.mkdir(exist_ok=True)
        browser.save_screenshot(str(SCREENSHOTS / "after-learning.png"))
