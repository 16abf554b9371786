"""Demonstrations as candidates: sets of labelled examples to show, drawn at random, and variants of a set."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from backend.labeling import reasons, selection
from backend.labeling.errors import TaskError
from backend.labeling.prompt import Demonstration, Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example

_REASON_CHARACTERS = 200
_FEWEST, _FEWER, _MOST = 4, 8, 12


@dataclass(frozen=True, slots=True)
class DemonstrationSet:
    """Fixed before any race, so that folds and parents share what was paid for. `shown` and `packs` are the prompt's:
    what each task sees of it, all where neither is set."""

    demonstrations: tuple[Demonstration, ...]
    origin: str
    shown: int = 0
    packs: tuple[tuple[int, ...], ...] = ()

    def is_in(self, prompt: Prompt) -> bool:
        return (self.demonstrations, self.shown, self.packs) == (prompt.demonstrations, prompt.shown, prompt.packs)


def demonstration(schema: LabelingSchema, example: Example) -> Demonstration | None:
    """None for an example whose data cannot be shown."""
    try:
        values = schema.values(example.data)
    except TaskError:
        return None
    reason = reasons.shorten(example.reason, _REASON_CHARACTERS)
    return Demonstration(selection.shortened(values), dict(example.truth), reason)


def by_hand(shown: Sequence[Demonstration]) -> DemonstrationSet:
    return DemonstrationSet(tuple(shown), f"{len(shown)} demonstrations (fixed by hand)")


def random_sets(
    schema: LabelingSchema, pool: Sequence[Example], errors: Sequence[Example], count: int, rng: random.Random
) -> list[DemonstrationSet]:
    """`count` sets from `pool`, of two sizes in turn: balanced over the labels; every third half from `errors`.

    Empty without examples to show.
    """
    small, large = sizes(pool)
    found = []
    for number in range(count):
        size = min((large, small)[number % 2], len(pool))
        wrong = rng.sample(list(errors), min(size // 2, len(errors))) if number % 3 == 2 else []  # noqa: PLR2004
        rest = [example for example in pool if example not in wrong]
        chosen = [*wrong, *balanced(rest, size - len(wrong), rng)]
        rng.shuffle(chosen)
        shown = tuple(made for example in chosen if (made := demonstration(schema, example)))
        if shown:
            kind = "random, with errors" if wrong else "random, balanced"
            found.append(DemonstrationSet(shown, f"{len(shown)} demonstrations ({kind})"))
    return found


def sizes(pool: Sequence[Example]) -> tuple[int, int]:
    """One and two a label, between 4 and 8 and at most 12; no more than there are."""
    labels = len({label_of(example) for example in pool})
    small = max(_FEWEST, min(_MOST, labels))
    return small, max(small, min(_MOST, 2 * labels, len(pool)), min(_FEWER, len(pool)))


def balanced(pool: Sequence[Example], size: int, rng: random.Random) -> list[Example]:
    """Label by label in turn, each label's examples in random order; of many labels a random choice begins."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        by_label[label_of(example)].append(example)
    stacks = [rng.sample(stack, len(stack)) for _, stack in sorted(by_label.items())]
    rng.shuffle(stacks)
    chosen: list[Example] = []
    while len(chosen) < size and any(stacks):
        for stack in stacks:
            if stack and len(chosen) < size:
                chosen.append(stack.pop())
    return chosen


def label_of(example: Example) -> str:
    return repr(sorted(example.truth.items()))


def variants(prompt: Prompt) -> list[DemonstrationSet]:
    """What the prompt shows in another order, then in another number; none for a prompt that shows nothing.

    Of the most similar the order is given by the task: twice and half as many are shown. A half keeps the first of each
    label in turn, in their order.
    """
    shown = prompt.demonstrations
    if prompt.packs:
        turned = tuple(pack[::-1] for pack in prompt.packs)
        return [DemonstrationSet(shown, "its packs in reverse order", packs=turned)]
    if prompt.shown:
        numbers = [number for number in (2 * prompt.shown, prompt.shown // 2) if 0 < number < len(shown)]
        return [DemonstrationSet(shown, f"the {number} most similar of them", number) for number in numbers]
    found = [DemonstrationSet(shown[::-1], "its demonstrations in reverse order")] if len(shown) > 1 else []
    if len(shown) >= _FEWEST:
        found.append(DemonstrationSet(_halved(shown), f"{len(shown) // 2} of its demonstrations"))
    return found


def _halved(shown: Sequence[Demonstration]) -> tuple[Demonstration, ...]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(shown):
        places[repr(sorted(each.labels.items()))].append(place)
    rank = {place: i for stack in places.values() for i, place in enumerate(stack)}
    first = sorted(range(len(shown)), key=lambda place: (rank[place], place))[: len(shown) // 2]
    return tuple(shown[place] for place in sorted(first))
