"""How much a search tries on how many examples, so that it fits a budget of LLM calls."""

from dataclasses import dataclass, replace

from worker.optimizer.pricing import DEAR
from worker.optimizer.race import stages, survivors

PARTNERS = 3  # of the best demonstrations, beside the best instruction
VARIANTS = 2  # of the best demonstrations
MOST_SETS = 16

_MOST_INSTRUCTIONS = 20
_LEVELS = (20, 16, 12, 10, 8, 6, 5, 4, 3, 2)
# A wider search on so many examples beats a narrower one on more of them; on fewer none tells prompts apart.
_ENOUGH, _LEAST = 150, 24
# Evaluations beyond those of one race from scratch. Each fold begins with other examples, so that other candidates
# survive their first stage, and the last race is among others, the more of them the more there were. Measured in worlds
# with nothing to gain, where most differ.
_MARGIN, _MARGIN_OF_FOLDS = 1.1, 1.8
_MARGIN_OF_LAST, _MOST_OF_LAST = 0.5, 3.0
_STEPS = (2.0, 1.5, 1.25, 1.1)  # to the next plan, as far as the calls go
_LEAST_MORE = 1.5  # answers an example, where more is tried: a new one may win, and the last race is another then


@dataclass(frozen=True, slots=True)
class Terms:
    """`n` examples are there; `cross_fitted`: the search is repeated without each fold. An example takes `bare` LLM
    calls zero-shot and `shown` with demonstrations, which differ where labels' words begin alike, `extra` under the
    techniques that are tried last, and under the active prompt so many more than `bare` as `active` says."""

    n: int
    cross_fitted: bool = True
    rounds: int = 3
    extra: int = 0
    bare: float = 1.0
    shown: float = 1.0
    active: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """So many instructions and sets of demonstrations on so many examples, in so many races: of instructions, of sets,
    of the best together. Of one instruction alone it is the one at hand, and others are compared under demonstrations.
    """

    instructions: int
    sets: int
    examples: int
    rounds: int
    terms: Terms

    @property
    def calls(self) -> int:
        """About the most that it takes when nothing is cached."""
        partners = PARTNERS if self.mixes else min(PARTNERS, self.instructions - 1)
        late = partners + VARIANTS + min(1, self.sets - 1) + self.terms.extra
        races = (
            self._asked(self.instructions) * self.terms.bare,
            self._asked(self.sets) * self.terms.shown,
            race_calls(late, self.examples) * self._of_last * self.terms.shown,
        )
        return round(sum(races[: self.rounds]) + self.terms.active * self.examples)

    @property
    def mixes(self) -> bool:
        return self.instructions == 1

    @property
    def _of_last(self) -> float:
        if not self.terms.cross_fitted:
            return _MARGIN
        return min(_MOST_OF_LAST, _MARGIN_OF_LAST * max(self.instructions, self.sets))

    def _asked(self, width: int) -> float:
        """All folds race the same candidates: no more than each on all examples."""
        margin = _MARGIN_OF_FOLDS if self.terms.cross_fitted else _MARGIN
        return min(margin * race_calls(width, self.examples), width * self.examples)


def plan_for(terms: Terms, calls: int, at_most: int = 0) -> Plan:
    """The widest that fits on 150 of the examples, and with it as many of them as fit, 24 at least. Of what costs more
    an example fewer are tried, and where zero-shot answers are dear, or the smallest would take more than `at_most`
    calls (0: than `calls`), of instructions the one at hand alone."""
    enough = min(terms.n, max(_LEAST, _paid(terms, calls)))
    plans = [_at(level, enough, terms) for level in _LEVELS]
    widest = next((plan for plan in plans if plan.calls <= calls), plans[-1])
    least = min(terms.n, _LEAST)
    sizes = (replace(widest, examples=size) for size in range(terms.n, least, -1))
    smallest = replace(widest, examples=least)
    found = next((plan for plan in sizes if plan.calls <= calls), smallest)
    if found.calls <= max(calls, at_most) or terms.rounds == 1:
        return found
    narrow = [replace(smallest, instructions=1, sets=sets, rounds=2) for sets in range(MOST_SETS, 1, -1)]
    return next((plan for plan in narrow if plan.calls <= calls), narrow[-1])


def _paid(terms: Terms, calls: int) -> int:
    """On how many examples: where the active prompt is dearer than others, no more than half of the calls are its."""
    return min(_ENOUGH, int(calls / 2 / terms.active)) if terms.active else _ENOUGH


def wider(plan: Plan, *, spent: int, calls: int) -> Plan | None:
    """The next larger one, be it by one set alone, that is likely to fit into `calls` when `plan` is done after `spent`
    of them; None where none is."""
    steps = [plan_for(plan.terms, round(step * plan.calls)) for step in _STEPS]
    steps.append(replace(plan, sets=min(MOST_SETS, plan.sets + 1)))
    return next((each for each in steps if _goes_on(plan, each) and spent + _more(plan, each) <= calls), None)


def _goes_on(plan: Plan, larger: Plan) -> bool:
    """It tries more, and leaves nothing out."""
    before, after = ((each.instructions, each.sets, each.examples, each.rounds) for each in (plan, larger))
    return larger.calls > plan.calls and all(less <= more for less, more in zip(before, after, strict=True))


def _more(plan: Plan, larger: Plan) -> float:
    more = larger.calls - plan.calls
    if (larger.instructions, larger.sets) == (plan.instructions, plan.sets):
        return more
    return max(more, _LEAST_MORE * larger.examples * plan.terms.shown)


def race_calls(candidates: int, n: int) -> int:
    """Evaluations of one race from scratch."""
    calls, before, alive = 0, 0, candidates
    for size in stages(n):
        calls += alive * (size - before)
        before, alive = size, survivors(alive)
    return calls


def _at(level: int, examples: int, terms: Terms) -> Plan:
    """Dear zero-shot answers are asked under the instruction at hand alone, and the last race waits: calls are better
    spent on more sets. 100 labels, 2,000 calls, SmolLM2 on film sentences, where they take 3.7: 53 of 170 runs publish,
    a median of 12 points on the test rows. With two instructions, five of eight sets, the last race and a gate at 95 %
    16 of 100 did, a median of 2. Five such plans were compared on these same rows."""
    sets = max(2, min(MOST_SETS, round(level * min(1.0, terms.bare / terms.shown))))
    if terms.rounds > 1 and terms.bare >= DEAR * terms.shown:
        return Plan(1, sets, examples, terms.rounds if level > MOST_SETS else min(terms.rounds, 2), terms)
    instructions = max(2, min(_MOST_INSTRUCTIONS, round(level * min(1.0, terms.shown / terms.bare))))
    return Plan(instructions, sets, examples, terms.rounds, terms)
