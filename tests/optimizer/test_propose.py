import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from tests.optimizer.world import ACTIVE, BOTH, BROUGHT, DAY, FOUR, MANY, PAIR, SEVERAL, World, examples, level
from worker.labels.examples import Example
from worker.optimizer import demonstrations, propose, templates
from worker.optimizer.demonstrations import DemonstrationSet, random_sets
from worker.optimizer.evaluate import fair
from worker.optimizer.propose import Candidate, instructions

POOL = examples(FOUR, 40)


def drawn(
    schema: LabelingSchema = FOUR, pool: tuple[Example, ...] = POOL, *, count: int = 6, errors: int = 0, seed: int = 0
) -> list[DemonstrationSet]:
    return random_sets(schema, pool, pool[:errors], count, random.Random(seed))


def texts(chosen: DemonstrationSet) -> set[str]:
    return {each.values[0].text for each in chosen.demonstrations}


def test_the_instruction_at_hand_comes_first_in_each_style_then_the_templates_then_letters() -> None:
    found = instructions(FOUR, ACTIVE, ("text", "chat"))
    assert [(each.prompt.instruction, each.prompt.style) for each in found[:2]] == [
        (ACTIVE.instruction, "text"),
        (ACTIVE.instruction, "chat"),
    ]
    assert [each.origin for each in found[2:-1]] == [f'the template "{name}"' for name in templates.INSTRUCTIONS]
    assert found[-1].prompt == replace(ACTIVE, style="text", codes="letters")
    assert len(templates.INSTRUCTIONS) == 8


def test_what_is_proposed_is_bare_but_keeps_what_was_learned_in_words() -> None:
    active = Prompt(
        "Decide.",
        definitions={"north": "up"},
        rules=("Not south.",),
        demonstrations=drawn()[0].demonstrations,
        calibration=Calibration(temperature=2.0),
    )
    for each in instructions(FOUR, active, ("chat",)):
        assert (each.prompt.demonstrations, each.prompt.calibration) == ((), Calibration())
        assert (each.prompt.definitions, each.prompt.rules) == ({"north": "up"}, ("Not south.",))


@pytest.mark.parametrize(
    ("schema", "listed"),
    [
        (PAIR, "yes or no"),
        (FOUR, "north, east, south or west"),
        (MANY, templates.UNLISTED),
        (BOTH, templates.UNLISTED),
        (BROUGHT, templates.UNLISTED),
    ],
)
def test_templates_list_the_labels_where_that_is_short(schema: LabelingSchema, listed: str) -> None:
    minimal = next(each for each in instructions(schema, ACTIVE, ("chat",)) if "minimal" in each.origin)
    assert minimal.prompt.instruction.endswith(f"of the text: {listed}.")


@given(st.text(max_size=80))
def test_any_instruction_can_be_varied(text: str) -> None:
    found = instructions(PAIR, Prompt(text), ("chat",))
    assert all(text.strip() in each.prompt.instruction for each in found if "expert" in each.origin)
    assert len({repr(each.prompt) for each in found}) == len(found)


def test_the_same_prompt_is_tried_once() -> None:
    same = [Candidate(ACTIVE, "one"), Candidate(Prompt("Other."), "two"), Candidate(ACTIVE, "three")]
    assert [each.origin for each in propose.distinct(same)] == ["one", "two"]


def test_sets_show_each_label_about_as_often() -> None:
    for chosen in drawn():
        counts = Counter(each.labels["side"] for each in chosen.demonstrations)
        assert len(counts) == 4
        assert max(counts.values()) - min(counts.values()) <= 1


def test_sets_are_of_one_and_two_a_label_in_turn() -> None:
    assert [len(each.demonstrations) for each in drawn(count=4)] == [8, 4, 8, 4]
    assert {len(each.demonstrations) for each in drawn(PAIR, examples(PAIR, 40))} == {4, 8}
    assert {len(each.demonstrations) for each in drawn(MANY, examples(MANY, 200))} == {12}


