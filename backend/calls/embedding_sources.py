"""What makes embeddings: the model that a package carries, on this machine, or an OpenAI-compatible endpoint."""

import importlib
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import structlog
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from backend.labeling.embedding import Vector, unit
from backend.labeling.engines.wire import Reply, Wire
from backend.labeling.errors import EmbeddingError, EmbeddingRefusedError, EngineError
from backend.labeling.shortening import most_tokens
from backend.settings import Settings

PROBE = "text"
_BATCH = 32  # texts a request: as many as every server takes
_LOADING = threading.Lock()

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bill:
    """Requests to an endpoint, and the tokens of their texts; nothing where this machine embeds."""

    calls: int = 0
    tokens: int = 0

    def __add__(self, other: "Bill") -> "Bill":
        return Bill(self.calls + other.calls, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a model said of some texts, in order. `fingerprint` is of the model that answered."""

    fingerprint: str
    vectors: Sequence[Vector]
    bill: Bill = Bill()


# Called before a request that no quote foresaw; raises where nobody pays for it.
Pay = Callable[[Bill], None]


def free(_more: Bill) -> None:
    """Pays for all."""


class Source(Protocol):
    """Thread-safe. Raises `EmbeddingError` and `EmbeddingRefusedError`, and what `pay` raises."""

    def embed(self, texts: Sequence[str], pay: Pay, /) -> Embedded:
        """A text that is refused for its own sake has a vector of zeros."""

    def quote(self, texts: Sequence[str]) -> Bill:
        """What that would take, its tokens estimated, rather too many."""


class LocalModel:
    """WordLlama: the mean of a text's token vectors. Needs no network; one a process, loaded when it is first used."""

    def embed(self, texts: Sequence[str], _pay: Pay = free, /) -> Embedded:
        with _LOADING:
            model = _local_model()
        clean = [text.encode(errors="replace").decode() for text in texts]
        vectors = [unit(vector) for vector in model.embed(clean).tolist()]
        return Embedded(_local_fingerprint(len(vectors[0]) if vectors else 0), vectors)

    def quote(self, _texts: Sequence[str]) -> Bill:
        return Bill()


@cache
def _local_model() -> Any:
    """Takes half a second and 100 MB, so that only processes that compare texts import it. Raises
    `EmbeddingRefusedError`."""
    with _log_kept():
        try:
            package = importlib.import_module("wordllama")
            return package.WordLlama.load(cache_dir=Path(str(package.__file__)).parent, disable_download=True)
        except (ImportError, OSError) as error:
            raise EmbeddingRefusedError(
                f"the local embeddings cannot be loaded: {error}", hint="Install the package wordllama again."
            ) from error


@contextmanager
def _log_kept() -> Iterator[None]:
    """The package configures the root logger when it is imported."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@cache
def _local_fingerprint(dimensions: int) -> str:
    return f"wordllama {metadata.version('wordllama')} {dimensions}"


class _Row(BaseModel):
    index: int
    embedding: list[FiniteFloat] = Field(min_length=1)


class _Usage(BaseModel):
    prompt_tokens: int | None = Field(None, ge=0)


class _Answer(BaseModel):
    data: list[_Row]
    model: str = ""
    usage: _Usage | None = None


class _TextRefusedError(EmbeddingRefusedError):
    """One of the texts, or all of them together, are moderated or too long: others may pass."""


@dataclass(frozen=True, slots=True)
class _Request:
    """`rows` in the order of the texts and the `model` that gave them, with the number of its dimensions; neither of
    texts that were refused."""

    texts: Sequence[str]
    rows: Sequence[Vector] = ()
    model: str = ""
    bill: Bill = field(default_factory=lambda: Bill(1))

    def vectors(self, none: Vector) -> Sequence[Vector]:
        """`none` for a text that was refused by itself; nothing of several, which were asked for anew."""
        return self.rows or ([none] if len(self.texts) == 1 else [])


class Endpoint:
    """`POST EMBEDDINGS_BASE_URL/embeddings`, some texts a request. Where it refuses them, by halves, until what it
    refuses is one text: at most twice as many requests as texts, and one more where it refuses all."""

    def __init__(self, wire: Wire, model: str) -> None:
        self._wire = wire
        self._model = model

    def embed(self, texts: Sequence[str], pay: Pay = free, /) -> Embedded:
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        made = [request for batch in batches for request in self._tried(batch, pay)]
        bill = sum((request.bill for request in made), Bill())
        answered = [request for request in made if request.rows]
        if made and not answered:
            pay(Bill(1, _estimated([PROBE])))
            answered = [self._asked([PROBE])]
            bill += answered[0].bill
        found = {request.model for request in answered}
        if len(found) > 1:
            raise EmbeddingError(f"EMBEDDINGS_BASE_URL: different models answered ({', '.join(sorted(found))})")
        none = unit([0.0] * len(answered[0].rows[0])) if answered else ()
        vectors = [vector for request in made for vector in request.vectors(none)]
        return Embedded(next(iter(found), ""), vectors, bill)

    def quote(self, texts: Sequence[str]) -> Bill:
        return Bill(math.ceil(len(texts) / _BATCH), _estimated(texts))

    def _tried(self, texts: Sequence[str], pay: Pay) -> list[_Request]:
        try:
            return [self._asked(texts)]
        except _TextRefusedError as error:
            made = [_Request(texts)]
            if len(texts) == 1:
                _log.warning("a text has no embedding: nothing counts as like it", reason=str(error))
                return made
        for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :]):
            pay(Bill(1, _estimated(half)))
            made += self._tried(half, pay)
        return made

    def _asked(self, texts: Sequence[str]) -> _Request:
        try:
            answer = _Answer.model_validate(self._post(texts).document)
        except ValidationError as error:
            what = error.errors()[0]
            place = ".".join(map(str, what["loc"]))
            raise EmbeddingError(f"EMBEDDINGS_BASE_URL gave no usable embeddings: {place}: {what['msg']}") from None
        answer.data.sort(key=lambda row: row.index)
        widths = {len(row.embedding) for row in answer.data}
        if [row.index for row in answer.data] != list(range(len(texts))) or len(widths) > 1:
            raise EmbeddingError(
                f"EMBEDDINGS_BASE_URL gave {len(answer.data)} embeddings of {sorted(widths)} dimensions "
                f"for {len(texts)} texts"
            )
        told = answer.usage.prompt_tokens if answer.usage else None
        bill = Bill(1, _estimated(texts) if told is None else told)
        rows = [unit(row.embedding) for row in answer.data]
        return _Request(texts, rows, f"{answer.model or self._model} {widths.pop()}", bill)

    def _post(self, texts: Sequence[str]) -> Reply:
        clean = [text.encode(errors="replace").decode() for text in texts]
        body = {"model": self._model, "input": clean, "encoding_format": "float"}
        try:
            return self._wire.post("/embeddings", body)
        except EngineError as error:
            refused = _TextRefusedError if error.of_task else EmbeddingRefusedError
            kind = EmbeddingError if error.retryable else refused
            raise kind(f"EMBEDDINGS_BASE_URL: {error}") from None


def _estimated(texts: Sequence[str]) -> int:
    return sum(most_tokens(text) + 1 for text in texts)


def make_wire(settings: Settings) -> Wire:
    """To the endpoint that labels, with its key, where no other is named."""
    own = settings.embeddings_api_key.get_secret_value()
    same = not settings.embeddings_base_url or settings.embeddings_base_url == settings.llm_base_url
    return Wire(
        settings.embeddings_base_url or settings.llm_base_url,
        own or (settings.openai_api_key.get_secret_value() if same else ""),
        timeout_s=settings.llm_timeout_s,
        connections=settings.llm_concurrency,
        server="embeddings endpoint",
    )
