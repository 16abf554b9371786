"""The whole run, on synthetic worlds whose truth is known. Runs are narrow where many are needed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from backend.labeling.embedding import Vector
from backend.labeling.errors import EmbeddingError, EngineUnreachableError
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.storage.runs import Effort
from tests.labeling.vectors import far_apart, shown
from tests.optimizer.world import (
    ACTIVE,
    BOTH,
    BROUGHT,
    DAY,
    FOUR,
    MANY,
    PAIR,
    SEVERAL,
    World,
    better_if,
    examples,
    level,
    promising,
    teach,
)
from worker.labels.examples import Example
from worker.optimizer import propose
from worker.optimizer.optimize import Finding, Tools, optimize
from worker.optimizer.outcomes import Outcome
from worker.optimizer.prequential import Waiting

NARROW: dict[str, Any] = {"calls": 300}  # the smallest search, on labels enough
SCHEMAS = [PAIR, FOUR, MANY, SEVERAL, BOTH, BROUGHT]


def is_minimal(prompt: Prompt) -> bool:
    """The first template."""
    return "of the text" in prompt.instruction


def run(world: World, ask: Callable[[str], str] | None = None, **problem: Any) -> Finding:
    return optimize(world.problem(**problem), world.tools(ask))


SAME = '{"rules": ["Mind the price."], "definition": "What it costs.", "instruction": "Say what it is about."}'


# -- how often it publishes


def test_where_nothing_can_be_gained_it_seldom_publishes(record_property: Callable[[str, object], None]) -> None:
    """At 40, 100, 160 and 240 labels in turn. Were each published with probability .1, more than 11 of 40 would be with
    one of .0005."""
    published = 0
    for seed in range(40):
        world = World(examples(count=(40, 100, 160, 240)[seed % 4], seed=seed), level(0.75), seed=seed)
        published += run(world, **NARROW).decision == "published"
    record_property("published", published)
    assert published <= 11


@pytest.mark.parametrize("count", [40, 100, 240])
def test_where_much_can_be_gained_it_mostly_publishes(count: int) -> None:
    found = [
        run(
            World(examples(count=count, seed=seed), better_if(is_minimal, better=0.95), seed=seed),
            calls=1000,
            rounds=1,
        )
        for seed in range(5)
    ]
    published = [each for each in found if each.decision == "published" and each.challenger]
    assert len(published) >= 3
    assert all(is_minimal(each.challenger) for each in published if each.challenger)


def test_a_model_that_leans_is_mended_by_its_calibration_alone() -> None:
    world = World(examples(count=60), level(0.9), lean={"yes": 5.0})
    found = run(world, rounds=1, **NARROW)
    assert found.decision == "published"
    assert found.challenger is not None
    assert found.challenger.calibration.bias["relevant"]["yes"] > 1


def test_a_prompt_that_nothing_beats_has_no_headroom() -> None:
    world = World(examples(count=100), better_if(lambda prompt: prompt == ACTIVE))
    found = run(world, rounds=1, **NARROW)
    assert found.decision in {"no_headroom", "kept"}
    assert found.best_of_set is not None
    assert propose.uncalibrated(found.best_of_set) == ACTIVE
    assert found.best_of_set.calibration.fitted_on == 100


def test_a_gain_that_is_not_sure_enough_is_kept_with_its_reasons() -> None:
    world = World(examples(count=100), better_if(is_minimal), seed=1)
    found = run(world, calls=1000, rounds=1, sure=0.9999999)
    assert found.decision == "kept"
    assert any("is asked for" in each for each in found.objections)
    assert found.challenger is not None
    assert is_minimal(found.challenger)


def test_fixes_and_breaks_are_the_wins_and_losses_of_the_estimate() -> None:
    world = World(examples(count=100), better_if(is_minimal), seed=1)
    found = run(world, calls=1000, rounds=1)
    assert found.estimate is not None
    assert (len(found.fixes), len(found.breaks)) == (found.estimate.wins, found.estimate.losses)
    assert set(found.fixes) | set(found.breaks) <= {item.id for item in world.items}


@pytest.mark.parametrize("seed", [Prompt("As the guideline now says."), Prompt("Guideline.", style="text")])
def test_an_edited_guideline_is_tried_at_once(seed: Prompt) -> None:
    world = World(examples(count=60), better_if(lambda prompt: prompt.instruction == seed.instruction))
    found = run(world, seeds=(seed,), rounds=1, **NARROW)
    assert found.decision == "published"
    assert (found.challenger or ACTIVE).instruction == seed.instruction
    assert found.best_of_set is not None
    assert propose.uncalibrated(found.best_of_set) == seed


# -- the same again


def test_the_same_seed_and_answers_give_the_same_finding() -> None:
    def once(seed: int) -> tuple[Finding, list[str]]:
        world = World(examples(count=70), promising())
        return run(world, lambda _: SAME, calls=800, seed=seed), [item_id for _, item_id in world.asked]

    assert once(1) == once(1)
    assert once(1)[1] != once(2)[1]


def test_no_hash_of_the_process_decides() -> None:
    """Sets of labels come in another order in another process."""
    world = World(examples(SEVERAL, 60), promising(), SEVERAL)
    code = (
        "from tests.optimizer.test_optimize import *\n"
        "print(run(World(examples(SEVERAL, 60), promising(), SEVERAL), lambda _: SAME, calls=500))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
    assert other.stdout.strip() == str(run(world, lambda _: SAME, calls=500))


# -- who sees what


def test_before_the_gate_no_holdout_example_is_asked_and_then_of_two_prompts() -> None:
    world = World(examples(count=220), promising())
    found = run(world, teach, calls=1500)
    holdout = {item.id for item in world.items if item.split == "holdout"}
    asked_of_held = [prompt for prompt, item_id in world.asked if item_id in holdout]
    first = next(i for i, (_, item_id) in enumerate(world.asked) if item_id in holdout)
    assert all(item_id in holdout for _, item_id in world.asked[first:])
    assert found.challenger is not None
    assert {repr(prompt) for prompt in asked_of_held} == {repr(ACTIVE), repr(propose.uncalibrated(found.challenger))}
    assert found.estimate is not None
    assert (found.estimate.kind, found.estimate.n) == ("holdout", len(holdout))


def test_of_few_labels_each_decides_once() -> None:
    found = run(World(examples(count=40), promising()), **NARROW)
    assert found.estimate is not None
    assert (found.estimate.kind, found.estimate.n) == ("cross-fitted", 40)


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (0, "90% is asked for"),
        (1, "93% is asked for at the 2nd comparison with the active prompt"),
        (3, "95% is asked for at the 4th comparison with the active prompt"),
    ],
)
def test_each_look_at_the_same_prompt_asks_for_more(before: int, asked: str) -> None:
    found = run(World(examples(count=60), level(0.75), seed=4), looks_before=before, **NARROW)
    assert found.decision in {"kept", "no_headroom"}
    assert any(each.endswith(f"sure, {asked}") for each in found.objections), found.objections


def test_the_holdouts_looks_are_counted_by_its_own_rule() -> None:
    found = run(World(examples(count=220), level(0.75), seed=1), looks_before=9, **NARROW)
    assert any(each.endswith("90% is asked for") for each in found.objections), found.objections


@pytest.mark.parametrize(("fresh", "looks"), [(None, True), (25, True), (24, False), (0, False)])
def test_the_holdout_decides_once_for_each_25_labels_that_come_to_it(fresh: int | None, looks: bool) -> None:
    world = World(examples(count=220), better_if(is_minimal, better=0.98))
    found = run(world, calls=1500, rounds=1, fresh=fresh)
    asked = {item_id for _, item_id in world.asked}
    assert bool(asked & {item.id for item in world.items if item.split == "holdout"}) is looks
    assert found.estimate is not None
    assert found.estimate.kind == ("holdout" if looks else "cross-fitted")
    assert found.decision == ("published" if looks else "kept")
    assert found.challenger is not None
    assert is_minimal(found.challenger)
    told = f"the holdout has decided before, and of 25 more labels that it must have {fresh} are there"
    assert (told in found.objections) is not looks


def test_before_there_is_a_holdout_none_is_spared() -> None:
    found = run(World(examples(count=150), better_if(is_minimal, better=0.98)), calls=1500, rounds=1, fresh=0)
    assert found.decision == "published"


def test_a_challenger_that_may_not_look_is_proven_by_later_labels() -> None:
    world = World(examples(count=220), better_if(is_minimal, better=0.98))
    waiting = Waiting(
        Prompt("relevant of the text: yes or no."), "found before", frozenset(i.id for i in world.items[-80:])
    )
    found = run(world, calls=1500, rounds=1, fresh=3, waiting=(waiting,))
    assert (found.decision, found.origin) == ("published", "found before")


@pytest.mark.parametrize(("count", "splits"), [(59, {"train", "dev", "holdout"}), (60, {"train"}), (210, {"train"})])
def test_demonstrations_are_taken_from_train_once_there_are_60_labels(count: int, splits: set[str]) -> None:
    world = World(examples(FOUR, count), promising(), FOUR)
    run(world, calls=1000)
    split = {item.data["text"]: item.split for item in world.items}
    shown = {each.values[0].text for prompt, _ in world.asked for each in prompt.demonstrations}
    assert {split[text] for text in shown} == splits


@pytest.mark.parametrize("count", [30, 60, 210])
def test_nothing_is_asked_under_a_prompt_that_shows_its_answer(count: int) -> None:
    world = World(examples(count=count), promising())
    run(world, calls=600)
    text = {item.id: item.data["text"] for item in world.items}
    assert any(prompt.demonstrations for prompt, _ in world.asked)
    for prompt, item_id in world.asked:
        assert all(each.values[0].text != text[item_id] for each in prompt.demonstrations)


def alike(world: World, **problem: Any) -> Finding:
    return optimize(world.problem(**problem), replace(world.tools(), embed=far_apart))


def sets_of(world: World) -> list[tuple[int, bool, str]]:
    """Distinct demonstrations asked under, by what a task sees of them, in the order in which they were first asked."""
    asked = [prompt for prompt, _ in world.asked if prompt.demonstrations]
    return list(dict.fromkeys((each.shown, bool(each.packs), repr(each.demonstrations)) for each in asked))


@pytest.mark.parametrize("count", [40, 210])
def test_with_embeddings_sets_by_likeness_take_the_late_places(count: int) -> None:
    with_them, without = (World(examples(count=count), promising()) for _ in range(2))
    alike(with_them, calls=3000)
    run(without, calls=3000)
    selecting = [each for each in sets_of(with_them) if each[0] or each[1]]
    assert {each[:2] for each in selecting} >= {(4, False), (0, True)}
    assert not [each for each in sets_of(without) if each[0] or each[1]]
    early = set(sets_of(without)[:2])
    assert early <= set(sets_of(with_them))
    assert len(with_them.asked) <= 1.1 * len(without.asked)


@pytest.mark.parametrize(("count", "kind"), [(100, "cross-fitted"), (240, "holdout")])
def test_showing_each_task_the_most_similar_is_found_where_it_is_much_better(count: int, kind: str) -> None:
    found = alike(World(examples(count=count), better_if(lambda prompt: prompt.shown > 0)))
    assert found.decision == "published"
    assert found.challenger is not None
    assert found.challenger.shown > 0
    assert "most similar of" in found.origin
    assert found.estimate is not None
    assert found.estimate.kind == kind


@pytest.mark.parametrize("count", [100, 240])
def test_what_a_task_takes_is_told_of_the_winner_itself(count: int) -> None:
    world = World(
        examples(count=count),
        better_if(lambda prompt: bool(prompt.demonstrations)),
        tokens=lambda prompt: 60 + 40 * len(prompt.demonstrations),
    )
    found = run(world)
    assert found.estimate
    assert found.estimate.active_effort == Effort(1, 60, 0, 1)
    assert found.challenger
    assert found.estimate.challenger_effort == Effort(1, 60 + 40 * len(found.challenger.demonstrations), 0, 1)


def test_what_each_task_sees_is_taken_from_train_alone() -> None:
    world = World(examples(count=210), better_if(lambda prompt: bool(prompt.packs)))
    found = alike(world, calls=3000)
    assert found.challenger is not None
    assert found.challenger.packs
    split = {item.data["text"]: item.split for item in world.items}
    assert {split[each.values[0].text] for each in found.challenger.demonstrations} == {"train"}


def test_fixed_demonstrations_are_tried_first() -> None:
    fixed = (shown("by hand", "yes"), shown("by hand too", "no"))
    world = World(examples(count=40), better_if(lambda prompt: prompt.demonstrations == fixed))
    found = run(world, fixed=fixed)
    assert found.challenger is not None
    assert found.challenger.demonstrations == fixed
    assert found.origin.endswith("with 2 demonstrations (fixed by hand)")


def test_embeddings_that_are_away_end_the_run_with_their_error() -> None:
    def away(texts: Sequence[str]) -> list[Vector]:
        raise EmbeddingError("EMBEDDINGS_BASE_URL: away")

    world = World(examples(count=40), promising())
    with pytest.raises(EmbeddingError):
        optimize(world.problem(), replace(world.tools(), embed=away))


@pytest.mark.parametrize(("count", "asks"), [(59, False), (60, True), (210, True)])
def test_the_teacher_sees_train_alone_and_nothing_of_what_decides(count: int, asks: bool) -> None:
    world = World(examples(count=count), level(0.6))
    requests: list[str] = []
    run(world, lambda request: requests.append(request) or teach(request), **NARROW)  # type: ignore[func-returns-value]
    seen = {item.id for item in world.items if any(f'"{item.data["text"]}"' in request for request in requests)}
    assert bool(seen) == asks
    assert all(item.split == "train" for item in world.items if item.id in seen)
    tried = {item_id for prompt, item_id in world.asked if prompt != ACTIVE}
    assert seen.isdisjoint(tried)


@pytest.mark.parametrize("calls", [300, 1000])
def test_what_the_teacher_is_asked_for_is_tried_whatever_was_learned_before(calls: int) -> None:
    seeds = tuple(Prompt(f"Earlier {i}: is it about anything?") for i in range(3))
    world = World(examples(count=100), level(0.7))
    requests: list[str] = []
    run(
        world,
        lambda request: requests.append(request) or teach(request),  # type: ignore[func-returns-value]
        calls=calls,
        seeds=seeds,
    )
    bare = {repr(prompt): prompt for prompt, _ in world.asked if not prompt.demonstrations}
    written = [each for each in bare.values() if each.rules or each.definitions or each.instruction.startswith("Do ")]
    assert 1 <= len(requests) == len(written)


@pytest.mark.parametrize("count", [60, 90])
def test_what_the_teacher_reads_leaves_no_calls_unused(count: int) -> None:
    world = World(examples(count=count), promising())
    run(world, teach, calls=1000)
    assert 700 <= len(world.asked) <= 1000


def test_where_the_teacher_reads_no_text_nothing_is_kept_apart() -> None:
    world = World(examples(count=60), promising())
    found = run(world, teach, calls=1000, teacher_sees_texts=False)
    assert found.estimate
    assert found.estimate.n == 60


def test_what_people_split_on_never_reaches_the_teacher_as_an_error() -> None:
    items = tuple(replace(item, disputed=i % 2 == 1) for i, item in enumerate(examples(count=120)))
    requests: list[str] = []
    run(
        World(items, level(0.5)),
        lambda request: requests.append(request) or teach(request),  # type: ignore[func-returns-value]
        calls=1000,
    )
    told = {item.id for item in items if any(f'"{item.data["text"]}" (annotators' in each for each in requests)}
    assert told
    assert not any(item.disputed for item in items if item.id in told)


def test_a_teacher_that_may_see_no_texts_sees_none() -> None:
    items = tuple(replace(item, data={"text": f"ZQX{i} unheard"}) for i, item in enumerate(examples(count=90)))
    requests: list[str] = []
    run(
        World(items, level(0.6)),
        lambda request: requests.append(request) or teach(request),  # type: ignore[func-returns-value]
        teacher_sees_texts=False,
        **NARROW,
    )
    assert requests
    assert not any("ZQX" in request or "unheard" in request for request in requests)


def test_what_the_teacher_read_does_not_make_the_active_prompt_look_better() -> None:
    """.85 accurate, with a few errors in train: they are not all that is taken away from the decision."""
    found = [
        run(World(examples(count=100, seed=seed), level(0.85), seed=seed), teach, rounds=1, **NARROW)
        for seed in range(20)
    ]
    assert fmean(each.estimate.active_accuracy for each in found if each.estimate) == pytest.approx(0.85, abs=0.03)


# -- teachers at fault

ANSWERS = {
    "nonsense": "colourless green ideas",
    "refusal": "I cannot help with that.",
    "empty": '{"rules": [""], "definition": "", "instruction": ""}',
    "drops labels": '{"instruction": "Always say yes.", "rules": ["Never say no."], "definition": "All."}',
    "copy": json.dumps({"instruction": ACTIVE.instruction}),
    "50 KB": json.dumps({"instruction": "say " * 12_500, "rules": ["say " * 12_500]}),
    "another language": '{"instruction": "Est-ce que le texte est pertinent ?", "rules": ["Dans le doute, non."]}',
    "quote": '{"rules": ["text 0 1 text 0 2 text 0 3"], "instruction": "text number"}',
    "half a character": '{"instruction": "\\ud83d", "rules": ["\\udc00 \\u0000"]}',
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_whatever_the_teacher_answers_the_run_ends_with_a_verdict(answer: str) -> None:
    world = World(examples(count=80), level(0.7))
    found = run(world, lambda _request: answer, rounds=1, **NARROW)
    assert found.decision in {"kept", "no_headroom", "published"}
    assert all(prompt.instruction.strip() for prompt, _ in world.asked)
    assert all(len(repr(prompt)) < 5000 for prompt, _ in world.asked)


def test_a_teacher_that_finds_the_rule_wins() -> None:
    world = World(examples(count=150), better_if(lambda prompt: "Mind the sun." in prompt.rules, better=0.97))
    found = run(world, lambda _request: '{"rules": ["Mind the sun."]}', rounds=1, calls=1500)
    assert found.decision == "published"
    assert (found.challenger or ACTIVE).rules == ("Mind the sun.",)
    assert found.origin.startswith("rules for")


# -- budgets


@pytest.mark.parametrize("count", [40, 210])
@pytest.mark.parametrize("k", [0, 1, 16, 39, 60, 100, 150])
def test_a_budget_that_ends_at_any_call_is_no_publish(k: int, count: int) -> None:
    world = World(examples(count=count), better_if(is_minimal, better=0.98), budget=k)
    found = run(world, calls=1000)
    assert (found.decision, found.challenger, found.estimate) == ("out_of_budget", None, None)
    assert found.objections == ("the run's calls are used up",)


@pytest.mark.parametrize(("schema", "count", "calls"), [(PAIR, 900, 1000), (SEVERAL, 60, 900), (SEVERAL, 220, 900)])
def test_a_run_keeps_to_its_calls_however_many_labels_and_questions_there_are(
    schema: LabelingSchema, count: int, calls: int
) -> None:
    world = World(examples(schema, count), promising(), schema)
    found = run(world, calls=calls)
    each = 3 if schema is SEVERAL else 1
    assert calls / 3 <= each * len(world.asked) <= calls
    assert found.estimate is not None


def test_an_endpoint_that_gives_out_ends_the_run_with_its_error() -> None:
    def label(_prompt: Prompt, _examples: Sequence[Example]) -> list[Outcome]:
        raise EngineUnreachableError("no answer")

    with pytest.raises(EngineUnreachableError):
        optimize(World(examples(count=20), level(0.7)).problem(), Tools(label))


# -- labels and labeling configurations of every kind


@pytest.mark.parametrize("count", [12, 30, 210])
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.controls[0].name)
def test_every_configuration_gets_a_verdict_at_every_size(schema: LabelingSchema, count: int) -> None:
    found = run(World(examples(schema, count), level(0.7), schema), teach, calls=400, rounds=2)
    assert found.decision in {"kept", "no_headroom", "published"}
    assert found.challenger is not None
    assert found.best_of_set is not None


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.controls[0].name)
def test_in_every_configuration_a_much_better_prompt_is_found(schema: LabelingSchema) -> None:
    world = World(examples(schema, 100), better_if(is_minimal, accuracy=0.6, better=0.98), schema)
    found = run(world, rounds=1, calls=1500)
    assert found.decision == "published"
    assert found.challenger is not None
    assert is_minimal(found.challenger)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_below_ten_labels_nothing_is_compared(count: int) -> None:
    world = World(examples(count=10), level(0.7))
    found = optimize(replace(world.problem(), examples=world.items[:count]), world.tools())
    assert (found.decision, found.challenger) == ("too_few_labels", None)
    assert f"{count} labels are there, 10 are needed" in found.objections[0]
    assert world.asked == []


def test_labels_that_are_all_the_same_tell_nothing() -> None:
    items = tuple(replace(item, truth={"relevant": ("yes",)}) for item in examples(count=30))
    found = run(World(items, level(0.7)))
    assert found.decision == "too_few_labels"
    assert 'all 30 labels are "yes"' in found.objections[0]


def test_a_label_that_only_the_holdout_has_is_no_obstacle() -> None:
    items = tuple(
        replace(item, truth={"side": ("west",)}) if item.split == "holdout" else item
        for item in examples(FOUR, 300)
        if item.split == "holdout" or item.truth != {"side": ("west",)}
    )
    found = run(World(items, level(0.7), FOUR), **NARROW)
    assert found.estimate is not None
    assert found.estimate.kind == "holdout"


def test_annotators_who_contradict_each_other_on_the_same_text_are_no_obstacle() -> None:
    """Nothing can be gained. Were each published with probability .1, more than 3 of 10 would be with one of .013."""
    items = tuple(
        replace(item, data={"text": f"text {i // 2}"}) for i, item in enumerate(examples(count=60))
    )  # each text once "yes", once "no"
    decisions = [run(World(items, level(0.5), seed=seed), teach, **NARROW).decision for seed in range(10)]
    assert set(decisions) <= {"kept", "no_headroom", "published"}
    assert decisions.count("published") <= 3


@pytest.mark.parametrize("count", [30, 210])
def test_a_student_that_fails_on_half_of_the_examples_is_judged_on_them_too(count: int) -> None:
    world = World(examples(count=count), level(0.8), fails=lambda _prompt, item: item.id.endswith(tuple("13579")))
    found = run(world, teach, **NARROW)
    assert found.decision in {"kept", "no_headroom"}
    assert found.estimate is not None
    assert found.estimate.active_accuracy < 0.6


def test_a_student_that_never_answers_has_no_headroom() -> None:
    found = run(World(examples(count=40), level(0.8), fails=lambda *_: True), **NARROW)
    assert found.decision == "no_headroom"


def test_a_task_whose_data_is_gone_is_an_outcome_not_an_error() -> None:
    gone = [Example(f"gone-{i}", {}, {"relevant": ("yes",)}, DAY) for i in range(20)]
    world = World((*examples(count=80), *gone), level(0.7), fails=lambda _prompt, item: not item.data)
    assert run(world, teach, **NARROW).estimate is not None


# -- what is told


@pytest.mark.parametrize("count", [40, 210])
def test_progress_rises_to_the_end(count: int) -> None:
    told: list[tuple[str, float]] = []
    world = World(examples(count=count), level(0.7))
    tools = Tools(world.label, None, lambda stage, done, _alive, _best: told.append((stage, done)))
    optimize(world.problem(**NARROW), tools)
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1.0)
    assert {"instructions", "demonstrations", "combinations"} <= {stage for stage, _ in told}
