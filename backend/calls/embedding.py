"""Embeddings of texts, each made once: what was made is remembered, as long as the same model makes them."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from backend.calls.embedding_sources import PROBE, Bill, Endpoint, LocalModel, Pay, Source, free, make_wire
from backend.labeling.embedding import Vector
from backend.labeling.errors import EmbeddingError
from backend.settings import Settings

MOST = 4096  # vectors that a process remembers: 4 MB of 256 dimensions
_TRIES = 3


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
            self.embed([PROBE])
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        return self.billed(texts)[0]

    def quote(self, texts: Sequence[str]) -> Bill:
        """What `billed` would take now."""
        unknown = self._unknown(dict(zip(_keys(texts), texts, strict=True)))
        return self._source.quote(unknown) if unknown else Bill()

    def billed(self, texts: Sequence[str], pay: Pay = free) -> tuple[list[Vector], Bill]:
        """As `embed`, with what it took: nothing for what is remembered. `pay` is asked before each request that
        `quote` did not foresee, because texts were refused."""
        keys, bill = _keys(texts), Bill()
        wanted = dict(zip(keys, texts, strict=True))
        with self._first_come(wanted):
            for _ in range(_TRIES):
                found, paid = self._embedded(wanted, pay)
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

    def _embedded(self, wanted: Mapping[bytes, str], pay: Pay) -> tuple[dict[bytes, Vector] | None, Bill]:
        """No vectors where what was known turned out to be another model's."""
        with self._lock:
            before = self._fingerprint
            found = {key: self._known[key] for key in wanted if key in self._known}
            for key in found:
                self._known.move_to_end(key)
        missing = {key: text for key, text in wanted.items() if key not in found}
        if not missing:
            return found, Bill()
        fresh = self._source.embed(list(missing.values()), pay)
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
