"""Those who ask: Label Studio's place in front of the service, and bare clients that go straight to the LLM server."""

import http.client
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from backend.labeling import schema as schemas
from backend.labeling import templates
from backend.labeling.engines import dialect
from backend.labeling.engines.base import Capabilities, Completion, Request
from backend.labeling.errors import EngineAnswerError, EngineError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import Prompt, PromptVersion, Style
from demo.reviews import CONFIG, reviews
from tests.benchmarks.neighbours import Endpoint, Served

PROJECT = "1.1795346384"
SCHEMA = schemas.parse(CONFIG)
_numbers = itertools.count(1)


def fresh_texts(count: int) -> list[str]:
    """Real sentences, each with a number before it that no text had, so that neither Whetstone nor the LLM server has
    seen any of them."""
    return [f"{next(_numbers)}: {text}" for text in itertools.islice(itertools.cycle(_sentences()), count)]


@lru_cache
def _sentences() -> tuple[str, ...]:
    return tuple(review.text for review in reviews(1000))


def version(style: Style, **changes: Any) -> PromptVersion:
    """The initial prompt that the service makes from `CONFIG`, with `changes`."""
    prompt = Prompt(templates.initial_instruction(SCHEMA), style=style, **changes)
    return PromptVersion.of(
        1, prompt, config_hash=SCHEMA.config_hash, model="benchmark", origin="seed", created_at=datetime.now(UTC)
    )


@dataclass(frozen=True, slots=True)
class Run:
    tasks: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.tasks / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time a task."""
        return 1000 * self.cpu_s / self.tasks


class LabelStudio:
    """Sends tasks as Label Studio does, one batch after the other, and counts the CPU time of the service."""

    def __init__(self, served: Served) -> None:
        self._processes = served.processes
        self._client = httpx2.Client(base_url=served.url, timeout=600)

    def run(self, texts: Sequence[str], batch: int) -> Run:
        cpu_s, began = self._processes.cpu_s, time.perf_counter()
        for part in batched(texts, batch):
            self.predict(part)
        return Run(len(texts), time.perf_counter() - began, self._processes.cpu_s - cpu_s)

    def predict(self, texts: Sequence[str]) -> None:
        """Raises `RuntimeError` when a task has no prediction: it would count as very fast."""
        body = {"tasks": tasks(texts), "project": PROJECT, "label_config": CONFIG, "params": {"context": None}}
        results = self._client.post("/predict", json=body).raise_for_status().json()["results"]
        if len(results) != len(texts) or not all(result.get("result") for result in results):
            raise RuntimeError(f"of {len(texts)} tasks {sum(1 for r in results if not r.get('result'))} failed")


def tasks(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"id": index, "data": {"text": text}, "meta": {}, "project": 1, "annotations": [], "predictions": []}
        for index, text in enumerate(texts)
    ]


def latency_s(url: str, path: str, body: bytes | None = None) -> float:
    """Of one request over a connection of its own, as Label Studio makes them."""
    address = urlsplit(url)
    began = time.perf_counter()
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=100)
    try:
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        response.read()
        if response.status // 100 != 2:
            raise RuntimeError(f"{path} answered {response.status}")
    finally:
        connection.close()
    return time.perf_counter() - began


class BareClient:
    """The `openai` client with the very bodies that the engine sends, and no other work: not even reading answers."""

    def __init__(self, endpoint: Endpoint) -> None:
        engine = endpoint.engine()
        self._style = endpoint.style
        self._able, self._model = engine.capabilities, engine.model
        self._client = openai.OpenAI(base_url=endpoint.base_url, api_key="none", max_retries=0, timeout=120)
        self._pool = ThreadPoolExecutor(endpoint.concurrency)

    def run(self, texts: Sequence[str], batch: int) -> Run:
        """In the same batches, with the next one begun when the last one is whole."""
        return self._timed(texts, lambda bodies: [list(self._pool.map(self._post, p)) for p in batched(bodies, batch)])

    def run_serially(self, texts: Sequence[str]) -> Run:
        """One by one, answers parsed, as Label Studio's own LLM example does."""
        return self._timed(texts, lambda bodies: list(map(self._create, bodies)))

    def _timed(self, texts: Sequence[str], send: Callable[[Sequence[dict[str, Any]]], object]) -> Run:
        asked = requests(texts, self._style, self._able)
        bodies = [dialect.body(request, self._model, self._able) for request in asked]
        cpu_s, began = time.process_time(), time.perf_counter()
        send(bodies)
        return Run(len(texts), time.perf_counter() - began, time.process_time() - cpu_s)

    def _post(self, body: dict[str, Any]) -> None:
        path = dialect.CHAT if self._style == "chat" else dialect.TEXT
        self._client.post(path, cast_to=httpx2.Response, body=body)

    def _create(self, body: dict[str, Any]) -> None:
        if self._style == "chat":
            self._client.chat.completions.create(**body)
        else:
            self._client.completions.create(**body)


def requests(texts: Sequence[str], style: Style, able: Capabilities) -> list[Request]:
    """What the labeler asks of an engine for these texts."""
    written_down = _Notebook(able)
    labeler, prompt = Labeler(written_down), version(style)
    for text in texts:
        try:
            labeler.label(prompt, SCHEMA, {"text": text})
        except EngineError:
            continue
    return written_down.requests


@dataclass(frozen=True, slots=True)
class _Notebook:
    """An engine that writes down what it is asked, and never answers."""

    capabilities: Capabilities
    model: str = "benchmark"
    requests: list[Request] = field(default_factory=list)

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:  # noqa: ARG002
        self.requests.append(request)
        raise EngineAnswerError("only written down")


def batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
