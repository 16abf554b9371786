"""Embeddings: from the model that a package carries, or from an OpenAI-compatible endpoint; each text once."""

import hashlib
import importlib
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from backend.labeling.embedding import Vector, unit
from backend.labeling.engines.base import CHARACTERS_A_TOKEN
from backend.labeling.engines.wire import Reply, Wire
from backend.labeling.errors import EmbeddingError, EmbeddingRefusedError, EngineError
from backend.settings import Settings

MOST = 4096  # vectors that a process remembers: 4 MB of 256 dimensions
_BATCH = 32  # texts a request: as many as every server takes
_TRIES = 3
_PROBE = "text"
_LOADING = threading.Lock()


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


class Source(Protocol):
    """Thread-safe. Raises `EmbeddingError` and `EmbeddingRefusedError` only."""

    def embed(self, texts: Sequence[str]) -> Embedded: ...

    def quote(self, texts: Sequence[str]) -> Bill:
        """What that would take, its tokens estimated, rather too many."""


def make_embedder(settings: Settings) -> "RememberingEmbedder":
    """Loads and reaches nothing until it is used. Raises `EngineRefusedError` for a key that cannot be sent."""
    if settings.embeddings_model:
        return RememberingEmbedder(Endpoint(make_wire(settings), settings.embeddings_model))
    return RememberingEmbedder(LocalModel())


class RememberingEmbedder:
    """An `Embedder`. When another model answers than before, under the same name or not, all is embedded anew."""

    def __init__(self, source: Source, most: int = MOST) -> None:
        self._source = source
        self._most = most
        self._fingerprint = ""
        self._known: OrderedDict[bytes, Vector] = OrderedDict()  # the one used longest ago first
        self._lock = threading.Lock()
        self._filling = threading.Lock()

    @property
    def fingerprint(self) -> str:
        if not self._fingerprint:
            self.embed([_PROBE])
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        return self.billed(texts)[0]

    def quote(self, texts: Sequence[str]) -> Bill:
        """What `billed` would take now."""
        unknown = self._unknown(dict(zip(_keys(texts), texts, strict=True)))
        return self._source.quote(unknown) if unknown else Bill()

    def billed(self, texts: Sequence[str]) -> tuple[list[Vector], Bill]:
        """As `embed`, with what it took: nothing for what is remembered."""
        keys, bill = _keys(texts), Bill()
        wanted = dict(zip(keys, texts, strict=True))
        with self._first_come(wanted):
            for _ in range(_TRIES):
                found, paid = self._embedded(wanted)
                bill += paid
                if found is not None:
                    return [found[key] for key in keys], bill
        raise EmbeddingError("EMBEDDINGS_BASE_URL: another model answers at each call")

    def _first_come(self, wanted: Mapping[bytes, str]) -> AbstractContextManager[object]:
        """Several unknown texts are mostly a prompt's demonstrations: whoever comes second finds them."""
        return self._filling if len(self._unknown(wanted)) > 1 else nullcontext()

    def _unknown(self, wanted: Mapping[bytes, str]) -> list[str]:
        with self._lock:
            return [text for key, text in wanted.items() if key not in self._known]

    def _embedded(self, wanted: Mapping[bytes, str]) -> tuple[dict[bytes, Vector] | None, Bill]:
        """No vectors where what was known turned out to be another model's."""
        with self._lock:
            before = self._fingerprint
            found = {key: self._known[key] for key in wanted if key in self._known}
            for key in found:
                self._known.move_to_end(key)
        missing = {key: text for key, text in wanted.items() if key not in found}
        if not missing:
            return found, Bill()
        fresh = self._source.embed(list(missing.values()))
        made = dict(zip(missing, fresh.vectors, strict=True))
        self._keep(fresh.fingerprint, made)
        return (None if found and fresh.fingerprint != before else found | made), fresh.bill

    def _keep(self, fingerprint: str, made: Mapping[bytes, Vector]) -> None:
        with self._lock:
            if fingerprint != self._fingerprint:
                self._known.clear()
                self._fingerprint = fingerprint
            self._known.update(made)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


def _keys(texts: Sequence[str]) -> list[bytes]:
    return [hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest() for text in texts]


class LocalModel:
    """WordLlama: the mean of a text's token vectors. Needs no network; one a process, loaded when it is first used."""

    def embed(self, texts: Sequence[str]) -> Embedded:
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


class Endpoint:
    """`POST EMBEDDINGS_BASE_URL/embeddings`, some texts a request."""

    def __init__(self, wire: Wire, model: str) -> None:
        self._wire = wire
        self._model = model

    def embed(self, texts: Sequence[str]) -> Embedded:
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        answers = [self._asked(batch) for batch in batches]
        found = {f"{answer.model or self._model} {width}" for answer, width in answers}
        if len(found) > 1:
            raise EmbeddingError(f"EMBEDDINGS_BASE_URL: different models answered ({', '.join(sorted(found))})")
        vectors = [unit(row.embedding) for answer, _ in answers for row in answer.data]
        told = [answer.usage.prompt_tokens if answer.usage else None for answer, _ in answers]
        tokens = [_estimated(batch) if said is None else said for said, batch in zip(told, batches, strict=True)]
        return Embedded(next(iter(found), ""), vectors, Bill(len(batches), sum(tokens)))

    def quote(self, texts: Sequence[str]) -> Bill:
        return Bill(math.ceil(len(texts) / _BATCH), _estimated(texts))

    def _asked(self, texts: Sequence[str]) -> tuple[_Answer, int]:
        """The answer, its rows in the order of the texts, and the number of dimensions."""
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
        return answer, widths.pop()

    def _post(self, texts: Sequence[str]) -> Reply:
        clean = [text.encode(errors="replace").decode() for text in texts]
        body = {"model": self._model, "input": clean, "encoding_format": "float"}
        try:
            return self._wire.post("/embeddings", body)
        except EngineError as error:
            kind = EmbeddingError if error.retryable else EmbeddingRefusedError
            raise kind(f"EMBEDDINGS_BASE_URL: {error}") from None


def _estimated(texts: Sequence[str]) -> int:
    return sum(len(text) // CHARACTERS_A_TOKEN + 1 for text in texts)


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
