"""One optimization run, pure: labels in, a finding out. Search on some labels, decide on others.

Up to 199 labels the whole search is repeated without each fold, and what it then chose is scored on that fold
(cross-fitting); labels that it had no calls for decide beside them, on its winner. Where nothing can be gained 6, 7 and
9 of 100 simulated runs publish at 40, 100 and 160 labels. Of 260 simulated runs where prompts differ 167 published, and
none of them lost a point. Each run as labels arrive is one more chance to be lucky, so the k-th look at the same active
prompt may err with probability .1 / √k. Of 40 simulated projects each, with nine runs up to 180 labels, had ever
published (by the third run), read off runs that never did:

                                    .1 / √k    .1         .1 / k     .05
nothing can be gained               8  (4)     16 (4)     5  (3)     10 (3)
prompts differ                      38 (27)    40 (29)    38 (23)    39 (24)
one wording is 6 points better      40 (18)    40 (20)    36 (14)    40 (15)
demonstrations bring 8 points       40 (29)    40 (29)    39 (23)    40 (26)

Folds that stay the same from run to run, so that looks are more alike, published no less often where nothing can be
gained (9 of 17 at .1).

From 200 on it sees train and dev only, and the holdout decides. It does so once for each 25 labels that came to it.
What a run finds in between is measured by cross-fitting on train and dev, and kept for the next look, or until the
labels that come prove it. Of 40 simulated projects without any gain, with eleven runs at 200 to 400 labels, 4 ever
published, against 12 where each run looked at the holdout, and 15 (8) where those in between decided by cross-fitting
at .95 (.99). Of 20 with one instruction 6 points better, 13 had published by then, against 15 where each run looked.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from statistics import fmean
from typing import Literal

from threadpoolctl import threadpool_limits

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Demonstration, Prompt, Style
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer import evaluate, propose, reading, reflect, search, techniques, trial
from worker.optimizer.comparison import CACHED, Compared, compared, costs
from worker.optimizer.demonstration_sets import Draw, drawn
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.finding import Finding as Finding
from worker.optimizer.finding import told
from worker.optimizer.gate import Costs, Pair, Ruling, rule
from worker.optimizer.likeness import Embed
from worker.optimizer.meter import Meter
from worker.optimizer.outcomes import Graded, Outcome
from worker.optimizer.plan import MOST_SETS, Plan, Terms, plan_for, wider
from worker.optimizer.prequential import Waiting, proven
from worker.optimizer.pricing import Price, priced
from worker.optimizer.propose import Candidate
from worker.optimizer.race import Entry, in_order
from worker.optimizer.reflect import is_error, named
from worker.optimizer.techniques import Technique

Kind = Literal["cross-fitted", "holdout"]

LEAST_LABELS = 10
_TEACHER_FROM = 60
_HOLDOUT_FROM = 200
_LEAST_FRESH = 25
_SURE = 0.9
_FEW, _FOLDS_OF_FEW, _FOLDS = 30, 5, 4
_GLANCE, _FIRST_LOOK, _LOOK_SHARE = 4, 16, 0.1
_HELD_SHARE = 6  # two calls an example: the holdout takes no more than a third of all
_PLANNED = 0.95  # of the calls: the teacher takes some, and the report what people leave undecided
_BEGIN = 0.6  # of these: what the first search is sized for where folds repeat it
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
    demonstrations that people chose: a set to try before those that are drawn. In what a prompt costs a token that a
    prefix cache held counts `cached_token`.

    `fresh` holdout examples were decided since a run last looked at the holdout; None where none has.
    `looks_before` earlier runs compared the active prompt with others by cross-fitting, on fewer labels.

    With `written` nothing is searched: that prompt alone is held against the active one.
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
    cached_token: float = CACHED
    fresh: int | None = None
    looks_before: int = 0
    written: Prompt | None = None


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


@dataclass(frozen=True, slots=True)
class _Tried:
    """What one search came to: its first race, its last, on which examples, and each fold's comparisons where they
    decide."""

    first: Sequence[Entry]
    best: Sequence[Entry]
    searched: Sequence[Example]
    folds: Sequence[Sequence[Compared]]


class _Run:
    def __init__(self, problem: Problem, tools: Tools) -> None:
        self._problem = problem
        self._tools = tools
        self._meter = Meter(tools.label)
        self._label = evaluate.fair(problem.schema, self._meter.label)
        self._entered: dict[tuple[str, ...], dict[tuple[str, int], Entry]] = defaultdict(dict)
        many = len(problem.examples) >= _HOLDOUT_FROM
        self._rests = many and problem.fresh is not None and problem.fresh < _LEAST_FRESH
        self._looks = many and not self._rests
        self._calls = int(_PLANNED * problem.calls)
        self._dearest = 1.0  # calls an example takes
        self._codes = problem.active.codes
        self._kind: Kind = "holdout" if self._looks else "cross-fitted"
        ordered = in_order(problem.examples, random.Random(problem.seed))  # noqa: S311
        self._held = [example for example in ordered if self._looks and example.split == "holdout"]
        self._open = [example for example in ordered if not many or example.split != "holdout"]
        self._searchable = self._open  # but for what the teacher reads
        self._lessons: Iterator[Candidate] = iter(())
        self._taught: list[Candidate] = []

    def finding(self) -> Finding:
        problem = self._problem
        if problem.written:
            return self._on_trial(problem.written)
        self._tell("comparing what was learned before", len(problem.waiting) + 1, None)
        found = proven(
            problem.schema, problem.active, problem.waiting, problem.examples, self._label, problem.cached_token
        )
        if found:
            return told(found.waiting.prompt, found.waiting.origin, found.pairs, found.ruling, problem.active)
        return self._searched()

    def _on_trial(self, written: Prompt) -> Finding:
        """On as many labels as the calls go for. It is kept whatever they say: whoever wrote it may want it."""
        problem, cached = self._problem, self._problem.cached_token
        self._tell("comparing the instruction with the active prompt", 2, None)
        first = self._open[:_FIRST_LOOK]
        compared(problem.schema, problem.active, written, first, self._label)
        each = self._meter.price(problem.active) + self._meter.price(written)
        examples = self._open[: max(len(first), int(self._calls / each))]
        prompt, deciding = trial.held(problem.schema, problem.active, written, examples, self._label)
        pairs = [each.pair for each in deciding]
        look = 1 + problem.looks_before
        ruling = rule(pairs, kind="cross-fitted", sure=self._sure(look), costs=costs(deciding, cached), look=look)
        found = told(prompt, trial.ORIGIN, pairs, ruling, problem.active)
        return found if found.decision == "published" or prompt == problem.active else replace(found, decision="kept")

    def _searched(self) -> Finding:
        """A first search that surely fits the budget, then wider ones that go on from it, as far as the calls go. The
        widest decides, whatever the others found."""
        self._tell("evaluating the active prompt", 1, None)
        terms = self._terms()
        begun = self._open[: self._planned(terms).examples]
        active = evaluate.graded(self._problem.schema, self._problem.active, self._pool(begun), self._label)
        self._lessons = self._taught_by(self._read(begun, active), active)
        plan = self._planned(replace(terms, n=len(self._searchable)))
        material = self._material(plan, active)
        return self._judged(self._widened(self._tried(material), material))

    def _widened(self, tried: _Tried, material: search.Material) -> _Tried:
        """By the widest search that the calls pay for, when all labels that it does not see are to decide."""
        limit = self._most(material.plan.examples)
        while plan := wider(material.plan, spent=self._meter.calls, calls=limit):
            self._meter.limit = limit
            material = replace(material, plan=plan, instructions=self._instructions(plan))
            try:
                tried = self._tried(material, tried.folds)
            except BudgetError:
                break
            limit = self._most(plan.examples)
        self._meter.limit = None
        return tried

    def _most(self, examples: int) -> int:
        """Calls that may be spent when one on so many is followed: what decides then is kept, and what the report asks
        the winner of what the teacher read."""
        read = len(self._open) - len(self._searchable)
        return self._calls - self._kept_back(examples) - math.ceil(read * self._dearest)

    def _tried(self, material: search.Material, narrower: Sequence[Sequence[Compared]] = ()) -> _Tried:
        searched = self._searchable[: material.plan.examples]
        first, best = self._search(material, searched)
        return _Tried(first, best, searched, () if self._looks else self._cross_fitted(material, searched, narrower))

    def _judged(self, tried: _Tried) -> Finding:
        winner = tried.best[0]
        self._tools.tell("deciding", 1.0, 1, winner.soft)
        untouched = self._compared(winner, self._held) if self._looks else self._on_the_rest(tried)
        deciding = [*chain.from_iterable(tried.folds), *untouched]
        pairs = [each.pair for each in deciding]
        ruling = self._ruled(pairs, self._costs(tried, deciding))
        found = told(winner.prompt, winner.candidate.origin, pairs, ruling, self._problem.active)
        bare = next(entry for entry in tried.first if not entry.candidate.prompt.demonstrations)
        return replace(found, best_of_set=bare.prompt)

    # -- what is tried

    def _terms(self) -> Terms:
        """By what an example takes: several questions, votes or groups of labels are several calls."""
        own = propose.instructions(self._problem.schema, self._problem.active, self._problem.styles)[0]
        found = priced(own, self._sets({}, 1), propose.uncalibrated(self._problem.active), self._price)
        self._codes, self._dearest = found.codes, found.dearest
        self._held = self._held[: int(self._calls / self._dearest) // _HELD_SHARE]
        return Terms(
            n=len(self._searchable),
            cross_fitted=not self._looks,
            rounds=self._problem.rounds,
            extra=techniques.calls(self._techniques(), self._problem.samples),
            bare=found.bare,
            shown=found.shown,
            active=max(0.0, found.active - found.bare),
        )

    def _planned(self, terms: Terms) -> Plan:
        """With the calls that are left when the active prompt has answered what the teacher reads."""
        apart = len(self._open) - len(self._searchable)
        calls = self._calls - math.ceil(apart * self._meter.price(self._problem.active))
        if self._looks:
            return plan_for(terms, calls - self._kept_back(terms.n))
        return plan_for(terms, int(_BEGIN * calls), at_most=calls)

    def _price(self, prompt: Prompt) -> Price:
        """On examples that the teacher does not read; on a few where more would take much of the calls."""
        unread = [example for example in self._open if example.split != "train"] or self._open
        outcomes = self._label(prompt, unread[:_GLANCE])
        if self._meter.price(prompt) * _FIRST_LOOK <= _LOOK_SHARE * self._calls:
            outcomes = self._label(prompt, unread[:_FIRST_LOOK])
        return Price(self._meter.price(prompt), fmean(outcome.answers is None for outcome in outcomes))

    def _kept_back(self, examples: int) -> int:
        """What the decision takes: on the holdout, or on what a search on so many examples leaves."""
        left = len(self._held) if self._looks else len(self._searchable) - examples
        return math.ceil(2 * left * self._dearest)

    def _techniques(self) -> tuple[Technique, ...]:
        return techniques.worth_trying(self._problem.active, self._problem.techniques)

    def _pool(self, examples: Sequence[Example]) -> list[Example]:
        """What demonstrations and the teacher's examples are taken from: train, of few labels all."""
        few = len(self._problem.examples) < _TEACHER_FROM
        return [example for example in examples if few or example.split == "train"]

    def _read(self, examples: Sequence[Example], active: Mapping[str, Graded]) -> list[Example]:
        """What the teacher is told about; what it reads is kept apart, of what is only counted nothing."""
        teaches = self._tools.ask is not None and len(self._problem.examples) >= _TEACHER_FROM
        found = reading.read(self._pool(examples), active) if teaches else []
        if self._problem.teacher_sees_texts:
            apart = {example.id for example in found}
            self._searchable = [example for example in self._open if example.id not in apart]
        return found

    def _material(self, plan: Plan, active: Mapping[str, Graded]) -> search.Material:
        problem = self._problem
        return search.Material(
            active=Candidate(propose.uncalibrated(problem.active), "the active prompt, recalibrated"),
            instructions=self._instructions(plan),
            sets=self._sets(active, MOST_SETS),
            plan=plan,
            soft=problem.soft,
            techniques=self._techniques(),
            samples=problem.samples,
        )

    def _instructions(self, plan: Plan) -> tuple[Candidate, ...]:
        """The teacher is asked for no more than the plan tries."""
        problem = self._problem
        own = propose.instructions(problem.schema, problem.active, problem.styles)[: None if problem.templates else 1]
        seeds = [Candidate(propose.uncalibrated(prompt), "an earlier prompt or guideline") for prompt in problem.seeds]
        more = search.taught_places(plan) - len(self._taught)
        self._taught += islice(self._lessons, max(0, more))
        return search.instruction_set(seeds, own, self._codes, self._taught)

    def _sets(self, active: Mapping[str, Graded], count: int) -> tuple[DemonstrationSet, ...]:
        """As many as there are up to `count`, the first of them the same whatever `active` got wrong."""
        problem = self._problem
        if problem.sets is not None:
            return problem.sets[:count]
        pool = self._pool(self._open)
        errors = [example for example in pool if example.id in active and is_error(example, active[example.id])]
        draw = Draw(problem.schema, pool, errors, problem.fixed, self._tools.embed)
        return drawn(draw, count, problem.seed)

    def _taught_by(self, read: Sequence[Example], active: Mapping[str, Graded]) -> Iterator[Candidate]:
        """Each is asked for when it is wanted."""
        problem, ask = self._problem, self._tools.ask
        seen = reading.seen(problem.schema, read, active)
        if ask is None or not seen:
            return
        self._tell("asking the teacher", 0, None)
        bare = propose.uncalibrated(problem.active)
        rng = random.Random(problem.seed)  # noqa: S311
        views = reflect.Views(problem.guideline, texts=problem.teacher_sees_texts)
        yield from reflect.learn(reflect.lessons(problem.schema, bare, seen, views, rng), seen, ask)

    # -- what decides

    def _on_the_rest(self, tried: _Tried) -> list[Compared]:
        """Labels that the search had no calls for are a holdout of its winner, as far as the calls go now; without them
        the folds decide alone."""
        winner = tried.best[0]
        seen = {example.id for example in tried.searched}
        each = self._meter.price(self._problem.active) + self._meter.price(winner.prompt)
        count = max(0, int((self._calls - self._meter.calls) / each))
        try:
            return self._compared(winner, [example for example in self._searchable if example.id not in seen][:count])
        except BudgetError:
            return []

    def _cross_fitted(
        self, material: search.Material, examples: Sequence[Example], narrower: Sequence[Sequence[Compared]]
    ) -> list[Sequence[Compared]]:
        """Each example once, under what the search without its fold chose: in folds for which the calls do not suffice
        the `narrower` search, which did not see them either. Raises `BudgetError` where that had fewer examples."""
        folds = _FOLDS_OF_FEW if len(examples) < _FEW else _FOLDS
        found: list[Sequence[Compared]] = []
        for fold in range(folds):
            inside = [example for i, example in enumerate(examples) if i % folds != fold]
            try:
                _, best = self._search(material, inside)
                found.append(self._compared(best[0], examples[fold::folds]))
            except BudgetError:
                if sum(map(len, narrower)) != len(examples):
                    raise
                return [*found, *narrower[fold:]]
        return found

    def _costs(self, tried: _Tried, deciding: Sequence[Compared]) -> Costs:
        """Failures as the deciding labels show them; what a task takes as under the winner itself, which folds need not
        have chosen, on examples that it and the active prompt have answered."""
        cached = self._problem.cached_token
        decided = costs(deciding, cached)
        if self._looks:
            return decided
        own = costs(self._compared(tried.best[0], tried.searched[:_FIRST_LOOK]), cached)
        return replace(decided, ratio=own.ratio, active=own.active, challenger=own.challenger)

    def _ruled(self, pairs: Sequence[Pair], costs: Costs) -> Ruling:
        """Each look at whatever labels is one more chance to be lucky. The k-th cross-fitted one at the same prompt
        may err with probability .1 / √k; while the holdout rests none passes."""
        look = 1 if self._looks else 1 + self._problem.looks_before
        ruling = rule(pairs, kind=self._kind, sure=self._sure(look), costs=costs, look=look)
        resting = (_RESTS.format(self._problem.fresh),) if self._rests else ()
        return replace(ruling, objections=(*ruling.objections, *resting))

    def _sure(self, look: int) -> float:
        return self._problem.sure or 1 - (1 - _SURE) / math.sqrt(look)

    def _compared(self, winner: Entry, examples: Sequence[Example]) -> list[Compared]:
        return compared(self._problem.schema, self._problem.active, winner.prompt, examples, self._label)

    # -- asking

    def _search(self, material: search.Material, examples: Sequence[Example]) -> tuple[list[Entry], list[Entry]]:
        entered = self._entered[tuple(example.id for example in examples)]
        return search.search(self._problem.schema, material, examples, self._label, self._tell, entered)

    def _tell(self, stage: str, alive: int, best: float | None) -> None:
        """Done is the share of the calls that were spent."""
        self._tools.tell(stage, min(1.0, self._meter.calls / max(1, self._problem.calls)), alive, best)
