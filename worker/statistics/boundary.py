"""How few mistakes among checked labels show that a share of mistakes is kept below, at one threshold and at many.
Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, hypergeom

Floats = NDArray[np.float64]

_ROUNDS = 25  # of bisection: a level to within a millionth of what is spent
_SLACK = 1e-9  # of floating point


def p_value(errors: int, checked: int, unchecked: int, most_wrong: float) -> float:
    """The greater of two: how likely so few `errors` are where a share `most_wrong` of all such tasks is wrong
    (binomial: Clopper and Pearson 1934), and where more than that share of just the `unchecked` ones is
    (hypergeometric: the checked ones were drawn from both without replacement). The first speaks for tasks to come, the
    second for those that are there; with many of them the two agree."""
    by_rate = float(binom.cdf(errors, checked, most_wrong))
    wrong = errors + _most(unchecked, most_wrong) + 1
    if not unchecked or wrong > checked + unchecked:
        return by_rate
    return max(by_rate, float(hypergeom.cdf(errors, checked + unchecked, wrong, checked)))


def _most(tasks: int, share: float) -> int:
    return int(np.floor(share * tasks + _SLACK))


def upper_bound(errors: int, checked: int, level: float) -> float:
    """Clopper and Pearson's one-sided bound of the share of mistakes, at confidence 1 - level: 5.0 % of none in 45 at a
    level of .1; 1 of nothing checked."""
    return float(beta.ppf(1 - level, errors + 1, checked - errors)) if errors < checked else 1.0


def fewest(most_wrong: float, alpha: float) -> int:
    """Checks without a mistake that show it at one threshold: (1 - most_wrong)^n <= alpha; 45 for 5 % and .1."""
    return int(np.ceil(np.log(alpha) / np.log1p(-most_wrong) - _SLACK))


def level(checked: Sequence[int], most_wrong: float, alpha: float) -> float:
    """The p-value that may be asked for after each of the rising counts `checked`, so that all of them together are
    passed by chance with probability `alpha` at most when each check is wrong with probability `most_wrong`.

    The counts are nested, so this is the boundary of a sequential test (Pocock's, for a proportion, computed exactly);
    with one count it is alpha, and with many it is about alpha / 2 where Bonferroni's would be alpha / count.
    """
    return _level(tuple(checked), most_wrong, alpha)


@lru_cache(maxsize=4096)
def _level(checked: tuple[int, ...], most_wrong: float, alpha: float) -> float:
    walk = _Walk.of(checked, most_wrong, alpha)
    low, high = alpha / len(checked), alpha
    if walk.passed(high) <= alpha + _SLACK:
        return high
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if walk.passed(middle) <= alpha else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class _Walk:
    """Over the number of mistakes from one count to the next: `p_values` (counts, mistakes) of so many at most at each
    count, `steps` (counts, mistakes) the probability of so many more since the count before."""

    p_values: Floats
    steps: Floats

    @classmethod
    def of(cls, checked: Sequence[int], most_wrong: float, alpha: float) -> "_Walk":
        """With as many mistakes as any count allows at `alpha`, and one more: then nothing is passed any more."""
        counts = np.asarray(checked)
        mistakes = np.arange(int(binom.ppf(alpha, counts[-1], most_wrong)) + 2)
        more = np.diff(counts, prepend=0)
        return cls(binom.cdf(mistakes, counts[:, None], most_wrong), binom.pmf(mistakes, more[:, None], most_wrong))

    def passed(self, level: float) -> float:
        """The probability that some count is passed at `level`."""
        walk, passed = np.eye(1, self.steps.shape[1])[0], 0.0
        for steps, most in zip(self.steps, allowances(self.p_values, level), strict=True):
            walk = np.convolve(walk, steps)[: len(walk)]
            passed += float(walk[: most + 1].sum())
            walk[: most + 1] = 0.0
        return passed


def allowances(p_values: Floats, level: float) -> NDArray[np.int64]:
    """The most mistakes in each row whose p-value is at most `level`; -1 where not even none would do."""
    most: NDArray[np.int64] = (p_values <= level + _SLACK).sum(axis=1) - 1
    return most
