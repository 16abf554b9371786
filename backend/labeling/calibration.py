"""What turns the LLM's label distribution into the one that is shown: class bias removed, then a temperature.

`apply` is plain arithmetic, for web processes; fitting is the worker's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from backend.labeling.answers import Distribution


@dataclass(frozen=True, slots=True)
class Calibration:
    """log p'(y) = (log p(y) - bias[y]) / temperature + const, each question's labels renormalised.

    `bias` in nats a label (Batch Calibration, arXiv 2309.17249, strength already multiplied in); a label without one
    has 0. The identity (no bias, temperature 1) is an uncalibrated score.
    """

    bias: Mapping[str, float] | None = None
    temperature: float = 1.0

    def apply(self, distribution: Distribution) -> Distribution:
        if not self.bias and self.temperature == 1:
            return distribution
        bias = self.bias or {}
        logits = [
            (math.log(max(p, 1e-12)) - bias.get(label, 0.0)) / self.temperature
            for label, p in zip(distribution.labels, distribution.probabilities, strict=True)
        ]
        return replace(distribution, probabilities=softmax(logits))


def softmax(logits: list[float]) -> tuple[float, ...]:
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = sum(weights)
    return tuple(weight / total for weight in weights)
