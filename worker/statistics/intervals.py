"""Figures with the interval that says how sure they are."""

from dataclasses import dataclass

from scipy.stats import binomtest

LEVEL = 0.9  # of every interval


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n`, with its interval; of none, [0, 1]."""

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        return self.count / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Average:
    """None of no label, and then the interval is [0, 1]."""

    value: float | None
    low: float
    high: float


def share(count: int, n: int) -> Share:
    """Wilson's score interval at `LEVEL`: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.645 for 90 %."""
    if not n:
        return Share(0, 0, 0.0, 1.0)
    found = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Share(count, n, float(found.low), float(found.high))
