"""Runs that come again and again as labels arrive: each is one more chance to be lucky."""

from collections.abc import Callable

from backend.labeling.prompt import Prompt
from backend.runs import Spend
from tests.optimizer.world import ACTIVE, PAIR, World, better_if, examples, level
from worker.optimize import Tools
from worker.simulate import Plan, Senses, simulate

COUNTS = (200, 240, 280, 320, 360, 400)


def published(quality: Callable[[Prompt], float], seed: int) -> list[int]:
    """At how many labels."""
    items = examples(count=410, seed=seed)
    world = World(items, quality, seed=seed)
    plan = Plan(PAIR, items[:400], items[400:], ACTIVE, COUNTS, "model", seed=seed, calls=300, rounds=1)
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


def test_a_real_gain_is_published_all_the_same() -> None:
    found = [published(better_if(lambda prompt: "of the text" in prompt.instruction), seed) for seed in range(3)]
    assert all(found)
