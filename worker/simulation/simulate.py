"""Labels arrive as annotators would give them, the loop that serves learns from them, test rows tell what it gained.

Pure: the same under the same plan, seed and answers. Test rows reach nothing that chooses.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Literal

from backend.labeling.prompt import Prompt, PromptVersion, Style
from backend.labeling.schema import LabelingSchema
from backend.storage.runs import Decision, Spend
from worker.labels.examples import Example
from worker.optimizer.comparison import CACHED
from worker.optimizer.optimize import Finding, Problem, Tools, optimize
from worker.optimizer.outcomes import Graded, Outcome, grade
from worker.optimizer.prequential import Waiting
from worker.optimizer.techniques import Technique
from worker.report import metrics
from worker.runs import verdict
from worker.simulation import classic
from worker.statistics import reliability

Order = Literal["random", "score"]

_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)  # of versions that no store keeps
_MOST_SEEDS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """`prompt` is the naive one that it begins with; `counts` are the numbers of labels at which it learns, rising.

    `order`: "random" is seeded; "score" gives the labels of the least certain rows first, as the active version sees
    them then. `calls` is what each run may make.
    """

    schema: LabelingSchema
    rows: tuple[Example, ...]
    test: tuple[Example, ...]
    prompt: Prompt
    counts: tuple[int, ...]
    model: str
    styles: tuple[Style, ...] = ("chat",)
    order: Order = "random"
    seed: int = 0
    calls: int = 2000
    rounds: int = 3
    teacher_sees_texts: bool = True
    techniques: tuple[Technique, ...] = ()
    samples: int = 1
    cached_token: float = CACHED
    candidates: tuple[Prompt, ...] = ()


@dataclass(frozen=True, slots=True)
class Senses:
    """What the simulation asks of the world. `label` is asked outside of any budget, `tools.label` inside of it.

    `spent` is what `tools` have cost until now. `arrived` is told the number of labels before each run.
    """

    label: Callable[[Prompt, Sequence[Example]], list[Outcome]]
    tools: Tools
    spent: Callable[[], Spend]
    arrived: Callable[[int], None] = lambda _count: None


@dataclass(frozen=True, slots=True)
class Figures:
    """On the test rows. `ece` is None for what gives no scores. `failed` of them have no usable answer and count as
    wrong; `failure` is why the first one has none. `macro_f1` is the accuracy where no label is true or predicted."""

    accuracy: float
    macro_f1: float
    ece: float | None = None
    failed: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """After the run at `labels`: `figures` of the version that is active then, `classic` from the same labels.

    `spend` is of all runs so far.
    """

    labels: int
    figures: Figures
    classic: Figures
    version: str
    decision: Decision
    words: tuple[str, ...]
    spend: Spend


@dataclass(frozen=True, slots=True)
class Simulation:
    """`best_of_set` is the instruction that did best on the last run's labels without demonstrations, calibrated on
    them; None where no run had labels enough to tell."""

    naive: Figures
    best_of_set: Figures | None
    steps: tuple[Step, ...]


def simulate(plan: Plan, senses: Senses) -> Simulation:
    """Raises what `senses.label` raises; a run over its budget is a step like any other."""
    naive = _measured(plan, plan.prompt, senses)
    loop = _Loop(plan, senses)
    steps = tuple(loop.steps())
    best = loop.best_of_set
    return Simulation(naive, _measured(plan, best, senses) if best else None, steps)


@dataclass(frozen=True, slots=True)
class _Learned:
    """`known` are the ids of the labels that were there when it was found."""

    prompt: Prompt
    origin: str
    known: frozenset[str]


class _Loop:
    """What lives from run to run: the active version, the latest that were learned before it, the labels so far."""

    def __init__(self, plan: Plan, senses: Senses) -> None:
        self.best_of_set: Prompt | None = None
        self._plan = plan
        self._senses = senses
        self._active = plan.prompt
        self._number = 1
        self._learned: list[_Learned] = []
        self._labelled: list[Example] = []
        self._looked_at: frozenset[str] | None = None
        self._looks = 0
        self._open = random.Random(plan.seed).sample(plan.rows, len(plan.rows))  # noqa: S311 - not a secret

    def steps(self) -> Iterator[Step]:
        for count in self._plan.counts:
            self._annotate(count - len(self._labelled))
            self._senses.arrived(count)
            active, spent = self._active, self._senses.spent()
            finding = optimize(self._problem(), self._senses.tools)
            words = self._words(finding, active, spent)
            self._learn(finding)
            yield self._step(finding.decision, words)

    def _annotate(self, count: int) -> None:
        if self._plan.order == "score":
            outcomes = self._senses.label(self._active, self._open)
            scores = [graded.score for graded in _graded(self._plan, self._active, self._open, outcomes)]
            ranked = sorted(range(len(scores)), key=scores.__getitem__)
            self._open = [self._open[i] for i in ranked]
        self._labelled += self._open[:count]
        self._open = self._open[count:]

    def _problem(self) -> Problem:
        plan = self._plan
        return Problem(
            schema=plan.schema,
            active=self._active,
            examples=tuple(self._labelled),
            seeds=self._seeds(),
            guideline=plan.prompt.instruction,
            styles=plan.styles,
            seed=plan.seed + len(self._labelled),
            rounds=plan.rounds,
            calls=plan.calls,
            teacher_sees_texts=plan.teacher_sees_texts,
            waiting=self._waiting(),
            techniques=plan.techniques,
            samples=plan.samples,
            cached_token=plan.cached_token,
            templates=not plan.candidates,
            fresh=None if self._looked_at is None else len(self._held() - self._looked_at),
            looks_before=self._looks,
        )

    def _held(self) -> frozenset[str]:
        return frozenset(example.id for example in self._labelled if example.split == "holdout")

    def _seeds(self) -> tuple[Prompt, ...]:
        """The instruction that it began with, what was learned but is not active, and the plan's candidates."""
        plan = self._plan
        drawn = random.Random(plan.seed + len(self._labelled)).sample(plan.candidates, len(plan.candidates))  # noqa: S311
        begun = (plan.prompt,) if self._active.instruction != plan.prompt.instruction else ()
        learned = (*begun, *(each.prompt for each in self._learned if each.prompt != self._active))[:_MOST_SEEDS]
        return (*learned, *drawn)

    def _waiting(self) -> tuple[Waiting, ...]:
        ids = frozenset(example.id for example in self._labelled)
        others = [each for each in self._learned if each.prompt != self._active][:_MOST_SEEDS]
        return tuple(Waiting(each.prompt, each.origin, ids - each.known) for each in others)

    def _learn(self, finding: Finding) -> None:
        self.best_of_set = finding.best_of_set or self.best_of_set
        kind = finding.estimate.kind if finding.estimate else None
        if kind == "holdout":
            self._looked_at = self._held()
        self._looks += kind == "cross-fitted"
        if finding.challenger is None or finding.decision not in {"published", "kept"}:
            return
        earlier = [each for each in self._learned if each.prompt == finding.challenger]
        known = earlier[0].known if earlier else frozenset(example.id for example in self._labelled)
        others = [each for each in self._learned if each.prompt != finding.challenger]
        self._learned = [_Learned(finding.challenger, finding.origin, known), *others]
        if finding.decision == "published":
            self._active = finding.challenger
            self._number += 1
            self._looks = 0

    def _words(self, finding: Finding, active: Prompt, spent: Spend) -> tuple[str, ...]:
        return verdict.words(
            finding.decision,
            finding.estimate,
            verdict.changes(active, finding.challenger) if finding.challenger else (),
            finding.origin,
            _beyond(spent, self._senses.spent()),
            len(self._labelled),
            objections=finding.objections,
        )

    def _step(self, decision: Decision, words: tuple[str, ...]) -> Step:
        return Step(
            labels=len(self._labelled),
            figures=_measured(self._plan, self._active, self._senses),
            classic=_classic(self._plan, self._labelled),
            version=self._name(),
            decision=decision,
            words=words,
            spend=self._senses.spent(),
        )

    def _name(self) -> str:
        return PromptVersion.of(
            self._number,
            self._active,
            config_hash=self._plan.schema.config_hash,
            model=self._plan.model,
            origin="simulated",
            created_at=_BEGINNING,
        ).name


