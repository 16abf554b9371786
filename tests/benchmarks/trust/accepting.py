"""Promises of precision on real scores: how often they are broken, and what they cover."""

import math
from collections.abc import Sequence

from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.trust.acceptance import Tally, simulate
from tests.benchmarks.trust.pools import Pool

CHECKS, RUNS, SURE = 200, 200, 0.9
TARGETS = (0.8, 0.9, 0.95)
_MOST_MISSED = 25
_HALF = RUNS // 2


def section(pools: Sequence[Pool]) -> Section:
    """Scores as the LLM gave them: certificates need no calibration, which only moves the threshold.

    A target is within reach where the checks among the tasks that could be accepted would certify it without a mistake.
    """
    rows, bars, notes = [], [], []
    for pool in pools:
        checks = min(CHECKS, len(pool) // 2)
        scores, right = pool.graded(pool.prompt)
        for tally in simulate(scores.tolist(), right.tolist(), targets=TARGETS, checks=checks, runs=RUNS):
            rows.append(_row(pool, checks, tally))
            bars.append(Bar(f"{pool.name}, {tally.target:.0%}: broken promises", tally.missed, _MOST_MISSED))
            if tally.attainable * checks < _least_clean(tally.target):
                notes.append(f"{pool.name}: {tally.target:.0%} is out of reach with {checks} checks: no promise made")
            else:
                bars.append(Bar(f"{pool.name}, {tally.target:.0%}: certified", tally.certified, _HALF, at_least=True))
    return Section(f"What may be accepted unseen, 90 % sure, {RUNS} runs", rows, bars, notes)


def _least_clean(target: float) -> int:
    """Checks without a mistake that certify it at 90 %: 45 for .95."""
    return math.ceil(math.log(1 - SURE) / math.log(target))


def _row(pool: Pool, checks: int, tally: Tally) -> dict[str, float | str]:
    return {
        "pool": pool.name,
        "rows": len(pool),
        "checks": checks,
        "target": f"{tally.target:.0%}",
        "promise broken": tally.missed,
        "something certified": tally.certified,
        "covered, mean": f"{tally.coverage:.0%}",
        "could be covered": f"{tally.attainable:.0%}",
    }
