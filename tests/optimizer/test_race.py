import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Prompt
from tests.optimizer.world import ACTIVE, FOUR, PAIR, World, better_if, draw, examples, level, promising
from worker.labels.examples import Example
from worker.optimizer.propose import Candidate
from worker.optimizer.race import Entry, enter, in_order, normalised_mean, race, stages

MARGINS = st.lists(st.floats(-20, 20).filter(lambda m: abs(m) > 1e-3), min_size=1, max_size=30)


def wordings(count: int) -> list[Candidate]:
    return [Candidate(Prompt(f"Wording {i}."), f"wording {i}") for i in range(count)]


def test_the_soft_score_is_that_of_arithmetic() -> None:
    # |m| is 1, 1, 3: the median is 1. (tanh 1 - tanh 1 + tanh 3) / 3 = .995055 / 3 = .331685.
    assert normalised_mean([1.0, -1.0, 3.0]) == pytest.approx(0.331685, abs=1e-6)
    # |m| is 2, 4: the median is 3. (tanh(2/3) + tanh(4/3)) / 2 = (.582783 + .870062) / 2.
    assert normalised_mean([2.0, 4.0]) == pytest.approx(0.726422, abs=1e-6)


def test_without_any_margin_the_scale_is_a_nat() -> None:
    assert normalised_mean([0.0, 0.0, 0.0]) == 0
    assert normalised_mean([0.0, 0.0, 1.0]) == pytest.approx(math.tanh(1) / 3)


@given(MARGINS, st.floats(0.01, 100))
def test_a_louder_candidate_gains_nothing(margins: list[float], loudness: float) -> None:
    assert normalised_mean([loudness * m for m in margins]) == pytest.approx(normalised_mean(margins))


@given(MARGINS)
def test_the_soft_score_lies_between_wrong_and_right(margins: list[float]) -> None:
    assert -1 <= normalised_mean(margins) <= 1
    assert normalised_mean([-m for m in margins]) == pytest.approx(-normalised_mean(margins))


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [1]),
        (16, [16]),
        (20, [20]),
        (21, [16, 21]),
        (40, [16, 40]),
        (41, [16, 32, 41]),
        (59, [16, 32, 59]),
        (60, [24, 60]),
        (100, [24, 48, 100]),
        (1000, [24, 48, 96, 192, 384, 768, 1000]),
    ],
)
def test_stages_double_and_the_last_is_all(n: int, expected: list[int]) -> None:
    assert stages(n) == expected


def test_a_label_never_helps_to_grade_itself() -> None:
    """With two labels, a flipped truth turns its own margin's sign and nothing else: its calibration never saw it."""
    world = World(examples(count=30), level(0.8), lean={"yes": 1.0})
    (candidate,) = wordings(1)
    before = enter(PAIR, candidate, world.items, world.label)
    outcomes = world.label(candidate.prompt, world.items)
    for i in (0, 7, 29):
        flipped = {"relevant": ("no",) if world.items[i].truth["relevant"] == ("yes",) else ("yes",)}
        items = [*world.items[:i], replace(world.items[i], truth=flipped), *world.items[i + 1 :]]
        after = enter(PAIR, candidate, items, lambda _prompt, _items: outcomes)
        assert after.grades[i].margin == pytest.approx(-before.grades[i].margin)
        assert after.prompt.calibration != before.prompt.calibration


def test_an_entry_carries_the_calibration_of_all_its_examples() -> None:
    world = World(examples(count=30), level(0.8), lean={"yes": 2.0})
    entry = enter(PAIR, wordings(1)[0], world.items, world.label)
    assert entry.prompt.calibration.fitted_on == 30
    assert entry.candidate.prompt.calibration == Calibration()
    assert len(entry.grades) == 30


def raced(world: World, candidates: Sequence[Candidate], *, soft: bool = True) -> list[Entry]:
    return race(world.schema, candidates, in_order(world.items, draw(world.seed)), world.label, soft=soft)


def share_of(wins: Callable[[Entry], bool], repetitions: int = 16, *, soft: bool = True, labels: int = 40) -> float:
    """Of races of 12 wordings, of which number 5 is .85 accurate and the others .75."""
    quality = better_if(lambda prompt: prompt.instruction == "Wording 5.", accuracy=0.75, better=0.85)
    worlds = [World(examples(count=labels, seed=seed), quality, seed=seed) for seed in range(repetitions)]
    return sum(wins(raced(world, wordings(12), soft=soft)[0]) for world in worlds) / repetitions


def test_the_best_of_twelve_mostly_wins_and_near_misses_tell_more_than_right_and_wrong() -> None:
    best = "wording 5"
    soft = share_of(lambda entry: entry.candidate.origin == best)
    hard = share_of(lambda entry: entry.candidate.origin == best, soft=False)
    assert soft > hard
    assert soft >= 0.5


def test_the_worse_half_is_stopped_early_and_its_calls_are_saved() -> None:
    world = World(examples(count=100), promising())
    found = raced(world, wordings(16))
    assert [len(entry.grades) for entry in found] == [100] * 4 + [48] * 4 + [24] * 8
    assert len(world.asked) == 16 * 24 + 8 * 24 + 4 * 52


def test_of_those_raced_to_the_end_the_best_comes_first() -> None:
    found = raced(World(examples(count=100), promising()), wordings(16))
    softs = [entry.soft for entry in found[:4]]
    assert softs == sorted(softs, reverse=True)


def test_two_are_always_raced_to_the_end() -> None:
    assert [len(entry.grades) for entry in raced(World(examples(count=100), promising()), wordings(2))] == [100, 100]
    (alone,) = raced(World(examples(count=100), promising()), wordings(1))
    assert len(alone.grades) == 100


def test_candidates_that_answer_alike_keep_their_order() -> None:
    world = World(examples(count=40), level(0.8))
    found = race(PAIR, wordings(3), world.items, lambda _prompt, items: world.label(ACTIVE, items))
    assert [entry.candidate.origin for entry in found] == ["wording 0", "wording 1", "wording 2"]


def test_a_candidate_whose_every_answer_fails_comes_last() -> None:
    world = World(examples(count=20), level(0.3), fails=lambda prompt, _: prompt.instruction == "Wording 0.")
    last = raced(world, wordings(4))[-1]
    assert (last.candidate.origin, last.accuracy, last.prompt.calibration) == ("wording 0", 0.0, Calibration())


@given(st.integers(0, 1000), st.integers(8, 60))
def test_every_beginning_of_the_order_holds_the_labels_in_their_shares(seed: int, size: int) -> None:
    ordered = in_order(examples(FOUR, 100), random.Random(seed))
    counts = Counter(example.truth["side"] for example in ordered[:size])
    assert max(abs(count - size / 4) for count in counts.values()) <= 2
    assert len(counts) == 4


def test_the_order_is_the_seed_s_and_loses_nothing() -> None:
    items = examples(FOUR, 50)

    def ids(seed: int, of: Sequence[Example] = items) -> list[str]:
        return [example.id for example in in_order(of, random.Random(seed))]

    assert ids(1) == ids(1) != ids(2)
    assert sorted(ids(1)) == sorted(example.id for example in items)
