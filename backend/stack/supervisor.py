"""Child processes: started in order, watched, started again when they die, stopped in reverse."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from backend.labeling.errors import WhetstoneError

Write = Callable[[str, str], None]  # a child's name and one line of its output

_log = structlog.get_logger(__name__)

_POLL_S = 0.1
_LAST_LINES = 15
_STEADY_S = 60.0  # a child that lived this long died for a new reason: the delays begin anew
_SECOND_SIGNAL_S = 3.0


class StartError(WhetstoneError):
    """A child that did not come up; the message ends with its last lines."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours. `is_ready` is polled until it is true; it must return within seconds and not raise."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_ready: Callable[[], bool] = lambda: True
    ready_within_s: float = 60.0
    stop_within_s: float = 20.0
    open_files: tuple[int, ...] = ()


class Supervisor:
    """`start` and `stop` belong to one thread. A child that dies after `start` is started again after `delay_s`,
    doubled with each death, and each start that fails, up to `longest_delay_s`."""

    def __init__(self, write: Write, *, delay_s: float = 1.0, longest_delay_s: float = 30.0) -> None:
        self._write = write
        self._delays = delay_s, longest_delay_s
        self._keepers: list[_Keeper] = []

    def start(self, *children: Child, on_wait: Callable[[str], None] = lambda _name: None) -> None:
        """All at once, for they take their time to start. Returns when each is ready; raises `StartError`."""
        for child in children:
            self._keepers.append(_Keeper(child, self._write, self._delays))
        for keeper in self._keepers[-len(children) :]:
            on_wait(keeper.name)
            keeper.await_ready()

    def stop(self) -> None:
        """SIGTERM to each in turn, the last started first; what outlives its limit, or an interrupt, is killed."""
        try:
            for keeper in reversed(self._keepers):
                keeper.stop()
        finally:
            for keeper in self._keepers:
                keeper.kill()


class _Keeper:
    def __init__(self, child: Child, write: Write, delays: tuple[float, float]) -> None:
        self.name = child.name
        self._child = child
        self._write = write
        self._shortest, self._longest = delays
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._spawning = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{child.name}", daemon=True)
        self._spawn()

    def _spawn(self) -> None:
        try:
            self._process = self._open()
        except OSError as error:
            raise StartError(f"{self.name} cannot be started: {error}", hint="Is it installed?") from None
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _open(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._child.command,
            env={**os.environ, **self._child.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone, and we stop the children in order
            pass_fds=self._child.open_files,
        )

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        with process.stdout as lines:
            for line in lines:
                self._last_lines.append(line.rstrip("\n"))
                self._write(self.name, line.rstrip("\n"))

    def await_ready(self) -> None:
        """From then on it is watched."""
        deadline = time.monotonic() + self._child.ready_within_s
        while not self._child.is_ready():
            if self._process.poll() is not None:
                raise self._start_error(f"ended with {_ending(self._process.returncode)} while it started")
            if time.monotonic() > deadline:
                raise self._start_error(f"was not ready within {self._child.ready_within_s:.0f} s")
            time.sleep(_POLL_S)
        self._watcher.start()

    def _start_error(self, what: str) -> StartError:
        if self._process.poll() is not None:
            self._reader.join(timeout=1)
        said = "".join(f"\n  {line}" for line in self._last_lines) or "\n  (it said nothing)"
        return StartError(f"{self.name} {what}:{said}", hint="Its last lines above say why.")

    def _watch(self) -> None:
        delay = self._shortest
        while True:
            began = time.monotonic()
            code = self._process.wait()
            if self._stopping.is_set():
                return
            self._kill_group()
            delay = self._shortest if time.monotonic() - began > _STEADY_S else delay
            _log.error(f"{self.name} ended and starts again", ending=_ending(code), in_s=delay)
            while not self._stopping.wait(delay):
                delay = min(delay * 2, self._longest)
                if self._is_started_again(delay):
                    break
            else:
                return

    def _is_started_again(self, next_delay: float) -> bool:
        with self._spawning:
            if self._stopping.is_set():
                return False
            try:
                self._spawn()
            except StartError as error:
                _log.error(f"{self.name} is tried again", reason=str(error), in_s=next_delay)
                return False
            return True

    def stop(self) -> None:
        """A second SIGTERM makes some children (RQ's worker) drop their work and put it back."""
        with self._spawning:
            self._stopping.set()
        for limit in (self._child.stop_within_s, _SECOND_SIGNAL_S):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                self._wait(limit)
        self.kill()

    def _wait(self, limit_s: float) -> None:
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _log.warning(f"{self.name} does not stop", waited_s=limit_s)

    def kill(self) -> None:
        """Whatever is left of its group, then the end of its output."""
        self._stopping.set()
        self._kill_group()
        self._process.wait()
        self._reader.join(timeout=1)

    def _kill_group(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
