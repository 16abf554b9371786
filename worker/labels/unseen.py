"""Which labels had no part in making a version: figures on these do not flatter it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from backend.labeling.prompt import PromptVersion
from backend.storage.runs import RunRecord
from worker.labels.examples import Example
from worker.labels.used import NONE, Used


@dataclass(frozen=True, slots=True)
class Unseen:
    """As far as the project's runs tell, and what these used."""

    runs: Sequence[RunRecord] = field(repr=False)
    used: Used = NONE

    def by(self, version: PromptVersion, example: Example) -> bool:
        """Labels that came after the version was made; for one that a holdout decided on, the holdout too; and for a
        prompt from the labeling configuration alone, all."""
        if version.origin == "seed" and not version.prompt.demonstrations and not version.prompt.calibration.fitted_on:
            return True
        if self.used.is_later(example, version.created_at):
            return True
        return example.split == "holdout" and any(
            run.challenger == version.name and run.estimate is not None and run.estimate.kind == "holdout"
            for run in self.runs
        )
