"""What a budget of LLM calls is spent on, and that it is spent."""

from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from tests.optimizer.world import FOUR, World, better_if, examples, level, promising, teach
from worker.optimizer.optimize import optimize
from worker.optimizer.outcomes import Outcome
from worker.optimizer.plan import Plan, Terms, plan_for, race_calls, wider

DEAR = (3.7, 1.0)  # calls an answer zero-shot, where labels' words begin alike, and where demonstrations show them


@pytest.mark.parametrize("calls", [100, 400, 1000, 2000, 10_000])
@pytest.mark.parametrize("n", [10, 40, 90, 119])
@pytest.mark.parametrize("prices", [(1.0, 1.0), DEAR, (1.0, 4.0), (15.0, 12.0)])
@pytest.mark.parametrize("active", [0.0, 20.0])
def test_a_plan_fits_its_budget_or_is_the_smallest(
    n: int, calls: int, prices: tuple[float, float], active: float
) -> None:
    plan = plan_for(Terms(n, bare=prices[0], shown=prices[1], active=active), calls)
    smallest = (1, 2, min(n, 24), 2)
    assert plan.calls <= calls or (plan.instructions, plan.sets, plan.examples, plan.rounds) == smallest
    assert plan.examples <= n


def test_where_only_a_race_of_sets_fits_it_is_as_wide_as_the_calls_allow() -> None:
    dear = Terms(100, bare=15.0, shown=15.0)
    plans = [plan_for(dear, calls) for calls in (1100, 1500, 2500)]
    assert {(plan.instructions, plan.rounds, plan.examples) for plan in plans} == {(1, 2, 24)}
    assert plans[0].sets < plans[1].sets < plans[2].sets
    assert plan_for(replace(dear, rounds=1), 1100).sets == 2  # of instructions alone, as asked


def test_a_dear_active_prompt_is_asked_on_fewer_examples_and_leaves_about_half_of_the_calls() -> None:
    plan = plan_for(Terms(150, active=23.0), 4000)
    assert 0.3 * 4000 <= 23 * plan.examples <= 0.55 * 4000
    assert plan.sets > 2
    assert plan.calls <= 4000 < plan.calls + 23 * 10


@pytest.mark.parametrize("folds", [True, False])
def test_a_larger_budget_never_tries_less(folds: bool) -> None:
    plans = [plan_for(Terms(300, cross_fitted=folds), calls) for calls in range(200, 20_000, 200)]
    for widths in ([plan.instructions for plan in plans], [plan.sets for plan in plans]):
        assert widths == sorted(widths)
    assert (plans[0].instructions, plans[-1].instructions, plans[-1].sets, plans[-1].examples) == (2, 20, 16, 300)


def test_many_labels_are_searched_on_as_far_as_the_budget_goes() -> None:
    plan = plan_for(Terms(5000, cross_fitted=False), 2000)
    assert plan.instructions >= 10
    assert 150 <= plan.examples < 400


def test_of_what_costs_more_calls_fewer_are_tried() -> None:
    dearer = plan_for(Terms(60, bare=1.6), 3000)
    assert dearer.instructions < dearer.sets
    shown = plan_for(Terms(60, shown=3.0), 3000)
    assert shown.instructions > shown.sets


def test_where_zero_shot_answers_are_dear_only_the_instruction_at_hand_is_asked_so_and_sets_come_first() -> None:
    plans = [plan_for(Terms(100, bare=3.0), calls) for calls in range(400, 6000, 200)]
    assert {plan.instructions for plan in plans} == {1}
    assert {plan.rounds for plan in plans if plan.sets < 16} == {2}
    assert [plan.rounds for plan in plans if plan.sets == 16] == sorted(
        plan.rounds for plan in plans if plan.sets == 16
    )
    assert {plan.rounds for plan in plans if plan.sets == 16} == {2, 3}
    zero_shot_alone = plan_for(Terms(100, bare=3.0, rounds=1), 3000)
    assert zero_shot_alone.instructions > 2


def test_techniques_are_part_of_the_plan() -> None:
    terms = Terms(48)
    assert Plan(6, 4, 48, 3, replace(terms, extra=4)).calls > Plan(6, 4, 48, 3, terms).calls
    assert plan_for(Terms(100, extra=8), 2000).calls <= 2000


def test_a_race_halves_what_is_left() -> None:
    # 8 on 24, 4 on 24 more, 2 on the other 52.
    assert race_calls(8, 100) == 8 * 24 + 4 * 24 + 2 * 52
    assert race_calls(1, 100) == 100


