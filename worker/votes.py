"""Several annotators' answers to one control become one verdict."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.labeling.controls import Control
from worker.annotations import Annotation

CONTESTED = "annotators disagree evenly"
UNKNOWN_LABEL = "its label is not in the configuration any more"
SEVERAL_LABELS = "several labels where one was asked for"
NO_ANSWER = "no answer to what was asked"

Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`values` None: undecided. `dropped` is why answers were not counted, or why those counted decide nothing."""

    values: Values | None
    unanimous: bool = True
    dropped: frozenset[str] = frozenset()


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


def verdict(ballot: Ballot, annotations: Sequence[Annotation]) -> Verdict:
    """Single choice: the most frequent value. Multiple choice: each label that most have. A tie decides nothing."""
    answers = [ballot.read(annotation) for annotation in annotations]
    dropped = frozenset(answer for answer in answers if isinstance(answer, str))
    votes = [answer for answer in answers if not isinstance(answer, str)]
    if not votes:
        return Verdict(None, dropped=dropped)
    winner = _per_label(votes, ballot.labels) if ballot.control.multiple else _most_frequent(votes)
    if winner is None:
        return Verdict(None, dropped=dropped | {CONTESTED})
    return Verdict(winner, unanimous=len(set(votes)) == 1, dropped=dropped)


def _most_frequent(votes: Sequence[Values]) -> Values | None:
    ranked = Counter(votes).most_common(2)
    return ranked[0][0] if len(ranked) == 1 or ranked[0][1] > ranked[1][1] else None


def _per_label(votes: Sequence[Values], labels: Values) -> Values | None:
    counts = Counter(label for values in votes for label in values)
    if any(2 * counts[label] == len(votes) for label in labels):
        return None
    return tuple(label for label in labels if 2 * counts[label] > len(votes))


def first_answered(annotations: Collection[Annotation], controls: Sequence[Control]) -> Mapping[str, datetime]:
    """When each control was first answered by anyone; controls that never were are left out."""
    found: dict[str, datetime] = {}
    for control in controls:
        times = [each.updated_at for each in annotations if control.from_result(each.result)]
        if times:
            found[control.name] = min(times)
    return found
