"""Numbers over many answers: shares with intervals, precision, recall and F1 a label, confusion, acceptance.

Each is defined on any input: a figure that nothing decides is None, never a division by zero.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.statistics.intervals import LEVEL, Average, Share, share

_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Answer:
    """One control on one example. `predicted` is None where the LLM gave no usable answer; no value at all is one."""

    id: str
    true: tuple[str, ...]
    predicted: tuple[str, ...] | None

    @property
    def right(self) -> bool:
        """The very same values, in any order."""
        return self.predicted is not None and set(self.predicted) == set(self.true)


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """`precision` is over the answers that name the label, `recall` over those whose truth does.

    `f1` = 2 hits / (named + true); None where it occurs in neither.
    """

    label: str
    precision: Share
    recall: Share
    f1: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """The ids of the examples with this true and this predicted label; None is "no label", or no usable answer."""

    true: str | None
    predicted: str | None
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far predicted ratings are from people's: the mean absolute difference in steps, None of none, and how many
    are at most one step off."""

    mean: float | None
    within_one: Share


def accuracy(graded: Iterable[Graded]) -> Share:
    """All controls of an example must be right; a failed answer is wrong."""
    right = [each.right for each in graded]
    return share(sum(right), len(right))


def answers(examples: Iterable[Example], graded: Mapping[str, Graded], control: str) -> list[Answer]:
    """In the examples' order; those that have no truth for the control, or were not graded, are left out."""
    return [
        Answer(each.id, each.truth[control], graded[each.id].values.get(control))
        for each in examples
        if control in each.truth and each.id in graded
    ]


def acceptance(examples: Iterable[Example]) -> Share:
    """Of the examples that began with a shown prediction, those whose truth is what was shown, in every control."""
    kept = [is_accepted(each) for each in examples if each.shown is not None]
    return share(sum(kept), len(kept))


def is_accepted(example: Example) -> bool:
    """Without a shown prediction, only where no label applies."""
    shown = example.shown.values if example.shown else {}
    return all(set(shown.get(control, ())) == set(values) for control, values in example.truth.items())


def by_label(answers: Sequence[Answer], labels: Iterable[str]) -> tuple[LabelFigures, ...]:
    """In the order of `labels`, then those that only the answers name, sorted."""
    named = Counter(label for each in answers for label in set(each.predicted or ()))
    true = Counter(label for each in answers for label in set(each.true))
    hits = Counter(label for each in answers for label in set(each.true) & set(each.predicted or ()))
    listed = list(dict.fromkeys(labels))
    return tuple(
        LabelFigures(
            label=label,
            precision=share(hits[label], named[label]),
            recall=share(hits[label], true[label]),
            f1=2 * hits[label] / total if (total := named[label] + true[label]) else None,
        )
        for label in [*listed, *sorted((named.keys() | true.keys()) - set(listed))]
    )


def distance(answers: Iterable[Answer]) -> Distance:
    """Of ratings. One without a usable answer counts in neither figure."""
    apart = [abs(int(each.predicted[0]) - int(each.true[0])) for each in answers if each.predicted and each.true]
    return Distance(fmean(apart) if apart else None, share(sum(step <= 1 for step in apart), len(apart)))


def confusion(answers: Iterable[Answer], *, multiple: bool) -> tuple[Cell, ...]:
    """Cells that hold an example, the fullest first.

    Single choice: the true label against the predicted one. With `multiple`, and where annotators gave a single choice
    several labels, each label is counted on its own: hit (a, a), missed (a, None), false alarm (None, a).
    """
    cells = defaultdict(list)
    for answer in answers:
        for cell in _cells(answer, multiple=multiple):
            cells[cell].append(answer.id)
    found = [Cell(true, predicted, tuple(ids)) for (true, predicted), ids in cells.items()]
    return tuple(sorted(found, key=lambda cell: (-len(cell.ids), cell.true or "", cell.predicted or "")))


def _cells(answer: Answer, *, multiple: bool) -> list[tuple[str | None, str | None]]:
    true, predicted = set(answer.true), set(answer.predicted or ())
    hits: list[tuple[str | None, str | None]] = [(label, label) for label in true & predicted]
    missed, alarms = true - predicted, predicted - true
    if not multiple and len(missed) <= 1 and len(alarms) <= 1 and (missed or alarms):
        return [*hits, (next(iter(missed), None), next(iter(alarms), None))]
    return [*hits, *((label, None) for label in missed), *((None, label) for label in alarms)]


def macro_f1(answers: Iterable[Answer], *, seed: int = 0) -> Average:
    """The mean F1 over the labels that occur, in a truth or a prediction, as scikit-learn has it.

    Its interval holds the middle `LEVEL` of a Bayesian bootstrap: examples weighted by a flat Dirichlet, together with
    one imagined example spread evenly over hit, miss and false alarm of every label, without which a handful of right
    answers would look certain. Reweighting lowers the mean of ratios, as sampling did before: the draws are moved up by
    twice as much. Measured with three labels, these intervals hold the truth 83 times of 100 at 13 examples and 85 to
    92 times from 40 on; with 20 labels and five examples each, 79 times.
    """
    patterns = Counter((tuple(sorted({*a.true})), tuple(sorted({*(a.predicted or ())}))) for a in answers)
    labels = sorted({label for pattern in patterns for side in pattern for label in side})
    if not labels:
        return Average(None, 0.0, 1.0)
    seen = sorted(patterns.items())
    rows = np.array([_tallies(true, predicted, labels) for (true, predicted), _ in seen])
    counts = np.array([float(count) for _, count in seen])
    value = float(_mean_f1(counts @ rows, len(labels)))
    low, high = np.quantile(_drawn(rows, counts, value, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Average(value, min(value, float(low)), max(value, float(high)))


def _drawn(rows: NDArray[np.float64], counts: NDArray[np.float64], value: float, seed: int) -> NDArray[np.float64]:
    imagined = np.eye(rows.shape[1])
    labels = len(imagined) // 3
    shapes = np.concatenate([counts, np.full(len(imagined), 1 / len(imagined))])
    weights = np.random.default_rng(seed).gamma(shapes, size=(_DRAWS, len(shapes)))
    drawn = _mean_f1(weights @ np.concatenate([rows, imagined]), labels)
    bias = _mean_f1(weights[:, : len(counts)] @ rows, labels).mean() - value
    moved: NDArray[np.float64] = np.clip(drawn - 2 * bias, 0.0, 1.0)
    return moved


def _tallies(true: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> list[float]:
    """Hits of each label, then misses, then false alarms."""
    hits = [float(label in true and label in predicted) for label in labels]
    missed = [float(label in true and label not in predicted) for label in labels]
    return [*hits, *missed, *(float(label in predicted and label not in true) for label in labels)]


def _mean_f1(tallies: NDArray[np.float64], labels: int) -> NDArray[np.float64]:
    """Each label has a tally above 0: it occurs."""
    hits, missed, alarms = (tallies[..., i * labels : (i + 1) * labels] for i in range(3))
    found: NDArray[np.float64] = np.mean(2 * hits / (2 * hits + missed + alarms), axis=-1)
    return found