def _beyond(before: Spend, after: Spend) -> Spend:
    unknown = before.usd is None or after.usd is None
    return Spend(
        student_calls=after.student_calls - before.student_calls,
        teacher_calls=after.teacher_calls - before.teacher_calls,
        prompt_tokens=after.prompt_tokens - before.prompt_tokens,
        cached_tokens=after.cached_tokens - before.cached_tokens,
        completion_tokens=after.completion_tokens - before.completion_tokens,
        usd=None if unknown else (after.usd or 0.0) - (before.usd or 0.0),
        seconds=after.seconds - before.seconds,
    )


def _graded(plan: Plan, prompt: Prompt, examples: Sequence[Example], outcomes: Sequence[Outcome]) -> list[Graded]:
    return [grade(plan.schema, prompt, each, outcome) for each, outcome in zip(examples, outcomes, strict=True)]


def _measured(plan: Plan, prompt: Prompt, senses: Senses) -> Figures:
    outcomes = senses.label(prompt, plan.test)
    graded = _graded(plan, prompt, plan.test, outcomes)
    right = [each.right for each in graded]
    failures = [outcome.failure for outcome in outcomes if outcome.answers is None]
    found = _figures(plan, right, [each.values for each in graded])
    return replace(found, ece=_ece(graded), failed=len(failures), failure=next(iter(failures), ""))


def _ece(graded: Sequence[Graded]) -> float | None:
    return reliability.ece([each.score for each in graded], [each.right for each in graded])


def _classic(plan: Plan, labelled: Sequence[Example]) -> Figures:
    said = classic.fit(plan.schema, labelled).predict(plan.test)
    right = [_agrees(values, example.truth) for values, example in zip(said, plan.test, strict=True)]
    return _figures(plan, right, said)


def _figures(plan: Plan, right: Sequence[bool], said: Sequence[Mapping[str, tuple[str, ...]]]) -> Figures:
    """Macro-F1 is the mean over the controls in which a label is true or predicted, the accuracy where none is."""
    averages = []
    for control in plan.schema.controls:
        answers = [
            metrics.Answer(each.id, each.truth[control.name], values.get(control.name))
            for each, values in zip(plan.test, said, strict=True)
            if control.name in each.truth
        ]
        averages.append(metrics.macro_f1(answers).value)
    known = [value for value in averages if value is not None]
    return Figures(fmean(right), fmean(known or right))


def _agrees(values: Mapping[str, tuple[str, ...]], truth: Mapping[str, tuple[str, ...]]) -> bool:
    return all(set(values.get(control, ())) == set(true) for control, true in truth.items())
