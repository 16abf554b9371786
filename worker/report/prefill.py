"""What a shown prediction does to the person who labels: agreement with shown predictions against hidden ones. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.storage.versions import Activation
from worker import wording
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.predictions.frame import Frame
from worker.report import metrics
from worker.report.whole import weighted
from worker.report.whole_document import PrefillJson, WeightedJson
from worker.statistics import intervals, sampling
from worker.statistics.sampling import Difference, Weighted


@dataclass(frozen=True, slots=True)
class Prefill:
    """`graded` are each version's, by its name, `audited` the ids of the examples in the audit slice.

    Blind tasks are drawn by lot, and prefilled ones weighted to stand for all, so that people agree equally often with
    both unless they follow what they see."""

    frame: Frame = field(repr=False)
    audited: frozenset[str] = field(repr=False)
    graded: Mapping[str, Mapping[str, Graded]] = field(repr=False)
    activations: Sequence[Activation]

    def effect(self) -> PrefillJson:
        shown, hidden = self._shown(), self._hidden()
        found = sampling.difference(shown, hidden)
        return {
            "shown": weighted(shown),
            "hidden": weighted(hidden),
            "difference": found.value,
            "low": found.low,
            "high": found.high,
            "words": _words(found, weighted(shown), weighted(hidden)),
        }

    def _shown(self) -> Weighted:
        """How often people kept what they were shown."""
        sample = self.frame.sample({each.id for each in self.frame.examples if each.shown is not None})
        kept = [metrics.is_accepted(example) for example in self.frame.of(sample)]
        return sampling.share(sample, np.array(kept, bool))

    def _hidden(self) -> Weighted:
        """How often people decided, on blind audit tasks, what they would have been shown."""
        outcomes = [self._then(each) for each in self.frame.examples if each.shown is None and each.id in self.audited]
        right = [each.right for each in outcomes if each is not None]
        found = intervals.share(sum(right), len(right))
        return Weighted(found.value, found.low, found.high, float(found.n))

    def _then(self, example: Example) -> Graded | None:
        """By the version that was active when the label was given; None where that was not asked."""
        before = [each for each in self.activations if each.at <= example.annotated_at]
        latest = max(before, key=lambda each: each.at, default=None)
        return self.graded.get(latest.version, {}).get(example.id) if latest else None


def _words(found: Difference, shown: WeightedJson, hidden: WeightedJson) -> str:
    few = min(shown["effective"], hidden["effective"])
    if found.value is None or few < wording.FEW:
        blind = wording.counted(round(hidden["effective"]), "blind label")
        return f"What a shown prediction does to people cannot be told yet: {blind} of the audit slice, too few."
    often = "more" if found.value >= 0 else "less"
    said = (
        f"People agree with a shown prediction {wording.points(found.value)} {often} often than with a hidden one "
        f"({wording.percent(shown['value'] or 0)} against {wording.percent(hidden['value'] or 0)}; the difference lies "
        f"between {100 * found.low:.0f} and {100 * found.high:.0f} points)"
    )
    if found.low > 0:
        return f"{said}. They follow what they are shown: labels given without a prediction are the ones to trust."
    return f"{said}. That may well be chance."
