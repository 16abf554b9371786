"""Figures from labels of the least certain tasks first: plain and weighted, on real scores."""

from collections.abc import Sequence

from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.trust.pools import Pool
from tests.benchmarks.trust.weighting import Labeling, weighting

LABELS = 200
_SHARE = 0.4  # of a pool at most: of all of it any estimate is exact
_MOST_BIAS = 3.0


def section(pools: Sequence[Pool]) -> Section:
    rows, bars = [], []
    for pool in pools:
        scores, right = pool.graded(pool.prompt)
        labels = min(LABELS, int(_SHARE * len(pool)))
        for recorded in (True, False):
            found = weighting(scores.tolist(), right.tolist(), Labeling(labels=labels, recorded=recorded))
            rows.append({
                "pool": pool.name,
                "queue recorded": "yes" if recorded else "no",
                "accuracy": found.accuracy,
                "labels": labels,
                "plain bias, points": 100 * found.plain_bias,
                "weighted bias, points": 100 * found.weighted_bias,
                "plain RMSE": 100 * found.plain_rmse,
                "weighted RMSE": 100 * found.weighted_rmse,
                "interval holds (of .9)": found.holds,
            })  # fmt: skip
            kind = "recorded" if recorded else "not recorded"
            bars.append(Bar(f"{pool.name}, {kind}: bias", abs(100 * found.weighted_bias), _MOST_BIAS, "points"))
    return Section("Least certain first, 30 % of the labels by lot: estimates of the whole pool", rows, bars)
