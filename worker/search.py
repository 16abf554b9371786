"""The search for a better prompt on some of the examples: rounds of proposals, each raced against the best before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from backend.labeling.schema import LabelingSchema
from worker import demonstrations, propose, techniques
from worker.demonstrations import DemonstrationSet
from worker.evaluate import Label
from worker.examples import Example
from worker.pareto import complement
from worker.propose import Candidate, with_demonstrations
from worker.race import Entry, race, stages
from worker.techniques import Technique

_PARENTS = 2
_PARTNERS = 3
# Calls beyond those of one search from scratch: each fold begins with other examples, so that other candidates survive
# their first stage, the more of them the more there are.
_MARGIN, _MARGIN_OF_FOLDS, _MARGIN_OF_ONE = 1.1, 2.05, 0.3
# A wider search on so many examples beats a narrower one on more of them; on fewer none tells prompts apart.
_ENOUGH, _LEAST = 150, 40

# Told after each round: its name, candidates alive, the best's soft score.
Told = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is tried on how many examples, so that it fits the budget; `cross_fitted`: once more without each fold.

    `calls` is about the most evaluations that it takes when nothing is cached: between all and half of it is used.
    `extra` is how many of them an example takes under the techniques that are tried last.
    """

    instructions: int
    sets: int
    examples: int
    cross_fitted: bool = True
    rounds: int = 3
    extra: int = 0

    @property
    def calls(self) -> int:
        late = self.sets - self.first_sets + min(_PARTNERS, self.instructions - 1) + self.extra
        widths = (self.instructions, _PARENTS * self.first_sets, late)[: self.rounds]
        races = sum(race_calls(width, self.examples) for width in widths)
        if self.cross_fitted:
            return round(min(_MARGIN_OF_FOLDS, _MARGIN_OF_ONE * self.instructions) * races)
        return min(round(_MARGIN * races), sum(widths) * self.examples)

    @property
    def first_sets(self) -> int:
        return (self.sets + 1) // 2


_WIDTHS = ((20, 12), (16, 8), (12, 6), (10, 4), (6, 3), (4, 2), (3, 1))


def plan_for(n: int, calls: int, *, cross_fitted: bool, rounds: int = 3, extra: int = 0) -> Plan:
    """The widest that fits on 150 of the `n` examples, and with it as many of them as fit, 40 at least."""
    enough = min(n, _ENOUGH)
    plans = [Plan(*width, enough, cross_fitted, rounds, extra) for width in _WIDTHS]
    widest = next((plan for plan in plans if plan.calls <= calls), plans[-1])
    sizes = (replace(widest, examples=size) for size in range(n, min(n, _LEAST), -1))
    return next((plan for plan in sizes if plan.calls <= calls), replace(widest, examples=min(n, _LEAST)))


def race_calls(candidates: int, n: int) -> int:
    """Of one race from scratch."""
    calls, before, alive = 0, 0, candidates
    for size in stages(n):
        calls += alive * (size - before)
        before, alive = size, max(min(alive, _PARENTS), -(-alive // 2))
    return calls


@dataclass(frozen=True, slots=True)
class Material:
    """What the search chooses from, the same for all folds: `active` uncalibrated, `instructions` without
    demonstrations, `sets` of these, and `techniques` (with so many `samples`) to try on the best of it. So many
    `variants` of the best demonstrations are tried last."""

    active: Candidate
    instructions: tuple[Candidate, ...]
    sets: tuple[DemonstrationSet, ...]
    plan: Plan
    soft: bool = True
    techniques: tuple[Technique, ...] = ()
    samples: int = 1
    variants: int = 0


def search(
    schema: LabelingSchema, material: Material, examples: Sequence[Example], label: Label, tell: Told
) -> tuple[list[Entry], list[Entry]]:
    """The entries of the first race, which is zero-shot but for the active prompt, and those of the last; best first.

    `examples` in the order of use.
    """
    entered: dict[tuple[str, int], Entry] = {}

    def raced(candidates: Sequence[Candidate]) -> list[Entry]:
        return race(schema, candidates, examples, label, soft=material.soft, entered=entered)

    begin = propose.distinct([material.active, *material.instructions])
    first = raced(begin)
    tell("instructions", len(begin), first[0].soft)
    best, rounds = first, material.plan.rounds
    if rounds > 1 and material.sets:
        best = raced(_shown_to(material, first))
        tell("demonstrations", len(best), best[0].soft)
    if rounds > 2 and (material.sets or material.techniques):  # noqa: PLR2004 - the third round
        tried = _one_step_away(schema, material, best[0], examples, label)
        best = raced(propose.distinct([*_crossed(material, first, best), *tried]))
        tell("combinations", len(best), best[0].soft)
    return first, best


def _one_step_away(
    schema: LabelingSchema, material: Material, best: Entry, examples: Sequence[Example], label: Label
) -> list[Candidate]:
    found = techniques.variants(schema, best.candidate, material.techniques, material.samples)
    if "cascade" in material.techniques:
        seen = examples[: len(best.grades)]
        right = [graded.right for graded in best.grades]
        found += techniques.cascades(best.candidate, label(best.candidate.prompt, seen), right)
    return found


def _shown_to(material: Material, first: Sequence[Entry]) -> list[Candidate]:
    """The first half of the sets on two parents: the best, and the one that does best where the best fails."""
    parents = [first[0].candidate, *(entry.candidate for entry in complement(first, _PARENTS - 1))]
    sets = material.sets[: material.plan.first_sets]
    kids = [with_demonstrations(parent, each) for parent in parents for each in sets]
    return propose.distinct([material.active, *parents, *kids])


def _crossed(material: Material, first: Sequence[Entry], second: Sequence[Entry]) -> list[Candidate]:
    """The best demonstrations under other good instructions, and the sets that are left under the best instruction; the
    best demonstrations in another order and number."""
    best = second[0].candidate
    bare = first[0].candidate
    shown = next((each for each in material.sets if each.is_in(best.prompt)), None)
    partners = [entry.candidate for entry in first[: _PARTNERS + 1] if not entry.candidate.prompt.demonstrations]
    crossed = [with_demonstrations(partner, shown) for partner in partners] if shown else []
    late = [with_demonstrations(bare, each) for each in material.sets[material.plan.first_sets :]]
    varied = [with_demonstrations(best, each) for each in demonstrations.variants(best.prompt)[: material.variants]]
    runners_up = [entry.candidate for entry in second[:3]]
    return propose.distinct([material.active, best, *runners_up, *crossed, *late, *varied])


def instruction_set(prompts: Sequence[Candidate], own: Sequence[Candidate], plan: Plan) -> tuple[Candidate, ...]:
    """The instruction at hand, then `prompts` (the guideline, earlier challengers, the teacher's) and the templates in
    turn, up to the plan: where few are tried neither crowds out the other."""
    in_turn = [each for pair in zip_longest(prompts, own[1:]) for each in pair if each]
    return tuple(propose.distinct([*own[:1], *in_turn])[: plan.instructions])
