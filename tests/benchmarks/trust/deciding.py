"""Which of two prompts is better: labels where they disagree against labels drawn at random."""

from collections.abc import Sequence

import numpy as np

from tests.benchmarks.figures import Section
from tests.benchmarks.trust.pools import Pool

COUNTS = (10, 20, 40, 80)
_DRAWS = 2000


def section(pairs: Sequence[tuple[Pool, Pool]]) -> Section:
    """Both prompts of a pair answered the same rows."""
    return Section(
        f"Labels to decide between two prompts: share of {_DRAWS} draws that decide rightly (half of a tie)",
        [_row(one, other, count) for one, other in pairs for count in COUNTS],
    )


def _row(one: Pool, other: Pool, labels: int) -> dict[str, float | str]:
    gain, differ = _gain(one, other)
    found = {"random": np.arange(len(gain)), "disagreement": np.flatnonzero(differ)}
    row: dict[str, float | str] = {
        "pair": f"{other.name} against zero-shot",
        "they differ on": f"{differ.mean():.0%}",
        "true gain": f"{100 * gain.mean():+.1f} points",
        "labels": labels,
    }
    return row | {name: right_decisions(gain, places, labels) for name, places in found.items()}


def _gain(one: Pool, other: Pool) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Of the other over the one, by row, in {-1, 0, 1}; and where they say something else."""
    _, before = one.graded(one.prompt)
    _, after = other.graded(other.prompt)
    said = zip(one.said(one.prompt), other.said(other.prompt), strict=True)
    return after.astype(int) - before.astype(int), np.array([a != b for a, b in said])


def right_decisions(gain: np.ndarray, places: np.ndarray, labels: int) -> float:  # type: ignore[type-arg]
    """How often the sign of the gain over as many of `places` is that over all rows."""
    rng = np.random.default_rng(0)
    count = min(labels, len(places))
    true = np.sign(gain.sum())
    drawn = [np.sign(gain[rng.choice(places, count, replace=False)].sum()) for _ in range(_DRAWS)]
    return float(np.mean([0.5 if each == 0 else each == true for each in drawn]))
