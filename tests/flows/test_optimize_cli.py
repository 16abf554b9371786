"""`whetstone optimize`: from people's annotations to a verdict, in this process or by a worker in its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from backend.service import Service
from tests.commanding import Run, runner
from tests.flows.conftest import until
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import CONFIG, HATED, LOVED, PROJECT, tasks
from tests.scripted_llm import ScriptedLLM

ANNOTATED = 24


@pytest.fixture
def environment(
    redis_url: str, scripted_llm: ScriptedLLM, label_studio: LabelStudioStub, pushes: dict[str, str]
) -> dict[str, str]:
    made = {
        "REDIS_URL": redis_url,
        "OPENAI_BASE_URL": scripted_llm.base_url,
        **{k.upper(): v for k, v in pushes.items()},
    }
    return {**made, "BLIND_SHARE": "0", "LOG_LEVEL": "WARNING", "LLM_MODEL": "scripted-1"}


@pytest.fixture
def whetstone(environment: dict[str, str], service: Service) -> Run:
    return runner(**environment)


@pytest.fixture
def annotated(label_studio: LabelStudioStub) -> Callable[[int], None]:
    """So many tasks are labelled as a person would."""

    def annotate(number: int) -> None:
        label_studio.add(*tasks([f"{[LOVED, HATED][n % 2]} Number {n}." for n in range(number)]))
        for task_id in range(1, number + 1):
            label_studio.annotate(task_id, ["negative", "positive"][task_id % 2])

    return annotate


@pytest.fixture
def worker(environment: dict[str, str], service: Service) -> Iterator[None]:
    command = [sys.executable, "-m", "backend.cli", "worker", "optimize"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True)
    until(lambda: service.dispatch.workers("optimize"))
    yield
    os.killpg(process.pid, signal.SIGKILL)  # RQ's scheduler is a process of its own
    process.wait()


def test_few_labels_end_in_a_verdict_that_says_so(whetstone: Run, annotated: Callable[[int], None]) -> None:
    annotated(4)
    result = whetstone("optimize", "1", "--here")
    assert result.exit_code == 0, result.output
    assert "at most 3,000 calls" in result.stdout
    assert "Too few labels" in result.stdout


def test_a_run_in_this_process_leaves_a_record_and_a_report(
    whetstone: Run, annotated: Callable[[int], None], service: Service
) -> None:
    annotated(ANNOTATED)
    result = whetstone("optimize", "1", "--here", "--rounds", "1", "--budget", "400", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["forecast"]["calls"] == 400
    assert (document["run"]["state"], document["run"]["labels"]) == ("done", ANNOTATED)
    assert 0 < document["run"]["spend"]["student_calls"] <= 400
    latest = service.runs.latest(PROJECT)
    assert latest
    assert latest.id == document["run"]["id"]
    assert f"{ANNOTATED} labels" in whetstone("jobs", "show", "1").stdout
    assert whetstone("report", "1").exit_code == 0


def test_before_the_first_run_calls_are_taken_to_be_as_long_as_those_of_predictions(
    whetstone: Run, annotated: Callable[[int], None], service: Service
) -> None:
    annotated(4)
    service.predict(PROJECT, CONFIG, tasks([LOVED, HATED]))
    spent = {count.name: count.value for count in service.counters.counts() if not count.labels}
    found = json.loads(whetstone("optimize", "1", "--here", "--json").stdout)["forecast"]
    each = round((spent["llm_prompt_tokens"] + spent["llm_completion_tokens"]) / spent["llm_calls"])
    assert (found["tokens_per_call"], found["guessed"]) == (each, False)


def test_a_budget_that_is_too_small_is_exit_code_4(whetstone: Run, annotated: Callable[[int], None]) -> None:
    annotated(ANNOTATED)
    result = whetstone("optimize", "1", "--here", "--budget", "3")
    assert result.exit_code == 4, result.output
    assert "RUN_MAX_CALLS" in result.output


def test_a_worker_does_the_run_within_its_limits_and_the_verdict_comes_here(
    whetstone: Run, annotated: Callable[[int], None], worker: None
) -> None:
    annotated(ANNOTATED)
    result = whetstone("optimize", "1", "--rounds", "1", "--budget", "300", "--json")
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)["run"]
    assert (run["trigger"], run["labels"]) == ("forced", ANNOTATED)
    assert 0 < run["spend"]["student_calls"] <= 300


def test_without_a_worker_nothing_is_queued_and_the_exit_code_is_3(
    whetstone: Run, service: Service, redis_client: Redis
) -> None:
    result = whetstone("optimize", "1")
    assert (result.exit_code, "--here" in result.stderr) == (3, True)
    assert not service.dispatch.is_pending(PROJECT, "optimize")


def test_a_label_studio_that_is_away_is_exit_code_3(whetstone: Run) -> None:
    assert whetstone("optimize", "1", "--here", LABEL_STUDIO_URL="http://127.0.0.1:1").exit_code == 3


@pytest.mark.parametrize("option", [["--budget", "0"], ["--rounds", "0"], ["--budget", "many"]])
def test_limits_that_are_none_are_wrong_usage(option: list[str], whetstone: Run) -> None:
    assert whetstone("optimize", "1", *option).exit_code == 2
