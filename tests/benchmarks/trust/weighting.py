"""What a figure is worth when people label the least certain tasks first: plain and weighted, on a pool whose truth is
known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.statistics.sampling import Pool, share, weigh


@dataclass(frozen=True, slots=True)
class Weighting:
    """Means over the seeds; biases and errors are shares, of the estimate less the pool's accuracy. `holds` is how
    often the weighted interval, meant for 9 of 10, held it; `effective` the median of its effective sample sizes."""

    accuracy: float
    labels: int
    plain_bias: float
    plain_rmse: float
    weighted_bias: float
    weighted_rmse: float
    holds: float
    effective: float


@dataclass(frozen=True, slots=True)
class Labeling:
    """How people come by `labels` labels: in batches, each with an `audit` share drawn by lot and the rest least
    certain first. `slice_share` of the tasks are audit tasks. Without `recorded` nothing is known of why a task was
    labelled, as when the queue's records are gone."""

    labels: int = 200
    audit: float = 0.3
    slice_share: float = 0.2
    batch: int = 50
    recorded: bool = True


def weighting(
    scores: Sequence[float], right: Sequence[bool], labeling: Labeling | None = None, *, seeds: int = 200
) -> Weighting:
    """Of a whole pool with at least as many tasks as labels: each one's score and whether its prediction is right."""
    how, sure, true = labeling or Labeling(), np.asarray(scores, float), np.asarray(right, bool)
    plain, weighted, held, effective = [], [], [], []
    for seed in range(seeds):
        labelled, chosen = label(sure, how, np.random.default_rng(seed))
        sample = weigh(Pool(sure, labelled, chosen & how.recorded))
        found = share(sample, true[sample.index])
        plain.append(true[labelled].mean() - true.mean())
        weighted.append((found.value or 0.0) - true.mean())
        held.append(found.low <= true.mean() <= found.high)
        effective.append(found.effective)
    return Weighting(
        accuracy=float(true.mean()), labels=how.labels,
        plain_bias=float(np.mean(plain)), plain_rmse=_root_mean_square(plain),
        weighted_bias=float(np.mean(weighted)), weighted_rmse=_root_mean_square(weighted),
        holds=float(np.mean(held)), effective=float(np.median(effective)),
    )  # fmt: skip


def label(
    scores: NDArray[np.float64], how: Labeling, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tasks are labelled, and which of them because of their score."""
    by_score = np.argsort(scores + rng.uniform(0, 1e-9, len(scores)))  # ties by lot
    by_lot = rng.permutation(len(scores))[: round(how.slice_share * len(scores))]
    labelled = np.zeros(len(scores), bool)
    chosen = labelled.copy()
    while (left := how.labels - int(labelled.sum())) > 0:
        size = min(how.batch, left)
        lot = by_lot[~labelled[by_lot]][: round(how.audit * size)]
        # As the queue does: the least certain of all open tasks, then audit tasks among the others.
        lowest = by_score[~labelled[by_score]][: size - len(lot)]
        labelled[lowest] = chosen[lowest] = True
        lot = by_lot[~labelled[by_lot]][: size - len(lowest)]
        labelled[lot] = True
        if not len(lowest) and not len(lot):
            break
    return labelled, chosen


def _root_mean_square(errors: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
