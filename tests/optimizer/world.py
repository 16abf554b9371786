"""A synthetic world to optimize in: prompts of known accuracy on items that are easy or hard for all of them.

Latent item response (OPTIMIZER 1.0): margin of prompt k on item i = spread * Φ⁻¹(accuracy of k) + difficulty of i,
N(0, 1), + jitter of k on i, N(0, .45²), with spread = sqrt(1 + .45²), so that P(margin > 0) is the accuracy. A margin
of 1 is `SHARPNESS` nats between the true label and one rival. Each demonstration brings a share of the jitter, so that
a prompt without one of them is nearly the same prompt.
"""

import hashlib
import json
import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.labeling import schema as schemas
from backend.labeling.answers import Distribution, Question, TaskAnswers
from backend.labeling.calibration import softmax
from backend.labeling.engines.base import Usage
from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from tests.labeling.building import TEXT, choices
from worker.labels.examples import Example
from worker.optimizer.optimize import Problem, Tools
from worker.optimizer.outcomes import Outcome, truths
from worker.optimizer.propose import uncalibrated

Floats = NDArray[np.float64]

SHARPNESS = 3.0
JITTER = 0.45
SPREAD = math.sqrt(1 + JITTER**2)
FAR = 3.0  # nats that other labels than the rival are behind it
DAY = datetime(2026, 1, 2, tzinfo=UTC)

PAIR = schemas.parse(choices("yes", "no", name="relevant"))
FOUR = schemas.parse(choices("north", "east", "south", "west", name="side"))
MANY = schemas.parse(choices(*(f"intent {i}" for i in range(77)), name="intent"))
SEVERAL = schemas.parse(choices("price", "screen", "sound", name="topics", attributes='choice="multiple"'))
BOTH = schemas.parse(
    f'<View>{TEXT}<Choices name="tone" toName="text"><Choice value="glad"/><Choice value="sad"/></Choices>'
    '<Choices name="kind" toName="text"><Choice value="ask"/><Choice value="tell"/></Choices></View>'
)
BROUGHT = schemas.parse(f'<View>{TEXT}<Choices name="answer" toName="text" value="$options"/></View>')
ACTIVE = Prompt("Is the text relevant?")

# The accuracy of a prompt: its calibration does not count, and its demonstrations only by their number.
Quality = Callable[[Prompt], float]


def level(accuracy: float) -> Quality:
    """All prompts are equally good: nothing can be gained."""
    return lambda _prompt: accuracy


def promising(accuracy: float = 0.75, *, seed: int = 0) -> Quality:
    """OPTIMIZER 1.0's "headroom": of rewrites 12 % gain 3 to 8 points, the rest N(-1, 3) points; of sets of
    demonstrations a third."""

    def quality(prompt: Prompt) -> float:
        worded = worded_as(prompt)
        gain = 0.0 if worded == worded_as(ACTIVE) else _gain(draw(seed, worded), 0.12)
        if prompt.demonstrations:
            gain += _gain(draw(seed, "set", len(prompt.demonstrations), worded), 1 / 3)
        return min(0.99, accuracy + gain)

    return quality


def _gain(rng: random.Random, share: float) -> float:
    return rng.uniform(0.03, 0.08) if rng.random() < share else rng.gauss(-0.01, 0.03)


def better_if(told: Callable[[Prompt], bool], *, accuracy: float = 0.7, better: float = 0.92) -> Quality:
    return lambda prompt: better if told(prompt) else accuracy


def teach(request: str) -> str:
    """A teacher: something usable each time, the same for the same request."""
    number = zlib.crc32(request.encode())
    return json.dumps(
        {"rules": [f"Rule {number}."], "definition": f"Meaning {number}.", "instruction": f"Do {number}."}
    )


def worded_as(prompt: Prompt) -> str:
    """All of a prompt but its demonstrations and its calibration."""
    return repr((prompt.instruction, sorted(prompt.definitions.items()), prompt.rules, prompt.style, prompt.codes))


