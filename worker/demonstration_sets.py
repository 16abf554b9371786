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

_ONE_IN = 3  # of the late places


@dataclass(frozen=True, slots=True)
class Draw:
    """`pool` is what may be shown, `errors` those of it that the active prompt has wrong, `fixed` what people chose.
    Without `embed` there are no sets by likeness; with `shared_only` none that differs from task to task."""

    schema: LabelingSchema
    pool: Sequence[Example]
    errors: Sequence[Example]
    fixed: tuple[Demonstration, ...] = ()
    embed: Embed | None = None
    shared_only: bool = False


def drawn(draw: Draw, count: int, early: int, seed: int) -> tuple[tuple[DemonstrationSet, ...], int]:
    """`count` sets, what people chose first, then random ones; and how many variants of the best are to be tried.

    With embeddings, sets by likeness take the places after the first `early`, and every third of these is kept for the
    variants, so that a search takes no more calls. Raises what `draw.embed` raises.
    """
    rng = random.Random(seed)  # noqa: S311 - not a secret
    chance = demonstrations.random_sets(draw.schema, draw.pool, draw.errors, count, rng)
    fixed = [demonstrations.by_hand(draw.fixed)] if draw.fixed else []
    found = [*fixed, *chance][:count]
    late = found[early:]
    if draw.embed is None or not late:
        return tuple(found), 0
    variants = len(late) // _ONE_IN
    alike = likeness.sets(draw.schema, draw.pool, draw.embed, rng)
    alike = [each for each in alike if not draw.shared_only or not (each.shown or each.packs)]
    return (*found[:early], *[*alike, *late][: len(late) - variants]), variants
