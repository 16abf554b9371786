"""Labels that people picked for their score must not outvote those drawn by lot, which stand for all other tasks."""

import re
from collections.abc import Mapping

import pytest

from backend.storage.runs import RunRecord
from tests.flows.conftest import Learner
from tests.flows.learning import chance, muddled
from tests.flows.payloads import PROJECT
from tests.scripted_llm import Script, ScriptedLLM
from tests.scripted_llm.answers import frame_and_task, keyword_label
from worker.queue.order import Place
from worker.queue.store import QueueStore

PICKED, LABELS = 30, 42


def answer(prompt: str, *, spoils: bool) -> Mapping[str, float]:
    """Without demonstrations a coin on the first thirty texts and wrong on a third of the others; with them right, but
    if it `spoils`, wrong on a third of the others and right without."""
    frame, text = frame_and_task(prompt)
    found = re.search(r"No (\d+)", text)
    number = int(found[1]) if found else 0
    shown = sum(frame.count(f"sentiment: {label}") for label in ("positive", "negative", "neutral")) >= 4
    right = keyword_label(prompt)
    if number < PICKED:
        return right if shown else chance(text)
    turned = {"positive": right["negative"], "negative": right["positive"], "neutral": right["neutral"]}
    return turned if spoils == shown and number % 3 == 0 else right


@pytest.fixture
def learn_settings(learn_settings: dict[str, str]) -> dict[str, str]:
    return {**learn_settings, "llm_prompt_style": "text", "run_max_calls": "2000", "optimize_rounds": "3"}


def learned(learn: Learner, llm: ScriptedLLM, *, spoils: bool) -> RunRecord:
    """All tasks are labelled by the first version; of the first thirty the queue said that they are uncertain."""
    llm.script = Script(label=lambda prompt: answer(prompt, spoils=spoils))
    learn.service.dispatch.label_project(PROJECT)
    learn.work()
    QueueStore(learn.redis).keep(PROJECT, [Place(task, "least certain", 1.0, 0.8) for task in range(1, PICKED + 1)])
    return learn(LABELS)


def test_a_gain_on_picked_tasks_alone_is_not_published(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    run = learned(learn, scripted_llm, spoils=True)
    assert run.estimate
    assert run.estimate.p_better > 0.95
    assert run.decision == "kept"
    assert "weighed to hold for all tasks it loses" in " ".join(run.words)


def test_one_that_gains_on_the_others_too_is(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    assert learned(learn, scripted_llm, spoils=False).decision == "published"


def test_weighing_leaves_the_search_its_calls(
    learn: Learner, scripted_llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a project whose labels were imported: all of them are new to the first run."""
    monkeypatch.setenv("RUN_MAX_CALLS", "180")
    scripted_llm.script = Script(label=muddled)
    learn.service.dispatch.label_project(PROJECT)
    learn.work()
    run = learn(130)
    assert run.decision == "published"
    assert run.spend.calls <= 180
