"""A version that a run published is tested whenever labels arrive, and taken back where they show it to be worse."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from backend.queue.dispatch import LABEL, OPTIMIZE
from tests.flows.conftest import Learner, Logs, queued, retry_now, work
from tests.flows.learning import truth, turned
from tests.flows.payloads import PROJECT
from tests.scripted_llm.answers import frame_and_task, keyword_label
from worker.queue.order import Place
from worker.queue.store import QueueStore

LABELS = 24


@pytest.fixture
def learn_settings(learn_settings: dict[str, str]) -> dict[str, str]:
    """All tasks are of the audit slice."""
    return {**learn_settings, "audit_share": "1"}


@pytest.fixture
def published(learn: Learner) -> str:
    """By a run, on the first labels; those that come now are decided after it."""
    name = learn(LABELS).challenger
    assert name == learn.version
    learn.label_studio.now = datetime.now(UTC) + timedelta(minutes=1)
    return name or ""


def arrive(learn: Learner, labels: int) -> None:
    """So many labels are there by now; the worker has read them."""
    learn.annotate(labels)
    learn.tell()
    work(learn.redis, queues=[LABEL])


def test_a_dozen_labels_that_show_it_to_be_worse_take_it_back_though_no_run_is_due(
    learn: Learner, published: str
) -> None:
    (first,) = learn.service.runs.runs(PROJECT)
    learn.llm.change(label=turned)
    run = learn(LABELS + 12)
    assert (run.trigger, run.decision, run.state) == ("watch", "rolled_back", "done")
    assert (run.active, learn.version) == (published, first.active)
    assert "12 labels of tasks drawn by lot that arrived after" in run.words[0]
    assert run.spend.student_calls > 0
    assert learn.service.store.activations(PROJECT)[0].by == f"rollback in run {run.id}"
    assert queued(learn.redis) == [("label_project", [PROJECT])]


def test_the_labels_it_was_taken_back_by_still_count_for_the_next_run(learn: Learner, published: str) -> None:
    learn.llm.change(label=turned)
    learn(LABELS + 12)
    assert learn(LABELS + 20).trigger == "labels"


def test_one_that_holds_its_own_stays_and_leaves_no_record(learn: Learner, published: str) -> None:
    (first,) = learn.service.runs.runs(PROJECT)
    learn(LABELS + 12)
    assert learn.service.runs.runs(PROJECT) == [first]
    assert learn.version == published
    assert not learn.service.dispatch.is_pending(PROJECT, "optimize")


def test_both_prompts_are_asked_of_the_later_labels_alone_and_of_each_once(learn: Learner, published: str) -> None:
    for labels in (LABELS + 5, LABELS + 10):
        arrive(learn, labels)
        asked = learn.llm.calls
        work(learn.redis, queues=[OPTIMIZE])
        assert 5 <= learn.llm.calls - asked <= 2 * 5


def test_it_is_tested_once_for_each_five_labels(learn: Learner, published: str) -> None:
    arrive(learn, LABELS + 4)
    assert queued(learn.redis, OPTIMIZE) == []
    arrive(learn, LABELS + 5)
    assert queued(learn.redis, OPTIMIZE) == [("optimize", [PROJECT])]
    work(learn.redis, queues=[OPTIMIZE])
    arrive(learn, LABELS + 9)
    assert queued(learn.redis, OPTIMIZE) == []
    arrive(learn, LABELS + 10)
    assert queued(learn.redis, OPTIMIZE) == [("optimize", [PROJECT])]


def test_what_a_person_activated_is_not_tested(learn: Learner, published: str) -> None:
    store, before = learn.service.store, learn.service.runs.runs(PROJECT)[0].active
    assert store.activate(PROJECT, before, expected=published, by="a person")
    assert store.activate(PROJECT, published, expected=before, by="a person")
    arrive(learn, LABELS + 12)
    assert queued(learn.redis, OPTIMIZE) == []


def test_labels_that_made_it_do_not_count_when_a_second_person_agrees_with_them(learn: Learner, published: str) -> None:
    for index in range(12):
        learn.label_studio.annotate(index + 1, truth(index), by=2)
    learn.tell()
    work(learn.redis, queues=[LABEL])
    assert queued(learn.redis, OPTIMIZE) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [("AUDIT_SHARE", "0"), ("AUTO_ROLLBACK", "false")],
    ids=["no task is drawn by lot", "rollbacks are switched off"],
)
def test_nothing_is_tested_where_no_label_may_take_a_version_back(
    learn: Learner, published: str, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(setting, value)
    arrive(learn, LABELS + 12)
    assert queued(learn.redis, OPTIMIZE) == []


def test_labels_that_a_queue_asked_for_count_if_it_drew_them_by_lot(
    learn: Learner, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_SHARE", "0")
    queue, asked_for = QueueStore(learn.redis), range(LABELS + 1, LABELS + 6)
    queue.keep(PROJECT, [Place(task, "least certain", 1.0, 0.1) for task in asked_for])
    arrive(learn, LABELS + 5)
    assert queued(learn.redis, OPTIMIZE) == []
    queue.keep(PROJECT, [Place(task, "by lot", 0.1, 0.1) for task in asked_for])
    arrive(learn, LABELS + 6)
    assert queued(learn.redis, OPTIMIZE) == [("optimize", [PROJECT])]


def test_losses_where_people_labelled_the_least_certain_first_do_not_take_it_back(
    learn: Learner, published: str
) -> None:
    """It is wrong on the next twelve texts alone, and less sure of them than of the other 104."""

    def answer(prompt: str) -> Mapping[str, float]:
        _, text = frame_and_task(prompt)
        if any(f"No {number}." in text for number in range(LABELS, LABELS + 12)):
            return {label: 0.9 * p + 0.1 / 3 for label, p in turned(prompt).items()}
        return keyword_label(prompt)

    learn.llm.change(label=answer)
    learn(LABELS + 12)
    assert learn.version == published


def test_where_the_month_s_budget_is_used_up_it_stays_untested_and_is_tested_when_there_is_one(
    learn: Learner, published: str, monkeypatch: pytest.MonkeyPatch, logged: Logs
) -> None:
    learn.llm.change(label=turned)
    monkeypatch.setenv("MONTH_MAX_CALLS", "1")
    learn(LABELS + 12)
    assert learn.version == published
    assert [line["reason"] for line in logged() if line["event"] == "the active version is not tested"]
    monkeypatch.delenv("MONTH_MAX_CALLS")
    assert learn(LABELS + 13).decision == "rolled_back"


def test_while_a_run_is_on_it_waits(learn: Learner, published: str, redis_client: Redis) -> None:
    learn.llm.change(label=turned)
    arrive(learn, LABELS + 12)
    asked = learn.llm.calls
    with learn.service.dispatch.run_lock(PROJECT):
        work(learn.redis, queues=[OPTIMIZE])
        assert learn.llm.calls == asked
    assert retry_now(redis_client, OPTIMIZE) == 1
    work(learn.redis, queues=[OPTIMIZE])
    assert learn.run.decision == "rolled_back"
