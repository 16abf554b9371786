"""Sets of demonstrations by likeness: the most similar to each task, packs of neighbours, a diverse few.

From train only, as the pool is; which of them a task sees is `backend.labeling.selection`'s.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from backend.labeling import selection
from backend.labeling.embedding import Vector
from backend.labeling.prompt import Demonstration
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.demonstrations import DemonstrationSet, balanced, demonstration, label_of, sizes

# Vectors of unit length in the order of the texts, as an `Embedder`'s `embed`.
Embed = Callable[[Sequence[str]], Sequence[Vector]]
Floats = NDArray[np.float64]

_LEAST, _USUAL, _LARGEST, _PER_LABEL = 12, 48, 192, 2
_LOOKED_AT = 4  # examples for each that is kept
_FEW_SHOWN, _MORE_SHOWN = 4, 8
_PACK, _LARGEST_PACK, _MOST_PACKS = 6, 8, 8
_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class _Pool:
    """What may be shown, no two near copies of one another: a vector and a label each."""

    shown: tuple[Demonstration, ...]
    labels: tuple[str, ...]
    vectors: Floats

    def __len__(self) -> int:
        return len(self.shown)


def sets(
    schema: LabelingSchema, examples: Sequence[Example], embed: Embed, rng: random.Random
) -> list[DemonstrationSet]:
    """8 or so diverse ones, the 8 most similar of up to 48 (or two a label, up to 192), packs, the 4 most similar; the
    most similar first where there are more labels than one set shows.

    None of fewer than 12 examples, and not the 8 most similar of fewer than 24. Raises what `embed` raises.
    """
    pool = _pool(schema, examples, embed, rng)
    if len(pool) < _LEAST:
        return []
    packed, diverse = _packed(pool, rng), _diverse(pool, sizes(examples)[1], rng)
    more = [_similar(pool, _MORE_SHOWN)] if len(pool) >= 3 * _MORE_SHOWN else []
    if more_labels_than_shown(examples):
        return [*more, _similar(pool, _FEW_SHOWN), packed, diverse]
    return [diverse, *more, packed, _similar(pool, _FEW_SHOWN)]


def more_labels_than_shown(examples: Sequence[Example]) -> bool:
    """Then a set that all tasks share leaves labels out, and one of each task's own likely shows the right one: on 20
    bank intents SmolLM2 has .09 to .15 with 12 shared demonstrations, .39 and .52 with the 8 and 4 most similar."""
    return len({label_of(example) for example in examples}) > sizes(examples)[1]


def _pool(schema: LabelingSchema, examples: Sequence[Example], embed: Embed, rng: random.Random) -> _Pool:
    """Balanced over the labels; a near copy of one that is in already stays out, and so does what has no embedding."""
    size = min(_LARGEST, max(_USUAL, _PER_LABEL * len({label_of(example) for example in examples})))
    looked_at = balanced(examples, _LOOKED_AT * size, rng)
    made = [(label_of(each), shown) for each in looked_at if (shown := demonstration(schema, each))]
    texts = [selection.text_of(shown.values) for _, shown in made]
    vectors = np.asarray(embed(texts) if texts else [[]], dtype=np.float64)
    kept = _in_turn([label for label, _ in made], _distinct(texts, vectors))[:size]
    return _Pool(tuple(made[i][1] for i in kept), tuple(made[i][0] for i in kept), vectors[kept])


def _distinct(texts: Sequence[str], vectors: Floats) -> list[int]:
    """Places of those that have a vector and are no near copy of one before them."""
    alike = vectors @ vectors.T >= selection.NEAR_COPY
    kept: list[int] = []
    words: set[str] = set()
    for i, text in enumerate(map(selection.normalised, texts)):
        if vectors[i].any() and text not in words and not alike[i, kept].any():
            kept.append(i)
            words.add(text)
    return kept


def _in_turn(labels: Sequence[str], places: Sequence[int]) -> list[int]:
    """The first of each label, then the second of each; labels in the order of their first."""
    stacks: dict[str, list[int]] = defaultdict(list)
    for place in places:
        stacks[labels[place]].append(place)
    turns = max(map(len, stacks.values()), default=0)
    return [stack[turn] for turn in range(turns) for stack in stacks.values() if turn < len(stack)]


def _similar(pool: _Pool, count: int) -> DemonstrationSet:
    return DemonstrationSet(pool.shown, f"the {count} most similar of {len(pool)} demonstrations", shown=count)


def _packed(pool: _Pool, rng: random.Random) -> DemonstrationSet:
    """A pack for each cluster of k-means; an example may be in several. What is in none is left out."""
    clusters = min(_MOST_PACKS, max(2, len(pool) // _PACK), len(np.unique(pool.vectors, axis=0)))
    fitted = KMeans(clusters, n_init=_RESTARTS, random_state=rng.getrandbits(31)).fit(pool.vectors)
    size = min(_LARGEST_PACK, max(_PACK, len(set(pool.labels))))
    packs = dict.fromkeys(_pack(pool, centre, size) for centre in fitted.cluster_centers_)
    used = sorted({place for pack in packs for place in pack})
    renumbered = tuple(tuple(used.index(place) for place in rng.sample(pack, len(pack))) for pack in packs)
    origin = f"the nearest of {len(packs)} packs of {size} demonstrations"
    return DemonstrationSet(tuple(pool.shown[place] for place in used), origin, packs=renumbered)


def _pack(pool: _Pool, centre: Floats, size: int) -> tuple[int, ...]:
    """The nearest of each label in turn, the label with the nearest example first; so two labels, where there are."""
    nearest = np.argsort(((pool.vectors - centre) ** 2).sum(axis=1), kind="stable")
    return tuple(sorted(_in_turn(pool.labels, [int(place) for place in nearest])[:size]))


def _diverse(pool: _Pool, size: int, rng: random.Random) -> DemonstrationSet:
    chosen = _farthest_first(pool, min(size, len(pool)))
    shown = tuple(pool.shown[place] for place in rng.sample(chosen, len(chosen)))
    return DemonstrationSet(shown, f"{len(shown)} demonstrations (diverse, balanced)")


def _farthest_first(pool: _Pool, size: int) -> list[int]:
    """The most typical, then each time the one that is least like those before (Gonzalez 1985), of a label that they
    hold least often."""
    chosen = [int((pool.vectors @ pool.vectors.mean(axis=0)).argmax())]
    while len(chosen) < size:
        nearest = (pool.vectors @ pool.vectors[chosen].T).max(axis=1)
        times = Counter(pool.labels[place] for place in chosen)
        left = [place for place in range(len(pool)) if place not in chosen]
        chosen.append(min(left, key=lambda place: (times[pool.labels[place]], nearest[place])))
    return chosen
