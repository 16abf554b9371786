"""Figures with their intervals, as every part of the report's document holds them."""

from typing import TypedDict


class ShareJson(TypedDict):
    """`right` of `n`, with Wilson's 90 % interval."""

    right: int
    n: int
    value: float | None
    low: float
    high: float
    words: str


class AverageJson(TypedDict):
    """With a 90 % interval from a Bayesian bootstrap."""

    value: float | None
    low: float
    high: float
    words: str
