"""Do scores keep their word, before and after a calibration was fitted on labels?"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.trust.pools import Flags, Floats, Pool
from worker.statistics.reliability import auroc, brier, ece

LABELS, REPLAYS = 200, 20
_SIMULATED = 40
_MOST_ECE = 0.05


@dataclass(frozen=True, slots=True)
class Replay:
    """On the rows that the calibration was not fitted on. Both errors are less what exact scores would show."""

    raw: float
    calibrated: float
    brier_raw: float
    brier: float
    auroc: float


def section(pools: Sequence[Pool]) -> Section:
    rows, bars = [], []
    for pool in pools:
        count = min(LABELS, len(pool) // 2)
        replays = [_replay(pool, count, seed) for seed in range(REPLAYS)]
        change = median(each.calibrated - each.raw for each in replays)
        rows.append({
            "pool": pool.name,
            "labels": count,
            "ECE raw": median(each.raw for each in replays),
            "ECE calibrated": median(each.calibrated for each in replays),
            "change": change,
            "Brier raw": median(each.brier_raw for each in replays),
            "Brier calibrated": median(each.brier for each in replays),
            "AUROC": median(each.auroc for each in replays),
        })  # fmt: skip
        bars += [
            Bar(f"{pool.name}: ECE calibrated", median(each.calibrated for each in replays), _MOST_ECE),
            Bar(f"{pool.name}: change against raw", change, 0.0),
        ]
    return Section(f"Calibration, debiased ECE, median of {REPLAYS} replays", rows, bars)


def _replay(pool: Pool, count: int, seed: int) -> Replay:
    fitted, rest = drawn(pool, count, seed)
    raw_scores, raw_right = (each[rest] for each in pool.graded(pool.prompt))
    scores, right = (each[rest] for each in pool.graded(pool.calibrated_on(fitted)))
    return Replay(
        raw=debiased_ece(raw_scores, raw_right, seed),
        calibrated=debiased_ece(scores, right, seed),
        brier_raw=brier(raw_scores.tolist(), raw_right.tolist()) or 0.0,
        brier=brier(scores.tolist(), right.tolist()) or 0.0,
        auroc=auroc(scores.tolist(), right.tolist()) or 0.5,
    )


def drawn(pool: Pool, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Places of as many rows, and of the others."""
    order = random.Random(seed).sample(range(len(pool)), len(pool))
    return order[:count], order[count:]


def debiased_ece(scores: Floats, right: Flags, seed: int) -> float:
    """Less the mean ECE of labels drawn from the scores themselves, which is what few rows alone show."""
    rng = np.random.default_rng(seed)
    drawn = (rng.random((_SIMULATED, len(scores))) < scores).tolist()
    by_chance = fmean(ece(scores.tolist(), row) or 0.0 for row in drawn)
    return (ece(scores.tolist(), right.tolist()) or 0.0) - by_chance
