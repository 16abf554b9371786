"""Whetstone's own labeler on negative and positive Amazon sentences, without service, Redis or cache."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from backend.labeling.answers import TaskPrediction
from backend.labeling.engines.base import Engine
from backend.labeling.errors import WhetstoneError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import Style
from tests.benchmarks.clients import SCHEMA, version

LABELS = ("negative", "positive")


@dataclass(frozen=True, slots=True)
class Labelled:
    """`positive` is the probability of that label; None where the model answered something else."""

    positive: float | None
    prediction: TaskPrediction | None

    @property
    def log_odds(self) -> float:
        """Of positive against negative, in nats; 0 without an answer."""
        p = 0.5 if self.positive is None else min(max(self.positive, 1e-6), 1 - 1e-6)
        return math.log(p / (1 - p))

    @property
    def label(self) -> str:
        return "" if self.positive is None else LABELS[self.positive > 0.5]


def label(
    engine: Engine, texts: Sequence[str], *, style: Style, fenced: bool = True, threads: int = 8
) -> list[Labelled]:
    """The prompt is the one that the service makes from the configuration."""
    labeler, prompt = Labeler(engine), version(style, fenced=fenced)

    def one(text: str) -> Labelled:
        try:
            prediction = labeler.label(prompt, SCHEMA, {"text": text})
        except WhetstoneError:
            return Labelled(None, None)
        return Labelled(prediction.result[0]["whetstone"]["probabilities"]["positive"], prediction)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, texts))


def mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept) if kept else 0.0
