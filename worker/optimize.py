"""One optimization run, pure: labels in, a finding out. Search on some labels, decide on others.

Up to 119 labels the whole search is repeated without each fold, and what it then chose is scored on that fold
(cross-fitting); from 120 on it sees train and dev only, and the holdout decides.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from threadpoolctl import threadpool_limits

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt, Style
from backend.labeling.schema import LabelingSchema
from backend.runs import Decision, Estimate
from worker import evaluate, propose, reflect, search
from worker.examples import Example
from worker.gate import Costs, Pair, Ruling, rule
from worker.outcomes import Graded, Outcome, grade
from worker.propose import Candidate, DemonstrationSet
from worker.race import Entry, in_order
from worker.reflect import Seen, named

Kind = Literal["cross-fitted", "holdout"]

LEAST_LABELS = 10
_TEACHER_FROM = 60
_HOLDOUT_FROM = 120
_SURE: dict[Kind, float] = {"cross-fitted": 0.95, "holdout": 0.9}
_FEW, _FOLDS_OF_FEW, _FOLDS = 30, 5, 4
_MOST_SHOWN = 24
_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """`active` with its calibration; `seeds` are more prompts to try (the edited guideline, earlier challengers).

    `styles` are those that the engine can score, the preferred one first. `calls` is about what the run may use: it
    sizes the search, and `Tools.label` enforces it. `sure` overrides the gate's probability. To compare with: `sets`
    are tried in place of demonstrations drawn from the examples, and without `soft` candidates race by right and wrong.
    """

    schema: LabelingSchema
    active: Prompt
    examples: tuple[Example, ...]
    seeds: tuple[Prompt, ...] = ()
    guideline: str = ""
    styles: tuple[Style, ...] = ("chat",)
    seed: int = 0
    rounds: int = 3
    calls: int = 2000
    sure: float | None = None
    teacher_sees_texts: bool = True
    sets: tuple[DemonstrationSet, ...] | None = None
    soft: bool = True


@dataclass(frozen=True, slots=True)
class Tools:
    """`label` is cached and budgeted; it raises `BudgetError`, and `EngineError` when the run cannot go on.

    `ask` is the teacher, None without a capable one. `tell` takes the stage, the share done, candidates alive, the best
    score.
    """

    label: Callable[[Prompt, Sequence[Example]], list[Outcome]]
    ask: Callable[[str], str] | None = None
    tell: Callable[[str, float, int, float | None], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision of "published" means that it may be. `challenger` is calibrated; `objections` are the gate's.

    `best_of_set` is the instruction that did best without demonstrations, uncalibrated. `fixes` and `breaks` are ids of
    examples that decided.
    """

    decision: Decision
    challenger: Prompt | None = None
    origin: str = ""
    estimate: Estimate | None = None
    objections: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    best_of_set: Prompt | None = None


def optimize(problem: Problem, tools: Tools) -> Finding:
    """The same under the same `problem` and answers. Raises what `tools.label` raises, but for `BudgetError`."""
    reason = _cannot_tell(problem)
    if reason:
        return Finding("too_few_labels", objections=(reason,))
    try:
        with threadpool_limits(1, user_api="blas"):  # its fits are tiny: waking threads takes ten times as long
            return _Run(problem, tools).finding()
    except BudgetError as error:
        return Finding("out_of_budget", objections=(str(error),))


def _cannot_tell(problem: Problem) -> str:
    count = len(problem.examples)
    if count < LEAST_LABELS:
        return f"{count} labels are there, {LEAST_LABELS} are needed to compare prompts"
    truths = Counter(named(example.truth.values()) for example in problem.examples)
    if len(truths) == 1:
        return f'all {count} labels are "{next(iter(truths))}": another is needed to compare prompts'
    return ""


