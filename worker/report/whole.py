"""What labels say of the whole project, of which people label the least certain tasks first. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.labeling.controls import Control
from backend.labeling.schema import LabelingSchema
from worker import wording
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.predictions.frame import Flags, Frame, ProjectScores
from worker.report import metrics
from worker.report.figures import share
from worker.report.versions import Judged
from worker.report.whole_document import (
    GapJson,
    WeightedControlJson,
    WeightedJson,
    WeightedLabelJson,
    WeightedVersionJson,
    WholeJson,
)
from worker.statistics import sampling
from worker.statistics.sampling import Sample, Weighted

_PREDICTED = 0.9  # of the tasks that should have a prediction: below, those that lack it are spoken of
_APART = 0.03  # between the plain and the weighted figure, from which on it is said which labels people picked
_MOST_GAPS = 3

Counts = Callable[[Judged, Example], bool]


@dataclass(frozen=True, slots=True)
class Whole:
    """`judged` holds the active version first. `counts` says whether a label may count for a version: most of those
    that made it flatter it."""

    schema: LabelingSchema
    frame: Frame = field(repr=False)
    known: ProjectScores = field(repr=False)
    judged: Sequence[Judged] = field(repr=False)
    counts: Counts

    def figures(self) -> WholeJson:
        active, sample = self.judged[0], self._sample(self.judged[0])
        examples = self.frame.of(sample)
        found: WholeJson = {
            "version": active.version.name,
            "scores_of": self.known.version,
            "tasks": self.known.tasks,
            "labels": len(examples),
            "chosen": int(self.frame.chosen[sample.index].sum()),
            "speaks_for": sample.speaks_for * self._predicted(),
            "gaps": [{"low": gap.low, "high": gap.high, "tasks": gap.tasks} for gap in sample.gaps],
            "plain": share(metrics.accuracy(active.graded[example.id] for example in examples)),
            "accuracy": weighted(sampling.share(sample, _right(examples, active.graded))),
            "versions": [self._version(judged) for judged in self.judged],
            "controls": [_control(control, sample, examples, active.graded) for control in self.schema.controls],
            "words": [],
        }
        found["words"] = list(_words(found))
        return found

    def _sample(self, judged: Judged) -> Sample:
        return self.frame.sample(
            {e.id for e in self.frame.examples if e.id in judged.graded and self.counts(judged, e)}
        )

    def _predicted(self) -> float:
        """The share of the tasks that have a prediction, of those that are to have one: blind tasks are drawn by lot,
        so what holds for the others holds for them. A few that lack one, or repeat another's data, are passed over."""
        share_known = len(self.frame.scores) / max(self.known.tasks * (1 - self.known.blind_share), 1)
        return share_known if share_known < _PREDICTED else 1.0

    def _version(self, judged: Judged) -> WeightedVersionJson:
        sample = self._sample(judged)
        examples = self.frame.of(sample)
        return {
            "version": judged.version.name,
            "plain": share(metrics.accuracy(judged.graded[example.id] for example in examples)),
            "accuracy": weighted(sampling.share(sample, _right(examples, judged.graded))),
        }


def weighted(found: Weighted) -> WeightedJson:
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "effective": found.effective,
        "words": wording.estimate(found.value, found.low, found.high, round(found.effective)),
    }


def _right(examples: Sequence[Example], graded: Mapping[str, Graded]) -> Flags:
    return np.array([graded[example.id].right for example in examples], bool)


def _control(
    control: Control, sample: Sample, examples: Sequence[Example], graded: Mapping[str, Graded]
) -> WeightedControlJson:
    """An example without a truth for the control counts in no label's figures."""
    true = [set(example.truth.get(control.name, ())) for example in examples]
    named = [
        set(graded[each.id].values.get(control.name, ()) if control.name in each.truth else ()) for each in examples
    ]
    labels: list[WeightedLabelJson] = []
    for label in (label.value for label in control.labels):
        is_true, is_named = (np.array([label in each for each in side], bool) for side in (true, named))
        labels.append(
            {
                "label": label,
                "precision": weighted(sampling.among(sample, is_true & is_named, is_named)),
                "recall": weighted(sampling.among(sample, is_true & is_named, is_true)),
            }
        )
    return {"control": control.name, "labels": labels}


def is_telling(found: WholeJson) -> bool:
    """Whether it says something that the labels alone do not."""
    off = abs((found["accuracy"]["value"] or 0.0) - (found["plain"]["value"] or 0.0))
    return bool(found["labels"]) and (off >= _APART or bool(found["gaps"]))


def _words(found: WholeJson) -> Iterator[str]:
    if found["accuracy"]["value"] is None:
        yield "No label counts yet whose task has a score: nothing can be said of the whole project."
        return
    yield from _accuracy(found)
    yield from _coverage(found)


def _accuracy(found: WholeJson) -> Iterator[str]:
    whole, plain = found["accuracy"], found["plain"]
    among = "all tasks" if found["speaks_for"] > 1 - _APART else "the tasks it speaks for"
    yield (
        f"Weighted to hold for {among}, {found['version']} is right on {whole['words']}. "
        f"The {wording.counted(found['labels'], 'label')} are worth {round(whole['effective']):,} drawn at random."
    )
    value, on_labels = whole["value"] or 0.0, plain["value"] or 0.0
    if abs(value - on_labels) < _APART:
        yield f"On the labels alone it is right on {wording.percent(on_labels)}, much the same."
        return
    kind = "harder" if on_labels < value else "easier"
    yield (
        f"On the labels alone it is right on {wording.percent(on_labels)}: people labelled tasks that are {kind} than "
        f"most, so that figure is {wording.points(value - on_labels)} off."
    )


def _coverage(found: WholeJson) -> Iterator[str]:
    if found["speaks_for"] > 1 - _APART and not found["gaps"]:
        yield f"It speaks for the whole project, {wording.counted(found['tasks'], 'task')}."
        return
    gaps = wording.listed(_gap(gap) for gap in found["gaps"][:_MOST_GAPS]) if found["gaps"] else ""
    why = f"nobody has labelled a task with a score {gaps}" if gaps else "the other tasks have no prediction yet"
    yield (
        f"It speaks for {wording.percent(found['speaks_for'])} of the project's "
        f"{wording.counted(found['tasks'], 'task')}: {why}. `whetstone queue` puts such tasks before people."
    )


def _gap(gap: GapJson) -> str:
    return f"from {gap['low']:.2f} to {gap['high']:.2f} ({wording.counted(gap['tasks'], 'task')})"
