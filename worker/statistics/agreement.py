"""How far people agree beyond chance: Krippendorff's alpha and Cohen's kappa, with bootstrap intervals over items.

1 is full agreement, 0 what chance gives, below 0 people avoid each other's labels. Each is defined on any votes: where
nothing can be told it is None, with the reason in words.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
from numpy.typing import NDArray

from worker.statistics.consensus import Vote
from worker.statistics.intervals import LEVEL

Floats = NDArray[np.float64]

LEAST_IN_COMMON = 10  # items that two people must share for their kappa to count
_DRAWS, _AT_ONCE = 1000, 50

NOBODY = "nobody has labelled anything yet"
ONE_PERSON = "one person alone labelled: give some tasks to a second one to see how far people agree"
NO_OVERLAP = "no task was labelled by two people: give some tasks to several to see how far they agree"
ONE_LABEL = "everybody gave the same label every time: agreement beyond chance needs another one"
FEW_IN_COMMON = f"no two people share {LEAST_IN_COMMON} tasks"


@dataclass(frozen=True, slots=True)
class Agreement:
    """In [-1, 1], with an interval at `intervals.LEVEL`; over `items` on which two or more people voted. Where `value`
    is None, `why` says so and the interval is [-1, 1]."""

    value: float | None
    low: float
    high: float
    items: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two annotators' kappa over the items both labelled; None where both always gave one and the same label."""

    first: str
    second: str
    items: int
    kappa: float | None


def alpha(votes: Iterable[Vote], *, seed: int = 0) -> Agreement:
    """Krippendorff's, for nominal labels: 1 - observed / expected disagreement between two votes on the same item, each
    item weighted by its votes; any number of people may vote on an item, and each counts once there."""
    counts, why = _counts(_latest(votes))
    if why:
        return _unknown(len(counts), why)
    return _measured(_alpha(counts), lambda weights: _alphas(counts, weights), len(counts), seed)


def kappa(votes: Iterable[Vote], *, seed: int = 0) -> Agreement:
    """Cohen's: (po - pe) / (1 - pe), pe from each one's own shares of labels; of several people the mean over pairs
    that share 10 items or more, weighted by how many they share."""
    latest = _latest(votes)
    counts, why = _counts(latest)
    if why:
        return _unknown(len(counts), why)
    table = _table(latest)
    sheets = [sheet for _, _, sheet in table.pairs()]
    if not sheets:
        return _unknown(len(counts), FEW_IN_COMMON)
    rows = np.ones((1, len(table.items)))
    value = float(_mean_kappa(sheets, rows)[0])
    if np.isnan(value):
        return _unknown(len(counts), ONE_LABEL)
    return _measured(value, lambda weights: _mean_kappa(sheets, weights), len(table.items), seed)


def pairs(votes: Iterable[Vote]) -> list[Pair]:
    """Of all who share 10 items or more, sorted by name."""
    table = _table(_latest(votes))
    rows = np.ones((1, len(table.items)))
    found = []
    for first, second, sheet in table.pairs():
        value = float(_kappas(sheet, rows)[0])
        found.append(Pair(first, second, len(sheet.items), None if np.isnan(value) else value))
    return found


def _latest(votes: Iterable[Vote]) -> list[Vote]:
    """The last vote of each person on each item; of whom is forgotten each vote."""
    found: dict[tuple[str, str, int], Vote] = {}
    for number, vote in enumerate(votes):
        found[vote.item, vote.annotator, -1 if vote.annotator else number] = vote
    return list(found.values())


def _counts(votes: Sequence[Vote]) -> tuple[Floats, str]:
    """Votes by item and label, for items with two or more; and why these tell nothing."""
    by_item: dict[str, list[str]] = defaultdict(list)
    for vote in votes:
        by_item[vote.item].append(vote.label)
    labels = {label: i for i, label in enumerate(sorted({vote.label for vote in votes}))}
    shared = [cast for _, cast in sorted(by_item.items()) if len(cast) > 1]
    counts = np.zeros((len(shared), len(labels)))
    for row, cast in enumerate(shared):
        for label in cast:
            counts[row, labels[label]] += 1
    return counts, _why_nothing(votes, counts)


