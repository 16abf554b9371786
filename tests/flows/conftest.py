"""The service over Flask's client or a real gunicorn, the worker in this process, with real Redis behind both."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer

from backend.app import create_app
from backend.queue.dispatch import LABEL, OPTIMIZE, QUEUES
from backend.service import Seen, Service
from backend.settings import Settings
from backend.storage.runs import RunRecord
from tests.flows import learning
from tests.flows.label_studio_stub import KEY, LabelStudioStub
from tests.flows.payloads import CONFIG, PROJECT, Json, event, setup_body, tasks
from tests.redis_server import RedisServer
from tests.scripted_llm import Script, ScriptedLLM

Web = Callable[..., FlaskClient]
Logs = Callable[[], list[dict[str, Any]]]

LIMIT_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The HTTP clients of a service live as long as its process; here every test makes some and drops them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def _dropped_clients() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _no_blind_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every task has a prediction, where a test does not say otherwise."""
    monkeypatch.setenv("BLIND_SHARE", "0")


@pytest.fixture(autouse=True)
def _no_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the LLM is asked what a test asks, where a test does not say otherwise."""
    monkeypatch.setenv("CANARY_S", "0")


@pytest.fixture
def configured(redis_url: str, scripted_llm: ScriptedLLM) -> Callable[..., Settings]:
    """Settings that point at the test's Redis and LLM; arguments change them."""
    base = {"redis_url": redis_url, "openai_base_url": scripted_llm.base_url, "log_format": "json"}
    return lambda **changes: Settings(**(base | changes))


class _Recorder(logging.Handler):
    """Keeps what is logged, as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        self.lines.append({"level": record.levelname.lower(), **line})


@pytest.fixture
def recorder() -> Iterator[_Recorder]:
    recorder = _Recorder()
    yield recorder
    logging.getLogger().removeHandler(recorder)


@pytest.fixture
def web(configured: Callable[..., Settings], recorder: _Recorder) -> Web:
    """Makes a client of the service with settings changed as asked."""

    def make(**changes: Any) -> FlaskClient:
        client = create_app(configured(**changes)).test_client()
        root = logging.getLogger()
        for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
            root.removeHandler(handler)  # pytest has another stderr by the time it would be written to
        root.addHandler(recorder)
        return client

    return make


@pytest.fixture
def logged(recorder: _Recorder) -> Logs:
    """The log's lines since it was last asked for."""

    def read() -> list[dict[str, Any]]:
        lines, recorder.lines = recorder.lines, []
        return lines

    return read


@pytest.fixture
def label_studio() -> Iterator[LabelStudioStub]:
    with LabelStudioStub() as stub:
        yield stub


@pytest.fixture
def pushes(label_studio: LabelStudioStub) -> dict[str, str]:
    """The settings with which predictions can be pushed."""
    return {"label_studio_url": label_studio.url, "label_studio_api_key": KEY}


@pytest.fixture
def service(configured: Callable[..., Settings], pushes: dict[str, str]) -> Service:
    """Without the web. It knows the project, whose labels are read from the stub."""
    service = Service(configured(**pushes, llm_model="scripted-1"))
    service.see_project(PROJECT, Seen(CONFIG, "http://localhost:8080"))
    service.current(PROJECT, CONFIG)
    return service


