"""Do two windows of counts differ? Statistics of the difference, and a permutation test that is exact for any. Pure."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
# Of many pairs of windows at once: (pairs, cells) and (pairs, cells) to (pairs,), larger for windows further apart.
Statistic = Callable[[Counts, Counts], NDArray[np.float64]]

_SEED = 0
_BLOCK = 1000
_EXTREMES = 4  # draws so far that as many may be as extreme as what was seen


def psi(first: Counts, second: Counts) -> NDArray[np.float64]:
    """Population stability index: the sum over cells of (p - q) log(p / q), half a count added to each cell.

    0 for equal shares; (.5, .5) against (.7, .3) is .17.
    """
    p, q = _smoothed(first), _smoothed(second)
    return np.asarray(np.sum((p - q) * np.log(p / q), axis=-1))


def ks(first: Counts, second: Counts) -> NDArray[np.float64]:
    """Kolmogorov and Smirnov's distance, in [0, 1], of distributions over cells in their order."""
    return np.asarray(np.max(np.abs(_below(first) - _below(second)), axis=-1))


def mean_change(values: NDArray[np.float64]) -> Statistic:
    """Between two means, without its sign, where each cell stands for one of the `values`."""

    def statistic(first: Counts, second: Counts) -> NDArray[np.float64]:
        return np.asarray(np.abs(_shares(first) @ values - _shares(second) @ values))

    return statistic


def differs(first: Counts, second: Counts, statistic: Statistic, *, level: float) -> bool:
    """Whether the statistic is among the `level` most extreme of all ways to deal the same observations to windows of
    the same sizes: windows of one distribution differ with a probability of at most `level`. Seeded."""
    pooled = first + second
    seen = float(statistic(first[None], second[None])[0])
    rng = np.random.default_rng(_SEED)
    draws = math.ceil(_EXTREMES / level)
    extreme = 1  # the windows as they are
    for start in range(0, draws, _BLOCK):
        size = min(_BLOCK, draws - start)
        dealt = rng.multivariate_hypergeometric(pooled, int(first.sum()), size=size, method="marginals")
        extreme += int(np.sum(statistic(dealt, pooled - dealt) >= seen * (1 - 1e-9)))
        if extreme > level * (draws + 1):
            return False
    return True


def _smoothed(counts: Counts) -> NDArray[np.float64]:
    return _shares(counts + 0.5)


def _below(counts: Counts) -> NDArray[np.float64]:
    return np.cumsum(_shares(counts), axis=-1)


def _shares(counts: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(counts / np.sum(counts, axis=-1, keepdims=True))
