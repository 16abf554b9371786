"""What a run of a project has to solve."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.projects.pushing import Target
from backend.service import Service
from backend.settings import Settings
from tests.flows.payloads import CONFIG, OTHER_CONFIG, PROJECT
from tests.histories import AT, ESTIMATE, History
from tests.scripted_llm import ScriptedLLM
from worker.labels.annotation_store import AnnotationStore
from worker.labels.examples import Example, split_of
from worker.optimizer.optimize import Problem
from worker.runs.problem import posed

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

HELD = [number for number in range(400) if split_of(str(number)) == "holdout"]
LOOK = {"estimate": ESTIMATE, "ended_at": AT + timedelta(minutes=2)}


@pytest.fixture
def history(redis_url: str, scripted_llm: ScriptedLLM) -> Iterator[History]:
    """Its only run that looked at the holdout is gone."""
    made = History(Service(Settings(redis_url=redis_url, openai_base_url=scripted_llm.base_url)))
    made.save(made.run("run-1", estimate=None))
    yield made
    gc.collect()


def problem(history: History, *, later: int = 0, instruction: str = "") -> Problem:
    """Of 60 holdout labels and as many others, `later` of each kind decided an hour after the runs."""
    service, record = history.service, history.service.store.project(PROJECT)
    assert record
    others = [number for number in range(400) if number not in HELD]
    examples = [
        Example(str(number), {"text": "t"}, {"sentiment": ("positive",)}, AT + timedelta(hours=i >= 60 - later))
        for numbers in (HELD, others)
        for i, number in enumerate(numbers[:60])
    ]
    to = Target(record, service.current(PROJECT, record.config), 0.0)
    return posed(service, service.settings, to, tuple(examples), instruction)


def fresh(history: History, *, later: int) -> int | None:
    return problem(history, later=later).fresh


def test_where_no_run_has_looked_at_the_holdout_it_may_be_looked_at(history: History) -> None:
    assert fresh(history, later=10) is None


@pytest.mark.parametrize("later", [0, 10, 25])
def test_holdout_labels_are_fresh_that_were_decided_after_the_last_look(history: History, later: int) -> None:
    history.save(history.run("run-2", **LOOK))
    history.save(history.run("run-3", ended_at=AT + timedelta(hours=2)))  # decided by cross-fitting or not at all
    assert fresh(history, later=later) == later


def test_a_look_under_another_labeling_configuration_does_not_count(history: History) -> None:
    history.save(history.run("run-2", active=history.foreign, **LOOK))
    assert OTHER_CONFIG != CONFIG
    assert fresh(history, later=10) is None


def test_runs_that_compared_the_active_prompt_on_fewer_labels_are_looks_at_it(history: History) -> None:
    crossed = replace(ESTIMATE, kind="cross-fitted")
    for number, (labels, estimate) in enumerate(
        [(20, crossed), (40, crossed), (40, crossed), (60, None), (80, ESTIMATE), (120, crossed)], start=2
    ):
        history.save(history.run(f"run-{number}", labels=labels, estimate=estimate))
    history.save(history.run("run-9", labels=100, estimate=crossed, active="p0009-beef"))
    assert problem(history).looks_before == 2  # at 20 and at 40; there are 120 labels now


def test_every_trial_is_a_look_and_a_trial_counts_searches_on_the_same_labels_too(history: History) -> None:
    crossed = replace(ESTIMATE, kind="cross-fitted")
    for number, trigger in enumerate(["labels", "trial", "trial"], start=2):
        history.save(history.run(f"run-{number}", labels=120, estimate=crossed, trigger=trigger))
    assert problem(history).looks_before == 2
    assert problem(history, instruction="Guess.").looks_before == 3


def test_labels_that_a_run_has_read_are_neither_fresh_nor_later_when_they_are_saved_again(history: History) -> None:
    """Of 60 holdout labels and as many others, all but three of each are known; all were decided anew an hour after."""
    read = [each.id for each in problem(history).examples if each.id not in map(str, (*HELD[:3], 0, 1, 2))]
    config = problem(history).schema.config_hash
    AnnotationStore(history.service.redis).note_used(PROJECT, config, read, AT - timedelta(minutes=1))
    history.save(history.run("run-2", **LOOK))
    found = problem(history, later=60)
    new = {each.id for each in found.examples} - set(read)
    assert found.fresh == sum(split_of(each) == "holdout" for each in new)
    assert [each.later for each in found.waiting] == [frozenset(new)]
