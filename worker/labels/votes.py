"""Several annotators' answers to one control become one verdict."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from backend.labeling.answers import Question
from backend.labeling.controls import Control
from backend.labeling.controls.closed_set import NO, YES
from worker.labels.annotations import Annotation
from worker.statistics.consensus import Consensus, Vote, consensus

CONTESTED = "annotators disagree evenly"
UNKNOWN_LABEL = "its label is not in the configuration any more"
SEVERAL_LABELS = "several labels where one was asked for"
NO_ANSWER = "no answer to what was asked"

Values = tuple[str, ...]
Agreed = Mapping[str, Consensus]  # by Question.key


@dataclass(frozen=True, slots=True)
class Verdict:
    """`values` None: undecided. `dropped` is why answers were not counted, or why those counted decide nothing.

    `soft` is how likely each label is where people differ: of a single choice they sum to 1, of a multiple one each is
    the probability that it applies. Empty where all say the same, and where nothing is decided.
    """

    values: Values | None
    unanimous: bool = True
    disputed: bool = False
    dropped: frozenset[str] = frozenset()
    soft: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a control takes for an answer: `labels` in the configuration's order. `since` is when the control was first
    answered by anyone, None for never, and `alone` whether it is the only one we label."""

    control: Control
    labels: Values
    since: datetime | None
    alone: bool

    def read(self, annotation: Annotation) -> Values | str:
        """The values in the order of `labels`, or why there is no answer that counts."""
        values = self.control.from_result(annotation.result)
        if not values:
            return () if self._means_none(annotation, named=values is not None) else NO_ANSWER
        if not set(values) <= set(self.labels):
            return UNKNOWN_LABEL
        if len(set(values)) > 1 and not self.control.multiple:
            return SEVERAL_LABELS
        return tuple(label for label in self.labels if label in values)

    def _means_none(self, annotation: Annotation, *, named: bool) -> bool:
        """No answer says that no label applies, where the annotator could see the question: an answer to other
        controls may be older than this one. `named`: the result says itself that nothing was chosen."""
        if not self.control.multiple or self.control.required:
            return False
        asked = self.since is not None and self.since <= annotation.updated_at
        return asked or named or (self.alone and not annotation.result)


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one item's annotations to one control: whose and which, and why others were not counted."""

    cast: tuple[tuple[str, Values], ...]
    dropped: frozenset[str]

    def votes(self, item: str, question: Question) -> list[Vote]:
        return [Vote(item, name, _says(question, values)) for name, values in self.cast]


def answers(ballot: Ballot, annotations: Sequence[Annotation]) -> Answers:
    read = [(_name(annotation), ballot.read(annotation)) for annotation in annotations]
    return Answers(
        cast=tuple((name, found) for name, found in read if not isinstance(found, str)),
        dropped=frozenset(found for _, found in read if isinstance(found, str)),
    )


def verdict(ballot: Ballot, item: str, answers: Answers, questions: Sequence[Question], agreed: Agreed) -> Verdict:
    """Single choice: the label that people's consensus is. Multiple choice: each label that it says yes to. One tie
    decides nothing. `agreed` is the consensus on each question of many items; where it has none, the item's own
    votes alone count."""
    if not answers.cast:
        return Verdict(None, dropped=answers.dropped)
    votes = {question.key: answers.votes(item, question) for question in questions}
    found = {key: agreed.get(key) or consensus(cast, (), method="majority") for key, cast in votes.items()}
    decided = {key: each.decided.get(item) for key, each in found.items()}
    if None in decided.values():
        return Verdict(None, dropped=answers.dropped | {CONTESTED})
    differ = any(each.differ(votes[key]) for key, each in found.items())
    return Verdict(
        values=_values(ballot, questions, decided),
        unanimous=not differ,
        disputed=any(each.disputed(votes[key]) for key, each in found.items()),
        dropped=answers.dropped,
        soft=_soft(questions, {key: each.posterior[item] for key, each in found.items()}) if differ else {},
    )


def _says(question: Question, values: Values) -> str:
    """An answer to the control as one to the question."""
    if question.about is None:
        return values[0]
    return YES.value if question.about.value in values else NO.value


def _name(annotation: Annotation) -> str:
    return "" if annotation.completed_by is None else str(annotation.completed_by)


def _values(ballot: Ballot, questions: Sequence[Question], decided: Mapping[str, str | None]) -> Values:
    if not ballot.control.multiple:
        return tuple(label for label in decided.values() if label)
    return tuple(each.about.value for each in questions if each.about and decided[each.key] == YES.value)


def _soft(questions: Sequence[Question], posteriors: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of a single choice's one question its labels, else of each label its yes."""
    found: dict[str, float] = {}
    for question in questions:
        posterior = posteriors[question.key]
        found |= {question.about.value: posterior.get(YES.value, 0.0)} if question.about else posterior
    return found


def first_answered(annotations: Collection[Annotation], controls: Sequence[Control]) -> Mapping[str, datetime]:
    """When each control was first answered by anyone; controls that never were are left out."""
    found: dict[str, datetime] = {}
    for control in controls:
        times = [each.updated_at for each in annotations if control.from_result(each.result)]
        if times:
            found[control.name] = min(times)
    return found
