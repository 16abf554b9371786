"""The command line's group and the worker, as a person types them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.cli import GROUP, main
from tests.redis_server import RedisServer

LIMIT_S = 120
COMMANDS = sorted(entry.name for entry in entry_points(group=GROUP))
PLUGIN = '''
import click, logging
from backend.labeling.errors import BudgetError, SettingsError

@click.command()
@click.option("--json", "as_json", is_flag=True)
def spend(as_json):
    """Spend what is left. And no more."""
    raise BudgetError("12 calls would pass the budget of 10")

@click.command()
def odd():
    logging.basicConfig(level=logging.DEBUG if {debug} else logging.INFO, force=True)
    raise KeyError("nothing like it")

@click.command()
def wrong():
    raise SettingsError("PORT: wrong\\nHOST: wrong")

number = 7
'''
POINTS = """[whetstone.commands]
spend = plugin:spend
odd = plugin:odd
wrong = plugin:wrong
number = plugin:number
absent = plugin:absent
lost = no_such_module:command
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the group with the commands of a second package beside ours, installed in a folder on the path."""

    def run_it(*arguments: str, debug: bool = False) -> Result:
        (tmp_path / "plugin.py").write_text(PLUGIN.replace("{debug}", str(debug)))
        installed = tmp_path / "plugin-1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text(POINTS)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "plugin", raising=False)
        return CliRunner().invoke(main, list(arguments))

    return run_it


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_says_what_it_does(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 8


def test_the_groups_help_names_each_command_with_the_first_sentence_of_its_help(run: Callable[..., Result]) -> None:
    output = run("--help").output
    assert all(f"\n  {name} " in output for name in COMMANDS)
    assert re.search(r"\n  spend +Spend what is left\n", output)


def test_the_groups_help_imports_no_command(run: Callable[..., Result]) -> None:
    run("--help")
    assert "plugin" not in sys.modules


def test_the_groups_help_shows_which_command_is_broken(run: Callable[..., Result]) -> None:
    assert "(broken: there is no module no_such_module)" in " ".join(run("--help").output.split())


def test_python_m_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "backend.cli", "--version"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.split(",")[0]) == (0, "whetstone")


def test_an_error_is_one_line_a_way_out_and_an_exit_code(run: Callable[..., Result]) -> None:
    result = run("spend")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert result.stderr == (
        "error: 12 calls would pass the budget of 10\nhint: Raise the budget, or wait for the next month.\n"
    )


def test_with_json_an_error_is_an_object_on_stdout(run: Callable[..., Result]) -> None:
    result = run("spend", "--json")
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "error": "12 calls would pass the budget of 10",
        "hint": "Raise the budget, or wait for the next month.",
        "exit_code": 4,
    }


def test_several_mistakes_are_a_line_each(run: Callable[..., Result]) -> None:
    assert run("wrong").stderr.startswith("error: PORT: wrong\nerror: HOST: wrong\nhint: ")


def test_a_defect_shows_no_traceback(run: Callable[..., Result]) -> None:
    result = run("odd")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: KeyError: 'nothing like it'"
    assert "Traceback" not in result.output


def test_a_defect_shows_its_traceback_when_debugging(run: Callable[..., Result]) -> None:
    assert "Traceback" in run("odd", debug=True).output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "`whetstone lost` needs the package 'no_such_module'"),
        ("absent", "`whetstone absent` cannot be loaded from plugin:absent"),
        ("number", "`whetstone number`: plugin:number is no click command"),
    ],
)
def test_a_broken_command_names_itself_and_leaves_the_others_alone(
    name: str, message: str, run: Callable[..., Result]
) -> None:
    result = run(name)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_wrong_setting_is_named_with_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "99999")
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 2
    assert "PORT" in result.stderr


def test_llm_says_that_there_are_no_such_weights(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["llm", "--model", str(tmp_path / "mine.gguf")])
    assert result.exit_code == 3
    assert "mine.gguf" in result.stderr


Worker = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that is down."""
    with RedisServer() as server:
        server.stop()
        yield server


