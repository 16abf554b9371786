"""What annotators decided becomes examples: which annotations count, and what several of them amount to."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.labeling.controls import Control
from backend.labeling.errors import TaskError
from backend.labeling.schema import LabelingSchema
from worker.labels.annotations import AnnotatedTask, Annotation, fingerprint
from worker.labels.examples import Example, Shown
from worker.labels.polls import Asked, Poll, polls
from worker.labels.votes import (
    CONTESTED,
    NO_ANSWER,
    SEVERAL_LABELS,
    UNKNOWN_LABEL,
    Agreed,
    Ballot,
    Values,
    Verdict,
    answers,
    first_answered,
    verdict,
)
from worker.statistics.consensus import Method

OTHER_DATA = "its data changed after it was annotated"
UNSEEN = "a prediction accepted in bulk, unseen"
SKIPPED = "skipped"
UNREADABLE = "its data cannot be labelled"
DUPLICATE = "the same data as another task"

# Why an annotated task gives no example; where several reasons hold, the first of this order counts.
REASONS = (CONTESTED, UNKNOWN_LABEL, SEVERAL_LABELS, NO_ANSWER, OTHER_DATA, UNSEEN, SKIPPED, UNREADABLE, DUPLICATE)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """`examples` come in the order in which they were decided. `left_out` counts the annotated tasks that give none,
    each under one of `REASONS`: with the examples they add up to all. `contested` are ids of tasks of which annotators
    leave a control undecided; one with other controls may be an example all the same.

    `polls` are what each person said, by question. `undecided` are the contested tasks that are no examples, without a
    truth: to see what the LLM says of them.
    """

    examples: tuple[Example, ...]
    left_out: Mapping[str, int]
    contested: tuple[str, ...]
    polls: tuple[Poll, ...] = ()
    undecided: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class _Group:
    """Tasks with the same data: their ballots by control, none where the data cannot be labelled; everyone's latest
    annotations, and those that count."""

    same: Sequence[AnnotatedTask]
    ballots: Mapping[str, Ballot]
    everyone: Sequence[Annotation]
    counted: Sequence[Annotation]
    dropped: frozenset[str]

    @property
    def id(self) -> str:
        """Annotating another task with the same data later does not give the example another id, and so another
        split."""
        _, task_id = min((each.created_at, task.id) for task in self.same for each in task.annotations)
        return str(task_id)

    def asked(self, control: Control) -> Asked:
        ballot = self.ballots[control.name]
        return Asked(
            item=self.id,
            questions=tuple(each for each in control.questions(self.same[0].data) if each.is_answer),
            all=answers(ballot, self.everyone),
            counted=answers(ballot, self.counted),
            flagged=any(each.ground_truth for each in self.counted),
        )

    def example(self, schema: LabelingSchema, verdicts: Mapping[str, Verdict]) -> Example:
        """Of the controls that are decided."""
        decided = {name: each for name, each in verdicts.items() if each.values is not None}
        return Example(
            id=self.id,
            data=self.same[0].data,
            truth={name: each.values for name, each in decided.items() if each.values is not None},
            annotated_at=max(each.updated_at for each in self.counted),
            shown=_shown(self.counted, schema),
            unanimous=all(each.unanimous for each in decided.values()),
            disputed=any(each.disputed for each in decided.values()),
            soft={name: each.soft for name, each in decided.items() if each.soft},
            reason=self._reason({name: each.values for name, each in decided.items()}),
        )

    def _reason(self, truth: Mapping[str, Values | None]) -> str:
        """The latest of those who answered as it was decided: an outvoted one argues for another label."""
        agreeing = (
            each
            for each in self.counted
            if each.reason and all(self.ballots[name].read(each) == values for name, values in truth.items())
        )
        latest = max(agreeing, key=_age, default=None) if truth else None
        return latest.reason if latest else ""


@dataclass(frozen=True, slots=True)
class _Decided:
    """`example` without a truth is none."""

    group: _Group
    example: Example | None
    reasons: frozenset[str]

    @property
    def is_example(self) -> bool:
        return self.example is not None and bool(self.example.truth)


def examples(tasks: Iterable[AnnotatedTask], schema: LabelingSchema, *, method: Method = "auto") -> GroundTruth:
    """Tasks with the same data are one example, under the id of the one that was annotated first, so that no text
    stands in two splits; each annotator has one vote on each of them.

    An annotation flagged as ground truth decides alone, else people's consensus (`consensus.consensus`), the majority
    or by `method`; a tie is contested.
    """
    annotated = sorted((task for task in tasks if task.annotations), key=lambda task: task.id)
    all_annotations = [each for task in annotated for each in task.annotations if not each.was_cancelled]
    answered = first_answered(all_annotations, schema.controls)
    groups = [_group(same, schema, answered) for same in _by_data(annotated, schema)]
    asked = {control.name: [each.asked(control) for each in groups if each.counted] for control in schema.controls}
    found = tuple(poll for control in schema.controls for poll in polls(control, asked[control.name], method))
    decided = _decided(groups, schema, asked, {poll.key: poll.consensus for poll in found})
    return GroundTruth(
        examples=_ordered(each.example for each in decided if each.is_example),
        left_out=_left_out(decided),
        contested=tuple(str(task.id) for each in decided if CONTESTED in each.reasons for task in each.group.same),
        polls=found,
        undecided=_ordered(each.example for each in decided if not each.is_example and CONTESTED in each.reasons),
    )


def _by_data(tasks: Iterable[AnnotatedTask], schema: LabelingSchema) -> list[list[AnnotatedTask]]:
    groups: dict[str, list[AnnotatedTask]] = defaultdict(list)
    for task in tasks:
        groups[schema.data_hash(task.data)].append(task)
    return list(groups.values())


def _ordered(found: Iterable[Example | None]) -> tuple[Example, ...]:
    return tuple(sorted((each for each in found if each is not None), key=lambda each: (each.annotated_at, each.id)))


def _group(same: Sequence[AnnotatedTask], schema: LabelingSchema, answered: Mapping[str, datetime]) -> _Group:
    data = same[0].data
    try:
        schema.values(data)
        ballots = {control.name: _ballot(control, data, schema, answered) for control in schema.controls}
    except TaskError:
        return _Group(same, {}, (), (), frozenset({UNREADABLE}))
    everyone, counted, dropped = _counted(same, fingerprint(schema, data))
    return _Group(same, ballots, everyone, counted, dropped)


def _decided(
    groups: Iterable[_Group], schema: LabelingSchema, asked: Mapping[str, Sequence[Asked]], agreed: Agreed
) -> list[_Decided]:
    by_item = {(name, each.item): each for name, of_all in asked.items() for each in of_all}
    found = []
    for group in groups:
        if not group.counted:
            found.append(_Decided(group, None, group.dropped))
            continue
        of_group = {control.name: by_item[control.name, group.id] for control in schema.controls}
        verdicts = {
            name: verdict(group.ballots[name], each.item, each.counted, each.questions, agreed)
            for name, each in of_group.items()
        }
        reasons = group.dropped.union(*(each.dropped for each in verdicts.values()))
        found.append(_Decided(group, group.example(schema, verdicts), reasons))
    return found


def _left_out(decided: Iterable[_Decided]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for each in decided:
        if each.is_example:
            counts[DUPLICATE] += len(each.group.same) - 1
        else:
            counts[min(each.reasons, key=REASONS.index)] += len(each.group.same)
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def _ballot(
    control: Control, data: Mapping[str, object], schema: LabelingSchema, answered: Mapping[str, datetime]
) -> Ballot:
    labels = tuple(label.value for label in control.labels_for(data))
    return Ballot(control, labels, answered.get(control.name), alone=len(schema.controls) == 1)


def _counted(same: Sequence[AnnotatedTask], seen: str) -> tuple[list[Annotation], list[Annotation], frozenset[str]]:
    """Each person's latest annotation of each task; of these what counts, which is the latest flagged one alone where
    there is one; and why the others do not."""
    latest: dict[tuple[int, object], Annotation] = {}
    flagged, dropped = [], set()
    for annotation in sorted((each for task in same for each in task.annotations), key=_age):
        reason = _reason_to_drop(annotation, seen)
        if reason:
            dropped.add(reason)
            continue
        # Of whom Label Studio has forgotten, each annotation is another person's.
        person = annotation.unique_id if annotation.completed_by is None else annotation.completed_by
        latest[annotation.task_id, person] = annotation
        flagged += [annotation] if annotation.ground_truth else []
    everyone = sorted(latest.values(), key=_age)
    return everyone, flagged[-1:] or everyone, frozenset(dropped)


def _age(annotation: Annotation) -> tuple[datetime, str]:
    return annotation.updated_at, annotation.unique_id


def _reason_to_drop(annotation: Annotation, seen: str) -> str:
    if annotation.was_cancelled:
        return SKIPPED
    if annotation.unseen:
        return UNSEEN
    # Under other keys nothing can be compared: the configuration shows other fields by now.
    comparable = annotation.seen.partition("-")[0] == seen.partition("-")[0]
    return OTHER_DATA if comparable and annotation.seen != seen else ""


def _shown(counted: Sequence[Annotation], schema: LabelingSchema) -> Shown | None:
    """Of the annotator who decided last; the label is blind only if nobody was shown anything."""
    latest = max((each for each in counted if each.shown), key=_age, default=None)
    if latest is None or latest.shown is None:
        return None
    values = {}
    for control in schema.controls:
        found = control.from_result(latest.shown.result)
        if found is None and latest.shown.version and control.multiple:
            found = ()
        if found is not None:
            values[control.name] = found
    return Shown(latest.shown.version, values, latest.shown.score)
