"""What annotators decided becomes examples: which annotations count, and what several of them amount to."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.labeling.controls import Control
from backend.labeling.errors import TaskError
from backend.labeling.schema import LabelingSchema
from worker.annotations import AnnotatedTask, Annotation, fingerprint
from worker.examples import Example, Shown
from worker.votes import CONTESTED, NO_ANSWER, SEVERAL_LABELS, UNKNOWN_LABEL, Ballot, first_answered, verdict

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
    leave a control undecided; one with other controls may be an example all the same."""

    examples: tuple[Example, ...]
    left_out: Mapping[str, int]
    contested: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Decided:
    example: Example | None
    reasons: frozenset[str]


def examples(tasks: Iterable[AnnotatedTask], schema: LabelingSchema) -> GroundTruth:
    """Tasks with the same data are one example, under the id of the one that was annotated first, so that no text
    stands in two splits; each annotator has one vote on each of them.

    An annotation flagged as ground truth decides alone, else the majority; a tie is contested.
    """
    annotated = sorted((task for task in tasks if task.annotations), key=lambda task: task.id)
    all_annotations = [each for task in annotated for each in task.annotations if not each.was_cancelled]
    answered = first_answered(all_annotations, schema.controls)
    groups = [(same, _decide(same, schema, answered)) for same in _by_data(annotated, schema)]
    return GroundTruth(
        examples=tuple(sorted((decided.example for _, decided in groups if decided.example), key=_order)),
        left_out=_left_out(groups),
        contested=tuple(str(task.id) for same, decided in groups if CONTESTED in decided.reasons for task in same),
    )


def _by_data(tasks: Iterable[AnnotatedTask], schema: LabelingSchema) -> list[list[AnnotatedTask]]:
    groups: dict[str, list[AnnotatedTask]] = defaultdict(list)
    for task in tasks:
        groups[schema.data_hash(task.data)].append(task)
    return list(groups.values())


def _order(example: Example) -> tuple[datetime, str]:
    return example.annotated_at, example.id


def _left_out(groups: Iterable[tuple[Sequence[AnnotatedTask], _Decided]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for same, decided in groups:
        if decided.example:
            counts[DUPLICATE] += len(same) - 1
        else:
            counts[min(decided.reasons, key=REASONS.index)] += len(same)
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def _decide(same: Sequence[AnnotatedTask], schema: LabelingSchema, answered: Mapping[str, datetime]) -> _Decided:
    data = same[0].data
    try:
        schema.values(data)
        ballots = [_ballot(control, data, schema, answered) for control in schema.controls]
    except TaskError:
        return _Decided(None, frozenset({UNREADABLE}))
    counted, dropped = _counted(same, fingerprint(schema, data))
    verdicts = {ballot.control.name: verdict(ballot, counted) for ballot in ballots} if counted else {}
    truth = {name: found.values for name, found in verdicts.items() if found.values is not None}
    reasons = dropped.union(*(found.dropped for found in verdicts.values()))
    if not truth:
        return _Decided(None, reasons)
    unanimous = all(verdicts[name].unanimous for name in truth)
    example = Example(
        id=_first_annotated(same),
        data=data,
        truth=truth,
        annotated_at=max(each.updated_at for each in counted),
        shown=_shown(counted, schema),
        unanimous=unanimous,
    )
    return _Decided(example, reasons)


def _ballot(
    control: Control, data: Mapping[str, object], schema: LabelingSchema, answered: Mapping[str, datetime]
) -> Ballot:
    labels = tuple(label.value for label in control.labels_for(data))
    return Ballot(control, labels, answered.get(control.name), alone=len(schema.controls) == 1)


def _counted(same: Sequence[AnnotatedTask], seen: str) -> tuple[list[Annotation], frozenset[str]]:
    """Each person's latest annotation of each task, among those that count, or the latest flagged one alone; and why
    the others do not count."""
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
    return flagged[-1:] or list(latest.values()), frozenset(dropped)


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


def _first_annotated(same: Sequence[AnnotatedTask]) -> str:
    """Annotating another task with the same data later does not give the example another id, and so another split."""
    _, task_id = min((each.created_at, task.id) for task in same for each in task.annotations)
    return str(task_id)


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
