"""Real Label Studios, started when first needed and shared by the session; each test gets a project of its own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backend.label_studio import LabelStudioClient, Project
from demo.label_studio_environment import LabelStudioEnvironment
from demo.label_studio_server import LabelStudioServer

HERE = Path(__file__).parent
FIRST_START_S = 2400  # the first test installs Label Studio
CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="sentiment" toName="text" choice="single"><Choice value="positive"/><Choice value="negative"/></Choices>
</View>"""

MakeProject = Callable[..., Project]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(FIRST_START_S))
            # The SDK's own, when it reads a traded token.
            item.add_marker(pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated"))


@pytest.fixture(scope="session")
def label_studio_environment() -> LabelStudioEnvironment:
    environment = LabelStudioEnvironment()
    environment.prepare(lambda text: os.write(2, f"{text}\n".encode()))
    return environment


@pytest.fixture(scope="session")
def label_studio(
    label_studio_environment: LabelStudioEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    """Refuses predictions that do not fit the labeling configuration."""
    folder = tmp_path_factory.mktemp("label-studio-strict")
    with LabelStudioServer(folder, strict=True, environment=label_studio_environment) as server:
        yield server


@pytest.fixture(scope="session")
def label_studio_default(
    label_studio_environment: LabelStudioEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    """With default flags, which store such predictions or drop them without a word."""
    folder = tmp_path_factory.mktemp("label-studio")
    with LabelStudioServer(folder, environment=label_studio_environment) as server:
        yield server


@pytest.fixture
def client(label_studio: LabelStudioServer) -> LabelStudioClient:
    """Of the strict Label Studio."""
    return LabelStudioClient(label_studio.url, label_studio.token)


@pytest.fixture(scope="session")
def make_project() -> MakeProject:
    """`make_project(server, texts=(), config=CONFIG, **fields)` makes one with a task for each text."""

    def make(server: LabelStudioServer, *, texts: tuple[str, ...] = (), config: str = CONFIG, **fields: str) -> Project:
        body = {"title": "Reviews", "label_config": config, **fields}
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.token}"}, timeout=120) as api:
            project_id = api.post("/api/projects/", json=body).raise_for_status().json()["id"]
            if texts:
                tasks = [{"data": {"text": text}} for text in texts]
                api.post(f"/api/projects/{project_id}/import", json=tasks).raise_for_status()
        return LabelStudioClient(server.url, server.token).project(project_id)

    return make


@pytest.fixture
def project(label_studio: LabelStudioServer, make_project: MakeProject) -> Project:
    """A fresh one, without tasks, in the strict Label Studio."""
    return make_project(label_studio)
