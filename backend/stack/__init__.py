"""Redis, the local LLM, the service and two workers on one machine, as one thing that starts and stops."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Self

import click
from pydantic import SecretStr

from backend.labeling.errors import StoreError, WhetstoneError
from backend.queue import dispatch
from backend.settings import Settings
from backend.stack.llm import answers, llm_child, whetstone
from backend.stack.redis_server import DataFolder, ping, redis_child, redis_url
from backend.stack.supervisor import Child, Supervisor, Write
from backend.storage.redis_client import connect

REDIS_PORT = 6379

_PREDICT_S = 100.0


class PortError(WhetstoneError):
    """A port that another process listens on."""

    exit_code = 3


class Stack:
    """A context manager: all of it is up inside, and stopped in reverse order after. Raises `WhetstoneError`.

    `write` gets each line that a child prints, `on_progress` the name of what is being waited for. `environment` is
    what a process needs to take part, `redis_url` and `backend_url` are where to find it. It installs no signal
    handlers: whoever is stopped by signals raises from them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        write: Write | None = None,
        on_progress: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.settings = settings
        self.backend_url = settings.backend_url
        self.redis_url = settings.redis_url
        self.environment: dict[str, str] = {}
        self._on_progress = on_progress
        self._supervisor = Supervisor(write or printer(settings))
        self._running = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def wait(self) -> None:
        """Until a signal's handler raises."""
        threading.Event().wait()

    def _start(self) -> None:
        _refuse_taken(self.settings)
        if self.redis_url:
            ping(self.redis_url)
            self._running.callback(self._supervisor.stop)
        else:
            folder = self._running.enter_context(DataFolder(self.settings.whetstone_home / "redis"))
            self._running.callback(self._supervisor.stop)
            self._start_redis(folder)
        self.environment = {**exported(self.settings), "REDIS_URL": self.redis_url, "PYTHONUNBUFFERED": "1"}
        self._supervisor.start(*children(self.settings, self.environment), on_wait=self._on_progress)

    def _start_redis(self, folder: DataFolder) -> None:
        port = REDIS_PORT if is_free("127.0.0.1", REDIS_PORT) else free_port()
        self.redis_url = redis_url(port)
        self._supervisor.start(redis_child(folder, port), on_wait=self._on_progress)


def children(settings: Settings, environment: dict[str, str]) -> Iterator[Child]:
    """The workers are last, and so stop first: what they do needs all the others."""
    if settings.uses_local_llm:
        yield llm_child(settings, environment)
    yield Child(
        name="service",
        command=whetstone("serve"),
        environment=environment,
        is_ready=lambda: answers(f"{_loopback_url(settings)}/health"),
        ready_within_s=120.0,
        stop_within_s=_PREDICT_S,
    )
    for queue in dispatch.QUEUES:
        yield Child(
            name=f"worker {queue}",
            command=whetstone("worker", queue),
            environment=environment,
            is_ready=partial(_has_worker, environment["REDIS_URL"], queue),
            ready_within_s=120.0,
        )


def _has_worker(redis_url: str, queue: str) -> bool:
    with closing(connect(redis_url)) as client:
        try:
            return dispatch.Dispatch(client).workers(queue) > 0
        except StoreError:
            return False


def exported(settings: Settings) -> dict[str, str]:
    """What is set, as environment variables, wherever it was set."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
    }


def printer(settings: Settings) -> Write:
    """Lines to stderr under the child's name. In JSON the children's own lines are left as they are."""
    if settings.log_format == "json":
        return lambda name, line: click.echo(
            line if line.startswith("{") else json.dumps({"event": line, "process": name}, ensure_ascii=False), err=True
        )
    return lambda name, line: click.echo(f"{click.style(f'{name:<15}', dim=True)} {line}", err=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        return False
    return True


def _refuse_taken(settings: Settings) -> None:
    """The service of another `whetstone up` would answer our questions as if it were ours."""
    if not is_free(settings.host, settings.port):
        raise PortError(f"{settings.host}:{settings.port} is taken", hint="Set PORT, or stop what listens there.")
    if settings.uses_local_llm and not is_free("127.0.0.1", settings.local_llm_port):
        raise PortError(
            f"127.0.0.1:{settings.local_llm_port} is taken, the local LLM needs it",
            hint="Set LOCAL_LLM_PORT, or stop what listens there (another `whetstone llm`?).",
        )


def _loopback_url(settings: Settings) -> str:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
    host = anywhere.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
