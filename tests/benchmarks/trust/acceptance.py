"""How often a promise of precision is broken, and what it covers: certificates made again and again from random checks
of a pool whose answers are all known, and held against the rows that were not checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.acceptance.certify import Evidence, threshold
from worker.statistics.selective import curve, widest


@dataclass(frozen=True, slots=True)
class Tally:
    """Of `runs` certificates for `target`: `missed` accepted rows of which fewer are right than promised, `certified`
    found a threshold, and `coverage` is the mean share of the unchecked rows that were accepted, 0 where none was.

    `attainable` is the largest share of the whole pool that any threshold accepts at the target, as known afterwards.
    """

    target: float
    sure: float
    runs: int
    missed: int
    certified: int
    coverage: float
    attainable: float

    @property
    def words(self) -> str:
        return (
            f"{self.target:.0%} right, {self.sure:.0%} sure: missed in {self.missed} of {self.runs} runs, something "
            f"certified in {self.certified}, {self.coverage:.0%} of the tasks on average "
            f"({self.attainable:.0%} could be)"
        )


def simulate(
    scores: Sequence[float],
    right: Sequence[bool],
    *,
    targets: Sequence[float] = (0.9, 0.95, 0.99),
    sure: float = 0.9,
    checks: int = 200,
    runs: int = 200,
    seed: int = 0,
) -> list[Tally]:
    """One tally a target, all on the same draws of `checks` rows. Raises `ValueError` where no row would be left."""
    given, known = np.asarray(scores, float), np.asarray(right, bool)
    if checks >= len(given):
        raise ValueError(f"{checks} checks leave no row of {len(given)} to count on")
    rng = np.random.default_rng(seed)
    draws = [rng.choice(len(given), checks, replace=False) for _ in range(runs)]
    return [_tally(given, known, draws, target, sure) for target in targets]


def _tally(scores: np.ndarray, right: np.ndarray, draws: Sequence[np.ndarray], target: float, sure: float) -> Tally:
    best = widest(curve(list(scores), list(right)), target)
    missed, covered = 0, []
    for drawn in draws:
        rest = np.ones(len(scores), bool)
        rest[drawn] = False
        evidence = Evidence("logprob", list(scores[drawn]), list(right[drawn]), list(scores[rest]))
        least = threshold(evidence, target=target, sure=sure)
        accepted = rest & (scores >= (np.inf if least is None else least))
        covered.append(-1.0 if least is None else accepted.sum() / rest.sum())
        missed += bool(accepted.any() and right[accepted].mean() < target - 1e-9)
    shares = np.array(covered)
    return Tally(
        target,
        sure,
        len(draws),
        missed,
        certified=int((shares >= 0).sum()),
        coverage=float(np.maximum(shares, 0).mean()),
        attainable=best.coverage if best else 0.0,
    )
