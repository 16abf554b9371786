"""What answering only where the score is high gains: the risk-coverage curve (El-Yaniv and Wiener 2010). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRECISIONS = (0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Point:
    """Of the answers with a score of `threshold` or more: their share of all, and the share of them that is wrong."""

    threshold: float
    coverage: float
    risk: float


def curve(scores: Sequence[float], right: Sequence[bool]) -> tuple[Point, ...]:
    """One point a distinct score, the strictest first; the last covers all. Empty of no answer."""
    if not scores:
        return ()
    values, group = np.unique(np.asarray(scores, float), return_inverse=True)
    sizes = np.bincount(group)[::-1].cumsum()
    wrong = np.bincount(group, weights=~np.asarray(right, bool))[::-1].cumsum()
    return tuple(
        Point(float(value), float(n / len(scores)), float(errors / n))
        for value, n, errors in zip(values[::-1], sizes, wrong, strict=True)
    )


def aurc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The area under the curve (Geifman, Uziel and El-Yaniv 2019): over n = 1 to all, the mean share of mistakes among
    the n surest answers; of answers with the same score each counts as their mean. 0 where all are right, the share of
    mistakes where scores say nothing; None of no answer."""
    if not scores:
        return None
    _, group, sizes = np.unique(np.asarray(scores, float), return_inverse=True, return_counts=True)
    shares = np.bincount(group, weights=~np.asarray(right, bool)) / sizes
    wrong = np.repeat(shares, sizes)[::-1].cumsum()
    return float(np.mean(wrong / np.arange(1, len(wrong) + 1)))


def widest(points: Sequence[Point], precision: float) -> Point | None:
    """The one that covers most with at least that share of answers right, as counted: no promise. None where there is
    none."""
    return next((point for point in reversed(points) if 1 - point.risk >= precision), None)
