"""The values between a question and a prediction."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.labeling.engines.base import Usage

ScoreKind = Literal["logprob", "votes"]


@dataclass(frozen=True, slots=True)
class Label:
    """`value` is what Label Studio stores (a choice's alias where it has one), `text` what people and the LLM read."""

    value: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One answer out of `labels`; `about` is the label that a yes-or-no question asks for, and `among` says that the
    control has others like it, which share all of the prompt that they can.

    In a tree of labels yes means that `about` or a label `below` (their values) applies, and the question supposes yes
    to the one `above` (its key, "" at the top). Where not `is_answer`, it is asked for the sake of those below alone.
    """

    control: str
    labels: tuple[Label, ...]
    about: Label | None = None
    among: bool = False
    above: str = ""
    below: frozenset[str] = frozenset()
    is_answer: bool = True

    @property
    def key(self) -> str:
        """Names the question among a schema's: the control, and the label that it asks for."""
        return f"{self.control}: {self.about.value}" if self.about else self.control

    def applies(self, values: Collection[str]) -> bool:
        """Whether yes is right where these are the right values."""
        return self.about is not None and (self.about.value in values or not self.below.isdisjoint(values))


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities over the label values, summing to 1.

    `label_mass` in (0, 1] is what all labels held before renormalising; `censored` names labels the engine did not
    return or that could not be told apart, whose probability is a share of what they have in common. All of them are
    where nothing was asked (see `descent`).
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    label_mass: float = 1.0
    censored: tuple[str, ...] = ()
    score_kind: ScoreKind = "logprob"

    @property
    def best(self) -> str:
        """The likeliest label; of equals the first in the labeling configuration."""
        return self.labels[max(range(len(self.labels)), key=lambda i: (self.probabilities[i], -i))]

    @property
    def margin(self) -> float:
        """Between the two likeliest labels, in [0, 1]; 1 when there is only one label."""
        top = sorted(self.probabilities, reverse=True)
        return top[0] - top[1] if len(top) > 1 else 1.0

    @property
    def entropy(self) -> float:
        """In nats, from 0 to log of the number of labels."""
        return -sum(p * math.log(p) for p in self.probabilities if p > 0)

    def probability(self, label: str) -> float:
        return self.probabilities[self.labels.index(label)]


@dataclass(frozen=True, slots=True)
class TaskAnswers:
    """What the LLM said of one task, before any calibration: `distributions` by `Question.key`, in the order asked.

    `cut` says that a text was too long and entered the prompt in part. `rationale` is what the LLM reasoned before it
    answered, "" where it was not asked to; `escalated` says that the stronger LLM answered.
    """

    distributions: Mapping[str, Distribution]
    cut: bool = False
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    rationale: str = ""
    escalated: bool = False


@dataclass(frozen=True, slots=True)
class ControlPrediction:
    """`score` in [0, 1]: the probability that all of `values` are right. `unasked` are those of `censored` that were
    not asked for."""

    control: str
    values: tuple[str, ...]
    score: float
    score_kind: ScoreKind
    probabilities: Mapping[str, float]
    margin: float
    entropy: float
    label_mass: float
    censored: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskPrediction:
    """What Label Studio gets for one task. `cut` says that a text was too long and entered the prompt in part.
    `controls` is what it was made of, one a control, also where nothing is chosen."""

    result: tuple[Mapping[str, Any], ...]
    score: float
    version: str
    cut: bool = False
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    rationale: str = ""
    controls: tuple[ControlPrediction, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in `/predict`'s `results` and `/import/predictions`, without the task; and the rationale, if there is one,
        for which `reasons.shown` finds a place."""
        made = {"result": [dict(item) for item in self.result], "score": self.score, "model_version": self.version}
        return made | ({"rationale": self.rationale} if self.rationale else {})
