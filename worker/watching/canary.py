"""Is the model behind the name still the same? A few frozen tasks are asked again each day, and the answers compared.

What the endpoint's answers differ by from one call to the next is learned by asking twice at the beginning. Pure.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any

from scipy.stats import binomtest

from backend.labeling import cascade
from backend.labeling.errors import TaskError
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.storage.alarms import Alarm
from worker.optimizer.outcomes import Outcome

TASKS = 20
# Nats by which log-probs must have moved on average, whatever the noise: a server that batches requests in other ways
# tomorrow (llama.cpp's slots) may differ from itself more than two calls in a row show. Measured with SmolLM2-135M on
# llama.cpp, 20 tasks: .001 one by one, .02 to .034 over four slots; from its Q4_0 to its Q4_1 weights .44 and 1.08.
LEAST_MOVE = 0.1
LEVEL = 0.002

_LEAST = 1e-4  # probabilities below it are noise


@dataclass(frozen=True, slots=True)
class Said:
    """What the LLM answered to one question: uncalibrated probabilities by label, and the label as it is shown."""

    probabilities: Mapping[str, float]
    label: str


# By the task's data hash, then by `cascade.key` of each question; None where the LLM gave no usable answer.
Answers = Mapping[str, Mapping[str, Said] | None]


@dataclass(frozen=True, slots=True)
class Frozen:
    """`tasks` are their data by data hash, chosen once for a labeling configuration."""

    config_hash: str
    tasks: Mapping[str, Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The first two runs under one prompt version. `under` names all that the answers depend on but the model's
    weights, `epoch` counts the changes of the model that were known by then."""

    under: str
    epoch: int
    at: datetime
    first: Answers
    again: Answers


@dataclass(frozen=True, slots=True)
class Comparison:
    """`moved` is the mean absolute difference of log-probs since the first run in nats, `noise` that of the first two
    runs. `changed` of `tasks` have another label; `farther` moved by more than between the first two runs, `nearer` by
    less."""

    tasks: int
    changed: int
    farther: int
    nearer: int
    moved: float
    noise: float

    @property
    def alarms(self) -> bool:
        """While the model is the same, a task is as likely to move farther than at first as less far: the sign test
        errs in at most one of 500 comparisons. It needs nine tasks that moved."""
        unequal = self.farther + self.nearer
        if not unequal or self.moved < LEAST_MOVE:
            return False
        return bool(binomtest(self.farther, unequal, alternative="greater").pvalue <= LEVEL)


def choose(schema: LabelingSchema, project: str, data: Iterable[Mapping[str, Any]]) -> Frozen | None:
    """`TASKS` of them, by lot: the same from the same tasks. None where fewer can be labelled."""
    usable = {
        schema.data_hash(each): {key: each[key] for key in schema.keys if key in each}
        for each in data
        if _fits(schema, each)
    }
    if len(usable) < TASKS:
        return None
    drawn = sorted(usable, key=lambda name: hashlib.sha256(f"canary|{project}|{name}".encode()).digest())[:TASKS]
    return Frozen(schema.config_hash, {name: usable[name] for name in drawn})


def said(prompt: Prompt, outcomes: Sequence[Mapping[str, Outcome]]) -> Answers:
    """What each model answered to the same tasks, as one."""
    return {name: _said(prompt, [each[name] for each in outcomes]) for name in outcomes[0]}


def compare(baseline: Baseline, now: Answers) -> Comparison:
    """Over the tasks that all three runs asked."""
    names = [name for name in baseline.first if name in baseline.again and name in now]
    moves = [_distance(baseline.first[name], now[name]) for name in names]
    noises = [_distance(baseline.first[name], baseline.again[name]) for name in names]
    return Comparison(
        tasks=len(names),
        changed=sum(_labels(baseline.first[name]) != _labels(now[name]) for name in names),
        farther=sum(move > noise for move, noise in zip(moves, noises, strict=True)),
        nearer=sum(move < noise for move, noise in zip(moves, noises, strict=True)),
        moved=fmean(moves) if moves else 0.0,
        noise=fmean(noises) if noises else 0.0,
    )


def alarm(found: Comparison, baseline: Baseline, models: Sequence[str], version: str) -> Alarm | None:
    """None while the models, of which a cascade has two, are the same as far as can be seen."""
    if not found.alarms:
        return None
    named = " or ".join(f'"{model}"' for model in models)
    words = (
        f"The model behind {named} seems to be another one since {baseline.at:%Y-%m-%d}: of {found.tasks} tasks that "
        f"are asked again and again {found.changed} have another label, and log-probabilities moved by "
        f"{found.moved:.2f} nats on average, where the endpoint's own noise is {found.noise:.2f}. What was evaluated "
        f"before counts no more. Predictions of {version} made until now are the former model's, and stay until "
        f"another prompt is published."
    )
    return Alarm("model", words, found.moved / LEAST_MOVE)


def _fits(schema: LabelingSchema, data: Mapping[str, Any]) -> bool:
    try:
        return bool(schema.values(data)) and all(control.questions(data) for control in schema.controls)
    except TaskError:
        return False


def _said(prompt: Prompt, outcomes: Iterable[Outcome]) -> Mapping[str, Said] | None:
    found = {}
    for answers in (each.answers for each in outcomes if each.answers is not None):
        for question, distribution in answers.distributions.items():
            key = cascade.key(question, answers)
            probabilities = dict(zip(distribution.labels, distribution.probabilities, strict=True))
            found[key] = Said(probabilities, prompt.calibration.apply(key, distribution).best)
    return found or None


def _distance(one: Mapping[str, Said] | None, other: Mapping[str, Said] | None) -> float:
    """In nats, the mean over questions and their labels. An answer that is none any more is as far as can be."""
    if one is None and other is None:
        return 0.0
    if one is None or other is None or one.keys() != other.keys():
        return -math.log(_LEAST)
    return fmean(_apart(one[key].probabilities, other[key].probabilities) for key in one)


def _apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    labels: Sequence[str] = sorted({*one, *other})
    return fmean(abs(_log(one.get(label, 0.0)) - _log(other.get(label, 0.0))) for label in labels)


def _log(probability: float) -> float:
    return math.log(max(probability, _LEAST))


def _labels(answer: Mapping[str, Said] | None) -> dict[str, str]:
    return {key: each.label for key, each in answer.items()} if answer else {}
