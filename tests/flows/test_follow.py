"""From annotations in Label Studio to a run that is due: events, the worker's pull, and the thresholds."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.queue.dispatch import LABEL, OPTIMIZE
from backend.queue.kinds import Request
from backend.storage.runs import RunRecord
from tests.flows.conftest import Logs, Web, queued, retry_now, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import LOVED, OTHER_CONFIG, PROJECT, event, setup_body, tasks
from worker.labels.annotation_store import AnnotationStore, Learned

Annotate = Callable[..., None]
LABELS, ERRORS = 12, 3


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment."""
    client = shared_web(learn_after_labels=str(LABELS), learn_after_errors=str(ERRORS))
    client.post("/setup", json=setup_body())
    return client


@pytest.fixture
def tell(client: FlaskClient, captured: Callable[[str], Any], redis_client: Redis) -> Callable[..., None]:
    """Label Studio sends word, and the worker reads what there is."""

    def tell(action: str = "ANNOTATION_CREATED", **fields: Any) -> None:
        body = event(action, captured("webhook_annotation_created"), **fields)
        assert client.post("/webhook", json=body).status_code == 201
        work(redis_client, queues=[LABEL])

    return tell


@pytest.fixture
def annotate(label_studio: LabelStudioStub, tell: Callable[..., None]) -> Annotate:
    """So many more tasks are annotated, in some of which the annotator was shown another label; then word is sent."""
    texts = [f"{LOVED} No {number}." for number in range(60)]
    label_studio.add(*tasks(texts))
    numbers = iter(range(1, 61))

    def annotate(count: int, *, wrong: int = 0) -> None:
        for number in range(count):
            task_id = next(numbers)
            shown = label_studio.predict(task_id, "negative" if number < wrong else "positive", version="p0001-aaaa")
            label_studio.annotate(task_id, "positive", parent_prediction=shown["id"])
        tell()

    return annotate


def asked(client: FlaskClient) -> Request:
    return service_of(client).dispatch.request(PROJECT, "optimize")


def learned(client: FlaskClient, labels: int) -> None:
    """As a run leaves it behind."""
    service, dispatch = service_of(client), service_of(client).dispatch
    active = service.store.active(PROJECT)
    assert active
    at = datetime(2026, 11, 22, 13, tzinfo=UTC)
    service.runs.save(RunRecord("r1", PROJECT, "done", at, labels, active.name, "labels", "kept"))
    store = AnnotationStore(service.redis)
    until = max(each.updated_at for task in store.tasks(PROJECT) for each in task.annotations)
    store.note_run(PROJECT, Learned(labels, until))
    dispatch.withdraw(PROJECT, "optimize")
    dispatch.settle(PROJECT, "optimize", asked(client).revision)


def test_a_run_is_due_after_enough_new_labels(client: FlaskClient, annotate: Annotate, redis_client: Redis) -> None:
    annotate(LABELS - 1)
    assert queued(redis_client, OPTIMIZE) == []
    record = service_of(client).store.project(PROJECT)
    assert record
    assert (record.labels, record.new_labels) == (LABELS - 1, LABELS - 1)
    annotate(1)
    assert queued(redis_client, OPTIMIZE) == [("optimize", [PROJECT])]
    assert asked(client) == Request(1, "labels")


def test_training_on_each_annotation_waits_for_enough_labels_too(
    client: FlaskClient, annotate: Annotate, captured: Callable[[str], Any], redis_client: Redis
) -> None:
    """With Label Studio's toggle on, each annotation sends this first."""
    training = event("START_TRAINING", captured("webhook_start_training"))
    training["project"]["min_annotations_to_start_training"] = 1
    for _ in range(LABELS - 1):
        assert client.post("/webhook", json=training).status_code == 201
        annotate(1)
    assert (queued(redis_client), queued(redis_client, OPTIMIZE)) == ([], [])
    client.post("/webhook", json=training)
    annotate(1)
    assert asked(client) == Request(1, "labels")


def test_fewer_labels_will_do_when_predictions_were_wrong(
    client: FlaskClient, annotate: Annotate, redis_client: Redis
) -> None:
    annotate(LABELS - 2, wrong=ERRORS - 1)
    assert queued(redis_client, OPTIMIZE) == []
    annotate(1, wrong=1)
    assert asked(client) == Request(1, "errors")


def test_no_run_is_due_on_a_handful_of_errors(annotate: Annotate, redis_client: Redis) -> None:
    annotate(ERRORS, wrong=ERRORS)
    assert queued(redis_client, OPTIMIZE) == []


def test_runs_asked_for_again_before_one_begins_are_one(
    client: FlaskClient, annotate: Annotate, redis_client: Redis
) -> None:
    annotate(LABELS)
    annotate(1)
    annotate(1)
    assert queued(redis_client, OPTIMIZE) == [("optimize", [PROJECT])]