def _why_nothing(votes: Sequence[Vote], counts: Floats) -> str:
    if not votes:
        return NOBODY
    if not len(counts):
        return ONE_PERSON if len({vote.annotator for vote in votes}) == 1 and votes[0].annotator else NO_OVERLAP
    return ONE_LABEL if np.count_nonzero(counts.sum(axis=0)) == 1 else ""


def _unknown(items: int, why: str) -> Agreement:
    return Agreement(None, -1.0, 1.0, items, why)


def _alpha(counts: Floats) -> float:
    return float(krippendorff.alpha(value_counts=counts.astype(int), level_of_measurement="nominal"))


def _alphas(counts: Floats, weights: Floats) -> Floats:
    """The library's figure of each row of item weights, without its sum over all pairs of labels:
    1 - (n - 1) sum_items (m^2 - sum_labels c^2) / (m - 1) / (n^2 - sum_labels n_label^2)."""
    votes = counts.sum(axis=1)
    differing = (votes**2 - (counts**2).sum(axis=1)) / (votes - 1)
    n, by_label = weights @ votes, weights @ counts
    found: Floats = 1 - (n - 1) * (weights @ differing) / (n**2 - (by_label**2).sum(axis=1))
    return found


def _measured(value: float, of: Callable[[Floats], Floats], n: int, seed: int) -> Agreement:
    """With the middle `LEVEL` of draws of `n` items, with replacement; those that hold one label are left out."""
    rng = np.random.default_rng(seed)
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 of a draw that tells nothing
        for _ in range(_DRAWS // _AT_ONCE):
            weights = rng.multinomial(n, np.full(n, 1 / n), size=_AT_ONCE).astype(float)
            parts.append(of(weights))
    drawn = np.concatenate(parts)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(drawn) else (-1.0, 1.0)
    return Agreement(value, min(value, float(low)), max(value, float(high)), n)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What two people said of the items they share: those items' places, and the labels of each as 0 or 1."""

    items: NDArray[np.int64]
    first: Floats
    second: Floats


@dataclass(frozen=True, slots=True)
class _Table:
    """Labels by annotator and item, as numbers."""

    items: Sequence[str]
    said: Mapping[str, Mapping[int, int]]
    labels: int

    def pairs(self) -> Iterable[tuple[str, str, _Sheet]]:
        """Those that share enough items, by name."""
        names = sorted(name for name, said in self.said.items() if len(said) >= LEAST_IN_COMMON)
        eye = np.eye(self.labels)
        for first, second in combinations(names, 2):
            common = sorted(self.said[first].keys() & self.said[second].keys())
            if len(common) >= LEAST_IN_COMMON:
                one, other = ([self.said[name][item] for item in common] for name in (first, second))
                yield first, second, _Sheet(np.array(common, np.int64), eye[one], eye[other])


def _table(votes: Sequence[Vote]) -> _Table:
    """Only items with several votes, and people who are known."""
    names = defaultdict(set)
    for vote in votes:
        names[vote.item].add(vote.annotator)
    items = sorted(item for item, by in names.items() if len(by - {""}) > 1)
    place = {item: i for i, item in enumerate(items)}
    labels = {label: i for i, label in enumerate(sorted({vote.label for vote in votes}))}
    said: dict[str, dict[int, int]] = defaultdict(dict)
    for vote in votes:
        if vote.annotator and vote.item in place:
            said[vote.annotator][place[vote.item]] = labels[vote.label]
    return _Table(items, said, len(labels))


def _kappas(sheet: _Sheet, weights: Floats) -> Floats:
    """One for each row of item weights; not a number where both always gave one and the same label."""
    drawn = weights[:, sheet.items]
    n = drawn.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        agreed = drawn @ (sheet.first * sheet.second).sum(axis=1) / n
        by_chance = ((drawn @ sheet.first) * (drawn @ sheet.second)).sum(axis=1) / n**2
        found: Floats = np.where(by_chance < 1, (agreed - by_chance) / (1 - by_chance), np.nan)
    return found


def _mean_kappa(sheets: Sequence[_Sheet], weights: Floats) -> Floats:
    """Pairs of which nothing can be told are left out."""
    values = np.array([_kappas(sheet, weights) for sheet in sheets])
    sizes = np.array([weights[:, sheet.items].sum(axis=1) for sheet in sheets])
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (np.where(known, values, 0) * sizes).sum(axis=0) / (known * sizes).sum(axis=0)
    return found
