"""What turns the LLM's label distribution into the one that is shown: class bias removed, then a temperature.

`apply` is plain arithmetic, for web processes; fitting is the worker's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backend.labeling.answers import Distribution

LEAST = 1e-12  # what a probability of 0 counts as


@dataclass(frozen=True, slots=True)
class Calibration:
    """log p'(y) = (log p(y) - bias[question][y]) / temperature + const, each question's labels renormalised.
    `temperatures` are those of questions that have their own.

    `bias` in nats, by `Question.key` and label (Batch Calibration, arXiv 2309.17249, strength already multiplied in);
    a label without one has 0. The identity (no bias, temperature 1) is an uncalibrated score. `fitted_on` is how many
    labels it was fitted on.
    """

    bias: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    temperature: float = 1.0
    fitted_on: int = 0
    temperatures: Mapping[str, float] = field(default_factory=dict)

    def apply(self, question: str, distribution: Distribution) -> Distribution:
        """`question` is the key of the one that `distribution` answers."""
        bias, temperature = self.bias.get(question, {}), self.temperatures.get(question, self.temperature)
        if not bias and temperature == 1:
            return distribution
        logits = [
            (math.log(max(p, LEAST)) - bias.get(label, 0.0)) / temperature
            for label, p in zip(distribution.labels, distribution.probabilities, strict=True)
        ]
        return replace(distribution, probabilities=softmax(logits))


def softmax(logits: list[float]) -> tuple[float, ...]:
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = sum(weights)
    return tuple(weight / total for weight in weights)
