import random
from dataclasses import replace

import pytest

from backend.labeling.prompt import Prompt
from tests.labeling.vectors import shown
from tests.optimizer.world import ACTIVE, FOUR, PAIR, World, better_if, draw, examples, level, promising
from worker.optimizer import demonstrations, propose
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.outcomes import Graded
from worker.optimizer.pareto import complement
from worker.optimizer.plan import Plan, Terms
from worker.optimizer.propose import Candidate
from worker.optimizer.race import Entry, in_order
from worker.optimizer.search import Material, instruction_set, search, taught_places


def planned(instructions: int, sets: int, examples: int, rounds: int = 3) -> Plan:
    return Plan(instructions, sets, examples, rounds, Terms(examples, rounds=rounds))


def material(world: World, plan: Plan, active: Prompt = ACTIVE) -> Material:
    own = propose.instructions(world.schema, active, ("chat",))
    return Material(
        Candidate(active, "the active prompt"),
        instruction_set([], own),
        tuple(demonstrations.random_sets(world.schema, world.items, (), plan.sets, random.Random(world.seed))),
        plan,
    )


def searched(world: World, plan: Plan) -> tuple[list[Entry], list[Entry]]:
    ordered = in_order(world.items, draw(world.seed))
    return search(world.schema, material(world, plan), ordered, world.label, lambda *_: None)


def entry(name: str, right: str, soft: float = 0.0) -> Entry:
    """`right` holds a 1 for each example that it has right."""
    grades = tuple(Graded(one == "1", soft if one == "1" else soft - 0.1, 0.5, {}) for one in right)
    return Entry(Candidate(Prompt(name), name), Prompt(name), grades)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (["110100", "001100"], ["001100"]),  # two of the best's errors against none
        (["000110", "001110"], ["001110"]),
        (["110000", "110001"], ["110001"]),
        (["001100", "001100"], ["001100"]),  # of equals the better ranked
    ],
)
def test_the_complement_is_right_where_the_best_is_wrong(others: list[str], expected: list[str]) -> None:
    found = complement([entry("best", "110000"), *(entry(f"{i} {each}", each) for i, each in enumerate(others))], 1)
    assert [each.candidate.origin.split()[1] for each in found] == expected
    if others[0] == others[1]:
        assert found[0].candidate.origin.startswith("0")


def test_the_second_complement_is_right_where_best_and_first_are_wrong() -> None:
    found = complement([entry("best", "110000"), entry("a", "001110"), entry("b", "001100"), entry("c", "000001")], 2)
    assert [each.candidate.origin for each in found] == ["a", "c"]


def test_those_stopped_early_complement_nothing() -> None:
    assert complement([entry("best", "1100"), entry("stopped", "0011"[:3])], 2) == []
    assert complement([], 2) == []


OWN = propose.instructions(PAIR, ACTIVE, ("chat",))
TAUGHT = [Candidate(Prompt(f"Taught {i}."), "taught") for i in range(3)]


@pytest.mark.parametrize(
    ("taught", "plan", "expected"),
    [
        (TAUGHT, 4, [OWN[0], TAUGHT[0], OWN[1], TAUGHT[1]]),
        (TAUGHT, 3, [OWN[0], TAUGHT[0], OWN[1]]),
        (TAUGHT, 8, [OWN[0], TAUGHT[0], OWN[1], TAUGHT[1], OWN[2], TAUGHT[2], OWN[3], OWN[4]]),
        ([], 4, OWN[:4]),
        ([OWN[0], *TAUGHT], 4, [OWN[0], OWN[1], TAUGHT[0], OWN[2]]),  # a seed that is the instruction at hand
    ],
)
def test_what_was_taught_and_the_templates_take_turns_after_the_instruction_at_hand(
    taught: list[Candidate], plan: int, expected: list[Candidate]
) -> None:
    assert instruction_set(taught, OWN)[:plan] == tuple(expected)


@pytest.mark.parametrize("plan", range(2, 8))
def test_what_was_taught_has_half_of_the_places_before_earlier_prompts(plan: int) -> None:
    earlier = [Candidate(Prompt(f"Earlier {i}."), "earlier") for i in range(3)]
    found = instruction_set(earlier, OWN, taught=TAUGHT)[:plan]
    begun = [OWN[0], TAUGHT[0], earlier[0], TAUGHT[1], OWN[1], TAUGHT[2], earlier[1]]
    assert found == tuple(begun[:plan])
    assert sum(each in TAUGHT for each in found) == taught_places(planned(plan, plan, 60))


def test_where_instructions_are_mixed_among_sets_what_is_taught_has_half_of_their_places() -> None:
    assert taught_places(planned(1, 16, 60)) == 2  # of sets 4, 8, 12 and 16


def test_where_letters_are_searched_all_that_is_tried_answers_with_them() -> None:
    found = instruction_set(TAUGHT, OWN, "letters")
    assert {each.prompt.codes for each in found} == {"letters"}
    worded = dict.fromkeys(each.prompt.instruction for each in instruction_set(TAUGHT, OWN))
    assert [each.prompt.instruction for each in found] == list(worded)