def draw(*parts: object) -> random.Random:
    """The same from the same parts."""
    return random.Random(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big"))


def examples(schema: LabelingSchema = PAIR, count: int = 100, *, seed: int = 0) -> tuple[Example, ...]:
    """Of a single choice the labels in turn, of a multiple one each with probability .4."""
    return tuple(example(schema, number, seed=seed) for number in range(count))


def example(schema: LabelingSchema, number: int, *, seed: int = 0) -> Example:
    data: dict[str, Any] = dict.fromkeys(schema.keys, f"text {seed}-{number}")
    truth: dict[str, tuple[str, ...]] = {}
    for control in schema.controls:
        if control.options_key:
            data[control.options_key] = [f"option {number % 3}", f"option {number % 3 + 1}", "neither"]
        values = [label.value for label in control.labels_for(data)]
        truth[control.name] = (values[number % len(values)],)
        if control.multiple:
            rng = draw(seed, number, control.name)
            truth[control.name] = tuple(value for value in values if rng.random() < 0.4)
    return Example(f"{seed}-{number}", data, truth, DAY)


@dataclass
class World:
    """`lean` in nats, by label: what the LLM says too often whatever it reads. `asked` holds what was paid for: the
    prompt without its calibration, and the example's id; `budget` is how much of that may be. `fails` tells where no
    usable answer comes, `tokens` what a prompt takes."""

    items: tuple[Example, ...]
    quality: Quality
    schema: LabelingSchema = PAIR
    seed: int = 0
    lean: dict[str, float] = field(default_factory=dict)
    budget: int | None = None
    fails: Callable[[Prompt, Example], bool] = lambda _prompt, _example: False
    tokens: Callable[[Prompt], int] = lambda _prompt: 100
    asked: list[tuple[Prompt, str]] = field(default_factory=list, repr=False)
    _known: dict[tuple[str, str], Outcome] = field(default_factory=dict, repr=False)
    _margins: dict[str, Floats] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._row = {item.id: i for i, item in enumerate(self.items)}
        self._width = max(len(truths(self.schema, item)) for item in self.items)

    def tools(self, ask: Callable[[str], str] | None = None) -> Tools:
        return Tools(self.label, ask)

    def problem(self, active: Prompt = ACTIVE, **changes: Any) -> Problem:
        return Problem(self.schema, active, self.items, **{"seed": self.seed, **changes})

    def label(self, prompt: Prompt, asked: Sequence[Example]) -> list[Outcome]:
        bare = uncalibrated(prompt)
        name = repr(bare)
        return [self._outcome(name, bare, item) for item in asked]

    def _outcome(self, name: str, prompt: Prompt, item: Example) -> Outcome:
        found = self._known.get((name, item.id))
        if found is None:
            if self.budget is not None and len(self.asked) >= self.budget:
                raise BudgetError("the run's calls are used up")
            self.asked.append((prompt, item.id))
            found = self._known[name, item.id] = self._answered(name, prompt, item)
        return found

    def _answered(self, name: str, prompt: Prompt, item: Example) -> Outcome:
        if self.fails(prompt, item):
            return Outcome(None, "the model answers something else")
        if name not in self._margins:
            self._margins[name] = self._drawn(prompt)
        margins = self._margins[name][self._row[item.id]]
        asked = truths(self.schema, item)
        found = {
            question.key: self._distribution(question, gold, float(margin), item.id)
            for (question, gold), margin in zip(asked, margins, strict=False)
        }
        return Outcome(TaskAnswers(found, usage=Usage(self.tokens(prompt), 0, 1), calls=len(asked)))

    def _distribution(self, question: Question, gold: str, margin: float, item_id: str) -> Distribution:
        labels = [label.value for label in question.labels]
        rival = _rival((self.seed, item_id, question.key), tuple(label for label in labels if label != gold))
        logits = [self.lean.get(label, 0.0) - FAR * (label not in (gold, rival)) for label in labels]
        logits[labels.index(gold)] += SHARPNESS * margin
        return Distribution(tuple(labels), softmax(logits))

    def _drawn(self, prompt: Prompt) -> Floats:
        """A row an item, a column a question."""
        jitter = self._normal("wording", worded_as(prompt))
        if prompt.demonstrations:
            shown = sum(self._normal("shown", repr(each.values)) for each in prompt.demonstrations)
            jitter = (jitter + shown / math.sqrt(len(prompt.demonstrations))) / math.sqrt(2)
        ability = NormalDist().inv_cdf(self.quality(prompt)) * SPREAD
        return ability + self._normal("difficulty") + JITTER * jitter

    def _normal(self, *parts: str) -> Floats:
        return _normals((self.seed, *parts), (len(self.items), self._width))


@cache
def _rival(parts: tuple[object, ...], others: tuple[str, ...]) -> str:
    return others[0] if len(others) == 1 else draw(*parts).choice(others)


@cache
def _normals(parts: tuple[object, ...], shape: tuple[int, int]) -> Floats:
    return np.random.default_rng(draw(*parts).getrandbits(63)).normal(size=shape)
