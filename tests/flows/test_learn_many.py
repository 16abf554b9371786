"""Ten projects that learn at once, and two workers that share the work."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.flows.conftest import Web, service_of, until
from tests.flows.label_studio_projects import LabelStudioProjects, key_of
from tests.flows.learning import particular, texts, truth
from tests.flows.payloads import event, setup_body, tasks
from tests.flows.worker_process import WorkerProcess
from tests.scripted_llm import ScriptedLLM

PROJECTS, LABELS = range(1, 11), 20


@pytest.fixture
def label_studio() -> Iterator[LabelStudioProjects]:
    """All tasks of all projects are annotated."""
    with LabelStudioProjects(len(PROJECTS)) as label_studio:
        for project in label_studio.projects.values():
            project.add(*tasks(texts(LABELS)))
            for index in range(LABELS):
                project.annotate(index + 1, truth(index))
        yield label_studio


@pytest.fixture
def learn_settings(learn_settings: dict[str, str]) -> dict[str, str]:
    return {**learn_settings, "run_max_calls": "100", "blind_share": "0", "log_level": "WARNING"}


def tell(client: FlaskClient, number: int, captured: Callable[[str], Any]) -> None:
    """Label Studio sends word, several times over."""
    body = event("ANNOTATION_CREATED", captured("webhook_annotation_created"))
    body["project"]["id"] = number
    for _ in range(3):
        assert client.post("/webhook", json=body).status_code == 201


def test_two_workers_make_one_run_of_each_of_ten_projects(
    web: Web,
    learn_settings: dict[str, str],
    label_studio: LabelStudioProjects,
    scripted_llm: ScriptedLLM,
    captured: Callable[[str], Any],
) -> None:
    scripted_llm.change(label=particular)
    client = web(**learn_settings)
    service = service_of(client)
    for number in PROJECTS:
        client.post("/setup", json=setup_body(project=key_of(number)))
    with WorkerProcess(learn_settings), WorkerProcess(learn_settings):
        for number in PROJECTS:
            tell(client, number, captured)
        until(
            lambda: not any(service.dispatch.is_pending(key_of(n), k) for n in PROJECTS for k in ("follow", "optimize"))
        )
    runs = [run for number in PROJECTS for run in service.runs.runs(key_of(number))]
    assert [(run.project, run.state, run.decision) for run in runs] == [
        (key_of(number), "done", "published") for number in PROJECTS
    ]
    by = Counter(each.by for number in PROJECTS for each in service.store.activations(key_of(number)))
    assert by == {"seed": len(PROJECTS), **{f"run {run.id}": 1 for run in runs}}
    assert service.dispatch.failed() == []
