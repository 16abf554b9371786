"""Was the last publish a mistake? An anytime-valid test on labels that arrive after it. Pure.

Only discordant labels tell: those that the previous prompt would have got right and the active one did not, or the
reverse. We bet that the previous prompt wins, with a share of the stake on each label; were both prompts equally good
or the active one better, the stake would reach ten times its start in at most one of ten projects, however often and
however long one looks (Ville's inequality), if the labels are of tasks drawn by lot. Among the tasks of which the
active prompt is least certain it is at its worst by selection: on recorded answers a prompt 2.9 points better, with
these labelled first, would be rolled back every time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log1p

_BETS = (0.1, 0.25, 0.45)
THRESHOLD = 10.0
_MOST_LOG = 700.0


@dataclass(frozen=True, slots=True)
class Watch:
    """`worse` counts the labels that only the previous prompt has right, `better` those that only the active one has.

    `e_value` is the stake now, `peak` its highest so far, from 1 on: once past the threshold, it stays past.
    """

    labels: int = 0
    worse: int = 0
    better: int = 0
    e_value: float = 1.0
    peak: float = 1.0

    @property
    def rolls_back(self) -> bool:
        return self.peak >= THRESHOLD


def watch(pairs: Iterable[tuple[bool, bool]]) -> Watch:
    """`pairs` are (active right, previous right) for each label decided after the publish, in the order of arrival.

    e = mean over bets b in (.1, .25, .45) of the product over discordant labels of 1 + b where the previous prompt won,
    1 - b where the active one did. Nine that the active prompt lost in a row roll back, eight do not.
    The labels must be of tasks drawn by lot, or chosen by nothing that either prompt says.
    Labels that were prefilled by the active prompt lean towards it: they delay a roll back and never cause one.
    """
    labels = worse = better = 0
    e_value = peak = 1.0
    for active_right, previous_right in pairs:
        labels += 1
        worse += previous_right and not active_right
        better += active_right and not previous_right
        e_value = _stake(worse, better)
        peak = max(peak, e_value)
    return Watch(labels, worse, better, e_value, peak)


def _stake(worse: int, better: int) -> float:
    """Bounded, where exp would overflow."""
    return sum(exp(min(worse * log1p(bet) + better * log1p(-bet), _MOST_LOG)) for bet in _BETS) / len(_BETS)
