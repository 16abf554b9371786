"""Runs that meet a student at fault, labels, projects and prompts that change under them, and people who intervene."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest

from backend.labeling.prompt import Prompt, PromptVersion
from backend.projects import run_control
from backend.queue.dispatch import OPTIMIZE, Dispatch
from backend.queue.run_lock import Lock, LockLostError
from backend.storage.redis_client import project_key
from tests.flows.conftest import Learner, queued, retry_now, until, work
from tests.flows.learning import at_call, chance, questions, turned
from tests.flows.payloads import OTHER_CONFIG, PROJECT, Json
from tests.scripted_llm import Fault
from tests.scripted_llm.answers import frame_and_task, keyword_label
from worker.calls.ledger import Ledger
from worker.labels.annotation_store import AnnotationStore
from worker.runs import learn as learning

LABELS = 24
MONTHS = [datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 7, tzinfo=UTC)]
GUIDELINE = "Praise or blame: which is it?"


def other_prompt(learn: Learner, instruction: str) -> PromptVersion:
    """As another run would have made it."""
    active = learn.service.store.active(PROJECT)
    assert active
    return PromptVersion.of(
        learn.service.store.next_number(PROJECT),
        Prompt(instruction, style=active.prompt.style),
        config_hash=active.config_hash,
        model=active.model,
        origin="test",
        created_at=datetime.now(UTC),
    )


def activate(learn: Learner, version: PromptVersion) -> None:
    active = learn.service.store.active(PROJECT)
    assert active
    assert learn.service.store.publish(PROJECT, version, active.name, by="a person")


def published_by_runs(learn: Learner) -> list[str]:
    return [each.version for each in learn.service.store.activations(PROJECT) if each.by.startswith("run ")]


# -- the student


def test_a_student_that_fails_half_of_the_calls_costs_no_run(learn: Learner) -> None:
    asked: set[str] = set()

    def every_first_time(_number: int, _path: str, body: Json) -> Fault | None:
        question = json.dumps(body)
        if ". No " not in question or question in asked:
            return None
        asked.add(question)
        return Fault(500)

    learn.llm.change(faults=every_first_time)
    run = learn(LABELS)
    assert (run.decision, run.spend.student_calls) == ("published", len(asked))
    assert run.estimate
    assert run.estimate.challenger_accuracy == 1.0


def test_a_student_that_fails_all_calls_is_waited_for_and_no_answer_is_paid_twice(learn: Learner) -> None:
    at_call(learn.llm, 60, lambda: learn.llm.change(faults=lambda *_: Fault(500)))
    waiting = learn(LABELS)
    assert (waiting.state, waiting.decision) == ("running", None)
    assert "answered 500" in waiting.stage
    learn.llm.change(faults=())
    assert retry_now(learn.redis, OPTIMIZE) == 1
    work(learn.redis, queues=[OPTIMIZE])
    run = learn.run
    assert (run.id, run.decision) == (waiting.id, "published")
    assert run.spend.student_calls == questions(learn.llm)


def test_a_run_that_every_try_failed_says_so_and_its_labels_are_learned_from_later(learn: Learner) -> None:
    learn.llm.stop()
    learn(LABELS)
    for _ in range(3):
        assert learn.run.state == "running"
        assert retry_now(learn.redis, OPTIMIZE) == 1
        work(learn.redis, queues=[OPTIMIZE])
    failed = learn.run
    assert (failed.state, failed.decision) == ("done", "failed")
    assert "cannot be reached" in failed.words[0]
    learn.llm.start()
    again = learn(LABELS)
    assert (again.id != failed.id, again.decision) == (True, "published")


def test_a_student_that_refuses_fails_the_run_with_its_reason_and_nothing_wrong_is_kept(learn: Learner) -> None:
    before = learn.version
    at_call(learn.llm, 50, lambda: learn.llm.change(api_key="another"))
    refused = learn(LABELS)
    assert (refused.state, refused.decision) == ("done", "failed")
    assert "refused (401)" in refused.words[0]
    assert "OPENAI_API_KEY" in refused.words[-1]
    assert learn.version == before
    learn.llm.change(api_key="")
    mended = learn(LABELS, action="START_TRAINING")
    assert mended.decision == "published"
    assert mended.estimate
    assert (mended.estimate.challenger_accuracy, mended.spend.from_cache) == (1.0, refused.spend.student_calls)


def test_answers_without_log_probs_are_kept_of_no_label(learn: Learner) -> None:
    at_call(learn.llm, 50, lambda: learn.llm.change(faults=lambda *_: Fault(spoil="no_logprobs")))
    waiting = learn(LABELS)
    assert "without log-probs" in waiting.stage
    learn.llm.change(faults=())
    retry_now(learn.redis, OPTIMIZE)
    work(learn.redis, queues=[OPTIMIZE])
    assert learn.run.decision == "published"
    assert learn.run.estimate
    assert learn.run.estimate.challenger_accuracy == 1.0


def test_a_prompt_that_does_not_fit_the_student_loses_and_the_run_goes_on(
    learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIMIZE_ROUNDS", "2")
    learn.llm.change(context_tokens=150)  # room for an instruction, but not for demonstrations with it
    run = learn(LABELS)
    assert (run.decision, run.estimate and run.estimate.challenger_accuracy) == ("published", 1.0)
    assert 'llm_errors_total{kind="PromptTooLongError"}' in learn.client.get("/metrics").text


# -- what changes under a run


def test_labels_that_change_while_a_run_is_on_are_all_there_for_the_next(learn: Learner) -> None:
    stub = learn.label_studio

    def change() -> None:
        stub.edit(stub.annotations[1][0], "neutral")
        stub.delete_annotation(stub.annotations[2][0])
        stub.delete_task(3)
        stub.annotate(30, "negative")
        learn.tell("TASKS_DELETED")

    at_call(learn.llm, 30, change)
    run = learn(LABELS)
    assert (run.state, run.labels) == ("done", LABELS)
    learn.work()
    assert learn.run.id == run.id
    stored = AnnotationStore(learn.redis).tasks(PROJECT)
    assert [each.id for each in stored] == [1, *range(4, LABELS + 1), 30]
    assert stored[0].annotations[0].result[0]["value"]["choices"] == ["neutral"]
    assert learn(LABELS, action="START_TRAINING").labels == LABELS - 1


def test_labels_that_come_while_a_run_is_on_are_learned_from_when_they_are_enough(learn: Learner) -> None:
    def annotate() -> None:
        learn.annotate(LABELS + 20)
        learn.tell()

    at_call(learn.llm, 30, annotate)
    first = learn(LABELS)
    learn.work()
    assert (learn.run.id != first.id, learn.run.labels) == (True, LABELS + 20)


def test_a_project_that_is_deleted_under_a_run_fails_it_and_nothing_else(learn: Learner) -> None:
    at_call(learn.llm, 30, lambda: learn.label_studio.outages.extend([404] * 50))
    run = learn(LABELS)
    assert (run.state, run.decision) == ("done", "failed")
    assert "no project 1" in run.words[0]
    assert (published_by_runs(learn), learn.service.dispatch.failed()) == ([], [])
    assert not learn.service.dispatch.is_pending(PROJECT, "optimize")


@pytest.mark.parametrize("told", [True, False], ids=["and an event tells", "and no event tells"])
def test_labels_that_become_others_under_a_run_overtake_it(learn: Learner, told: bool) -> None:
    def change() -> None:
        learn.label_studio.config = OTHER_CONFIG
        if told:
            learn.tell("PROJECT_UPDATED")

    at_call(learn.llm, 30, change)
    run = learn(LABELS)
    assert (run.state, run.decision) == ("done", "overtaken")
    active = learn.service.store.active(PROJECT)
    assert active
    assert active.config_hash == learn.service.schema(OTHER_CONFIG).config_hash
    assert (published_by_runs(learn), learn.version) == ([], active.name)
    assert learn.service.runs.report(PROJECT) is None


def test_another_version_that_became_active_under_a_run_stays(learn: Learner) -> None:
    by_hand = other_prompt(learn, "A person chose this.")
    at_call(learn.llm, 30, lambda: activate(learn, by_hand))
    run = learn(LABELS)
    assert (run.decision, learn.version) == ("overtaken", by_hand.name)
    assert learn.service.store.version(PROJECT, run.challenger or "")


def test_an_edited_guideline_is_a_candidate_at_once(learn: Learner) -> None:
    """Once something was learned; before that it is the initial prompt itself."""
    activate(learn, other_prompt(learn, "Learned before."))
    learn.llm.change(label=lambda prompt: (keyword_label if GUIDELINE in prompt else by_chance)(prompt))
    learn.annotate(12)
    learn.tell()
    learn.work()
    assert queued(learn.redis, OPTIMIZE) == []
    learn.label_studio.expert_instruction = f"<p>{GUIDELINE}</p>"
    learn.tell("PROJECT_UPDATED", instruction=f"<p>{GUIDELINE}</p>")
    learn.work()
    assert (learn.run.trigger, learn.run.decision) == ("guideline", "published")
    active = learn.service.store.active(PROJECT)
    assert active
    assert active.prompt.instruction == GUIDELINE


def by_chance(prompt: str) -> Mapping[str, float]:
    return chance(frame_and_task(prompt)[1])


# -- a published version that turns out worse


def test_a_version_that_new_labels_show_to_be_worse_is_taken_back(
    learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_SHARE", "1")
    before = learn.version
    published = learn(LABELS).challenger
    learn.llm.change(label=turned)
    learn.label_studio.now = datetime.now(UTC) + timedelta(minutes=1)
    run = learn(LABELS + 20)
    assert (run.decision, run.active, learn.version) == ("rolled_back", published, before)
    assert "20 labels of tasks drawn by lot that arrived after" in run.words[0]
    assert queued(learn.redis) == [("label_project", [PROJECT])]


def test_a_version_that_a_person_activated_is_not_taken_back(learn: Learner) -> None:
    before = learn.version
    published = learn(LABELS).challenger or ""
    store = learn.service.store
    assert store.activate(PROJECT, before, expected=published, by="a person")
    assert store.activate(PROJECT, published, expected=before, by="a person")
    learn.llm.change(label=turned)
    learn.label_studio.now = datetime.now(UTC) + timedelta(minutes=1)
    run = learn(LABELS + 20)
    assert (run.active, run.decision) == (published, "published")
    assert run.challenger != before


# -- people who intervene


def test_a_canceled_run_changes_nothing_and_the_next_label_does_not_begin_it_again(learn: Learner) -> None:
    before = learn.version
    at_call(learn.llm, 30, lambda: learn.service.dispatch.cancel(PROJECT))
    run = learn(LABELS)
    assert (run.state, run.decision, learn.version) == ("canceled", None, before)
    assert 0 < run.spend.student_calls <= questions(learn.llm)
    assert not learn.service.dispatch.is_pending(PROJECT, "optimize")
    assert learn(LABELS + 1).id == run.id
    assert learn(LABELS + 1, action="START_TRAINING").decision == "published"


def test_a_run_that_waits_for_its_next_try_can_be_canceled(learn: Learner) -> None:
    learn.llm.stop()
    waiting = learn(LABELS)
    record = learn.service.store.project(PROJECT)
    assert record
    assert run_control.cancel(learn.service, record).run == waiting.id
    learn.llm.start()
    learn.work()
    assert [(run.id, run.state) for run in learn.service.runs.runs(PROJECT)] == [(waiting.id, "canceled")]


# -- workers


class Hasty(Dispatch):
    """Whose locks lapse soon; `lock` is the last one."""

    lock: Lock

    @contextmanager
    def run_lock(self, project: str, *, ttl_s: float = 0.3) -> Iterator[Lock]:
        with super().run_lock(project, ttl_s=ttl_s) as self.lock:
            yield self.lock

    def is_lost(self) -> bool:
        try:
            self.lock.check()
        except LockLostError:
            return True
        return False


def test_a_run_that_another_worker_took_over_leaves_the_record_to_it(
    learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch = Hasty(learn.redis)
    monkeypatch.setattr(learn.service, "dispatch", dispatch)

    def another_takes_over() -> None:
        learn.redis.set(project_key(PROJECT, "run:lock"), "another's")
        until(dispatch.is_lost)
        learn.service.runs.save(replace(learn.run, state="done", decision="published"))

    learn.annotate(LABELS)
    at_call(learn.llm, 60, another_takes_over)
    with pytest.raises(LockLostError):
        learning.run(learn.service, PROJECT, trigger="forced")
    assert (learn.run.state, learn.run.decision) == ("done", "published")


# -- clocks


def test_a_clock_that_jumps_confuses_no_run(learn: Learner) -> None:
    """Into the next month and back, while the run is on: what it spent counts once, and it took no negative time."""
    at = datetime(2026, 11, 30, 23, tzinfo=UTC)
    hours = cycle([0, 3, -5, 900])
    learn.annotate(LABELS)
    run = learning.run(learn.service, PROJECT, trigger="forced", now=lambda: at + timedelta(hours=next(hours)))
    assert (run.decision, run.spend.student_calls) == ("published", questions(learn.llm))
    assert run.spend.seconds >= 0
    months = [Ledger(learn.redis, learn.service.settings, now=lambda month=month: month).month() for month in MONTHS]
    assert sum(spent.student_calls for spent in months) == run.spend.student_calls
    learn.annotate(LABELS + 1)
    earlier = learning.run(learn.service, PROJECT, trigger="forced", now=lambda: at - timedelta(days=400))
    assert learn.run == earlier
