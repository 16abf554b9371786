"""Which sets of demonstrations a search tries, of all that there are to draw."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from backend.labeling.prompt import Demonstration
from backend.labeling.schema import LabelingSchema
from worker import demonstrations, likeness
from worker.demonstrations import DemonstrationSet
from worker.examples import Example
from worker.likeness import Embed

# The first place of one by likeness, and how far on the next is.
_AMONG_MANY, _AMONG_FEW = (0, 2), (1, 4)


@dataclass(frozen=True, slots=True)
class Draw:
    """`pool` is what may be shown, `errors` those of it that the active prompt has wrong, `fixed` what people chose.
    Without `embed` there are no sets by likeness."""

    schema: LabelingSchema
    pool: Sequence[Example]
    errors: Sequence[Example]
    fixed: tuple[Demonstration, ...] = ()
    embed: Embed | None = None


def drawn(draw: Draw, count: int, seed: int) -> tuple[DemonstrationSet, ...]:
    """`count` sets: what people chose first, then random ones and those by likeness; in turn where labels are many,
    else three to one: the best of more random ones is better, and of each kind by likeness there is one.

    Raises what `draw.embed` raises.
    """
    rng, other = random.Random(seed), random.Random(seed)  # noqa: S311 - not a secret; fewer sets are the first of more
    chance = demonstrations.random_sets(draw.schema, draw.pool, draw.errors, count, rng)
    fixed = [demonstrations.by_hand(draw.fixed)] if draw.fixed else []
    more = count - len(fixed) > 1  # the first is random
    alike = likeness.sets(draw.schema, draw.pool, draw.embed, other) if draw.embed and more else []
    first, step = _AMONG_MANY if likeness.more_labels_than_shown(draw.pool) else _AMONG_FEW
    for number, each in enumerate(alike):
        chance.insert(first + number * step, each)
    return tuple([*fixed, *chance][:count])
