"""Workers killed with -9: runs come to their ends, nothing is lost, and nothing is published twice."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from backend.projects import run_control
from backend.queue.dispatch import LABEL, OPTIMIZE
from backend.storage import scripts
from backend.storage.redis_client import project_key
from backend.storage.run_store import report_key
from tests.flows.conftest import Learner, retry_now, until, work
from tests.flows.learning import questions, turned
from tests.flows.payloads import PROJECT, label, predict_body, task
from tests.flows.redis_proxy import Matches, RedisProxy, runs_script, sets
from tests.flows.worker_process import WorkerProcess
from worker.calls import scripts as worker_scripts
from worker.calls.ledger import Ledger
from worker.labels.annotation_store import AnnotationStore
from worker.runs.sweep import Sweep

LABELS = 24
STAGES: Mapping[str, Matches] = {
    "the run is begun": runs_script(scripts.SAVE_RUN),
    "calls are reserved": runs_script(worker_scripts.RESERVE),
    "the first answers are kept": runs_script(worker_scripts.KEEP_EVALUATIONS),
    "calls are settled": runs_script(worker_scripts.SETTLE, b"student_calls"),
    "the decision is kept": runs_script(scripts.SAVE_RUN, b'"decision":"published"'),
    "the pointer moved": runs_script(scripts.ACTIVATE, b"run "),
    "the labels are noted": sets(project_key(PROJECT, "annotations:run")),
    "the report is saved": sets(report_key(PROJECT)),
    "the end is kept": runs_script(scripts.SAVE_RUN, b'"state":"done"'),
}


@pytest.fixture
def learn_settings(learn_settings: dict[str, str]) -> dict[str, str]:
    """All tasks are of the audit slice, so that all labels may take a version back."""
    return {**learn_settings, "log_level": "ERROR", "blind_share": "0", "audit_share": "1"}


def killed_when(learn: Learner, settings: Mapping[str, str], matches: Matches) -> None:
    """A worker begins the run that is due, and is gone when it has come so far."""
    with (
        RedisProxy(settings["redis_url"], matches) as proxy,
        WorkerProcess({**settings, "redis_url": proxy.url}, OPTIMIZE) as process,
    ):
        until(proxy.struck.is_set)
        process.kill()


def another_worker(learn: Learner) -> None:
    """Takes up what the dead one had in hand, once its lock and its job's heartbeat have lapsed."""
    learn.redis.delete(project_key(PROJECT, "run:lock"))
    learn.redis.zadd("rq:wip:optimize", dict.fromkeys(learn.redis.zrange("rq:wip:optimize", 0, -1), 1))
    assert Sweep(learn.service.settings).once()
    retry_now(learn.redis, OPTIMIZE)
    work(learn.redis, queues=[OPTIMIZE])


def serves(learn: Learner) -> bool:
    """The active version is there, whole, and labels."""
    stored = {each.name for each in learn.service.store.all_versions(PROJECT)}
    body = predict_body([task(900, "I love it, excellent. No 900.")])
    (result,) = learn.client.post("/predict", json=body).json["results"]  # type: ignore[index]
    return learn.version in stored and result["model_version"] == learn.version and bool(label(result))


def due(learn: Learner, labels: int = LABELS) -> None:
    learn.annotate(labels)
    learn.tell()
    work(learn.redis, queues=[LABEL])


def reserved(redis: Redis) -> list[bytes]:
    """Calls that are still reserved, of runs and months."""
    keys = [*redis.scan_iter("whetstone:*spend:*:reserved")]
    return [value for key in keys for value in redis.hvals(key) if value != b"settled"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_whose_worker_is_killed_comes_to_its_end(
    stage: str, learn: Learner, learn_settings: dict[str, str]
) -> None:
    due(learn)
    killed_when(learn, learn_settings, STAGES[stage])
    dead = learn.run
    assert serves(learn)
    another_worker(learn)
    (run,) = learn.service.runs.runs(PROJECT)
    assert (run.id, run.state, run.decision) == (dead.id, "done", "published")
    assert run.estimate
    assert [each.by for each in learn.service.store.activations(PROJECT)] == [f"run {run.id}", "seed"]
    assert serves(learn)
    assert learn.version == run.challenger
    assert len(learn.service.store.all_versions(PROJECT)) == 2
    report = learn.service.runs.report(PROJECT)
    assert report
    assert (report["active"], report["labels"]) == (run.challenger, LABELS)
    store = AnnotationStore(learn.redis)
    assert [each.id for each in store.tasks(PROJECT)] == [*range(1, LABELS + 1)]
    assert store.learned(PROJECT).labels == LABELS
    assert reserved(learn.redis) == []
    month = Ledger(learn.redis, learn.service.settings).month()
    assert month.student_calls == run.spend.student_calls <= questions(learn.llm)
    assert not learn.service.dispatch.is_pending(PROJECT, "optimize")


def test_a_challenger_whose_run_is_killed_awaits_approval_once(
    learn: Learner, learn_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    due(learn)
    monkeypatch.setenv("REQUIRE_APPROVAL", "true")
    killed_when(learn, {**learn_settings, "require_approval": "true"}, runs_script(scripts.ADD_VERSION))
    another_worker(learn)
    assert learn.run.decision == "awaiting_approval"
    seed, challenger = sorted(each.name for each in learn.service.store.all_versions(PROJECT))
    assert (learn.run.challenger, learn.version) == (challenger, seed)


def test_a_rollback_whose_worker_is_killed_is_made_once(learn: Learner, learn_settings: dict[str, str]) -> None:
    before = learn.version
    published = learn(LABELS).challenger
    learn.llm.change(label=turned)
    learn.label_studio.now = datetime.now(UTC) + timedelta(minutes=1)
    due(learn, LABELS + 20)
    killed_when(learn, learn_settings, runs_script(scripts.ACTIVATE, b"rollback"))
    assert learn.version == before
    another_worker(learn)
    assert (learn.run.state, learn.run.decision, learn.run.active) == ("done", "rolled_back", published)
    assert len(learn.service.store.activations(PROJECT)) == 3
    assert learn.version == before


@pytest.mark.parametrize("lock", ["still there", "lapsed"])
def test_a_cancel_after_a_worker_was_killed_ends_the_run_when_it_is_taken_up(
    lock: str, learn: Learner, learn_settings: dict[str, str]
) -> None:
    before = learn.version
    due(learn)
    killed_when(learn, learn_settings, STAGES["the first answers are kept"])
    if lock == "lapsed":
        learn.redis.delete(project_key(PROJECT, "run:lock"))
    record = learn.service.store.project(PROJECT)
    assert record
    assert run_control.cancel(learn.service, record).run == learn.run.id
    another_worker(learn)
    (run,) = learn.service.runs.runs(PROJECT)
    assert (run.state, run.decision, learn.version) == ("canceled", None, before)
    assert not learn.service.dispatch.is_pending(PROJECT, "optimize")
    assert learn(LABELS + 1).id == run.id
    assert learn(LABELS + 1, action="START_TRAINING").decision == "published"


def test_what_a_person_activates_while_a_killed_run_waits_stays(learn: Learner, learn_settings: dict[str, str]) -> None:
    before = learn.version
    due(learn)
    killed_when(learn, learn_settings, STAGES["the pointer moved"])
    assert learn.service.store.activate(PROJECT, before, expected=learn.version, by="a person")
    another_worker(learn)
    assert (learn.run.decision, learn.version) == ("published", before)
