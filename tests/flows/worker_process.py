"""`whetstone worker` in a process group of its own, that can be killed as by a power cut. Started from a process that
has imported everything already, which takes seconds."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.cli.worker import worker

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class WorkerProcess:
    """Works inside `with`, on these queues, with these settings in its environment."""

    def __init__(self, settings: Mapping[str, str], *queues: str) -> None:
        self._settings = {name.upper(): value for name, value in settings.items()}
        self._queues = queues
        self._process: BaseProcess | None = None

    def kill(self) -> None:
        """At once, and the process that does its job first. RQ gives each a group of its own: they share a session."""
        assert self._process
        running = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        for pid in sorted(running, reverse=True):
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        self._process = _CONTEXT.Process(target=_work, args=(self._settings, self._queues))
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        self.kill()
        self._process.join()


def _work(settings: Mapping[str, str], queues: tuple[str, ...]) -> None:
    os.setsid()
    os.environ.update(settings)
    worker.main(list(queues), standalone_mode=False)
