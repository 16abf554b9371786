"""What a run may still ask, where no Redis keeps the books: calls to the LLMs and to an embeddings endpoint alike."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from backend.calls.embedding import RememberingEmbedder
from backend.calls.embedding_sources import Bill
from backend.labeling.embedding import Vector
from backend.labeling.errors import BudgetError


@dataclass(slots=True)
class Purse:
    """`left` calls. Thread-safe."""

    left: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, calls: int = 1) -> None:
        """Raises `BudgetError`, and then takes none."""
        with self._lock:
            if calls > self.left:
                raise BudgetError("the run's budget of calls is used up", hint="Raise the budget.")
            self.left -= calls


class MeteredEmbedder:
    """An `Embedder` that counts in `bill` what an endpoint was asked, and pays from `purse` if there is one. What the
    `embedder` remembers costs nothing, nor does one on this machine."""

    def __init__(self, embedder: RememberingEmbedder) -> None:
        self.purse: Purse | None = None
        self.bill = Bill()
        self._embedder = embedder
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Raises `BudgetError` before a request that nobody pays for, and what the embedder raises."""
        self._pay(self._embedder.quote(texts))
        vectors, bill = self._embedder.billed(texts, self._pay)
        with self._lock:
            self.bill += bill
        return vectors

    def _pay(self, asked: Bill) -> None:
        if asked.calls and self.purse:
            self.purse.take(asked.calls)
