"""Are served predictions as often right as the version's estimate promised? An anytime-valid test on labels. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.statistics.intervals import Share

THRESHOLD = 100.0

_DROPS = (0.03, 0.08, 0.20)
_LEAST_SHARE = 0.01
_MOST_LOG = 700.0


@dataclass(frozen=True, slots=True)
class Watch:
    """`right` of `labels` that arrived; `e_value` is the stake now, `peak` its highest so far, from 1 on."""

    labels: int = 0
    right: int = 0
    e_value: float = 1.0
    peak: float = 1.0

    @property
    def is_broken(self) -> bool:
        return self.peak >= THRESHOLD


def watch(rights: Iterable[bool], promised: Share) -> Watch:
    """`rights` are whether the prediction agrees with each label, in the order of arrival.

    The promise is an accuracy of at least p, the lower end of the estimate's interval. We bet on a drop by .03, .08 or
    .20, to q: e = mean over q of the product of q / p for each prediction that is right, (1 - q) / (1 - p) for each
    that is wrong. While the promise is kept, e reaches 100 in at most one of a hundred versions, however often and
    however long one looks (Ville's inequality). Nothing is promised where q would fall below .01.

    The labels must be of tasks drawn by lot: of those that are labelled because they are uncertain, more are wrong.
    """
    promise = min(promised.low, 1 - _LEAST_SHARE)
    bets = [promise - drop for drop in _DROPS if promise - drop >= _LEAST_SHARE]
    labels = right = 0
    e_value = peak = 1.0
    for is_right in rights:
        labels += 1
        right += is_right
        e_value = _stake(promise, bets, right, labels - right)
        peak = max(peak, e_value)
    return Watch(labels, right, e_value, peak)


def _stake(promise: float, bets: Sequence[float], right: int, wrong: int) -> float:
    """Bounded, where exp would overflow."""
    if not bets:
        return 1.0
    logs = (right * math.log(bet / promise) + wrong * math.log((1 - bet) / (1 - promise)) for bet in bets)
    return sum(math.exp(min(each, _MOST_LOG)) for each in logs) / len(bets)
