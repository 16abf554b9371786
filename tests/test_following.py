"""A run that a worker does, watched from another process."""

import gc
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis
from rq import Queue, SimpleWorker, Worker
from rq.serializers import JSONSerializer

from backend.service import Service
from backend.settings import Settings
from backend.storage.runs import RunRecord
from tests.flows.payloads import PROJECT
from tests.histories import History
from worker.cli.following import JobFailedError, NoWorkerError, figures, follow, known_runs, watching

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def service(redis_url: str) -> Iterator[Service]:
    yield Service(Settings(redis_url=redis_url, llm_model="scripted-1", openai_base_url="http://127.0.0.1:1/v1"))
    gc.collect()


@pytest.fixture
def history(service: Service) -> History:
    return History(service)


@pytest.fixture
def worker(redis_client: Redis) -> Iterator[Worker]:
    """One that listens; what it does is up to the test."""
    worker = SimpleWorker(["optimize"], connection=redis_client, serializer=JSONSerializer)
    worker.register_birth()
    yield worker
    worker.register_death()


def ask(history: History) -> frozenset[str]:
    known = known_runs(history.service, PROJECT)
    history.service.dispatch.touch(PROJECT, "optimize", trigger="forced")
    return known


def test_the_run_that_was_asked_for_is_shown_until_it_is_over(history: History, worker: Worker) -> None:
    known = ask(history)
    history.save(history.run("run-3", state="running", stage="race", decision=None))
    shown: list[RunRecord] = []

    def show(run: RunRecord) -> None:
        """As the worker goes on once it was seen."""
        shown.append(run)
        history.save(history.run("run-3", stage=""))

    assert follow(history.service, PROJECT, known, show).decision == "published"
    assert [(run.state, run.stage) for run in shown] == [("running", "race"), ("done", "")]


def test_a_run_that_was_under_way_before_is_not_the_one_asked_for(history: History) -> None:
    history.save(history.run("run-3", state="running"))
    with history.service.dispatch.run_lock(PROJECT):
        assert known_runs(history.service, PROJECT) == {"run-1", "run-2", "run-3"}


def test_a_run_whose_worker_died_may_be_taken_up_as_the_one_asked_for(history: History) -> None:
    history.save(history.run("run-3", state="running"))
    assert known_runs(history.service, PROJECT) == {"run-1", "run-2"}


def test_a_job_that_fails_before_its_run_begins_ends_the_watch_with_its_reason(
    history: History, worker: Worker, redis_client: Redis
) -> None:
    known = ask(history)
    _fail(history, redis_client)
    with pytest.raises(JobFailedError, match="TypeError"):
        follow(history.service, PROJECT, known, lambda _: None)


def test_when_the_last_worker_is_gone_the_watch_ends(history: History) -> None:
    known = ask(history)
    with pytest.raises(NoWorkerError) as raised:
        follow(history.service, PROJECT, known, lambda _: None, alone_s=0)
    assert raised.value.exit_code == 3


def test_a_run_of_this_process_is_shown_while_it_goes(history: History) -> None:
    known, seen = known_runs(history.service, PROJECT), threading.Event()
    with watching(history.service, PROJECT, known, lambda run: seen.set() if run.stage == "gate" else None):
        history.save(history.run("run-3", state="running", stage="gate"))
        assert seen.wait(30)


def test_the_bars_figures_are_candidates_calls_tokens_and_the_best_so_far(history: History) -> None:
    run = history.run(
        "run-3", state="running", candidates=5, best=0.8125, spend=history.service.runs.run(PROJECT, "run-1").spend
    )
    assert figures(run) == "5 candidates, 483 calls, 90,480 tokens, best 81.2%"
    assert figures(history.run("run-4")) == "0 candidates, 0 calls, 0 tokens"
    assert figures(replace(run, candidates=1)).startswith("1 candidate, 483 calls")


def _fail(history: History, redis_client: Redis) -> None:
    """The job that waits has failed for good."""
    history.service.dispatch.withdraw(PROJECT, "optimize")
    queue = Queue("optimize", connection=redis_client, serializer=JSONSerializer)
    queue.enqueue("os.path.join", 7, description=f"optimize of project {PROJECT}")
    SimpleWorker([queue], connection=redis_client, serializer=JSONSerializer).work(burst=True, logging_level="CRITICAL")
