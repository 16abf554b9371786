"""Several people on the same tasks: how they stand to one another and to the LLM, where they split, where one may have
slipped. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from worker.labels.examples import Example
from worker.labels.polls import Poll
from worker.optimizer.outcomes import Graded
from worker.report import metrics
from worker.statistics import intervals
from worker.statistics.consensus import Judgement, Vote
from worker.statistics.intervals import LEVEL, Average, Share

_DRAWS = 1000
# A score from which the LLM may call a person's label into question, and how many such labels are named.
_CONFIDENT, _MOST_SLIPS = 0.9, 20
LEAST_FITTED = 30  # labels behind a calibration that may do so


@dataclass(frozen=True, slots=True)
class Standing:
    """`agreed` is on tasks that the others decide: all that the person said of a control is what they say."""

    annotator: str
    labelled: int
    agreed: Share
    at_random: bool


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How often a person agrees with the consensus of the others, and how often the LLM does with the same ones on the
    same tasks; `ahead` is the LLM's figure less people's, in [-1, 1]. Each is None of no task, with the interval at
    `intervals.LEVEL` over tasks."""

    tasks: int
    people: Average
    llm: Average
    ahead: Average


@dataclass(frozen=True, slots=True)
class Gap:
    """Two labels that people split between on these tasks; None stands for "not the other"."""

    control: str
    labels: tuple[str, str | None]
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slip:
    """A label of one person alone that the LLM is confident to be another; `score` is calibrated."""

    task: str
    control: str
    said: tuple[str, ...]
    predicted: tuple[str, ...]
    score: float


def shared(polls: Iterable[Poll]) -> set[str]:
    """Tasks that two or more people labelled."""
    people: dict[str, set[str]] = defaultdict(set)
    for poll in polls:
        for number, vote in enumerate(poll.votes):
            people[vote.item].add(vote.annotator or f"forgotten {number}")
    return {item for item, names in people.items() if len(names) > 1}


def standings(polls: Sequence[Poll]) -> list[Standing]:
    """Of everybody who is known by an id, who labelled most first."""
    labelled: dict[str, set[str]] = defaultdict(set)
    for poll in polls:
        for vote in poll.votes:
            labelled[vote.annotator].add(vote.item)
    right: dict[str, list[bool]] = defaultdict(list)
    for (_, name, _), judged in _judged(polls).items():
        right[name].append(all(each.agrees for _, each in judged))
    at_random = frozenset[str]().union(*(poll.consensus.at_random for poll in polls))
    return [
        Standing(name, len(items), intervals.share(sum(right[name]), len(right[name])), name in at_random)
        for name, items in sorted(labelled.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        if name
    ]


def ceiling(polls: Sequence[Poll], graded: Mapping[str, Graded], *, seed: int = 0) -> Ceiling:
    """Of one control's polls, on the tasks that were graded."""
    rows: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for (_, _, item), judged in _judged(polls).items():
        if item in graded:
            person = all(each.agrees for _, each in judged)
            llm = all(_says(poll, graded[item]) == each.others for poll, each in judged)
            rows[item].append((person, llm))
    if not rows:
        return Ceiling(0, *(Average(None, low, 1.0) for low in (0.0, 0.0, -1.0)))
    sums = np.array([[len(both), *np.sum(both, axis=0)] for _, both in sorted(rows.items())], float)
    n = len(sums)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_DRAWS) @ sums
    people, llm = (drawn[:, 1:] / drawn[:, :1]).T
    value = sums.sum(axis=0)[1:] / sums[:, 0].sum()
    return Ceiling(n, _average(people, value[0]), _average(llm, value[1]), _average(llm - people, value[1] - value[0]))


def gaps(polls: Sequence[Poll]) -> list[Gap]:
    """The pair that most tasks fall between first. A task on which three labels got as many votes stands under each
    pair. What one annotation, flagged as ground truth, has settled is no gap any more."""
    found: dict[tuple[str, tuple[str, str | None]], list[str]] = defaultdict(list)
    for poll in polls:
        for item, votes in _by_item(poll.votes).items():
            if item not in poll.settled and poll.consensus.disputed(votes):
                for pair in _pairs(poll, votes):
                    found[poll.control, pair].append(item)
    gaps = [Gap(control, pair, tuple(items)) for (control, pair), items in found.items()]
    return sorted(gaps, key=lambda gap: (-len(gap.tasks), gap.control, gap.labels[0], gap.labels[1] or ""))


def slips(polls: Sequence[Poll], examples: Iterable[Example], graded: Mapping[str, Graded]) -> list[Slip]:
    """The most confident first, 20 at most, of labels that one person gave and nobody flagged as ground truth; after
    confident learning (Northcutt et al. 2021). The caller has made sure that `keeps_its_word`."""
    alone = _alone(polls)
    found = [
        Slip(example.id, control, true, graded[example.id].values[control], graded[example.id].score)
        for example in examples
        if example.id in graded and graded[example.id].score >= _CONFIDENT
        for control, true in example.truth.items()
        if (control, example.id) in alone and set(graded[example.id].values.get(control, true)) != set(true)
    ]
    return sorted(found, key=lambda slip: (-slip.score, slip.task, slip.control))[:_MOST_SLIPS]


def keeps_its_word(graded: Iterable[Graded]) -> bool:
    """Whether confident predictions are right as often as their scores promise, as far as can be told."""
    sure = [each for each in graded if each.values and each.score >= _CONFIDENT]
    return not sure or metrics.accuracy(sure).high >= sum(each.score for each in sure) / len(sure)


def _judged(polls: Iterable[Poll]) -> dict[tuple[str, str, str], list[tuple[Poll, Judgement]]]:
    """By control, person and task: one judgement a label of a multiple choice, those that the others decide."""
    found: dict[tuple[str, str, str], list[tuple[Poll, Judgement]]] = defaultdict(list)
    for poll in polls:
        for each in poll.consensus.judgements:
            if each.annotator:
                found[poll.control, each.annotator, each.item].append((poll, each))
    return found


def _says(poll: Poll, graded: Graded) -> str | None:
    """The LLM's answer to the poll's question; None where it gave none."""
    values = graded.values.get(poll.control)
    if values is None:
        return None
    if poll.about is None:
        return values[0] if values else None
    return "yes" if poll.about in values else "no"


def _average(drawn: NDArray[np.float64], value: float) -> Average:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Average(float(value), min(float(value), float(low)), max(float(value), float(high)))


def _by_item(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.item].append(vote)
    return found


def _pairs(poll: Poll, votes: Sequence[Vote]) -> Sequence[tuple[str, str | None]]:
    """The label with most votes against each of those with the second most; of several with most, each two."""
    if poll.about is not None:
        return [(poll.about, None)]
    heard = poll.consensus.heard(votes)
    counts = {label: heard.count(label) for label in poll.consensus.labels if label in heard}
    first, second, *_ = sorted(counts.values(), reverse=True)
    if first == second:
        return list(combinations([label for label, count in counts.items() if count == first], 2))
    either = [label for label, count in counts.items() if count in (first, second)]
    return [pair for pair in combinations(either, 2) if first in (counts[pair[0]], counts[pair[1]])]


def _alone(polls: Iterable[Poll]) -> set[tuple[str, str]]:
    """(control, task) that one person labelled, and nobody flagged."""
    found = set()
    for poll in polls:
        found |= {
            (poll.control, item)
            for item, votes in _by_item(poll.votes).items()
            if len(votes) == 1 and item not in poll.settled
        }
    return found
