"""Runs asked for by several: one at a time, and none twice for the same labels."""

from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.queue.dispatch import OPTIMIZE
from backend.queue.kinds import Request
from backend.storage.runs import RunRecord, RunState
from tests.flows.conftest import Logs, Web, queued, retry_now, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import LOVED, PROJECT, setup_body, tasks
from worker.labels.annotation_store import AnnotationStore, Learned

LABELS = 12


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment; it knows one project."""
    client = shared_web(learn_after_labels=str(LABELS))
    client.post("/setup", json=setup_body())
    return client


@pytest.fixture
def labelled(client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis) -> None:
    """So many labels are known that a run is due."""
    label_studio.add(*tasks(f"{LOVED} No {number}." for number in range(1, LABELS + 1)))
    for task_id in range(1, LABELS + 1):
        label_studio.annotate(task_id, "positive")
    service_of(client).dispatch.touch(PROJECT, "follow")
    work(redis_client, jobs=1)


def save_run(client: FlaskClient, state: RunState) -> None:
    service = service_of(client)
    active = service.store.active(PROJECT)
    assert active
    at = datetime(2026, 11, 22, 13, tzinfo=UTC)
    service.runs.save(RunRecord("r1", PROJECT, state, at, LABELS, active.name, "labels", "kept"))


def states(client: FlaskClient) -> list[tuple[str, RunState]]:
    return [(run.trigger, run.state) for run in service_of(client).runs.runs(PROJECT)]


@pytest.mark.usefixtures("labelled")
def test_a_run_that_is_due_is_made_once(client: FlaskClient, redis_client: Redis) -> None:
    work(redis_client)
    assert states(client) == [("labels", "done")]
    assert not service_of(client).dispatch.is_pending(PROJECT, "optimize")
    service_of(client).dispatch.touch(PROJECT, "follow")
    work(redis_client)
    assert len(states(client)) == 1


@pytest.mark.usefixtures("labelled")
@pytest.mark.parametrize("trigger", ["labels", "errors"])
def test_labels_that_a_run_has_learned_from_meanwhile_are_not_learned_from_again(
    trigger: str, client: FlaskClient, redis_client: Redis
) -> None:
    save_run(client, "done")
    AnnotationStore(redis_client).note_run(PROJECT, Learned(LABELS))
    service_of(client).dispatch.touch(PROJECT, "optimize", trigger=trigger)
    work(redis_client)
    assert states(client) == [("labels", "done")]
    assert service_of(client).dispatch.request(PROJECT, "optimize").trigger == ""


@pytest.mark.usefixtures("labelled")
@pytest.mark.parametrize(("trigger", "before"), [("forced", "done"), ("labels", "running")])
def test_a_run_is_made_where_somebody_asked_or_one_was_interrupted(
    trigger: str, before: RunState, client: FlaskClient, redis_client: Redis
) -> None:
    save_run(client, before)
    AnnotationStore(redis_client).note_run(PROJECT, Learned(LABELS))
    service_of(client).dispatch.touch(PROJECT, "optimize", trigger=trigger)
    work(redis_client, queues=[OPTIMIZE])
    latest = service_of(client).runs.latest(PROJECT)
    assert latest
    assert latest.ended_at


def test_a_guideline_that_changes_before_there_are_labels_makes_no_run(
    client: FlaskClient, redis_client: Redis
) -> None:
    service_of(client).learn(PROJECT, trigger="guideline")
    work(redis_client)
    assert states(client) == []
    assert not service_of(client).dispatch.is_pending(PROJECT, "optimize")


@pytest.mark.usefixtures("labelled")
def test_a_run_waits_for_one_that_is_under_way_and_loses_none_of_its_tries(
    client: FlaskClient, redis_client: Redis
) -> None:
    dispatch = service_of(client).dispatch
    dispatch.touch(PROJECT, "optimize", trigger="forced")
    with dispatch.run_lock(PROJECT):
        for _ in range(6):
            work(redis_client, queues=[OPTIMIZE])
            assert retry_now(redis_client, OPTIMIZE) == 1
        assert dispatch.failed() == []
        assert states(client) == []
        assert queued(redis_client, OPTIMIZE) == [("optimize", [PROJECT])]
    assert dispatch.request(PROJECT, "optimize").trigger == "forced"
    work(redis_client, queues=[OPTIMIZE])
    assert states(client) == [("forced", "done")]


@pytest.mark.usefixtures("labelled")
def test_what_was_asked_for_before_a_cancel_makes_no_run_and_what_is_asked_for_after_it_does(
    client: FlaskClient, redis_client: Redis
) -> None:
    """A run asked for while another is under way, which ends when its request is settled."""
    dispatch = service_of(client).dispatch
    first = dispatch.touch(PROJECT, "optimize", trigger="forced")
    redis_client.delete("rq:queue:optimize")  # in a worker's hands
    dispatch.touch(PROJECT, "optimize", trigger="forced")
    assert dispatch.cancel(PROJECT)
    dispatch.settle(PROJECT, "optimize", first)
    work(redis_client, queues=[OPTIMIZE])
    assert states(client) == []
    dispatch.touch(PROJECT, "optimize", trigger="forced")
    work(redis_client, queues=[OPTIMIZE])
    assert states(client) == [("forced", "done")]


def test_a_project_that_is_gone_is_no_failure(client: FlaskClient, redis_client: Redis, logged: Logs) -> None:
    dispatch = service_of(client).dispatch
    dispatch.touch("7.1795000000", "optimize", trigger="forced")
    work(redis_client)
    assert [line["project"] for line in logged() if line["event"] == "nothing is learned"] == ["7.1795000000"]
    assert dispatch.failed() == []
    assert dispatch.request("7.1795000000", "optimize") == Request(1)
