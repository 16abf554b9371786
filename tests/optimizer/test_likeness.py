"""Sets of demonstrations by likeness, in a world of points on a circle and with the real embeddings."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from backend.calls.embedding import RememberingEmbedder
from backend.calls.embedding_sources import LocalModel
from backend.labeling import schema as schemas
from backend.labeling import selection
from backend.labeling.embedding import Vector
from backend.labeling.errors import EmbeddingError
from tests.labeling.building import choices
from tests.labeling.vectors import Angles, at, far_apart
from tests.optimizer.world import ACTIVE, DAY, MANY, PAIR, World, examples, level
from worker.labels.examples import Example
from worker.optimizer import demonstrations, likeness, propose
from worker.optimizer.demonstration_sets import Draw, drawn
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.evaluate import fair

REAL = RememberingEmbedder(LocalModel())
PLACES = ("card", "parcel", "film", "phone", "hotel")
MOODS = {"yes": ("great", "fine", "good"), "no": ("bad", "awful", "poor")}


def point(number: int, degrees: float, label: str) -> Example:
    return Example(str(number), {"text": f"{degrees:g} number {number}"}, {"relevant": (label,)}, DAY)


def ring(count: int = 16, step: float = 20.0) -> tuple[Example, ...]:
    """No two near copies up to 18 of them; two labels in turn."""
    return tuple(point(i, i * step, ("yes", "no")[i % 2]) for i in range(count))


def told(number: int) -> Example:
    """A sentence on one of five things, with a mood that is its label."""
    rng = random.Random(number)
    label = ("yes", "no")[number % 2]
    words = [PLACES[number % 5], *rng.sample(("was", "then", "the", "again", "never", "twice"), 4)]
    text = f"The {words[0]} {' '.join(words[1:])} {rng.choice(MOODS[label])} {number}"
    return Example(str(number), {"text": text}, {"relevant": (label,)}, DAY)


def made(pool: Sequence[Example] = ring(), seed: int = 0) -> list[DemonstrationSet]:
    return likeness.sets(PAIR, pool, Angles().embed, random.Random(seed))


def labels(one: DemonstrationSet, places: Sequence[int]) -> Counter[str]:
    return Counter(one.demonstrations[place].labels["relevant"][0] for place in places)


def packed_of(found: Sequence[DemonstrationSet]) -> DemonstrationSet:
    return next(each for each in found if each.packs)


def test_diverse_ones_come_first_then_the_most_similar_then_packs() -> None:
    found = likeness.sets(PAIR, [told(i) for i in range(60)], REAL.embed, random.Random(0))
    assert [(each.shown, bool(each.packs)) for each in found] == [(0, False), (8, False), (0, True), (4, False)]
    assert [each.origin for each in found] == [
        "8 demonstrations (diverse, balanced)",
        f"the 8 most similar of {len(found[1].demonstrations)} demonstrations",
        f"the nearest of {len(found[2].packs)} packs of 6 demonstrations",
        f"the 4 most similar of {len(found[1].demonstrations)} demonstrations",
    ]


def test_a_few_examples_are_shown_to_all_alike() -> None:
    assert made(ring(11)) == []
    assert [each.shown for each in made(ring(12))] == [0, 0, 4]


def test_the_pool_is_balanced_and_no_larger_than_48_or_two_a_label() -> None:
    pool = likeness.sets(PAIR, [told(i) for i in range(200)], REAL.embed, random.Random(0))[-1]
    assert labels(pool, range(48)) == {"yes": 24, "no": 24}
    many = likeness.sets(MANY, examples(MANY, 400), far_apart, random.Random(0))[0]
    assert Counter(each.labels["intent"] for each in many.demonstrations) == {(f"intent {i}",): 2 for i in range(77)}


def test_near_copies_of_what_is_in_stay_out() -> None:
    """13 degrees are a cosine of .974, 15 of .966; case and white space make no difference."""
    close = [point(100 + i, i * 20 + 13, "yes") for i in range(8)]
    twins = [Example(f"twin {e.id}", {"text": f"  {str(e.data['text']).upper()}"}, e.truth, DAY) for e in ring(8)]
    found = made((*ring(16), *close, *twins))
    for each in found[-1].demonstrations:
        others = [other for other in found[-1].demonstrations if other is not each]
        angle = min(abs(_angle(each) - _angle(other)) for other in others)
        assert math.cos(math.radians(angle)) < selection.NEAR_COPY
    assert len(found[-1].demonstrations) <= 18


def _angle(each: demonstrations.Demonstration) -> float:
    return float(each.values[0].text.split()[0])


def test_packs_are_of_neighbours_and_hold_both_labels() -> None:
    """Three bunches, each of them of one label but for one example."""
    pool = [point(i, (0, 120, 240)[i % 3] + 15 * (i // 3), "yes" if i // 3 else "no") for i in range(18)]
    packed = packed_of(made(pool))
    assert len(packed.packs) == 3
    for pack in packed.packs:
        assert len(pack) == 6
        assert set(labels(packed, pack)) == {"yes", "no"}
    assert set(range(len(packed.demonstrations))) == {place for pack in packed.packs for place in pack}


def test_packs_of_many_labels_hold_eight_of_them() -> None:
    packed = packed_of(likeness.sets(MANY, examples(MANY, 300), far_apart, random.Random(0)))
    for pack in packed.packs:
        assert len({packed.demonstrations[place].labels["intent"] for place in pack}) == 8


def test_one_label_alone_makes_packs_of_it() -> None:
    packed = packed_of(made([replace(each, truth={"relevant": ("yes",)}) for each in ring()]))
    assert {tuple(labels(packed, pack)) for pack in packed.packs} == {("yes",)}


def test_diverse_ones_are_balanced_and_less_alike_than_a_random_set() -> None:
    pool = [told(i) for i in range(60)]
    diverse = likeness.sets(PAIR, pool, REAL.embed, random.Random(0))[0]
    assert labels(diverse, range(8)) == {"yes": 4, "no": 4}
    by_chance = demonstrations.random_sets(PAIR, pool, (), 20, random.Random(0))[::2]
    assert [len(each.demonstrations) for each in by_chance] == [8] * 10
    assert _closest(diverse) < min(map(_closest, by_chance))


def _closest(one: DemonstrationSet) -> float:
    """The mean cosine of each with the one most like it."""
    vectors = np.asarray(REAL.embed([selection.text_of(each.values) for each in one.demonstrations]))
    return float((vectors @ vectors.T - 2 * np.eye(len(vectors))).max(axis=1).mean())


def test_the_same_seed_makes_the_same_sets() -> None:
    assert made(seed=3) == made(seed=3) != made(seed=4)


def test_texts_without_a_meaning_are_in_no_set_and_no_fault() -> None:
    """All vectors zero, so that nothing is nearer than anything else."""
    assert likeness.sets(PAIR, ring(), lambda texts: [(0.0, 0.0)] * len(texts), random.Random(0)) == []


def test_a_text_without_an_embedding_is_in_no_set() -> None:
    def embed(texts: Sequence[str]) -> list[Vector]:
        return [(0.0, 0.0) if "number 3" in text else at(float(text.split()[0])) for text in texts]

    found = likeness.sets(PAIR, ring(), embed, random.Random(0))
    assert found
    assert not any("number 3" in value.text for one in found for shown in one.demonstrations for value in shown.values)


def test_examples_that_cannot_be_read_are_not_shown() -> None:
    unreadable = [Example(f"u{i}", {}, {"relevant": ("yes",)}, DAY) for i in range(5)]
    assert [each.shown for each in made((*ring(), *unreadable))] == [0, 0, 4]
    assert made(unreadable) == []


def test_embeddings_that_fail_end_it() -> None:
    def fails(texts: Sequence[str]) -> list[Vector]:
        raise EmbeddingError("EMBEDDINGS_BASE_URL: away")

    with pytest.raises(EmbeddingError):
        likeness.sets(PAIR, ring(), fails, random.Random(0))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_example_is_asked_with_its_own_answer_under_a_prompt_that_selects(number: int) -> None:
    """One prompt serves all of them, so that what it was asked is found again."""
    pool = tuple(told(i) for i in range(60))
    chosen = likeness.sets(PAIR, pool, REAL.embed, random.Random(0))[number]
    prompt = replace(ACTIVE, demonstrations=chosen.demonstrations, shown=chosen.shown, packs=chosen.packs)
    world = World(pool, level(0.8))
    fair(PAIR, world.label)(prompt, world.items)
    assert {id(asked) for asked, _ in world.asked} == {id(world.asked[0][0])}
    for example in pool:
        seen = selection.for_task(prompt, PAIR.values(example.data), REAL)
        assert seen.demonstrations
        assert example.data["text"] not in {each.values[0].text for each in seen.demonstrations}
        assert propose.without_own(PAIR, prompt, example) is prompt


@pytest.mark.parametrize(
    ("count", "kinds"),
    [(1, ["hand"]), (2, ["hand", "random"]), (4, ["hand", "random", "diverse", "random"])],
)
def test_what_people_chose_comes_first_then_random_sets_and_those_by_likeness_in_turn(
    count: int, kinds: list[str]
) -> None:
    pool = tuple(told(i) for i in range(40))
    fixed = tuple(made for example in pool[:2] if (made := demonstrations.demonstration(PAIR, example)))
    found = drawn(Draw(PAIR, pool, (), fixed, REAL.embed), count, 0)
    assert [kind in each.origin for kind, each in zip(kinds, found, strict=True)] == [True] * count


@pytest.mark.parametrize(
    ("labels", "count", "kinds"),
    [
        (12, 80, ["random", "diverse"]),
        (13, 80, ["8 most", "random", "4 most"]),
        (13, 20, ["4 most", "random", "packs"]),
        (13, 11, ["random", "random"]),
    ],
)
def test_where_a_set_cannot_show_each_label_the_most_similar_come_first(
    labels: int, count: int, kinds: list[str]
) -> None:
    schema = schemas.parse(choices(*(f"intent {i}" for i in range(labels)), name="intent"))
    found = drawn(Draw(schema, examples(schema, count), (), embed=far_apart), 8, 0)
    assert [kind in each.origin for kind, each in zip(kinds, found, strict=False)] == [True] * len(kinds)
    assert len({repr(each) for each in found}) == len(found) == 8
