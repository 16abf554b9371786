from dataclasses import replace

import pytest

from backend.labeling.calibration import Calibration
from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from tests.optimizer.world import ACTIVE, BOTH, World, examples, level
from worker.optimizer.meter import Meter

OTHER = Prompt("Another wording.")


def metered(count: int = 20) -> tuple[World, Meter]:
    """Two questions an example: two calls."""
    world = World(examples(BOTH, count), level(0.8), BOTH)
    return world, Meter(world.label)


def test_each_answer_counts_once_with_its_calls() -> None:
    world, meter = metered()
    meter.label(ACTIVE, world.items)
    meter.label(ACTIVE, world.items[:5])
    assert meter.calls == 40
    meter.label(OTHER, world.items[:5])
    assert meter.calls == 50


def test_a_calibration_makes_no_other_prompt_of_it() -> None:
    world, meter = metered()
    meter.label(ACTIVE, world.items)
    meter.label(replace(ACTIVE, calibration=Calibration(temperature=2.0)), world.items)
    assert meter.calls == 40
    assert meter.price(replace(ACTIVE, calibration=Calibration(temperature=2.0))) == 2


def test_an_answer_that_failed_is_one_call() -> None:
    world = World(examples(count=4), level(0.8), fails=lambda _prompt, _item: True)
    meter = Meter(world.label)
    meter.label(ACTIVE, world.items)
    assert meter.calls == 4


def test_beyond_the_limit_nothing_is_asked_but_what_is_known_is_told() -> None:
    world, meter = metered()
    meter.label(ACTIVE, world.items[:10])
    meter.limit = 30
    with pytest.raises(BudgetError, match="30 calls"):
        meter.label(OTHER, world.items[:6])
    assert len(world.asked) == 10
    assert len(meter.label(OTHER, world.items[:5])) == 5
    assert len(meter.label(ACTIVE, world.items[:10])) == 10


def test_the_price_is_what_answers_cost_and_one_before_there_is_an_answer() -> None:
    world, meter = metered()
    assert meter.price(ACTIVE) == 1
    meter.label(ACTIVE, world.items[:3])
    assert (meter.price(ACTIVE), meter.price(OTHER)) == (2, 1)
