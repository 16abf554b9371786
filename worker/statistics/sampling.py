"""What labels say of all tasks of a project when people did not label them at random. Pure.

People label the least certain tasks first, so that the share of right predictions among their labels is tens of points
lower than among all tasks. Here each label stands for as many tasks as had the same chance of being labelled:

- What the queue chose for its score or for a disagreement (its record says so) stands for what was chosen, by itself.
- All other labels stand for all other tasks, in strata of similar scores: N/n for n labels among N tasks of a stratum.
  The queue's audit tasks are drawn by lot, whatever share of them has been labelled so far, so this holds by design.
  For labels that no queue asked for it holds as far as only the score, or chance, decided what was labelled.
- Where a range of scores has no label, nothing is said of it.

When labels lie evenly over all scores, weights are even too and the estimate is the plain one but for the slope below.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from worker.statistics.intervals import LEVEL
from worker.statistics.strata import strata

_Z = float(norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True, slots=True)
class Pool:
    """The tasks that have a score, as arrays of one length: `scores` of one and the same version, for labelled and
    unlabelled tasks alike. `labelled`: has a label that is to be counted. `chosen`: was labelled because of its score
    or a disagreement, not by lot, whether that label is to be counted or not."""

    scores: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    chosen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Gap:
    """Scores between which nobody has labelled a task."""

    low: float
    high: float
    tasks: int


@dataclass(frozen=True, slots=True)
class Sample:
    """`index` are the pool's labelled tasks, `weights` how many tasks each stands for: their inclusion probability's
    inverse, which sums to `tasks`. `speaks_for` is the share of the pool that is covered; `gaps` are what is not,
    chosen tasks aside."""

    index: NDArray[np.intp]
    weights: NDArray[np.float64]
    stratum: NDArray[np.intp]
    sizes: NDArray[np.float64]
    scores: NDArray[np.float64]
    mean_scores: NDArray[np.float64]
    tasks: int
    speaks_for: float
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Weighted:
    """A share of all covered tasks, with its interval at `LEVEL`. `effective`: as many labels drawn at random would be
    as sure. `value` is None of no label, and then the interval is [0, 1]."""

    value: float | None
    low: float
    high: float
    effective: float


NOTHING = Weighted(None, 0.0, 1.0, 0.0)


def weigh(pool: Pool) -> Sample:
    """What is chosen and what is not are sampled apart."""
    rest = strata(pool.scores[~pool.chosen], pool.labelled[~pool.chosen])
    chosen = strata(pool.scores[pool.chosen], pool.labelled[pool.chosen])
    of_task = np.full(len(pool.scores), -1, dtype=np.intp)
    of_task[~pool.chosen] = rest
    of_task[pool.chosen] = np.where(chosen >= 0, chosen + rest.max(initial=-1) + 1, -1)
    covered = of_task >= 0
    index = np.flatnonzero(covered & pool.labelled)
    sizes = np.bincount(of_task[covered]).astype(np.float64)
    labels = np.bincount(of_task[index], minlength=len(sizes))
    sums = np.bincount(of_task[covered], pool.scores[covered], minlength=len(sizes))
    return Sample(
        index=index,
        weights=(sizes / labels)[of_task[index]],
        stratum=of_task[index],
        sizes=sizes,
        scores=pool.scores[index],
        mean_scores=sums / sizes,
        tasks=int(covered.sum()),
        speaks_for=float(covered.mean()) if len(covered) else 0.0,
        gaps=_gaps(pool.scores[~pool.chosen], rest >= 0),
    )


def _gaps(scores: NDArray[np.float64], covered: NDArray[np.bool_]) -> tuple[Gap, ...]:
    """By rising score."""
    order = np.argsort(scores, kind="stable")
    open_now = np.flatnonzero(~covered[order])
    runs = np.split(open_now, np.flatnonzero(np.diff(open_now) > 1) + 1) if len(open_now) else []
    return tuple(Gap(float(scores[order[run[0]]]), float(scores[order[run[-1]]]), len(run)) for run in runs)


def share(sample: Sample, right: NDArray[np.bool_]) -> Weighted:
    """Of all covered tasks, from whether each of the sample's labels is `right`, in its order.

    The stratified mean, plus slope x (mean score of all tasks - that of the labelled ones) in each stratum: a sample
    whose scores happen to be low is moved up as far as right answers go with scores. The slope is fitted by least
    squares within strata and kept in [0, 1]; 0 leaves the plain stratified mean. The interval is Wilson's, for as many
    labels as p(1-p) / variance makes.
    """
    if not len(sample.index):
        return NOTHING
    hits = right.astype(np.float64)
    labels = np.bincount(sample.stratum).astype(np.float64)
    means = np.bincount(sample.stratum, hits) / labels
    scored = np.bincount(sample.stratum, sample.scores) / labels
    slope = _slope(sample, hits - means[sample.stratum], sample.scores - scored[sample.stratum])
    moved = means + slope * (sample.mean_scores - scored)
    value = float(np.clip(sample.sizes @ moved / sample.tasks, 0.0, 1.0))
    uncertain = (1 - labels / sample.sizes) * (sample.sizes / sample.tasks) ** 2 / labels  # what is labelled is known
    if not uncertain.any():
        return Weighted(value, value, value, float(sample.tasks))
    variance = float(uncertain @ _spread(means, labels))
    effective = float(_spread(value, 1 / float(uncertain.sum()))) / variance
    return Weighted(value, *_wilson(value, effective), min(effective, float(sample.tasks)))


def _spread(mean: NDArray[np.float64] | float, n: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """p(1-p) with one imagined right and one imagined wrong label: n labels that agree do not make certain."""
    likely = np.asarray((mean * n + 1) / (n + 2))
    spread: NDArray[np.float64] = likely * (1 - likely)
    return spread


def _slope(sample: Sample, hits: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Of what is right on the score, both as differences from their stratum's mean. Labels count as much as they add to
    the variance: those that stand for themselves alone do not."""
    weights = sample.weights * (sample.weights - 1)
    spread = float(np.sum(weights * scores**2))
    return float(np.clip(np.sum(weights * hits * scores) / spread, 0.0, 1.0)) if spread > 0 else 0.0


def among(sample: Sample, hits: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Weighted:
    """The share of `hits` among the labels that are `asked`, weighted, as precision and recall are. Its interval is
    Wilson's for Kish's effective number of labels, (sum of weights)^2 / sum of squared weights."""
    weights = sample.weights[asked]
    if not len(weights):
        return NOTHING
    value = float(weights @ hits[asked] / weights.sum())
    effective = float(weights.sum() ** 2 / np.sum(weights**2))
    return Weighted(value, *_wilson(value, effective), effective)


def _wilson(value: float, n: float) -> tuple[float, float]:
    scale = 1 + _Z**2 / n
    centre = (value + _Z**2 / (2 * n)) / scale
    half = _Z * sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two shares; of none, None and [-1, 1]."""

    value: float | None
    low: float
    high: float


def difference(one: Weighted, other: Weighted) -> Difference:
    """`one` - `other`, both from different labels: Newcombe's interval, d - sqrt((p - l)^2 + (u' - p')^2) to
    d + sqrt((u - p)^2 + (p' - l')^2)."""
    if one.value is None or other.value is None:
        return Difference(None, -1.0, 1.0)
    value = one.value - other.value
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Difference(value, value - below, value + above)
