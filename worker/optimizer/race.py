"""Candidates against one another on the same examples, most of them stopped early (successive halving).

The signal is the scale-normalised margin tanh(m / median|m|) of each candidate's own calibrated margins m: a candidate
gains nothing by being louder, and a near miss tells more than a 0.
"""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer import fitting
from worker.optimizer.evaluate import Label
from worker.optimizer.outcomes import Graded, grade
from worker.optimizer.propose import Candidate

_FIRST, _FIRST_OF_MANY, _MANY = 16, 24, 60
_INNER_FOLDS = 3
_LEAST_FINALISTS = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate after the examples it was raced on. `prompt` carries the calibration fitted on all of them; `grades`,
    one an example in their order, come from calibrations fitted on the others (three folds)."""

    candidate: Candidate
    prompt: Prompt
    grades: tuple[Graded, ...]

    @property
    def soft(self) -> float:
        """In [-1, 1]; what the race is run by."""
        return normalised_mean([graded.margin for graded in self.grades])

    @property
    def accuracy(self) -> float:
        return fmean(graded.right for graded in self.grades)


def normalised_mean(margins: Sequence[float]) -> float:
    """Mean of tanh(m / median|m|); a median of 0 counts as 1 nat."""
    scale = median(abs(margin) for margin in margins) or 1.0
    return fmean(math.tanh(margin / scale) for margin in margins)


def race(
    schema: LabelingSchema,
    candidates: Sequence[Candidate],
    examples: Sequence[Example],
    label: Label,
    *,
    soft: bool = True,
    entered: dict[tuple[str, int], Entry] | None = None,
) -> list[Entry]:
    """Best first, those that were raced to the end before those that were stopped, each with its last figures.

    `examples` are in the order in which they are used; the better half goes on to twice as many. Without `soft` it is
    run by right and wrong alone. `entered` is filled, and read where a candidate was raced on the same examples before.
    """
    known = {} if entered is None else entered

    def entry(candidate: Candidate, size: int) -> Entry:
        key = (repr(candidate), size)
        if key not in known:
            known[key] = enter(schema, candidate, examples[:size], label)
        return known[key]

    alive, stopped = list(candidates), list[Entry]()
    sizes = stages(len(examples))
    entries: list[Entry] = []
    for number, size in enumerate(sizes):
        entries = sorted((entry(each, size) for each in alive), key=_soft_rank if soft else _hard_rank)
        if number < len(sizes) - 1:
            most = survivors(len(entries))
            entries, out = entries[:most], entries[most:]
            stopped = [*out, *stopped]
            alive = [entry.candidate for entry in entries]
    return [*entries, *stopped]


def stages(n: int) -> list[int]:
    """How many examples each stage uses, doubling: 16, 40 of 40; 24, 48, 100 of 100. The last is all, a quarter more
    at least than the one before."""
    size = _FIRST if n < _MANY else _FIRST_OF_MANY
    found = []
    while size * 1.25 < n:
        found.append(size)
        size *= 2
    return [*found, n]


def survivors(candidates: int) -> int:
    """How many of them go on to the next stage."""
    return min(candidates, max(_LEAST_FINALISTS, math.ceil(candidates / 2)))


def enter(schema: LabelingSchema, candidate: Candidate, examples: Sequence[Example], label: Label) -> Entry:
    outcomes = label(candidate.prompt, examples)
    calibration = fitting.fit(schema, examples, outcomes)
    grades: dict[int, Graded] = {}
    for fold in range(_INNER_FOLDS):
        inside = [i for i in range(len(examples)) if i % _INNER_FOLDS != fold]
        fitted = replace(
            candidate.prompt,
            calibration=fitting.fit(schema, [examples[i] for i in inside], [outcomes[i] for i in inside]),
        )
        for i in range(fold, len(examples), _INNER_FOLDS):
            grades[i] = grade(schema, fitted, examples[i], outcomes[i])
    return Entry(
        candidate, replace(candidate.prompt, calibration=calibration), tuple(grades[i] for i in range(len(examples)))
    )


def in_order(examples: Sequence[Example], rng: random.Random) -> list[Example]:
    """Shuffled, then dealt label by label, so that every beginning holds the labels in about their shares."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in rng.sample(list(examples), len(examples)):
        by_label[repr(sorted(example.truth.items()))].append(example)
    placed = [
        ((rank + rng.random()) / len(stack), example)
        for stack in by_label.values()
        for rank, example in enumerate(stack)
    ]
    return [example for _, example in sorted(placed, key=lambda pair: pair[0])]


def _soft_rank(entry: Entry) -> tuple[float, float]:
    return (-entry.soft, -entry.accuracy)


def _hard_rank(entry: Entry) -> float:
    return -entry.accuracy
