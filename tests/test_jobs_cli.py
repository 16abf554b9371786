"""`whetstone jobs` and `whetstone report`, as a person types them."""

import gc
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from backend.service import Service
from backend.settings import Settings
from tests.commanding import Run, runner
from tests.flows.payloads import PROJECT
from tests.histories import AT, History

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

ENDPOINT = "http://127.0.0.1:1/v1"


@pytest.fixture
def service(redis_url: str) -> Iterator[Service]:
    yield Service(Settings(redis_url=redis_url, llm_model="scripted-1", openai_base_url=ENDPOINT))
    gc.collect()


@pytest.fixture
def whetstone(redis_url: str) -> Run:
    return runner(REDIS_URL=redis_url, OPENAI_BASE_URL=ENDPOINT)


@pytest.fixture
def history(service: Service) -> History:
    return History(service)


def test_runs_are_listed_latest_first_with_what_became_of_them(whetstone: Run, history: History) -> None:
    history.save(history.run("run-3", started_at=AT + timedelta(hours=2), decision="no_headroom", challenger=None))
    lines = [line for line in whetstone("jobs", "list").stdout.splitlines() if "run-" in line]
    assert [line.split()[1] for line in lines] == ["run-3", "run-2", "run-1"]
    assert "not published: nothing tried was better" in lines[0]
    assert "better, awaits approval" in lines[1]
    assert "78.0% → 86.0%" in lines[2]
    assert "483" in lines[2]


def test_without_a_project_the_runs_of_all_are_listed(whetstone: Run, history: History) -> None:
    other = History(history.service, key="2.1795000000")
    projects = {run["project"] for run in json.loads(whetstone("jobs", "list", "--json").stdout)["runs"]}
    assert projects == {PROJECT, other.key}
    one = json.loads(whetstone("jobs", "list", "2", "--json", "--limit", "1").stdout)["runs"]
    assert [run["project"] for run in one] == [other.key]


def test_before_the_first_run_it_says_how_to_get_one(whetstone: Run) -> None:
    result = whetstone("jobs", "list")
    assert (result.exit_code, "whetstone optimize PROJECT" in result.stdout) == (0, True)


def test_what_waits_and_who_works_is_shown(whetstone: Run, history: History) -> None:
    history.service.dispatch.touch(PROJECT, "optimize", trigger="labels")
    assert "Queue optimize: 1 waiting, 0 workers" in whetstone("jobs", "list").stdout


def test_a_job_that_failed_for_good_is_shown_with_its_reason(whetstone: Run, redis_client: Redis) -> None:
    queue = Queue("optimize", connection=redis_client, serializer=JSONSerializer)
    queue.enqueue("os.path.join", 7, description="optimize of project 7")
    worker = SimpleWorker([queue], connection=redis_client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level="CRITICAL")
    assert "optimize of project 7: TypeError: " in whetstone("jobs", "list").stdout
    (failed,) = json.loads(whetstone("jobs", "list", "--json").stdout)["failed"]
    assert (failed["queue"], failed["description"]) == ("optimize", "optimize of project 7")


def test_a_run_whose_worker_died_is_said_to_be_interrupted(whetstone: Run, history: History) -> None:
    history.save(history.run("run-3", state="running", stage="race", progress=0.4, decision=None))
    assert "interrupted" in whetstone("jobs", "list", "1").stdout
    with history.service.dispatch.run_lock(PROJECT):
        assert "under way: race, 40%" in whetstone("jobs", "list", "1").stdout


def test_show_prints_the_verdict_of_the_latest_run_in_words(whetstone: Run, history: History) -> None:
    output = whetstone("jobs", "show", "1").stdout
    assert output.startswith("Run run-2, begun ")
    assert f"{history.waiting} against {history.learned}, 120 labels; better, awaits approval.\n\n" in output
    assert "It now says that sarcasm is negative.\n\nIt fixes 6 tasks and breaks 2.\n" in output
    assert "It turns right 2 tasks: 11, 12\nIt turns wrong 1 task: 13\n" in output


def test_a_run_without_words_yet_shows_its_figures(whetstone: Run, history: History) -> None:
    history.save(history.run("run-3", state="running", stage="race", progress=0.4, decision=None, words=()))
    output = whetstone("jobs", "show", "1").stdout
    assert "under way: race, 40%" in output
    assert "So far 0 calls to the student" in output


def test_show_as_json_is_the_runs_record(whetstone: Run, history: History) -> None:
    run = json.loads(whetstone("jobs", "show", "1", "run-1", "--json").stdout)
    assert (run["id"], run["estimate"]["wins"], run["spend"]["usd"]) == ("run-1", 6, 0.02)


def test_a_run_that_is_not_known_is_wrong_usage(whetstone: Run, history: History) -> None:
    result = whetstone("jobs", "show", "1", "run-9")
    assert (result.exit_code, "no run 'run-9'" in result.stderr) == (2, True)


def test_a_run_under_way_is_told_to_stop(whetstone: Run, history: History) -> None:
    history.save(history.run("run-3", state="running", decision=None))
    with history.service.dispatch.run_lock(PROJECT):
        result = whetstone("jobs", "cancel", "1")
        assert (result.exit_code, result.stdout) == (0, "Run run-3 of project 1 ends at its next step.\n")
        assert history.service.dispatch.is_canceled(PROJECT)


def test_a_run_that_waits_is_taken_back(whetstone: Run, history: History) -> None:
    history.service.dispatch.touch(PROJECT, "optimize", trigger="labels")
    assert json.loads(whetstone("jobs", "cancel", "1", "--json").stdout) == {"project": 1, "run": None}
    assert not history.service.dispatch.is_pending(PROJECT, "optimize")


def test_where_nothing_is_under_way_there_is_nothing_to_cancel(whetstone: Run, history: History) -> None:
    result = whetstone("jobs", "cancel", "1")
    assert (result.exit_code, "no run of project 1 is under way or waits" in result.stderr) == (1, True)


def test_the_report_is_printed_for_people_as_markdown_and_as_json(whetstone: Run, history: History) -> None:
    saved = history.report()
    assert f"Kettles (project {PROJECT}): {history.learned}" in whetstone("report", "1").stdout
    assert "## In short" in whetstone("report", "1", "--markdown").stdout
    assert json.loads(whetstone("report", "1", "--json").stdout) == json.loads(json.dumps(saved))


def test_no_text_of_a_task_is_in_a_report(whetstone: Run, history: History) -> None:
    history.report()
    assert not any("secret" in whetstone("report", "1", *form).output for form in ([], ["--json"], ["--markdown"]))


def test_without_a_run_there_is_no_report_and_a_way_to_one(whetstone: Run, history: History) -> None:
    result = whetstone("report", "1")
    assert (result.exit_code, "`whetstone optimize 1`" in result.stderr) == (2, True)


def test_a_report_cannot_be_json_and_markdown_at_once(whetstone: Run, history: History) -> None:
    assert whetstone("report", "1", "--json", "--markdown").exit_code == 2
