"""What makes texts comparable by meaning: an embedder, and the arithmetic on what it gives."""

import math
from array import array
from collections.abc import Sequence
from operator import mul
from typing import Protocol

Vector = Sequence[float]


class Embedder(Protocol):
    """Thread-safe. Raises `EngineError` only."""

    @property
    def fingerprint(self) -> str:
        """Names the model and the number of dimensions: vectors of another fingerprint cannot be compared."""

    def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """In order, all of one fingerprint, of unit length; all zeros for a text that says nothing to the model, or
        that its endpoint refuses: it is like no other."""


def unit(vector: Sequence[float]) -> Vector:
    """In single precision: a quarter of a tuple's memory."""
    length = math.sqrt(dot(vector, vector))
    return array("f", (each / length for each in vector) if length else vector)


def dot(one: Vector, other: Vector) -> float:
    """The cosine, for vectors of unit length."""
    cosine: float = sum(map(mul, one, other))
    return cosine


def mean(vectors: Sequence[Vector]) -> Vector:
    """Of one at least; shorter than 1 where they differ."""
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
