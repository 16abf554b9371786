"""The local LLM as a child process: one of many in the stack, or alone for as long as a command needs it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx2

from backend.settings import Settings
from backend.stack.supervisor import Child, Supervisor, Write

_PREPARE_S = 600.0  # the first start requantizes the weights


def llm_child(settings: Settings, environment: Mapping[str, str]) -> Child:
    return Child(
        name="llm",
        command=whetstone("llm"),
        environment=environment,
        is_ready=lambda: _serves(settings),
        ready_within_s=_PREPARE_S,
    )


@contextmanager
def local_llm(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    write: Write,
    on_wait: Callable[[str], None] = lambda _name: None,
) -> Iterator[None]:
    """Served inside, where the settings want it; one that serves already is left as it is. Raises `StartError`."""
    if not settings.uses_local_llm or _serves(settings):
        yield
        return
    supervisor = Supervisor(write)
    try:
        supervisor.start(llm_child(settings, environment), on_wait=on_wait)
        yield
    finally:
        supervisor.stop()


def whetstone(*arguments: str) -> tuple[str, ...]:
    """A command of ours in a process of its own."""
    return (sys.executable, "-m", "backend.cli", *arguments)


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def _serves(settings: Settings) -> bool:
    return answers(f"http://127.0.0.1:{settings.local_llm_port}/health")
