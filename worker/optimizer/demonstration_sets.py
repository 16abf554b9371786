"""Which sets of demonstrations a search tries, of all that there are to draw."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from backend.labeling.prompt import Demonstration
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer import demonstrations, likeness
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.likeness import Embed

# The places of those by likeness.
_AMONG_MANY, _AMONG_FEW = (0, 2, 4, 6), (1, 3, 7, 15)


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
    else one of these whenever the sets double: the best of more random ones is better, of each other kind there is one.

    Raises what `draw.embed` raises.
    """
    rng, other = random.Random(seed), random.Random(seed)  # noqa: S311 - not a secret; fewer sets are the first of more
    chance = demonstrations.random_sets(draw.schema, draw.pool, draw.errors, count, rng)
    fixed = [demonstrations.by_hand(draw.fixed)] if draw.fixed else []
    more = count - len(fixed) > 1  # the first is random
    alike = likeness.sets(draw.schema, draw.pool, draw.embed, other) if draw.embed and more else []
    places = _AMONG_MANY if likeness.more_labels_than_shown(draw.pool) else _AMONG_FEW
    for place, each in zip(places, alike, strict=False):
        chance.insert(place, each)
    return tuple([*fixed, *chance][:count])
