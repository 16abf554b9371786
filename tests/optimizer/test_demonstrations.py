from collections import Counter
from dataclasses import replace

import pytest

from backend.labeling.prompt import Demonstration, Prompt
from tests.labeling.vectors import shown
from tests.optimizer.world import ACTIVE, DAY, PAIR
from worker.labels.examples import Example
from worker.optimizer import demonstrations
from worker.optimizer.demonstrations import DemonstrationSet, variants

EIGHT = tuple(shown(f"{i}", ("red", "blue")[i // 4]) for i in range(8))


def names(one: DemonstrationSet) -> str:
    return "".join(each.values[0].text for each in one.demonstrations)


def prompt(*given: Demonstration, **fields: object) -> Prompt:
    return replace(ACTIVE, demonstrations=given, **fields)


def test_a_corrected_reason_goes_with_the_demonstration_in_one_short_line() -> None:
    example = Example("1", {"text": "x"}, {"relevant": ("yes",)}, DAY, reason="It says\n so. " + "Really. " * 200)
    made = demonstrations.demonstration(PAIR, example)
    assert made is not None
    assert made.reason.startswith("It says so. Really.")
    assert "\n" not in made.reason
    assert len(made.reason) < 240


def test_fixed_demonstrations_are_a_set_of_their_own() -> None:
    assert demonstrations.by_hand(EIGHT) == DemonstrationSet(EIGHT, "8 demonstrations (fixed by hand)")


def test_what_a_prompt_shows_is_tried_in_reverse_and_by_half() -> None:
    """The half holds as many of each label, in their order: 0 and 1 are red, 4 and 5 blue."""
    reverse, half = variants(prompt(*EIGHT))
    assert (names(reverse), names(half)) == ("76543210", "0145")
    assert Counter(each.labels["colour"] for each in half.demonstrations) == {("red",): 2, ("blue",): 2}


@pytest.mark.parametrize(("count", "made"), [(0, []), (1, []), (3, ["210"]), (4, ["3210", "01"])])
def test_few_demonstrations_have_few_variants(count: int, made: list[str]) -> None:
    assert [names(each) for each in variants(prompt(*EIGHT[:count]))] == made


def test_of_the_most_similar_twice_and_half_as_many_are_tried() -> None:
    assert [each.shown for each in variants(prompt(*EIGHT, shown=2))] == [4, 1]
    assert [each.shown for each in variants(prompt(*EIGHT, shown=4))] == [2]
    assert [each.shown for each in variants(prompt(*EIGHT, shown=1))] == [2]


def test_packs_are_tried_in_reverse() -> None:
    (turned,) = variants(prompt(*EIGHT, packs=((0, 1, 4), (5, 6))))
    assert (turned.demonstrations, turned.packs) == (EIGHT, ((4, 1, 0), (6, 5)))


def test_sets_of_the_same_demonstrations_are_told_apart_by_what_a_task_sees() -> None:
    found = [DemonstrationSet(EIGHT, "a", 4), DemonstrationSet(EIGHT, "b", 2), DemonstrationSet(EIGHT, "c")]
    assert [each.is_in(prompt(*EIGHT, shown=2)) for each in found] == [False, True, False]