def test_what_was_learned_from_does_not_count_again(
    client: FlaskClient, annotate: Annotate, redis_client: Redis
) -> None:
    annotate(LABELS, wrong=LABELS)
    learned(client, LABELS)
    annotate(LABELS - 1, wrong=ERRORS - 1)
    assert queued(redis_client, OPTIMIZE) == []
    annotate(1)
    assert asked(client).trigger == "labels"


def test_labels_that_are_edited_are_new_again(
    client: FlaskClient, annotate: Annotate, tell: Callable[..., None], label_studio: LabelStudioStub
) -> None:
    annotate(LABELS)
    learned(client, LABELS)
    given = [each for annotations in label_studio.annotations.values() for each in annotations]
    for annotation in given[: ERRORS - 1]:
        label_studio.edit(annotation, "negative")
    tell("ANNOTATION_UPDATED")
    assert asked(client).trigger == ""
    label_studio.edit(given[0], "neutral")  # for the second time
    tell("ANNOTATION_UPDATED")
    assert asked(client).trigger == ""
    label_studio.edit(given[ERRORS], "neutral")
    tell("ANNOTATION_UPDATED")
    assert asked(client).trigger == "errors"


def test_events_that_come_while_labels_are_read_are_read_by_one_more_job(
    client: FlaskClient, annotate: Annotate, captured: Callable[[str], Any], redis_client: Redis
) -> None:
    annotate(1)
    for _ in range(5):
        client.post("/webhook", json=event("ANNOTATION_CREATED", captured("webhook_annotation_created")))
    assert queued(redis_client) == [("follow", [PROJECT])]


def test_deleted_labels_count_no_more_and_new_ones_count_all_the_same(
    client: FlaskClient,
    annotate: Annotate,
    tell: Callable[..., None],
    label_studio: LabelStudioStub,
    redis_client: Redis,
) -> None:
    annotate(LABELS)
    learned(client, LABELS)
    for task_id in range(1, 7):
        label_studio.delete_task(task_id)
    tell("TASKS_DELETED", tasks=[{"id": task_id} for task_id in range(1, 7)])
    assert len(AnnotationStore(redis_client).tasks(PROJECT)) == LABELS - 6
    annotate(LABELS - 1)
    assert queued(redis_client, OPTIMIZE) == []
    annotate(1)
    assert asked(client).trigger == "labels"


def test_skips_are_no_labels(label_studio: LabelStudioStub, tell: Callable[..., None], redis_client: Redis) -> None:
    label_studio.add(*tasks([LOVED] * LABELS))
    for task_id in range(1, LABELS + 1):
        label_studio.annotate(task_id, "positive", was_cancelled=True)
    tell()
    assert queued(redis_client, OPTIMIZE) == []


def test_under_another_configuration_all_labels_are_new(
    client: FlaskClient, annotate: Annotate, tell: Callable[..., None], label_studio: LabelStudioStub
) -> None:
    annotate(LABELS)
    learned(client, LABELS)
    tell()
    assert asked(client).trigger == ""
    label_studio.config = OTHER_CONFIG
    tell("PROJECT_UPDATED", config=OTHER_CONFIG)
    tell(config=OTHER_CONFIG)
    assert asked(client).trigger == "labels"


def test_a_project_that_is_gone_is_no_failure(
    client: FlaskClient, redis_client: Redis, logged: Logs, label_studio: LabelStudioStub
) -> None:
    dispatch = service_of(client).dispatch
    dispatch.touch("7.1795000000", "follow")
    dispatch.touch("1.1795000000", "follow")
    work(redis_client, queues=[LABEL])
    lines = [line["project"] for line in logged() if line["event"] == "annotations are not read"]
    assert sorted(lines) == ["1.1795000000", "7.1795000000"]
    assert (retry_now(redis_client), dispatch.failed()) == (0, [])


def test_labels_are_read_when_label_studio_is_back(
    client: FlaskClient, annotate: Annotate, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.outages = [503] * 3
    annotate(LABELS)
    assert queued(redis_client, OPTIMIZE) == []
    assert retry_now(redis_client) == 1
    work(redis_client, queues=[LABEL])
    assert asked(client).trigger == "labels"


def test_labels_are_read_though_ten_thousand_tasks_wait(
    client: FlaskClient, annotate: Annotate, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    service_of(client).dispatch.label_tasks(PROJECT, range(1000, 11_000), chunk=50)
    service_of(client).follow(PROJECT)
    work(redis_client, jobs=1)
    assert len(queued(redis_client)) == 200
    assert not service_of(client).dispatch.is_pending(PROJECT, "follow")
