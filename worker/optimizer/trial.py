"""A prompt that somebody wrote, held against the active one: nothing is searched, so all labels may decide. Pure."""

from collections.abc import Sequence

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.comparison import Compared, compared
from worker.optimizer.evaluate import Label
from worker.optimizer.propose import Candidate
from worker.optimizer.race import enter

ORIGIN = "an instruction written by hand"
_FOLDS = 5


def held(
    schema: LabelingSchema, active: Prompt, written: Prompt, examples: Sequence[Example], label: Label
) -> tuple[Prompt, list[Compared]]:
    """The prompt with the calibration that all examples give it, and each example compared under one that the other
    folds gave."""
    candidate = Candidate(written, ORIGIN)
    deciding: list[Compared] = []
    for fold in range(_FOLDS):
        inside = [example for place, example in enumerate(examples) if place % _FOLDS != fold]
        fitted = enter(schema, candidate, inside, label).prompt
        deciding += compared(schema, active, fitted, examples[fold::_FOLDS], label)
    return enter(schema, candidate, examples, label).prompt, deciding
