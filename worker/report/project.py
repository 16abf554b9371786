"""The report's part on the whole project: from a project's scores to figures of each version. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.labels.examples import Example
from worker.predictions.frame import ProjectScores, frame
from worker.report.prefill import Prefill
from worker.report.versions import Comparison, Judged
from worker.report.whole import Whole
from worker.report.whole_document import PrefillJson, WholeJson


@dataclass(frozen=True, slots=True)
class Counted:
    """`flattered` names the versions that are judged on all labels, also those that made them: others would be too few.
    `audited` are ids of the examples in the audit slice. `judged` holds the active version first."""

    comparison: Comparison
    judged: Sequence[Judged] = field(repr=False)
    flattered: frozenset[str]
    audited: frozenset[str]

    def counts(self, judged: Judged, example: Example) -> bool:
        return judged.version.name in self.flattered or self.comparison.unseen.by(judged.version, example)


def whole_project(known: ProjectScores, counted: Counted) -> tuple[WholeJson, PrefillJson]:
    comparison, graded = counted.comparison, {each.version.name: each.graded for each in counted.judged}
    tasks = frame(comparison.schema, comparison.examples, known, graded.get(known.version, {}))
    whole = Whole(comparison.schema, tasks, known, counted.judged, counted.counts)
    return whole.figures(), Prefill(tasks, counted.audited, graded, comparison.activations).effect()