def test_the_first_race_is_without_demonstrations_and_the_last_is_not() -> None:
    first, last = searched(World(examples(FOUR, 60), level(0.7), FOUR), planned(10, 4, 60))
    assert not any(each.candidate.prompt.demonstrations for each in first)
    assert any(each.candidate.prompt.demonstrations for each in last)


@pytest.mark.parametrize(("rounds", "raced"), [(1, {0}), (2, {0, 4, 8}), (3, {0, 2, 4, 8})])
def test_rounds_add_demonstrations_then_combinations(rounds: int, raced: set[int]) -> None:
    world = World(examples(count=48), promising())
    searched(world, planned(6, 4, 48, rounds=rounds))
    assert {len(prompt.demonstrations) for prompt, _ in world.asked} == raced
    sets = {repr(prompt.demonstrations) for prompt, _ in world.asked}
    assert len(sets) == {1: 1, 2: 5, 3: 7}[rounds]  # none, four sets, the best of them turned and halved


def test_where_one_instruction_alone_is_asked_zero_shot_others_run_under_every_fourth_set() -> None:
    world = World(examples(FOUR, 48), level(0.7), FOUR)
    plan = planned(1, 8, 48, rounds=2)
    given = material(world, plan)
    first, _ = search(FOUR, given, world.items, world.label, lambda *_: None)
    assert [each.candidate.prompt for each in first] == [ACTIVE]
    under = {prompt.instruction: set[str]() for prompt, _ in world.asked if prompt.demonstrations}
    for prompt, _ in world.asked:
        if prompt.demonstrations:
            under[prompt.instruction].add(repr(prompt.demonstrations))
    own, *others = (each.prompt.instruction for each in given.instructions)
    assert {instruction: len(sets) for instruction, sets in under.items()} == {own: 6, others[0]: 1, others[1]: 1}


def test_the_active_prompt_runs_in_every_race() -> None:
    world = World(examples(count=48), better_if(lambda prompt: prompt == ACTIVE))
    first, last = searched(world, planned(6, 4, 48))
    assert first[0].candidate.prompt == last[0].candidate.prompt == ACTIVE


def test_the_best_wording_and_the_best_demonstrations_meet() -> None:
    """The checklist gains, and so do eight demonstrations, each on its own: together they win."""

    def quality(prompt: Prompt) -> float:
        return 0.7 + 0.12 * ("1. Read" in prompt.instruction) + 0.12 * (len(prompt.demonstrations) == 8)

    wins = 0
    for seed in range(8):
        best = searched(World(examples(count=90, seed=seed), quality, seed=seed), planned(10, 4, 90))[1][0]
        wins += quality(best.candidate.prompt) > 0.93
    assert wins >= 6


def test_what_is_told_names_each_race() -> None:
    told: list[str] = []
    world = World(examples(count=30), level(0.7))
    plan = planned(4, 2, 30)
    search(PAIR, material(world, plan), world.items, world.label, lambda stage, *_: told.append(stage))
    assert told == ["instructions", "demonstrations", "combinations"]


def test_a_technique_that_gains_wins_the_last_race() -> None:
    world = World(examples(count=90), better_if(lambda prompt: prompt.rationale))
    plan = planned(6, 4, 90)
    tried = replace(material(world, plan), techniques=("backwards", "rationale"))
    _, best = search(PAIR, tried, world.items, world.label, lambda *_: None)
    assert best[0].candidate.prompt.rationale
    assert best[0].candidate.origin.endswith("with a rationale before the label")


SIMILAR = DemonstrationSet(tuple(shown(f"text {i}", "yes") for i in range(20)), "similar", shown=4)


def test_sets_of_the_same_demonstrations_win_by_how_many_a_task_sees() -> None:
    world = World(examples(count=90), better_if(lambda prompt: prompt.shown == 8))
    plan = planned(6, 4, 90)
    sets = (*material(world, plan).sets[:2], SIMILAR, replace(SIMILAR, shown=8))
    _, best = search(PAIR, replace(material(world, plan), sets=sets), world.items, world.label, lambda *_: None)
    assert (best[0].candidate.prompt.shown, best[0].candidate.prompt.demonstrations) == (8, SIMILAR.demonstrations)


def test_the_best_set_is_tried_in_another_order_and_number() -> None:
    world = World(examples(count=48), better_if(lambda prompt: bool(prompt.demonstrations)))
    plan = planned(6, 4, 48)
    given = material(world, plan)
    known = {repr(each.demonstrations) for each in given.sets}
    _, last = search(PAIR, given, world.items, world.label, lambda *_: None)
    asked = {repr(prompt.demonstrations) for prompt, _ in world.asked if prompt.demonstrations}
    assert len(asked - known) == 2
    assert {each.candidate.origin.rpartition(", with ")[2] for each in last} >= {
        "its demonstrations in reverse order",
        "4 of its demonstrations",
    }
