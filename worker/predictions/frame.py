"""A project's tasks with their scores, the labelled ones first: what weights are reckoned over. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.statistics.sampling import Pool, Sample, weigh

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ProjectScores:
    """Of all tasks with a prediction of `version`: its score by the hash of their data. `tasks` counts the project's,
    those without a prediction too. `chosen` are ids of tasks that were queued for their score or for a disagreement."""

    version: str
    by_data: Mapping[str, float] = field(repr=False)
    tasks: int
    blind_share: float = 0.0
    chosen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Frame:
    """`examples` are those with a score; the pool's first tasks are theirs, in the same order. Tasks with the same data
    are one task."""

    examples: tuple[Example, ...] = field(repr=False)
    scores: NDArray[np.float64] = field(repr=False)
    chosen: Flags = field(repr=False)

    def sample(self, counted: Collection[str]) -> Sample:
        """With the labels of these examples."""
        labelled = np.zeros(len(self.scores), bool)
        labelled[: len(self.examples)] = [example.id in counted for example in self.examples]
        return weigh(Pool(self.scores, labelled, self.chosen))

    def of(self, sample: Sample) -> list[Example]:
        """The sample's examples, in its order."""
        return [self.examples[place] for place in sample.index]


def frame(
    schema: LabelingSchema, examples: Sequence[Example], known: ProjectScores, graded: Mapping[str, Graded]
) -> Frame:
    """`graded` are of the scores' own version: to labelled tasks they are fairer than what is stored, in which a
    demonstration has seen its own answer."""
    hashes = {example.id: schema.data_hash(example.data) for example in examples}
    scores = {
        example.id: graded[example.id].score if example.id in graded else known.by_data.get(hashes[example.id])
        for example in examples
    }
    scored = [example for example in examples if scores[example.id] is not None]
    labelled = set(hashes.values())
    others = [score for data_hash, score in known.by_data.items() if data_hash not in labelled]
    chosen = np.zeros(len(scored) + len(others), bool)
    chosen[: len(scored)] = [example.id in known.chosen for example in scored]
    return Frame(tuple(scored), np.array([*(scores[each.id] for each in scored), *others], np.float64), chosen)