@pytest.fixture
def start_worker() -> Iterator[Worker]:
    """Starts `whetstone worker` as a process; what it logs is read from its stderr."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "backend.cli", "worker", *arguments]
        environment = {**os.environ, "REDIS_URL": url, "LOG_FORMAT": "json", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # RQ's scheduler is a process of its own
        process.communicate()


def queue(url: str, name: str, function: str, *arguments: Any) -> Job:
    client = redis.Redis.from_url(url)
    return Queue(name, connection=client, serializer=JSONSerializer).enqueue(function, *arguments)


def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} was never logged:\n{''.join(lines)}")


def finished(job: Job) -> bool:
    """Waits for it."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            if job.get_status(refresh=True) in {"finished", "failed"}:
                return bool(job.is_finished)
        except redis.ConnectionError:
            pass
        time.sleep(0.05)
    return False


def read(path: str) -> str:
    """A job that lasts until a test writes to the named pipe at `path`."""
    return Path(path).read_text()


def test_a_worker_in_burst_does_what_is_queued_the_first_queue_first(redis_url: str, start_worker: Worker) -> None:
    jobs = [queue(redis_url, name, "os.path.join", name, "done") for name in ("optimize", "label")]
    worker = start_worker(redis_url, "--burst")
    log = worker.communicate(timeout=LIMIT_S)[1]
    assert worker.returncode == 0
    assert [job.return_value(refresh=True) for job in jobs] == ["optimize/done", "label/done"]
    assert log.index(f"label: {jobs[1].id}") < log.index(f"optimize: {jobs[0].id}")


def test_a_worker_does_only_the_queues_it_is_given(redis_url: str, start_worker: Worker) -> None:
    job = queue(redis_url, "optimize", "os.path.join", "a", "b")
    assert start_worker(redis_url, "label", "--burst").wait(LIMIT_S) == 0
    assert job.get_status(refresh=True) == "queued"


def test_a_queue_that_is_none_of_ours_is_refused() -> None:
    result = CliRunner().invoke(main, ["worker", "labels"])
    assert result.exit_code == 2
    assert "'labels' is not one of 'label', 'optimize'" in result.stderr


def test_what_a_job_is_given_is_not_logged(redis_url: str, start_worker: Worker) -> None:
    queue(redis_url, "label", "os.path.join", "the text of a task")
    log = start_worker(redis_url, "--burst").communicate(timeout=LIMIT_S)[1]
    assert "the text of a task" not in log


def test_a_worker_waits_for_redis_says_so_once_and_survives_an_outage(
    own_redis: RedisServer, start_worker: Worker
) -> None:
    worker = start_worker(own_redis.url)
    read_until(worker, "waiting for Redis")
    own_redis.start()
    log = read_until(worker, "Listening")
    assert not any("waiting for Redis" in line for line in log)
    assert finished(queue(own_redis.url, "label", "os.path.join", "a", "b"))
    own_redis.restart()
    assert finished(queue(own_redis.url, "label", "os.path.join", "a", "b"))


def test_a_worker_that_waits_for_redis_stops_when_told_to(own_redis: RedisServer, start_worker: Worker) -> None:
    worker = start_worker(own_redis.url)
    read_until(worker, "waiting for Redis")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(LIMIT_S) == 0


def test_a_worker_that_is_told_to_stop_finishes_its_job_first(
    redis_url: str, start_worker: Worker, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    job = queue(redis_url, "label", "tests.test_cli.read", str(tmp_path / "pipe"))
    worker = start_worker(redis_url)
    with (tmp_path / "pipe").open("w") as pipe:
        worker.send_signal(signal.SIGTERM)
        read_until(worker, "warm shut down")
        pipe.write("done")
    assert worker.wait(LIMIT_S) == 0
    assert job.return_value(refresh=True) == "done"