@pytest.fixture
def shared_web(
    web: Web, redis_url: str, scripted_llm: ScriptedLLM, pushes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Web:
    """As `web`, of a service that may push and whose settings the worker finds in its environment."""

    def make(**changes: str) -> FlaskClient:
        settings = {"redis_url": redis_url, "openai_base_url": scripted_llm.base_url, **changes, **pushes}
        for name, value in settings.items():
            monkeypatch.setenv(name.upper(), value)
        return web(**settings)

    return make


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that may be stopped."""
    with RedisServer() as server:
        yield server


@dataclass(frozen=True, slots=True)
class Learner:
    """A project over HTTP: people annotate, Label Studio sends word, the workers do what is queued.

    Called with a number of labels it does all that once, and returns the latest run.
    """

    client: FlaskClient
    label_studio: LabelStudioStub
    llm: ScriptedLLM
    webhook: Json

    @property
    def service(self) -> Service:
        return service_of(self.client)

    @property
    def redis(self) -> Redis:
        return self.service.redis

    @property
    def run(self) -> RunRecord:
        """The latest."""
        latest = self.service.runs.latest(PROJECT)
        assert latest
        return latest

    @property
    def version(self) -> str:
        """What serves."""
        answer = self.client.post("/setup", json=setup_body(config=self.label_studio.config))
        name: str = answer.json["model_version"]  # type: ignore[index]
        return name

    def annotate(self, labels: int, *, truth: Callable[[int], str] = learning.truth) -> None:
        """Until there are so many."""
        for index in range(len(self.label_studio.annotations), labels):
            self.label_studio.annotate(index + 1, truth(index))

    def tell(self, action: str = "ANNOTATION_CREATED", **fields: Any) -> None:
        body = event(action, self.webhook, config=self.label_studio.config, **fields)
        assert self.client.post("/webhook", json=body).status_code == 201

    def work(self) -> None:
        """First what leads to a run, then the run."""
        work(self.redis, queues=[LABEL])
        work(self.redis, queues=[OPTIMIZE])

    def __call__(
        self, labels: int, *, action: str = "ANNOTATION_CREATED", truth: Callable[[int], str] = learning.truth
    ) -> RunRecord:
        self.annotate(labels, truth=truth)
        self.tell(action)
        self.work()
        return self.run


@pytest.fixture
def learn_settings(redis_url: str, scripted_llm: ScriptedLLM, pushes: dict[str, str]) -> dict[str, str]:
    """Of the service and its workers: one short round, whose teacher is the student."""
    return {
        "redis_url": redis_url,
        "openai_base_url": scripted_llm.base_url,
        "llm_concurrency": "32",
        "run_max_calls": "250",
        "optimize_rounds": "1",
        **pushes,
    }


@pytest.fixture
def learn(
    shared_web: Web,
    learn_settings: dict[str, str],
    label_studio: LabelStudioStub,
    scripted_llm: ScriptedLLM,
    captured: Callable[[str], Any],
) -> Learner:
    """Of 140 tasks, with an LLM that does better under other words than under its first ones."""
    scripted_llm.script = Script(label=learning.particular)
    label_studio.add(*tasks(learning.texts(140)))
    learner = Learner(shared_web(**learn_settings), label_studio, scripted_llm, captured("webhook_annotation_created"))
    learner.client.post("/setup", json=setup_body())
    return learner


def until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not claim():
        assert time.monotonic() < deadline, "did not come true"
        threading.Event().wait(0.01)


def service_of(client: FlaskClient) -> Service:
    service: Service = client.application.extensions["whetstone"]
    return service


def queued(redis_client: Redis, queue: str = LABEL) -> list[tuple[str, list[Any]]]:
    """The function's name and the arguments of each job that waits."""
    ids = [job_id.decode() for job_id in redis_client.lrange(f"rq:queue:{queue}", 0, -1)]
    jobs = Job.fetch_many(ids, connection=redis_client, serializer=JSONSerializer)
    return [(job.func_name.rpartition(".")[2], list(job.args)) for job in jobs if job]


def queued_tasks(redis_client: Redis, project: str = PROJECT) -> list[int]:
    """Ids of the tasks in chunks that wait."""
    chunks = [args for name, args in queued(redis_client) if name == "label_chunk"]
    return [task_id for key, ids in chunks if key == project for task_id in ids]


def work(redis_client: Redis, *, jobs: int | None = None, queues: Sequence[str] = QUEUES) -> None:
    """A worker in this process, until nothing waits or so many jobs are done."""
    worker = SimpleWorker(list(queues), connection=redis_client, serializer=JSONSerializer)
    worker.work(burst=True, max_jobs=jobs, logging_level="WARNING")


def retry_now(redis_client: Redis, name: str = LABEL) -> int:
    """The time of all scheduled retries has come; how many there were."""
    queue = Queue(name, connection=redis_client, serializer=JSONSerializer)
    registry = ScheduledJobRegistry(queue=queue)
    ids = registry.get_job_ids()
    for job in Job.fetch_many(ids, connection=redis_client, serializer=JSONSerializer):
        assert job is not None
        registry.remove(job)
        queue.enqueue_job(job)
    return len(ids)
