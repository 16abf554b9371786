from collections.abc import Sequence
from dataclasses import replace

import pytest

from backend.labeling.engines.base import Usage
from backend.labeling.prompt import Prompt
from backend.storage.runs import Effort
from tests.optimizer.world import ACTIVE, BOTH, PAIR, SEVERAL, World, better_if, examples, level
from worker.labels.examples import Example
from worker.optimizer.comparison import compared, costs
from worker.optimizer.gate import Costs
from worker.optimizer.outcomes import Outcome

OTHER = Prompt("Another wording.")


def test_a_pair_says_who_is_right_in_the_truth_s_own_words() -> None:
    world = World(examples(BOTH, 60), better_if(lambda prompt: prompt == OTHER), BOTH)
    found = [each.pair for each in compared(BOTH, ACTIVE, OTHER, world.items, world.label)]
    assert {pair.label for pair in found} == {"glad; ask", "sad; tell"}
    assert 40 > sum(pair.active_right for pair in found) < sum(pair.challenger_right for pair in found)


def test_no_label_at_all_is_a_truth_like_any_other() -> None:
    world = World(examples(SEVERAL, 60), level(0.99), SEVERAL)
    found = [each.pair for each in compared(SEVERAL, ACTIVE, OTHER, world.items, world.label)]
    empty = [pair for pair in found if pair.label == "none"]
    assert empty
    assert any(pair.active_right for pair in empty)


def test_costs_are_the_sums_of_what_both_answered() -> None:
    # 20 examples, each fails on another: 18 are left, at 100 and 250 tokens, and one for the answer.
    world = World(
        examples(count=20),
        level(0.8),
        fails=lambda prompt, item: item.id == ("0-3" if prompt == OTHER else "0-4"),
        tokens=lambda prompt: 250 if prompt == OTHER else 100,
    )
    found = costs(compared(PAIR, ACTIVE, OTHER, world.items, world.label))
    assert found == Costs(pytest.approx(251 / 101), 0.05, 0.05, Effort(1, 100, 0, 1), Effort(1, 250, 0, 1))


@pytest.mark.parametrize(("counted", "tokens"), [({}, 161), ({"cached_token": 0.0}, 81), ({"cached_token": 1.0}, 401)])
def test_tokens_that_a_prefix_cache_holds_count_a_quarter_or_as_told(counted: dict[str, float], tokens: int) -> None:
    world = World(examples(count=5), level(0.8))

    def label(prompt: Prompt, items: Sequence[Example]) -> list[Outcome]:
        usage = Usage(400, 320, 1) if prompt == OTHER else Usage(100, 0, 1)
        found = world.label(prompt, items)
        return [replace(each, answers=each.answers and replace(each.answers, usage=usage)) for each in found]

    # 80 + 320 / 4 + 1 = 161 to 101.
    assert costs(compared(PAIR, ACTIVE, OTHER, world.items, label), **counted).ratio == pytest.approx(tokens / 101)


def test_a_prompt_that_mends_failures_is_not_dear_for_it() -> None:
    world = World(examples(count=20), level(0.8), fails=lambda prompt, item: prompt == ACTIVE and item.id < "0-3")
    assert costs(compared(PAIR, ACTIVE, OTHER, world.items, world.label)).ratio == 1


def test_without_anything_to_compare_costs_are_neutral() -> None:
    world = World(examples(count=5), level(0.8), fails=lambda *_: True)
    assert costs([]) == Costs()
    failed = costs(compared(PAIR, ACTIVE, OTHER, world.items, world.label))
    assert failed == Costs(1.0, active_failures=1.0, challenger_failures=1.0)
