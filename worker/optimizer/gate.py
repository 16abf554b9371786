"""The decision on untouched labels: is the challenger's gain real?

A pair is one example's (active right, challenger right). Wins, losses and ties have a Dirichlet posterior, so that the
gain in accuracy is p(win) - p(loss), and P(gain > 0) is that of a Beta on the discordant pairs alone.

All labels count alike in it, though people label the least certain tasks first: there prompts differ most, and weights
would leave a fraction of the evidence. But the active prompt is at its worst there by selection, so that what the
labels that were drawn by lot say of all tasks must back the gain, at .65, and where labels speak for less than half of
the tasks nothing passes. Of 200 simulated challengers each, right on as many of 2000 tasks as the active prompt, passed
with 100 (200) labels, the least certain tasks' but for a share that is drawn by lot:

drawn by lot    now        no word of .65 or half
none            .00 (.00)  .30 (.46)
30 %            .12 (.15)  .20 (.31)
all             .09 (.14)  .09 (.14)
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from backend.storage.runs import Effort, Estimate, EstimateKind
from worker import wording

Floats = NDArray[np.float64]

_DRAWS = 20_000
_SEED = 7  # of the draws behind intervals: the same counts always give the same decision
_INTERVAL = (0.05, 0.95)
# What the gate asks beside P(gain > 0).
_HARM, _MOST_HARM = -0.01, 0.05
_LEAST_GAIN = 0.005
_CLASS_LOSS, _CLASS_SAFE, _CLASS_SIZE = -0.05, 0.7, 10
_CLASS_DRAWS = 4_000
_LEAST_OF_ALL = 0.65  # a win to no loss is enough, as are four to two; as many losses as wins object
_LEAST_SPOKEN_FOR = 0.5  # where the less certain half is labelled whole, .08 to .15 of equal challengers pass, not .1
_TINY = 1e-12
_MORE_FAILURES = 0.005
_COST_RATIO, _WORTH_ANY_COST = 1.5, 0.02


@dataclass(frozen=True, slots=True)
class Pair:
    """One example on which neither prompt was chosen: its true label and what each prompt said; of several values or
    controls, all of them as one text. `weight` is how many tasks it stands for; those of labels drawn by lot average
    1."""

    id: str
    label: str
    active: str
    challenger: str
    weight: float = 1.0

    @property
    def active_right(self) -> bool:
        return self.active == self.label

    @property
    def challenger_right(self) -> bool:
        return self.challenger == self.label


@dataclass(frozen=True, slots=True)
class Costs:
    """`ratio` of the challenger's tokens a task, cached ones counted in part, to the active version's; failures are
    shares of tasks without a usable answer. `active` and `challenger` are what a task takes, where that is known."""

    ratio: float = 1.0
    active_failures: float = 0.0
    challenger_failures: float = 0.0
    active: Effort | None = None
    challenger: Effort | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """`objections` are why it does not pass, in words; none and it does."""

    estimate: Estimate
    objections: tuple[str, ...]

    @property
    def passes(self) -> bool:
        return not self.objections


def rule(
    pairs: Sequence[Pair], *, kind: EstimateKind, sure: float, costs: Costs | None = None, look: int = 1
) -> Ruling:
    """Passes when P(gain > 0) is at least `sure` and nothing else speaks against it (OPTIMIZER 1.6). It is the
    `look`-th at the active prompt."""
    draws, costs = _gains(pairs), costs or Costs()
    estimate = replace(estimate_of(pairs, kind, draws), active_effort=costs.active, challenger_effort=costs.challenger)
    again = f" at the {wording.ordinal(look)} comparison with the active prompt" if look > 1 else ""
    objections = [
        text
        for holds, text in (
            (
                estimate.p_better >= sure,
                f"the gain is only {math.floor(100 * estimate.p_better)}% sure, {sure:.0%} is asked for{again}",
            ),
            (_share(draws < _HARM) <= _MOST_HARM, "it might well be worse by more than a point"),
            (float(draws.mean()) >= _LEAST_GAIN, "the gain to expect is below half a point"),
        )
        if not holds
    ]
    objections += [f'it may lose "{label}"' for label in _endangered(pairs)]
    objections += _of_all_tasks(pairs)
    return Ruling(estimate, (*objections, *_too_dear(costs, float(draws.mean()))))


def estimate_of(pairs: Sequence[Pair], kind: EstimateKind, draws: Floats | None = None) -> Estimate:
    """Of no pairs: nothing is known, a gain of 0 between -1 and 1."""
    if draws is None:
        draws = _gains(pairs)
    n, wins, losses = len(pairs), _wins(pairs), _losses(pairs)
    low, high = (float(value) for value in np.quantile(draws, _INTERVAL))
    return Estimate(
        kind=kind,
        n=n,
        active_accuracy=sum(pair.active_right for pair in pairs) / n if n else 0.0,
        challenger_accuracy=sum(pair.challenger_right for pair in pairs) / n if n else 0.0,
        gain=(wins - losses) / n if n else 0.0,
        low=low,
        high=high,
        p_better=probability_better(wins, losses),
        wins=wins,
        losses=losses,
    )


def probability_better(wins: float, losses: float) -> float:
    """P(theta > 1/2) for theta ~ Beta(wins + 1, losses + 1): 1/2 for equal counts, 7/8 for two wins to none."""
    return float(beta.sf(0.5, wins + 1, losses + 1))


def _gains(pairs: Sequence[Pair]) -> Floats:
    """Draws of p(win) - p(loss): Dirichlet(wins + 1, losses + 1, ties + 6), a prior of an eighth each."""
    wins, losses = _wins(pairs), _losses(pairs)
    ties = len(pairs) - wins - losses
    draws = np.random.default_rng(_SEED).dirichlet([wins + 1, losses + 1, ties + 6], _DRAWS)
    return np.asarray(draws[:, 0] - draws[:, 1])


def _of_all_tasks(pairs: Sequence[Pair]) -> list[str]:
    """What speaks against a gain on all tasks: weighted pairs, as many of them as Kish's effective number. Labels that
    were all chosen by score stand for themselves, alike and for few."""
    weights = np.array([pair.weight for pair in pairs])
    if not len(weights):
        return []
    if weights.mean() < _LEAST_SPOKEN_FOR:
        share = f"{weights.mean():.0%} of all tasks"
        return [f"its labels were picked by score and speak for {share}: label what `whetstone queue` puts first"]
    if np.ptp(weights) == 0.0:
        return []
    won = float(weights @ np.array([pair.challenger_right and not pair.active_right for pair in pairs], float))
    lost = float(weights @ np.array([pair.active_right and not pair.challenger_right for pair in pairs], float))
    scale = float(weights.sum() / np.sum(weights**2))
    sure = probability_better(scale * won, scale * lost)
    if sure >= _LEAST_OF_ALL:
        return []
    if lost <= won:
        asked = f"{_LEAST_OF_ALL:.0%} is asked for"
        return [f"weighed to hold for all tasks the gain is only {math.floor(100 * sure)}% sure, {asked}"]
    loss = 100 * (lost - won) / float(weights.sum())
    return [f"weighed to hold for all tasks it loses {loss:.1f} points: it gains only where people looked first"]


def _endangered(pairs: Sequence[Pair]) -> list[str]:
    """Labels with ten examples whose F1 is likely to fall by more than five points (Bayesian bootstrap, Rubin 1981).

    Not recall: taking a bias away costs the label that was said too often some recall, and gains it precision.

    Likely is P > .3 of a single label, P > 1 - .7 / √k of k: each label more is one chance more to look lost. Of 40
    challengers that gain six points on every label it holds back, and of 40 that lose a label (from .75 to .45) it
    names:

    labels x examples   2 x 12   4 x 20   10 x 12   20 x 12   20 x 20
    .3                  3, 37    8, 39    24, 37    39, 39    31, 38
    1 - .7 / √k         0, 34    0, 38    2, 22     9, 29     2, 32
    1 - .7 / k, Holm    0, 32    0, 38    1, 14     1, 17     0, 26
    """
    sizes = Counter(pair.label for pair in pairs)
    large = [label for label, size in sorted(sizes.items()) if size >= _CLASS_SIZE]
    if not large:
        return []
    weights = np.random.default_rng(_SEED).dirichlet(np.ones(len(pairs)), _CLASS_DRAWS)
    likely = 1 - _CLASS_SAFE / math.sqrt(len(large))
    return [label for label in large if _share(_f1_change(pairs, label, weights) < _CLASS_LOSS) > likely]


def _f1_change(pairs: Sequence[Pair], label: str, weights: Floats) -> Floats:
    """For each row of weights; F1 = 2 tp / (true + said)."""
    gold = np.array([pair.label == label for pair in pairs], float)
    active = np.array([pair.active == label for pair in pairs], float)
    challenger = np.array([pair.challenger == label for pair in pairs], float)
    counts = weights @ np.column_stack([gold, active, gold * active, challenger, gold * challenger])
    true, said, right, said_anew, right_anew = counts.T
    change: Floats = 2 * right_anew / np.maximum(true + said_anew, _TINY) - 2 * right / np.maximum(true + said, _TINY)
    return change


def _too_dear(costs: Costs, gain: float) -> list[str]:
    found = []
    if costs.challenger_failures > costs.active_failures + _MORE_FAILURES:
        found.append(f"{costs.challenger_failures:.1%} of its answers are unusable")
    if costs.ratio > _COST_RATIO and gain < _WORTH_ANY_COST:
        found.append(f"it costs {costs.ratio:.1f} times as many tokens for less than two points")
    return found


def _wins(pairs: Sequence[Pair]) -> int:
    return sum(pair.challenger_right and not pair.active_right for pair in pairs)


def _losses(pairs: Sequence[Pair]) -> int:
    return sum(pair.active_right and not pair.challenger_right for pair in pairs)


def _share(which: NDArray[np.bool_]) -> float:
    return float(np.mean(which))
