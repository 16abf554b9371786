"""How many LLM calls a run has taken, counted by itself: what the next step may cost follows from it."""

from collections.abc import Sequence
from statistics import fmean

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from worker.labels.examples import Example
from worker.optimizer.outcomes import Label, Outcome
from worker.optimizer.propose import uncalibrated


class Meter:
    """Each answer counts once, whatever the calibration, and those that an earlier run paid for too. `limit` is how
    many calls there may be."""

    def __init__(self, label: Label) -> None:
        self._label = label
        self._seen: dict[tuple[str, str], int] = {}
        self.calls = 0
        self.limit: int | None = None

    def label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """Raises `BudgetError` before it would ask beyond the limit, as answers have cost until now, and what the
        metered one raises."""
        name = repr(uncalibrated(prompt))
        asked = {example.id for example in examples if (name, example.id) not in self._seen}
        each = self.calls / max(1, len(self._seen))
        if asked and self.limit is not None and self.calls + each * len(asked) > self.limit:
            raise BudgetError(f"the {self.limit} calls for this step are used up")
        outcomes = self._label(prompt, examples)
        for example, outcome in zip(examples, outcomes, strict=True):
            if example.id in asked:
                asked.discard(example.id)
                self._seen[name, example.id] = max(1, outcome.spent.calls)
                self.calls += self._seen[name, example.id]
        return outcomes

    def price(self, prompt: Prompt) -> float:
        """Calls an example, as answers to it have cost until now; 1 before there is one."""
        name = repr(uncalibrated(prompt))
        found = [calls for (asked, _), calls in self._seen.items() if asked == name]
        return fmean(found) if found else 1.0