def test_the_next_plan_is_larger_and_fits_into_the_calls_that_are_left() -> None:
    plan = plan_for(Terms(100), 800)
    more = wider(plan, spent=400, calls=2000)
    assert more
    assert plan.calls < more.calls <= 2.5 * plan.calls
    assert wider(plan, spent=1900, calls=2000) is None
    largest = Plan(20, 16, 100, 3, Terms(100))
    assert wider(largest, spent=1, calls=10**9) is None


@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("n", [40, 100, 300])
def test_a_wider_plan_leaves_nothing_out(folds: bool, n: int) -> None:
    plan = plan_for(Terms(n, folds), 900)
    for spent in range(2000, 0, -50):
        more = wider(plan, spent=spent, calls=2000) or plan
        assert more.instructions >= plan.instructions
        assert more.sets >= plan.sets
        assert more.examples >= plan.examples


def test_where_calls_are_left_for_one_more_set_it_is_tried() -> None:
    plan = plan_for(Terms(100), 900)
    more = replace(plan, sets=plan.sets + 1)
    left = more.calls - plan.calls
    assert left >= 150  # it may win, and is asked of all then
    assert wider(plan, spent=900, calls=900 + left) == more
    assert wider(plan, spent=901, calls=900 + left) is None


@pytest.mark.parametrize("calls", [600, 1200, 2000])
@pytest.mark.parametrize(("n", "accuracy"), [(40, None), (100, None), (100, 0.75), (220, None)])
def test_a_run_takes_no_more_than_its_calls_and_uses_most_of_them(n: int, accuracy: float | None, calls: int) -> None:
    """Unless all that there is was tried."""
    world = World(examples(count=n), level(accuracy) if accuracy else promising())
    found = optimize(world.problem(calls=calls), world.tools())
    assert found.decision != "out_of_budget"
    assert len(world.asked) <= calls
    everything = n == 40 and calls == 2000
    assert len(world.asked) >= 0.7 * calls or everything


@pytest.mark.parametrize(("count", "least"), [(100, 800), (240, 700)])
def test_with_a_teacher_too_most_calls_are_used(count: int, least: int) -> None:
    used = []
    for seed in range(3):
        world = World(examples(count=count, seed=seed), promising(seed=seed), seed=seed)
        optimize(world.problem(calls=1000), world.tools(teach))
        used.append(len(world.asked))
    assert max(used) <= 1000
    assert fmean(used) >= least


def test_a_budget_that_ends_in_a_wider_search_leaves_what_the_last_one_found() -> None:
    """The ledger pays for fewer calls than were planned with: others spend from it too."""
    whole = World(examples(count=60), promising())
    optimize(whole.problem(calls=3000), whole.tools())
    world = World(examples(count=60), promising(), budget=len(whole.asked) - 100)
    found = optimize(world.problem(calls=3000), world.tools())
    assert len(world.asked) == len(whole.asked) - 100
    assert found.decision in {"published", "kept", "no_headroom"}


def test_a_wider_search_that_is_cut_off_in_a_fold_decides_with_what_the_narrower_one_found_there() -> None:
    """Only the widest tries the better wording; what its last fold would take is not paid for."""
    later = Prompt("Whatever it says, is it relevant?")
    better = better_if(lambda prompt: prompt.instruction == later.instruction, better=0.97)
    changes = {"calls": 1200, "seeds": (Prompt("Is it about anything?"), later)}
    whole = World(examples(count=60), better)
    widest = optimize(whole.problem(**changes), whole.tools())
    world = World(examples(count=60), better, budget=len(whole.asked) - 5)
    found = optimize(world.problem(**changes), world.tools())
    assert found.challenger
    assert found.challenger.instruction == later.instruction
    assert found.challenger == widest.challenger
    assert found.estimate
    assert found.estimate.n == 60


def taking(calls: int, outcomes: list[Outcome]) -> list[Outcome]:
    return [replace(each, answers=replace(each.answers, calls=calls)) if each.answers else each for each in outcomes]


class Dear(World):
    """An answer takes four calls without demonstrations."""

    def label(self, prompt: Any, asked: Any) -> list[Outcome]:
        return taking(1 if prompt.demonstrations else 4, super().label(prompt, asked))


def test_calls_are_counted_as_the_model_takes_them() -> None:
    world = Dear(examples(FOUR, 100), promising(), FOUR)
    optimize(world.problem(calls=2000), world.tools())
    bare = sum(not prompt.demonstrations for prompt, _ in world.asked)
    assert 4 * bare + len(world.asked) - bare <= 2000
    sets = {repr(prompt.demonstrations) for prompt, _ in world.asked if prompt.demonstrations}
    wordings = {prompt.instruction for prompt, _ in world.asked if not prompt.demonstrations}
    assert len(sets) > len(wordings)


