"""A whole data set as one prompt answers it: real answers of a real local model, beside what people said."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.labeling.prompt import Prompt
from tests.benchmarks.optimizer.asking import Model, recorded
from tests.benchmarks.optimizer.cells import CELLS, Cell
from worker.labels.examples import Example
from worker.optimizer import fitting
from worker.optimizer.outcomes import Outcome, grade

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

AMAZON, SUBJECTIVE, INTENTS = dict.fromkeys(cell.pool_name for cell in CELLS)
DEFAULT_MODEL = "smollm2-135m"
RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True)
class Pool:
    """`outcomes` are the prompt's on `examples`, one each, uncalibrated. No example is among its demonstrations."""

    name: str
    cell: Cell
    prompt: Prompt
    examples: tuple[Example, ...]
    outcomes: tuple[Outcome, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def calibrated_on(self, places: Sequence[int]) -> Prompt:
        calibration = fitting.fit(
            self.cell.schema, [self.examples[i] for i in places], [self.outcomes[i] for i in places]
        )
        return replace(self.prompt, calibration=calibration)

    def graded(self, prompt: Prompt) -> tuple[Floats, Flags]:
        """Scores and rights of all examples under the prompt's calibration."""
        grades = [grade(self.cell.schema, prompt, e, o) for e, o in zip(self.examples, self.outcomes, strict=True)]
        return np.array([each.score for each in grades]), np.array([each.right for each in grades])

    def said(self, prompt: Prompt) -> list[object]:
        """What each answer was, to tell where two prompts differ."""
        return [
            sorted(grade(self.cell.schema, prompt, e, o).values.items())
            for e, o in zip(self.examples, self.outcomes, strict=True)
        ]


def answering(cell: Cell, *, live: bool) -> Model:
    """With the recording of this benchmark."""
    return recorded(cell, live=live, folder=RECORDINGS)


def pools(model: Model) -> tuple[Pool, ...]:
    """The first prompt on all rows of the data set, and the same with the largest set that all rows share."""
    cell = model.cell
    rest = [row for row in cell.everything if row not in cell.rows[: cell.shown]]
    shared = [each for each in cell.sets if not each.shown and not each.packs]
    shown = max(shared, key=lambda each: len(each.demonstrations))
    naive = cell.naive()
    prompts = {"zero-shot": naive, shown.origin: replace(naive, demonstrations=shown.demonstrations)}
    return tuple(
        Pool(f"{cell.name}, {cell.model}, {kind}", cell, prompt, tuple(rest), tuple(model.ask(prompt, rest)))
        for kind, prompt in prompts.items()
    )


def cell_of(name: str, model: str) -> Cell:
    """A data set of the optimizer's benchmark with another local model."""
    found = next(cell for cell in CELLS if cell.pool_name == name)
    return replace(found, model=model)
