"""What the benchmarks run against, all of it real: Redis, an LLM server and gunicorn, each in processes of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil  # type: ignore[import-untyped]
from pydantic_settings import PydanticBaseSettingsSource

from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.engines.wire import Wire
from backend.labeling.prompt import Style
from backend.settings import Settings
from backend.stack.redis_server import DataFolder, redis_child, redis_url

START_S = 600.0
PAUSE_S = 0.1
STOP_S = 30.0


class _Told(Settings):
    """Settings by what is told here alone, whatever this process's environment says."""

    @classmethod
    def settings_customise_sources(
        cls, _kind: Any, init_settings: PydanticBaseSettingsSource, *_others: Any, **_named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An LLM server. `environment` tells Whetstone of it; with all else at its defaults its address, the style of the
    prompts that go there and how many go at once follow from that."""

    name: str
    environment: Mapping[str, str]

    @property
    def base_url(self) -> str:
        return self._settings.llm_base_url

    @property
    def style(self) -> Style:
        return self._settings.prompt_style

    @property
    def concurrency(self) -> int:
        return self._settings.concurrency

    @property
    def _settings(self) -> Settings:
        return _Told(**{name.lower(): value for name, value in self.environment.items()})

    def engine(self) -> OpenAIEngine:
        return OpenAIEngine(Wire(self.base_url, "", timeout_s=120))

    def count_tokens(self, text: str) -> int:
        """By the server's own tokenizer; llama.cpp only."""
        address = self.base_url.removesuffix("/v1") + "/tokenize"
        return len(httpx2.post(address, json={"content": text}, timeout=60).raise_for_status().json()["tokens"])


@dataclass(frozen=True, slots=True)
class Processes:
    """A process with all its children, seen from outside."""

    all: tuple[psutil.Process, ...]

    @classmethod
    def of(cls, pid: int) -> "Processes":
        parent = psutil.Process(pid)
        return cls((parent, *parent.children(recursive=True)))

    @property
    def cpu_s(self) -> float:
        return float(sum(times.user + times.system for times in (process.cpu_times() for process in self.all)))

    @property
    def pss_mb(self) -> tuple[float, ...]:
        """Memory of each, pages that several share split between them."""
        return tuple(process.memory_full_info().pss / 1e6 for process in self.all)


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    processes: Processes


@contextmanager
def redis() -> Iterator[str]:
    """With an empty data folder, as `whetstone up` starts it; yields its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as path, DataFolder(Path(path)) as folder:
        child = redis_child(folder, port)
        with subprocess.Popen(child.command, pass_fds=child.open_files, stdout=subprocess.DEVNULL) as process:
            try:
                while not child.is_ready():
                    time.sleep(PAUSE_S)
                yield redis_url(port)
            finally:
                _stop(process)


@contextmanager
def scripted_llm(latency_ms: float) -> Iterator[Endpoint]:
    arguments = ["-m", "tests.scripted_llm", "--latency-ms", str(latency_ms)]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            yield Endpoint(f"scripted server, {latency_ms:g} ms", {"OPENAI_BASE_URL": url})
        finally:
            process.terminate()


@contextmanager
def local_llm(model: str = "") -> Iterator[Endpoint]:
    """`model` as in LOCAL_MODEL; empty: the default. The first start may have to make the weights."""
    port = free_port()
    environment = {"LOCAL_LLM_PORT": str(port), **({"LOCAL_MODEL": model} if model else {})}
    with _started(["-m", "backend.cli", "llm"], environment, f"http://127.0.0.1:{port}/health"):
        name = model or Settings(_env_file=None).local_model
        yield Endpoint(f"local {name.rpartition('/')[2]}", {"LOCAL_LLM_PORT": str(port)})


@contextmanager
def service(endpoint: Endpoint, redis_url: str) -> Iterator[Served]:
    """Gunicorn as `whetstone serve` starts it, with every other setting at its default."""
    port = free_port()
    settings = environment_for(endpoint, redis_url) | {"PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with _started(["-m", "backend.cli", "serve"], settings, f"{url}/health") as process:
        yield Served(url, Processes.of(process.pid))


def environment_for(endpoint: Endpoint, redis_url: str) -> dict[str, str]:
    return {**endpoint.environment, "REDIS_URL": redis_url, "BLIND_SHARE": "0"}


@contextmanager
def running(arguments: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is ready when it has printed its first line."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=_clean(environment), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
        finally:
            _stop(process)


@contextmanager
def _started(arguments: list[str], environment: Mapping[str, str], address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is ready when `address` answers 200."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, *arguments]
        with subprocess.Popen(command, env=_clean(environment), stdout=log, stderr=log) as process:
            try:
                if not _answers(address, process):
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(arguments)} did not start:\n{log.read().decode()[-3000:]}")
                yield process
            finally:
                _stop(process)


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(address, timeout=5).status_code == 200:
                return True
        except httpx2.HTTPError:
            pass
        time.sleep(PAUSE_S)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the user's settings, so that all defaults hold."""
    own = {name.upper() for name in Settings.model_fields} - {"WHETSTONE_HOME"}
    return {name: value for name, value in os.environ.items() if name not in own} | dict(environment)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
