"""The service as it runs: gunicorn with two processes, in processes of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.conftest import TESTS

START_S = 120.0
COMMAND = (
    *("-m", "gunicorn", "backend.app:create_app()", "--worker-class", "gthread", "--workers", "2", "--threads", "8"),
    *("--bind", "127.0.0.1:0", "--timeout", "300", "--graceful-timeout", "60"),
)


class GunicornServer:
    """Serves inside `with`, with these settings in its environment. `client` makes its own connection each time."""

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self._environment = {**os.environ, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = log
        self.url = ""

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def workers(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=START_S, headers={"Connection": "close"})

    def only(self, pid: int) -> None:
        """Of the processes, this one alone runs on; the others stand still."""
        for worker in self.workers:
            os.kill(worker, signal.SIGCONT if worker == pid else signal.SIGSTOP)

    def all(self) -> None:
        for worker in self.workers:
            os.kill(worker, signal.SIGCONT)

    def terminate(self) -> None:
        """Asks it to stop, and does not wait."""
        assert self._process
        self._process.terminate()

    def wait(self) -> int:
        assert self._process
        return self._process.wait(START_S)

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *COMMAND], env=self._environment, stderr=log, stdout=log, cwd=TESTS.parent
            )
        self._poll(r"Listening at: (http://\S+)")
        self.url = re.findall(r"Listening at: (http://[^\s\"]+)", self.log)[0]
        self._poll(r"(?s)Booting worker.*Booting worker")
        with self.client() as client:
            assert client.get("/health").status_code == httpx.codes.OK
        return self

    def _poll(self, pattern: str) -> None:
        deadline = time.monotonic() + START_S
        while not re.search(pattern, self.log):
            assert self._process
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        if self._process.poll() is None:
            self.all()
            self._process.terminate()
            try:
                self._process.wait(START_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
