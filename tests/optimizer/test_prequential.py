"""An earlier challenger is judged on the labels that came after it."""

from dataclasses import replace

import numpy as np
import pytest

from backend.labeling.prompt import Prompt
from tests.optimizer.world import ACTIVE, World, examples
from worker.optimizer.gate import Pair
from worker.optimizer.optimize import Finding, optimize
from worker.optimizer.prequential import LEAST, Waiting, proven, ruled

BETTER, WORSE = Prompt("Say whether it is relevant."), Prompt("Guess.")


def world(labels: int = 60, *, better: float = 0.95, worse: float = 0.5, other: float = 0.6) -> World:
    """Accuracies; `other` is that of the active prompt and of all that a search tries."""
    accuracy = {BETTER.instruction: better, WORSE.instruction: worse}
    return World(examples(count=labels), lambda prompt: accuracy.get(prompt.instruction, other))


def waiting(prompt: Prompt, inside: World, *, later: int) -> Waiting:
    """The last `later` labels came after it."""
    return Waiting(prompt, "found before", frozenset(item.id for item in inside.items[len(inside.items) - later :]))


def found(inside: World, *challengers: Waiting) -> Finding:
    return optimize(inside.problem(waiting=challengers), inside.tools())


def test_a_challenger_that_later_labels_prove_better_is_the_finding() -> None:
    inside = world()
    finding = found(inside, waiting(BETTER, inside, later=40))
    assert (finding.decision, finding.challenger, finding.origin) == ("published", BETTER, "found before")
    assert finding.estimate
    assert (finding.estimate.kind, finding.estimate.n) == ("prequential", 40)
    assert finding.fixes


def test_then_nothing_new_is_sought_and_only_later_labels_are_asked() -> None:
    inside = world()
    found(inside, waiting(BETTER, inside, later=40))
    assert {prompt.instruction for prompt, _ in inside.asked} == {ACTIVE.instruction, BETTER.instruction}
    assert {item_id for _, item_id in inside.asked} == {item.id for item in inside.items[20:]}


def test_one_that_is_worse_gives_way_to_a_search() -> None:
    inside = world()
    finding = found(inside, waiting(WORSE, inside, later=40))
    assert finding.challenger != WORSE
    assert len({prompt.instruction for prompt, _ in inside.asked}) > 2


@pytest.mark.parametrize("later", [0, 1, LEAST - 1])
def test_a_few_later_labels_prove_nothing(later: int) -> None:
    inside = world()
    assert proven(inside.schema, ACTIVE, [waiting(BETTER, inside, later=later)], inside.items, inside.label) is None
    assert inside.asked == []


def test_of_several_the_surest_is_taken() -> None:
    inside = world(80, better=0.99, worse=0.9, other=0.5)
    both = [waiting(WORSE, inside, later=60), waiting(BETTER, inside, later=60)]
    chosen = proven(inside.schema, ACTIVE, both, inside.items, inside.label)
    assert chosen
    assert chosen.waiting.prompt == BETTER


def test_the_active_prompt_is_no_challenger_of_itself() -> None:
    inside = world()
    assert proven(inside.schema, ACTIVE, [waiting(ACTIVE, inside, later=40)], inside.items, inside.label) is None


def pairs(seed: int, *, gain: float, labels: int = 400) -> list[Pair]:
    """15 % discordant; of two labels in turn."""
    draws = np.random.default_rng(seed).random(labels)
    wins, losses = (0.15 + gain) / 2, (0.15 - gain) / 2
    made = []
    for i, draw in enumerate(draws):
        truth = "ab"[i % 2]
        won, lost = draw < wins, wins <= draw < wins + losses
        made.append(Pair(str(i), truth, "x" if won else truth, "x" if lost else truth))
    return made


def share_that_passes(gain: float, *, by: int, challengers: int) -> float:
    """At any of the looks at 20, 30, 40... labels."""
    passed = 0
    for seed in range(challengers):
        found = pairs(seed, gain=gain, labels=by)
        rulings = (ruled(found[:n]) for n in range(LEAST, by + 1, 10))
        passed += any(ruling and ruling.passes for ruling in rulings)
    return passed / challengers


def test_one_that_is_no_better_seldom_passes_however_often_it_is_looked_at() -> None:
    # Ville's bound is .1, the simulated share of 1,000 is .047. Of 300 at that share more than 27 pass in one of 1,000.
    assert share_that_passes(0.0, by=400, challengers=300) <= 0.09


@pytest.mark.parametrize(("gain", "by", "least"), [(0.06, 400, 0.75), (0.10, 200, 0.88)])
def test_one_that_is_better_mostly_passes_in_the_end(gain: float, by: int, least: float) -> None:
    assert share_that_passes(gain, by=by, challengers=150) >= least


def test_eight_wins_in_a_row_are_not_enough_and_nine_are() -> None:
    won = [pair for pair in pairs(0, gain=0.15) if pair.challenger_right and not pair.active_right]
    even = [pair for pair in pairs(0, gain=0.15) if pair.active_right and pair.challenger_right][:20]
    assert ruled([*even, *won[:8]]) is None
    ruling = ruled([*even, *won[:9]])
    assert ruling
    assert ruling.passes
    assert ruling.estimate.kind == "prequential"


def test_what_was_proven_once_and_is_not_now_does_not_pass() -> None:
    found = pairs(0, gain=0.15)
    won = [pair for pair in found if pair.challenger_right and not pair.active_right][:9]
    lost = [replace(pair, active=pair.label, challenger="x") for pair in won]
    ruling = ruled([*won, *lost, *found[:20]])
    assert ruling
    assert not ruling.passes
