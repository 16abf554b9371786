"""Embeddings at a run's cost, where an endpoint makes them: reserved before they are asked for, as LLM calls are."""

from collections.abc import Sequence

from backend.calls.embedding import RememberingEmbedder
from backend.labeling.embedding import Vector
from backend.labeling.engines.base import Usage
from worker.calls.ledger import RunLedger


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
        reservation = self._ledger.reserve("embeddings", quote.calls, quote.tokens, completion_tokens=0)
        bill = quote
        try:
            vectors, bill = self._embedder.billed(texts)
        finally:
            self._ledger.settle(reservation, Usage(prompt_tokens=bill.tokens), calls=bill.calls)
        return vectors