class _Run:
    def __init__(self, problem: Problem, tools: Tools) -> None:
        self._problem = problem
        self._tools = tools
        self._label = evaluate.fair(problem.schema, tools.label)
        self._ordered = in_order(problem.examples, random.Random(problem.seed))  # noqa: S311
        self._plan = search.plan_for(len(self._ordered), problem.calls)
        self._done = 0.0
        self._best: tuple[list[Entry], list[Entry]] | None = None

    def finding(self) -> Finding:
        active = self._graded_active()
        seen = self._seen(active)
        material = self._material(active, seen)
        shown = {each.example.id for each in seen}
        usable = [example for example in self._ordered if example.id not in shown]
        kind: Kind = "holdout" if len(self._problem.examples) >= _HOLDOUT_FROM else "cross-fitted"
        searched = [e for e in usable if kind == "cross-fitted" or e.split != "holdout"]
        first, best = self._search(material, searched, share=0.6)
        winner = best[0]
        deciding = (
            self._cross_fitted(material, searched)
            if kind == "cross-fitted"
            else self._held_out(winner, [e for e in usable if e.split == "holdout"])
        )
        ruling = rule(
            [pair for pair, _ in deciding],
            kind=kind,
            sure=self._problem.sure or _SURE[kind],
            costs=_costs(deciding),
        )
        return self._found(winner, first, [pair for pair, _ in deciding], ruling)

    def _found(self, winner: Entry, first: Sequence[Entry], pairs: Sequence[Pair], ruling: Ruling) -> Finding:
        bare = next(entry.candidate for entry in first if not entry.candidate.prompt.demonstrations)
        return Finding(
            decision=_decided(winner.prompt, self._problem.active, ruling),
            challenger=winner.prompt,
            origin=winner.candidate.origin,
            estimate=ruling.estimate,
            objections=ruling.objections,
            fixes=_ids(pair for pair in pairs if pair.challenger_right and not pair.active_right),
            breaks=_ids(pair for pair in pairs if pair.active_right and not pair.challenger_right),
            best_of_set=bare.prompt,
        )

    # -- what is tried

    def _material(self, active: dict[str, Graded], seen: Sequence[Seen]) -> search.Material:
        problem = self._problem
        pool = [e for e in self._ordered if e.split == "train" or len(self._ordered) < _TEACHER_FROM]
        errors = [e for e in pool if not active[e.id].right]
        rng = random.Random(problem.seed)  # noqa: S311
        drawn = propose.demonstration_sets(problem.schema, pool, errors, self._plan.sets, rng)
        own = propose.instructions(problem.schema, problem.active, problem.styles)
        seeds = [Candidate(propose.uncalibrated(prompt), "an earlier prompt or guideline") for prompt in problem.seeds]
        return search.Material(
            active=Candidate(propose.uncalibrated(problem.active), "the active prompt, recalibrated"),
            instructions=search.instruction_set([*seeds, *self._taught(seen)], own, self._plan),
            sets=tuple(drawn) if problem.sets is None else problem.sets[: self._plan.sets],
            plan=self._plan,
            soft=problem.soft,
        )

    def _seen(self, active: dict[str, Graded]) -> list[Seen]:
        """What the teacher is shown, errors first; it decides nothing afterwards."""
        if self._tools.ask is None or len(self._ordered) < _TEACHER_FROM:
            return []
        train = [example for example in self._ordered if example.split == "train"]
        train.sort(key=lambda example: active[example.id].right)  # stable: in their order otherwise
        errors = sum(not active[example.id].right for example in train)
        chosen = train[: min(errors, _MOST_SHOWN // 2)] + train[errors : errors + _MOST_SHOWN // 2]
        return [Seen(example, self._text(example), active[example.id]) for example in chosen]

    def _taught(self, seen: Sequence[Seen]) -> list[Candidate]:
        if self._tools.ask is None or not seen:
            return []
        self._tell("asking the teacher", 0, None)
        problem = self._problem
        bare = propose.uncalibrated(problem.active)
        rng = random.Random(problem.seed)  # noqa: S311
        views = reflect.Views(problem.guideline, texts=problem.teacher_sees_texts)
        lessons = reflect.lessons(problem.schema, bare, seen, views, rng)
        return reflect.learn(lessons, seen, self._tools.ask)

    def _text(self, example: Example) -> str:
        return " / ".join(value.text for value in self._problem.schema.values(example.data))

    # -- what decides

    def _cross_fitted(self, material: search.Material, examples: Sequence[Example]) -> list[tuple[Pair, Costs]]:
        """Each example once, under what the search without its fold chose."""
        folds = _FOLDS_OF_FEW if len(examples) < _FEW else _FOLDS
        deciding: dict[str, tuple[Pair, Costs]] = {}
        for fold in range(folds):
            inside = [example for i, example in enumerate(examples) if i % folds != fold]
            outside = [example for i, example in enumerate(examples) if i % folds == fold]
            _, best = self._search(material, inside, share=0.4 / folds)
            deciding.update({pair.id: (pair, costs) for pair, costs in self._held_out(best[0], outside)})
        return [deciding[example.id] for example in examples]

    def _held_out(self, winner: Entry, examples: Sequence[Example]) -> list[tuple[Pair, Costs]]:
        before = self._label(self._problem.active, examples)
        after = self._label(winner.prompt, examples)
        schema = self._problem.schema
        return [
            (_pair(e, grade(schema, self._problem.active, e, a), grade(schema, winner.prompt, e, b)), _cost(a, b))
            for e, a, b in zip(examples, before, after, strict=True)
        ]

    # -- asking

    def _graded_active(self) -> dict[str, Graded]:
        self._tell("evaluating the active prompt", 1, None)
        return evaluate.graded(self._problem.schema, self._problem.active, self._ordered, self._label)

    def _search(
        self, material: search.Material, examples: Sequence[Example], *, share: float
    ) -> tuple[list[Entry], list[Entry]]:
        rounds = self._problem.rounds

        def tell(stage: str, alive: int, best: float) -> None:
            self._done += share / max(1, min(rounds, 3))
            self._tell(stage, alive, best)

        return search.search(self._problem.schema, material, examples, self._label, tell, rounds=rounds)

    def _tell(self, stage: str, alive: int, best: float | None) -> None:
        self._tools.tell(stage, min(1.0, self._done), alive, best)


def _decided(challenger: Prompt, active: Prompt, ruling: Ruling) -> Decision:
    if challenger == active or ruling.estimate.gain <= 0:
        return "no_headroom"
    return "published" if ruling.passes else "kept"


def _pair(example: Example, active: Graded, challenger: Graded) -> Pair:
    truth = named(tuple(sorted(chosen)) for chosen in example.truth.values())
    return Pair(example.id, truth, _said(active, truth), _said(challenger, truth))


def _said(graded: Graded, truth: str) -> str:
    """The truth's own words where it agrees: controls without a truth do not count."""
    if graded.right:
        return truth
    said = named(tuple(sorted(chosen)) for chosen in graded.values.values())
    return said if said != truth else f"{said} (another control differs)"


def _cost(active: Outcome, challenger: Outcome) -> Costs:
    return Costs(
        ratio=_tokens(challenger) / max(1, _tokens(active)),
        active_failures=float(active.answers is None),
        challenger_failures=float(challenger.answers is None),
    )


def _costs(deciding: Sequence[tuple[Pair, Costs]]) -> Costs:
    """Means; of nothing the neutral costs."""
    if not deciding:
        return Costs()
    costs = [cost for _, cost in deciding]
    return Costs(
        ratio=fmean(cost.ratio for cost in costs),
        active_failures=fmean(cost.active_failures for cost in costs),
        challenger_failures=fmean(cost.challenger_failures for cost in costs),
    )


def _tokens(outcome: Outcome) -> int:
    if outcome.answers is None:
        return 0
    usage = outcome.answers.usage
    return usage.prompt_tokens + usage.completion_tokens


def _ids(pairs: Iterable[Pair]) -> tuple[str, ...]:
    return tuple(pair.id for pair in pairs)[:_MOST_NAMED]