def test_a_better_instruction_is_found_under_demonstrations_where_zero_shot_answers_are_dear() -> None:
    taught = Prompt("Which side is meant?")
    world = Dear(examples(FOUR, 100), better_if(lambda prompt: prompt.instruction == taught.instruction), FOUR)
    found = optimize(world.problem(calls=2000, seeds=(taught,)), world.tools())
    assert found.decision == "published"
    assert found.challenger
    assert found.challenger.instruction == taught.instruction
    assert found.challenger.demonstrations


def test_labels_that_the_search_has_no_calls_for_decide_on_its_winner() -> None:
    """Of the active prompt and the winner alone they are asked, after all that was searched."""
    world = World(examples(count=100), promising())
    found = optimize(world.problem(calls=600), world.tools())
    assert found.estimate
    assert found.estimate.n == 100
    assert len(world.asked) <= 600
    asked: dict[str, set[str]] = {}
    for prompt, item_id in world.asked:
        asked.setdefault(item_id, set()).add(repr(prompt))
    by_two = [item_id for item_id, prompts in asked.items() if len(prompts) == 2]
    assert len(by_two) >= 15
    first = next(i for i, (_, item_id) in enumerate(world.asked) if item_id in by_two)
    searched = [item_id for _, item_id in world.asked[:first]]
    assert not set(searched) & set(by_two)


def test_where_nobody_pays_for_the_labels_that_are_left_the_folds_decide_alone() -> None:
    whole = World(examples(count=100), promising())
    assert optimize(whole.problem(calls=600), whole.tools()).decision != "out_of_budget"
    world = World(examples(count=100), promising(), budget=len(whole.asked) - 5)
    found = optimize(world.problem(calls=600), world.tools())
    assert found.estimate
    assert 24 <= found.estimate.n < 100


def test_no_label_is_left_where_calls_are_plenty() -> None:
    world = World(examples(count=100), promising())
    found = optimize(world.problem(calls=3000), world.tools())
    assert found.estimate
    assert found.estimate.n == 100


class Alike(World):
    """Labels' words begin alike: an answer takes 20 calls, with letters one. More than `paid` are refused."""

    paid = 10**9

    def label(self, prompt: Any, asked: Any) -> list[Outcome]:
        outcomes = super().label(prompt, asked)
        if self.calls > self.paid:
            raise BudgetError("used up")
        return taking(self.price(prompt), outcomes)

    @property
    def calls(self) -> int:
        return sum(self.price(prompt) for prompt, _ in self.asked)

    @staticmethod
    def price(prompt: Prompt) -> int:
        return 1 if prompt.codes == "letters" else 20


def shows(prompt: Prompt) -> bool:
    return bool(prompt.demonstrations)


def test_where_words_take_many_calls_demonstrations_are_tried_with_letters() -> None:
    world = Alike(examples(FOUR, 100), better_if(shows, accuracy=0.5), FOUR)
    found = optimize(world.problem(calls=2000), world.tools())
    assert found.decision == "published"
    assert found.challenger
    assert found.challenger.codes == "letters"
    assert world.calls <= 2000
    assert len({repr(prompt) for prompt, _ in world.asked if shows(prompt) and prompt.codes != "letters"}) == 1


def test_letters_that_the_model_does_not_answer_with_are_left_at_a_glance() -> None:
    world = Alike(
        examples(FOUR, 100),
        better_if(shows, accuracy=0.4, better=0.95),
        FOUR,
        fails=lambda prompt, _: prompt.codes == "letters",
    )
    found = optimize(world.problem(calls=4000), world.tools())
    assert found.challenger
    assert found.challenger.codes != "letters"
    assert world.calls <= 4000
    assert sum(prompt.codes == "letters" and shows(prompt) for prompt, _ in world.asked) <= 24


@pytest.mark.parametrize("calls", [1000, 2000, 3000])
def test_however_dear_an_answer_is_the_run_ends_with_a_verdict(calls: int) -> None:
    """20 calls each for 24 labels under three prompts are more than the first of these budgets."""
    world = Alike(examples(FOUR, 100), promising(), FOUR, fails=lambda prompt, _: prompt.codes == "letters")
    world.paid = calls
    found = optimize(world.problem(calls=calls), world.tools())
    assert (found.decision == "out_of_budget") is (calls == 1000)