def test_every_third_set_is_half_of_errors() -> None:
    wrong = {f"text 0-{i}" for i in range(10)}
    found = drawn(errors=10)
    assert [("errors" in each.origin) for each in found] == [False, False, True, False, False, True]
    assert len(texts(found[2]) & wrong) >= 4


@given(st.integers(0, 30), st.integers(0, 99))
def test_whatever_the_pool_sets_show_nothing_twice_and_nothing_else(size: int, seed: int) -> None:
    pool = POOL[:size]
    for chosen in drawn(pool=pool, errors=min(size, 3), seed=seed):
        assert 0 < len(chosen.demonstrations) <= min(12, size)
        assert len(texts(chosen)) == len(chosen.demonstrations)
        assert texts(chosen) <= {str(example.data["text"]) for example in pool}


def test_the_same_seed_draws_the_same_sets() -> None:
    assert drawn(seed=3) == drawn(seed=3) != drawn(seed=4)


def test_nothing_to_show_gives_no_sets() -> None:
    unreadable = tuple(Example(str(i), {}, {"side": ("north",)}, DAY) for i in range(5))
    assert drawn(pool=()) == []
    assert drawn(pool=unreadable) == []


def test_a_demonstration_brings_the_annotators_reason_cut_to_two_lines_or_so() -> None:
    told = replace(POOL[0], reason="It is north of here. " * 20)
    made, untold = demonstrations.demonstration(FOUR, told), demonstrations.demonstration(FOUR, POOL[0])
    assert made is not None
    assert untold is not None
    assert 150 < len(made.reason) <= 200
    assert made.reason.endswith("north of here.")
    assert replace(made, reason="") == untold


def test_a_demonstration_shows_the_annotators_answer_on_a_shortened_text() -> None:
    long = Example("1", {"text": "word " * 5000}, {"topics": ("price", "sound")}, DAY)
    shown = demonstrations.demonstration(SEVERAL, long)
    assert shown is not None
    assert shown.labels == {"topics": ("price", "sound")}
    assert len(shown.values[0].text) < 500


def test_nothing_is_asked_under_a_prompt_that_shows_its_answer() -> None:
    """Nor a twin of it, with the same text under another id."""
    chosen = drawn()[0]
    prompt = replace(ACTIVE, demonstrations=chosen.demonstrations)
    twin = replace(next(each for each in POOL if each.data["text"] in texts(chosen)), id="twin")
    world = World((*POOL, twin), level(0.8), FOUR)
    fair(FOUR, world.label)(prompt, world.items)
    by_id = {example.id: example for example in world.items}
    for asked, example_id in world.asked:
        assert by_id[example_id].data["text"] not in {each.values[0].text for each in asked.demonstrations}
    assert len(world.asked) == 41


@pytest.mark.parametrize(("text", "left"), [("great film,  I loved it!", 0), ("Great film, I hated it!", 1)])
def test_what_differs_in_case_and_space_alone_is_not_shown_its_answer(text: str, left: int) -> None:
    shown = replace(POOL[0], data={"text": "Great film, I loved it!"})
    made = demonstrations.demonstration(FOUR, shown)
    assert made
    prompt = replace(ACTIVE, demonstrations=(made,))
    assert len(propose.without_own(FOUR, prompt, replace(shown, data={"text": text})).demonstrations) == left


def test_leaving_its_own_out_keeps_the_others_and_the_order_of_outcomes() -> None:
    prompt = replace(ACTIVE, demonstrations=drawn()[0].demonstrations)
    world = World(POOL, level(0.8), FOUR)
    found = fair(FOUR, world.label)(prompt, world.items)
    left = [propose.without_own(FOUR, prompt, example) for example in POOL]
    assert found == [world.label(each, [example])[0] for each, example in zip(left, POOL, strict=True)]
    assert Counter(len(each.demonstrations) for each in left) == {8: 32, 7: 8}
