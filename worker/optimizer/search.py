"""The search for a better prompt on some of the examples: rounds of proposals, each raced against the best before.

First instructions, zero-shot; then sets of demonstrations, under the instruction at hand, so that what is asked for
does not depend on what won before and folds share it; then the best of both together, the best set in another order and
number, and techniques. As many sets as instructions: on small models sets lie 20 to 30 points apart, instructions 10,
and a race drops the bad ones early. Where zero-shot answers are dear other instructions are mixed in among the sets.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, zip_longest

from backend.labeling.schema import LabelingSchema
from backend.labeling.verbalizer import CodeKind
from worker.labels.examples import Example
from worker.optimizer import demonstrations, propose, techniques
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.evaluate import Label
from worker.optimizer.pareto import complement
from worker.optimizer.plan import PARTNERS, VARIANTS, Plan
from worker.optimizer.propose import Candidate, with_demonstrations
from worker.optimizer.race import Entry, race
from worker.optimizer.techniques import Technique

_OWN = 3  # sets under the instruction at hand, to one under another, where those are mixed

# Told after each round: its name, candidates alive, the best's soft score.
Told = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class Material:
    """What the search chooses from, the same for all folds: `active` uncalibrated, `instructions` without
    demonstrations but for earlier prompts that have some, `sets` of these, and `techniques` (with so many `samples`) to
    try on the best of it. The first of them, as many as `plan` says, are tried."""

    active: Candidate
    instructions: tuple[Candidate, ...]
    sets: tuple[DemonstrationSet, ...]
    plan: Plan
    soft: bool = True
    techniques: tuple[Technique, ...] = ()
    samples: int = 1


def search(
    schema: LabelingSchema,
    material: Material,
    examples: Sequence[Example],
    label: Label,
    tell: Told,
    entered: dict[tuple[str, int], Entry] | None = None,
) -> tuple[list[Entry], list[Entry]]:
    """The entries of the first race, which is zero-shot but for the active prompt and earlier ones, and those of the
    last; best first.

    `examples` in the order of use. `entered` is what an earlier search on the same examples filled, and is filled.
    """
    entered = {} if entered is None else entered

    def raced(candidates: Sequence[Candidate]) -> list[Entry]:
        return race(schema, candidates, examples, label, soft=material.soft, entered=entered)

    begin = propose.distinct([material.active, *material.instructions[: material.plan.instructions]])
    first = raced(begin)
    tell("instructions", len(begin), first[0].soft)
    best, rounds = first, material.plan.rounds
    if rounds > 1 and material.sets:
        best = raced(_shown(material, first))
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


def _shown(material: Material, first: Sequence[Entry]) -> list[Candidate]:
    shown = [with_demonstrations(*pair) for pair in zip(_parents(material), _sets(material), strict=False)]
    return propose.distinct([material.active, first[0].candidate, *shown])


def _parents(material: Material) -> Iterator[Candidate]:
    """The instruction at hand for each set; where instructions are mixed, for every fourth set one of the others."""
    own, *others = material.instructions if material.plan.mixes else material.instructions[:1]
    for other in cycle(others or [own]):
        yield from [own] * _OWN
        yield other


def _sets(material: Material) -> tuple[DemonstrationSet, ...]:
    return material.sets[: material.plan.sets]


def _crossed(material: Material, first: Sequence[Entry], second: Sequence[Entry]) -> list[Candidate]:
    """The best demonstrations under the best instructions and the one that is right where the best of them fails, or
    where those are mixed under the next ones; the second best under the best; the best in another order and number."""
    best = second[0].candidate
    sets = [each for entry in second for each in _sets(material) if each.is_in(entry.candidate.prompt)]
    tried = [each.prompt for each in material.instructions]  # the active prompt may not be among them, being too dear
    bare = [entry for entry in first if entry.candidate.prompt in tried]
    compared = [entry.candidate for entry in [bare[0], *complement(bare, 1), *bare]]
    partners = propose.distinct([*compared, *(material.instructions if material.plan.mixes else ())])
    crossed = [with_demonstrations(partner, each) for each in sets[:1] for partner in partners[: PARTNERS + 1]]
    crossed += [with_demonstrations(partners[0], each) for each in sets[1:2]]
    varied = [with_demonstrations(best, each) for each in demonstrations.variants(best.prompt)[:VARIANTS]]
    runners_up = [entry.candidate for entry in second[:3]]
    return propose.distinct([material.active, best, *runners_up, *crossed, *varied])


def taught_places(plan: Plan) -> int:
    """How many of what the teacher writes are tried: every other instruction that is not the one at hand."""
    mixed = max(plan.sets // (_OWN + 1), PARTNERS) if plan.mixes else 0
    return math.ceil(max(plan.instructions - 1, mixed) / 2)


def instruction_set(
    earlier: Sequence[Candidate],
    own: Sequence[Candidate],
    codes: CodeKind = "auto",
    taught: Sequence[Candidate] = (),
) -> tuple[Candidate, ...]:
    """The instruction at hand, then the teacher's in turn with all others, which are `earlier` prompts (the guideline,
    challengers) and the templates in turn: where few are tried none crowds out another. With letters as `codes` all of
    them, else as they are."""
    ordered = [*own[:1], *_in_turn(taught, _in_turn(earlier, own[1:]))]
    if codes == "letters":
        ordered = [replace(each, prompt=replace(each.prompt, codes=codes)) for each in ordered]
    return tuple(propose.distinct(ordered))


def _in_turn(some: Sequence[Candidate], others: Sequence[Candidate]) -> list[Candidate]:
    return [each for pair in zip_longest(some, others) for each in pair if each]
