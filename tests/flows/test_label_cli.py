"""`whetstone label` while workers label and others publish."""

import threading
from collections.abc import Callable

import pytest
from click.testing import Result
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from backend.queue.dispatch import LABEL
from tests.commanding import runner
from tests.flows.conftest import Web, queued_tasks, service_of, until, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import HATED, LOVED, OTHER_CONFIG, PROJECT, setup_body, tasks
from tests.scripted_llm import ScriptedLLM


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment."""
    return shared_web(chunk_tasks="2", llm_model="scripted-1")


class Command:
    """`whetstone label 1`, watching in a thread. `result` waits for its end."""

    def __init__(self, **settings: str) -> None:
        self._results: list[Result] = []
        self._thread = threading.Thread(target=lambda: self._results.append(runner(**settings)("label", "1")))
        self._thread.daemon = True
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return bool(self._results)

    def result(self) -> Result:
        until(lambda: self.is_over)
        self._thread.join()
        return self._results[0]


@pytest.fixture
def label(
    client: FlaskClient, redis_client: Redis, scripted_llm: ScriptedLLM, pushes: dict[str, str]
) -> Callable[[], Command]:
    """Begins the command, and returns once it watches. The worker that it finds does nothing by itself."""
    SimpleWorker([LABEL], connection=redis_client, serializer=JSONSerializer).register_birth()  # type: ignore[no-untyped-call]
    settings = {"redis_url": service_of(client).settings.redis_url, "openai_base_url": scripted_llm.base_url, **pushes}
    more = {"blind_share": "0", "canary_s": "0", "chunk_tasks": "2", "log_level": "WARNING"}

    def label() -> Command:
        command = Command(**{name.upper(): value for name, value in {**settings, **more}.items()})
        until(lambda: queued_tasks(redis_client))
        return command

    return label


def refuse(reason: str) -> None:
    raise RuntimeError(reason)


def fail(redis_client: Redis, project: str, reason: str) -> None:
    """A chunk that failed for good is yet to come."""
    queue = Queue(LABEL, connection=redis_client, serializer=JSONSerializer)
    queue.enqueue("tests.flows.test_label_cli.refuse", reason, description=f"label_chunk of project {project}")


def test_it_goes_over_to_a_version_that_is_published_meanwhile(
    client: FlaskClient, label: Callable[[], Command], label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks([LOVED, HATED] * 3))
    command = label()
    work(redis_client, jobs=1)
    label_studio.config = OTHER_CONFIG
    client.post("/setup", json=setup_body(config=OTHER_CONFIG))

    def is_over_after_work() -> bool:
        work(redis_client)
        return command.is_over

    until(is_over_after_work)
    result, version = command.result(), service_of(client).store.active(PROJECT)
    assert version
    assert result.exit_code == 0, result.output
    assert f"{version.name} is the active version now" in result.output


def test_what_failed_is_told_of_this_project_and_this_command_as_it_was_said(
    client: FlaskClient, label: Callable[[], Command], label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    fail(redis_client, PROJECT, "that was long ago")
    work(redis_client)
    label_studio.add(*tasks([LOVED, ""]))
    command = label()
    fail(redis_client, PROJECT, "[/INST] is no end of [positive]")
    fail(redis_client, f"1{PROJECT}", "that is of another")
    work(redis_client)
    result = command.result()
    assert result.exit_code == 1
    assert "1 tasks have no prediction: RuntimeError: [/INST] is no end of [positive]" in " ".join(
        result.output.split()
    )
