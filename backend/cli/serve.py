"""`whetstone serve`: the HTTP service alone, under gunicorn."""

import importlib
from pathlib import Path
from typing import Any

import click
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from backend import logs
from backend.settings import Settings, load

_APP = "backend.app"
_ANSWER_S = 100  # a /predict takes at most 95 s
_IN_MEMORY = Path("/dev/shm")  # noqa: S108  where gunicorn's heartbeat cannot wait for a disk


@click.command()
def serve() -> None:
    """Serve Label Studio's ML backend protocol over HTTP, until Ctrl-C.

    Redis and an LLM must be there (`whetstone up` starts them too), and a `whetstone worker` for what is queued.
    SIGTERM ends it gracefully: requests under way are answered first.

    \b
    Settings: HOST, PORT, WEB_PROCESSES, WEB_THREADS, REDIS_URL, OPENAI_BASE_URL, OPENAI_API_KEY, LLM_MODEL,
              BASIC_AUTH_USER, BASIC_AUTH_PASS, WEBHOOK_SECRET.
    Example:  PORT=9190 OPENAI_BASE_URL=http://gpu:8000/v1 whetstone serve
    """
    settings = load()
    logs.configure(settings)
    importlib.import_module(_APP)  # before the processes fork, so that they share the memory its imports take
    Service(settings).run()


class Service(BaseApplication):  # type: ignore[misc]
    """gunicorn without a command line or a configuration file; each process makes its own application."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(prog="whetstone serve")

    def load_config(self) -> None:
        for name, value in gunicorn_options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return importlib.import_module(_APP).create_app(self._settings)


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": f"{host}:{settings.port}",
        "workers": settings.web_processes,
        "worker_class": "gthread",
        "threads": settings.web_threads,
        "timeout": _ANSWER_S + 20,
        "graceful_timeout": _ANSWER_S,
        "keepalive": 5,
        "worker_tmp_dir": str(_IN_MEMORY) if _IN_MEMORY.is_dir() else None,
        "control_socket_disable": True,
        "logger_class": RoutedLogger,
        "proc_name": "whetstone",
    }


class RoutedLogger(Logger):  # type: ignore[misc]
    """gunicorn's lines in the form of all others; requests are logged by the application, with their ids."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logs.adopt("gunicorn.error", "gunicorn.access")
