"""One optimization run, pure: labels in, a finding out. Search on some labels, decide on others.

Up to 199 labels the whole search is repeated without each fold, and what it then chose is scored on that fold
(cross-fitting); from 200 on it sees train and dev only, and the holdout decides. It does so once for each 25 labels
that came to it. What a run finds in between is measured by cross-fitting on train and dev, and kept for the next look,
or until the labels that come prove it. Of 40 simulated projects without any gain, with eleven runs at 200 to 400
labels, 4 ever published, against 12 where each run looked at the holdout, and 15 (8) where those in between decided by
cross-fitting at .95 (.99). Of 20 with one instruction 6 points better, 13 had published by then, against 15 where each
run looked.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from threadpoolctl import threadpool_limits

from backend.labeling.errors import BudgetError, TaskError
from backend.labeling.prompt import Demonstration, Prompt, Style
from backend.labeling.schema import LabelingSchema
from worker import evaluate, propose, reflect, search, techniques
from worker.comparison import Compared, compared, costs
from worker.demonstration_sets import Draw, drawn
from worker.demonstrations import DemonstrationSet
from worker.examples import Example
from worker.finding import Finding as Finding
from worker.finding import told
from worker.gate import Costs, Pair, Ruling, rule
from worker.likeness import Embed
from worker.outcomes import Graded, Outcome
from worker.prequential import Waiting, proven
from worker.propose import Candidate
from worker.race import Entry, in_order
from worker.reflect import Seen, is_error, named
from worker.techniques import Technique

Kind = Literal["cross-fitted", "holdout"]

LEAST_LABELS = 10
_TEACHER_FROM = 60
_HOLDOUT_FROM = 200
_LEAST_FRESH = 25
_SURE: dict[Kind, float] = {"cross-fitted": 0.95, "holdout": 0.9}
_FEW, _FOLDS_OF_FEW, _FOLDS = 30, 5, 4
_FIRST_LOOK = 16
_MOST_SHOWN, _LEAST_READ = 12, 24
_HELD_SHARE = 6  # two calls an example: the holdout takes no more than a third of all
_PLANNED = 0.95  # of the calls: folds may choose what none has asked
_RESTS = f"the holdout has decided before, and of {_LEAST_FRESH} more labels that it must have {{}} are there"


@dataclass(frozen=True, slots=True)
class Problem:
    """`active` with its calibration; `seeds` are more prompts to try (the edited guideline, earlier challengers).

    `waiting` are earlier challengers: one that the labels since then prove better is the finding, without a search.

    `styles` are those that the engine can score, the preferred one first. `calls` is about what the run may use: it
    sizes the search, and `Tools.label` enforces it. `sure` overrides the gate's probability. To compare with: `sets`
    are tried in place of demonstrations drawn from the examples, without `soft` candidates race by right and wrong, and
    without `templates` only `seeds`, the active prompt and what is taught are.

    `techniques` are tried on the best prompt of a search; self-consistency with up to `samples` rationales. `fixed` are
    demonstrations that people chose: a set to try before those that are drawn. With `shared_only` all tasks see the
    same demonstrations: others cost a server's prefix cache.

    `fresh` holdout examples were decided since a run last looked at the holdout; None where none has.
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
    templates: bool = True
    waiting: tuple[Waiting, ...] = ()
    techniques: tuple[Technique, ...] = ()
    samples: int = 1
    fixed: tuple[Demonstration, ...] = ()
    shared_only: bool = False
    fresh: int | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """`label` is cached and budgeted; it raises `BudgetError`, and `EngineError` when the run cannot go on.

    `ask` is the teacher, None without a capable one. `tell` takes the stage, the share done, candidates alive, the best
    score. Without `embed` only demonstrations that are the same for all tasks are tried.
    """

    label: Callable[[Prompt, Sequence[Example]], list[Outcome]]
    ask: Callable[[str], str] | None = None
    tell: Callable[[str, float, int, float | None], None] = lambda *_: None
    embed: Embed | None = None


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
        self._done = 0.0
        many = len(problem.examples) >= _HOLDOUT_FROM
        self._rests = many and problem.fresh is not None and problem.fresh < _LEAST_FRESH
        self._looks = many and not self._rests
        self._kind: Kind = "holdout" if self._looks else "cross-fitted"
        ordered = in_order(problem.examples, random.Random(problem.seed))  # noqa: S311
        self._held = [example for example in ordered if self._looks and example.split == "holdout"]
        self._open = [example for example in ordered if not many or example.split != "holdout"]

    def finding(self) -> Finding:
        problem = self._problem
        self._tell("comparing what was learned before", len(problem.waiting) + 1, None)
        found = proven(problem.schema, problem.active, problem.waiting, problem.examples, self._label)
        if found:
            return told(found.waiting.prompt, found.waiting.origin, found.pairs, found.ruling, problem.active)
        return self._searched()

    def _searched(self) -> Finding:
        self._tell("evaluating the active prompt", 1, None)
        plan = self._sized()
        begun = self._open[: plan.examples]
        active = evaluate.graded(self._problem.schema, self._problem.active, self._pool(begun), self._label)
        read = self._read(begun, active)
        apart = {example.id for example in read}
        searched = [example for example in begun if example.id not in apart]
        material = self._material(plan, active, read)
        first, best = self._search(material, searched, share=1.0 if self._looks else 0.6)
        winner = best[0]
        deciding = self._compared(winner, self._held) if self._looks else self._cross_fitted(material, searched)
        pairs = [each.pair for each in deciding]
        ruling = self._ruled(pairs, costs(deciding))
        found = told(winner.prompt, winner.candidate.origin, pairs, ruling, self._problem.active)
        bare = next(entry.candidate for entry in first if not entry.candidate.prompt.demonstrations)
        return replace(found, best_of_set=bare.prompt)

    # -- what is tried

    def _sized(self) -> search.Plan:
        """By what an example takes: several questions, votes or groups of labels are several calls."""
        looked = self._label(self._problem.active, self._open[:_FIRST_LOOK])
        each = fmean([outcome.answers.calls for outcome in looked if outcome.answers] or [1])
        evaluations = int(_PLANNED * self._problem.calls / max(1.0, each))
        self._held = self._held[: evaluations // _HELD_SHARE]
        return search.plan_for(
            len(self._open),
            evaluations - 2 * len(self._held),
            cross_fitted=not self._looks,
            rounds=self._problem.rounds,
            extra=techniques.calls(self._techniques(), self._problem.samples),
        )

    def _techniques(self) -> tuple[Technique, ...]:
        return techniques.worth_trying(self._problem.active, self._problem.techniques)

    def _pool(self, examples: Sequence[Example]) -> list[Example]:
        """What demonstrations and the teacher's examples are taken from: train, of few labels all."""
        few = len(self._problem.examples) < _TEACHER_FROM
        return [example for example in examples if few or example.split == "train"]

    def _read(self, examples: Sequence[Example], active: Mapping[str, Graded]) -> list[Example]:
        """What the teacher reads: train up to the twelfth error, but no more than half of it, or 24. All of it is kept
        from the search and the decision: without the errors alone, the active prompt would look better than it is."""
        if self._tools.ask is None or len(self._problem.examples) < _TEACHER_FROM:
            return []
        train = self._pool(examples)
        errors = [i for i, example in enumerate(train) if is_error(example, active[example.id])]
        enough = errors[_MOST_SHOWN - 1] + 1 if len(errors) >= _MOST_SHOWN else len(train)
        return train[: min(enough, max(_LEAST_READ, len(train) // 2))]

    def _material(self, plan: search.Plan, active: Mapping[str, Graded], read: Sequence[Example]) -> search.Material:
        problem = self._problem
        sets, variants = self._sets(plan, active)
        own = propose.instructions(problem.schema, problem.active, problem.styles)[: None if problem.templates else 1]
        seeds = [Candidate(propose.uncalibrated(prompt), "an earlier prompt or guideline") for prompt in problem.seeds]
        return search.Material(
            active=Candidate(propose.uncalibrated(problem.active), "the active prompt, recalibrated"),
            instructions=search.instruction_set([*seeds, *self._taught(self._seen(read, active))], own, plan),
            sets=sets,
            plan=plan,
            soft=problem.soft,
            techniques=self._techniques(),
            samples=problem.samples,
            variants=variants,
        )

    def _sets(self, plan: search.Plan, active: Mapping[str, Graded]) -> tuple[tuple[DemonstrationSet, ...], int]:
        """And how many variants of the best of them."""
        problem = self._problem
        if problem.sets is not None:
            return problem.sets[: plan.sets], 0
        pool = self._pool(self._open)
        errors = [example for example in pool if example.id in active and is_error(example, active[example.id])]
        draw = Draw(problem.schema, pool, errors, problem.fixed, self._tools.embed, problem.shared_only)
        return drawn(draw, plan.sets, plan.first_sets, problem.seed)

    def _seen(self, read: Sequence[Example], active: Mapping[str, Graded]) -> list[Seen]:
        """Twelve errors of what the teacher reads, and as many that are right."""
        wrong = [example for example in read if is_error(example, active[example.id])]
        seen = []
        for alike in (wrong, [example for example in read if active[example.id].right]):
            seen += [
                Seen(example, text, active[example.id])
                for example in alike[:_MOST_SHOWN]
                if (text := self._text(example))
            ]
        return seen

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
        """Empty for data that cannot be read."""
        try:
            return " / ".join(value.text for value in self._problem.schema.values(example.data))
        except TaskError:
            return ""

    # -- what decides

    def _cross_fitted(self, material: search.Material, examples: Sequence[Example]) -> list[Compared]:
        """Each example once, under what the search without its fold chose."""
        folds = _FOLDS_OF_FEW if len(examples) < _FEW else _FOLDS
        deciding: list[Compared] = []
        for fold in range(folds):
            inside = [example for i, example in enumerate(examples) if i % folds != fold]
            _, best = self._search(material, inside, share=0.4 / folds)
            deciding += self._compared(best[0], examples[fold::folds])
        return deciding

    def _ruled(self, pairs: Sequence[Pair], costs: Costs) -> Ruling:
        """While the holdout rests nothing passes: each look at whatever labels is one more chance to be lucky."""
        ruling = rule(pairs, kind=self._kind, sure=self._problem.sure or _SURE[self._kind], costs=costs)
        resting = (_RESTS.format(self._problem.fresh),) if self._rests else ()
        return replace(ruling, objections=(*ruling.objections, *resting))

    def _compared(self, winner: Entry, examples: Sequence[Example]) -> list[Compared]:
        return compared(self._problem.schema, self._problem.active, winner.prompt, examples, self._label)

    # -- asking

    def _search(
        self, material: search.Material, examples: Sequence[Example], *, share: float
    ) -> tuple[list[Entry], list[Entry]]:
        rounds = self._problem.rounds

        def tell(stage: str, alive: int, best: float) -> None:
            self._done += share / max(1, min(rounds, 3))
            self._tell(stage, alive, best)

        return search.search(self._problem.schema, material, examples, self._label, tell)

    def _tell(self, stage: str, alive: int, best: float | None) -> None:
        self._tools.tell(stage, min(1.0, self._done), alive, best)
