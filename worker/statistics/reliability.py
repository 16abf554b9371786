"""Whether a score of 0.8 is right in 8 of 10 cases: calibration error, Brier score, AUROC. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

_MOST_BINS = 15
_FEWEST_IN_A_BIN = 10
_DRAWS = 500
_CHANCE = 0.9


@dataclass(frozen=True, slots=True)
class Bin:
    """`n` neighbouring scores: their mean, and the share of right answers among them."""

    n: int
    score: float
    accuracy: float


def bins(scores: Sequence[float], right: Sequence[bool]) -> tuple[Bin, ...]:
    """Adaptive, of equal mass: sorted by score and cut into min(15, n / 10) runs, at least one, whose sizes differ by
    at most 1. Answers of the same score count as equally right, so that their order makes no difference."""
    if not scores:
        return ()
    ordered, accuracy = _levelled(np.asarray(scores, float), np.asarray(right, float))
    return tuple(
        Bin(len(part), float(ordered[part].mean()), float(accuracy[part].mean()))
        for part in np.array_split(np.arange(len(ordered)), _bin_count(len(ordered)))
    )


def ece(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Expected calibration error: sum over `bins` of n_b / n |mean score_b - accuracy_b|; None of no answer.

    0 for scores that keep their word, 0.5 for a sure one that is right half the time. Never quite 0 on real labels:
    `ece_by_chance` says what few labels alone give.
    """
    if not scores:
        return None
    return _ece(np.asarray(scores, float), np.asarray(right, float))


def ece_by_chance(scores: Sequence[float], *, seed: int = 0) -> float | None:
    """What the error stays below in 9 of 10 cases when each score is exactly the probability of being right."""
    if not scores:
        return None
    given = np.asarray(scores, float)
    draws = np.random.default_rng(seed).random((_DRAWS, len(given))) < given
    return float(np.quantile([_ece(given, row.astype(float)) for row in draws], _CHANCE))


def brier(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The mean of (score - right)²: 0 is best, 0.25 what a constant score of one half gets; None of no answer."""
    if not scores:
        return None
    return float(np.mean((np.asarray(scores, float) - np.asarray(right, float)) ** 2))


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The probability that a right answer has a higher score than a wrong one, ties one half; None where all are right
    or all are wrong. 0.5: the score says nothing."""
    if all(right) or not any(right):
        return None
    return float(roc_auc_score(np.asarray(right, int), np.asarray(scores, float)))


def _ece(scores: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    ordered, accuracy = _levelled(scores, right)
    parts = np.array_split(ordered - accuracy, _bin_count(len(ordered)))
    return float(sum(abs(part.sum()) for part in parts) / len(ordered))


def _levelled(scores: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The scores in rising order, and for each the share of right answers among those of the same score."""
    values, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    shares = np.bincount(group, weights=right) / sizes
    return np.repeat(values, sizes), np.repeat(shares, sizes)


def _bin_count(n: int) -> int:
    return max(1, min(_MOST_BINS, n // _FEWEST_IN_A_BIN))
