"""What a prompt is worth on the test rows, and what many runs together say."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.stats import beta

from backend.labeling.prompt import Prompt
from tests.benchmarks.optimizer.asking import Model
from worker.optimizer.outcomes import grade
from worker.statistics.reliability import ece

_DRAWS = 4000
_SEED = 11


@dataclass(frozen=True, slots=True)
class Measured:
    """`right` is by test row, in their order."""

    right: tuple[bool, ...]
    ece: float

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)


def measured(model: Model, prompt: Prompt) -> Measured:
    """With the prompt's own calibration; beside any arm's budget."""
    rows = model.cell.tests
    graded = [grade(model.cell.schema, prompt, e, o) for e, o in zip(rows, model.ask(prompt, rows), strict=True)]
    right = tuple(each.right for each in graded)
    return Measured(right, ece([each.score for each in graded], right) or 0.0)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least, most."""
    return median(values), min(values), max(values)


def paired_interval(ours: Sequence[Measured], theirs: Sequence[Measured]) -> tuple[float, float]:
    """The middle 95 % of theirs - ours in accuracy, over resampled seeds and test rows: runs of one seed are a pair,
    and so are answers to one row."""
    differences = np.array([t.right for t in theirs], float) - np.array([o.right for o in ours], float)
    rng = np.random.default_rng(_SEED)
    seeds, rows = differences.shape
    means = [
        differences[np.ix_(rng.integers(seeds, size=seeds), rng.integers(rows, size=rows))].mean()
        for _ in range(_DRAWS)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def upper_bound(count: int, n: int, *, level: float = 0.95) -> float:
    """Of the share behind `count` of `n`, one-sided (Clopper and Pearson): 0 of 59 gives .05."""
    return 1.0 if count >= n else float(beta.ppf(level, count + 1, n - count))
