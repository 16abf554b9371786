"""Self-consistency: several label distributions, one after each sampled rationale, become one (arXiv 2203.11171).

The distributions are averaged, not their best labels counted: p(y) = mean over k of p(y | rationale k). It costs the
same, varies less, and gives a score.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from backend.labeling.answers import Distribution

# Stop where the leading label stays ahead of the next with this probability (Adaptive-Consistency, arXiv 2305.11860).
_SURE = 0.95
_STEPS = 200


def mean(found: Sequence[Distribution]) -> Distribution:
    """Of at least one, all over the same labels; a label counts as censored where any of them censored it."""
    first = found[0]
    if len(found) == 1:
        return first
    columns = zip(*(each.probabilities for each in found), strict=True)
    censored = {label for each in found for label in each.censored}
    return replace(
        first,
        probabilities=tuple(math.fsum(column) / len(found) for column in columns),
        label_mass=math.fsum(each.label_mass for each in found) / len(found),
        censored=tuple(label for label in first.labels if label in censored),
    )


def is_settled(found: Sequence[Distribution], most: int) -> bool:
    """Whether further samples, up to `most`, are not worth their price: they cannot change the leading label, or will
    not with a probability of 95 %: P(theta > 1/2) for theta ~ Beta(a + 1, b + 1), where a and b are the sums of the two
    likeliest labels' probabilities. Four samples that agree are enough, three are not."""
    if len(found) >= most:
        return True
    columns = zip(*(each.probabilities for each in found), strict=True)
    first, second, *_ = *sorted((math.fsum(column) for column in columns), reverse=True), 0.0
    if first - second > most - len(found):
        return True
    return _probability_ahead(first, second) >= _SURE


def _probability_ahead(first: float, second: float) -> float:
    """By the midpoint rule: web processes have no library for it, and two digits are enough."""
    points = [(i + 0.5) / _STEPS for i in range(_STEPS)]
    density = [math.exp(first * math.log(x) + second * math.log1p(-x)) for x in points]
    return math.fsum(density[_STEPS // 2 :]) / math.fsum(density)
