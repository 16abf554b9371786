"""Runs that come again and again as labels arrive: each is one more chance to be lucky."""

from collections.abc import Callable

from backend.labeling.prompt import Prompt
from backend.storage.runs import Spend
from tests.optimizer.world import ACTIVE, PAIR, World, better_if, examples, level
from worker.optimizer.optimize import Tools
from worker.simulation.simulate import Plan, Senses, simulate

FEW, MANY = tuple(range(20, 200, 20)), (200, 240, 280, 320, 360, 400)


def published(quality: Callable[[Prompt], float], seed: int, counts: tuple[int, ...] = MANY) -> list[int]:
    """At how many labels."""
    items = examples(count=counts[-1] + 10, seed=seed)
    world = World(items, quality, seed=seed)
    replayed, tested = items[: counts[-1]], items[counts[-1] :]
    plan = Plan(PAIR, replayed, tested, ACTIVE, counts, "model", seed=seed, calls=300, rounds=1)
    steps = simulate(plan, Senses(world.label, Tools(world.label), lambda: Spend(usd=0.0))).steps
    return [step.labels for step in steps if step.decision == "published"]


def test_where_nothing_can_be_gained_repeated_runs_seldom_publish(
    record_property: Callable[[str, object], None],
) -> None:
    """The holdout is looked at two or three times. Of 40 simulated projects 4 ever published: of 12 at that share more
    than 3 do in one of 40."""
    found = [published(level(0.75), seed) for seed in range(12)]
    record_property("published", found)
    assert sum(map(bool, found)) <= 3


def test_where_nothing_can_be_gained_nine_runs_on_few_labels_seldom_publish(
    record_property: Callable[[str, object], None],
) -> None:
    """Of 40 projects 8 ever published (16 where each run asked for 90 %): of 8 at that share more than 3 do in one of
    18. Of these 8, searched narrowly, 2 do, and 4 did."""
    found = [published(level(0.75), seed, FEW) for seed in range(8)]
    record_property("published", found)
    assert sum(map(bool, found)) <= 3


def test_a_real_gain_is_published_all_the_same() -> None:
    found = [published(better_if(lambda prompt: "of the text" in prompt.instruction), seed) for seed in range(3)]
    assert all(found)
