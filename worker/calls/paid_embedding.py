"""Embeddings at a run's cost, where an endpoint makes them: reserved before they are asked for, as LLM calls are."""

from collections.abc import Sequence

from backend.calls.embedding import RememberingEmbedder
from backend.calls.embedding_sources import Bill
from backend.labeling.embedding import Vector
from backend.labeling.engines.base import Usage
from worker.calls.ledger import Reservation, RunLedger


class PaidEmbedding:
    """What the `embedder` remembers costs nothing, nor does one on this machine."""

    def __init__(self, embedder: RememberingEmbedder, ledger: RunLedger) -> None:
        self._embedder = embedder
        self._ledger = ledger

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Raises `BudgetError` before a request that nobody pays for, and what the embedder raises; what was asked then
        counts in full, as nobody knows how much of it was answered."""
        quote = self._embedder.quote(texts)
        if not quote.calls:
            return self._embedder.embed(texts)
        asked: list[tuple[Reservation, Bill]] = []

        def pay(more: Bill) -> None:
            asked.append((self._ledger.reserve("embeddings", more.calls, more.tokens, completion_tokens=0), more))

        pay(quote)
        bill: Bill | None = None
        try:
            vectors, bill = self._embedder.billed(texts, pay)
        finally:
            self._settle(asked, bill)
        return vectors

    def _settle(self, asked: Sequence[tuple[Reservation, Bill]], bill: Bill | None) -> None:
        """The whole `bill` with the first, each in full where there is none."""
        for place, (reservation, more) in enumerate(asked):
            took = more if bill is None else Bill() if place else bill
            self._ledger.settle(reservation, Usage(prompt_tokens=took.tokens), calls=took.calls)
