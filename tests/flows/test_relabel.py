"""After a swap: open tasks are predicted anew, what is likeliest to change first, and old predictions go."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.labeling.prompt import Prompt, PromptVersion
from backend.labeling.schema import parse
from backend.projects import pushing
from backend.queue.dispatch import LABEL
from tests.flows.conftest import Web, queued_tasks, retry_now, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import CONFIG, HATED, LOVED, PROJECT, setup_body, task, tasks
from worker.predictions import relabel

Publish = Callable[[str], str]


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment; its project has its initial prompt."""
    client = shared_web(chunk_tasks="1")
    client.post("/setup", json=setup_body())
    return client


@pytest.fixture
def publish(client: FlaskClient, redis_client: Redis) -> Publish:
    """As a run does: the new version becomes active, then the open tasks are labelled."""

    def publish(instruction: str) -> str:
        service = service_of(client)
        active = service.store.active(PROJECT)
        assert active
        version = PromptVersion.of(
            service.store.next_number(PROJECT),
            Prompt(instruction, style="chat"),
            config_hash=active.config_hash,
            model=active.model,
            origin="learned",
            created_at=datetime(2026, 11, 22, tzinfo=UTC),
        )
        assert service.store.publish(PROJECT, version, active.name, by="run")
        service.dispatch.label_project(PROJECT)
        return version.name

    return publish


def label_all(client: FlaskClient, redis_client: Redis) -> str:
    """With the active version, whose name it is."""
    service = service_of(client)
    service.dispatch.label_project(PROJECT)
    work(redis_client, queues=[LABEL])
    active = service.store.active(PROJECT)
    assert active
    return active.name


def test_what_is_likeliest_to_change_is_queued_first_and_annotated_tasks_last(
    client: FlaskClient, publish: Publish, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks(f"{LOVED} {number}" for number in range(1, 7)))
    first = label_all(client, redis_client)
    scores = {1: 0.9, 2: 0.5, 3: 0.7, 4: 0.2, 5: 0.6}
    hashes = {number: parse(CONFIG).data_hash(label_studio.tasks[number]) for number in range(1, 7)}
    kept = {hashes[number]: json.dumps({"score": score}).encode() for number, score in scores.items()}
    redis_client.delete(f"whetstone:project:{PROJECT}:predictions:{first}")  # of 6 nothing is known any more
    service_of(client).store.keep_predictions(PROJECT, first, kept)
    label_studio.annotate(4, "positive")
    publish("Say how the customer feels.")
    work(redis_client, jobs=1)
    assert queued_tasks(redis_client) == [6, 2, 5, 3, 1, 4]


def test_after_three_swaps_an_open_task_has_predictions_of_two_versions(
    client: FlaskClient, publish: Publish, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks([LOVED, HATED, LOVED]))
    label_studio.predict(1, "neutral", version="another model")
    versions = [label_all(client, redis_client)]
    for number in range(3):
        versions.append(publish(f"Say how the customer feels. {number}"))
        work(redis_client, queues=[LABEL])
    assert label_studio.versions(2) == label_studio.versions(3) == versions[-2:]
    assert label_studio.versions(1) == ["another model", *versions[-2:]]
    assert label_studio.title == label_studio.model_version == versions[-1]


def test_predictions_of_annotated_tasks_stay(
    client: FlaskClient, publish: Publish, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    """They are what the annotator was shown, and what the report compares."""
    label_studio.add(task(1, LOVED), task(2, HATED))
    versions = [label_all(client, redis_client)]
    label_studio.annotate(1, "positive")
    for number in range(2):
        versions.append(publish(f"Say how the customer feels. {number}"))
        work(redis_client, queues=[LABEL])
    assert label_studio.versions(1) == versions
    assert label_studio.versions(2) == versions[-2:]


def test_many_old_predictions_go_part_by_part(
    client: FlaskClient, publish: Publish, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks([LOVED] * 120))
    names = [label_all(client, redis_client), publish("One."), publish("Two.")]
    for task_id in label_studio.tasks:
        label_studio.predictions[task_id] = []
        for name in names:
            label_studio.predict(task_id, "positive", version=name)
    service = service_of(client)
    to_label = pushing.make_client(service.settings)
    to = pushing.target(service, to_label, 1)
    parts = [relabel.prune(service, to_label, to, most=40) for _ in range(3)]
    assert parts == [True, True, False]
    assert all(label_studio.versions(task_id) == names[-2:] for task_id in label_studio.tasks)


def test_a_failed_deletion_is_tried_again(
    client: FlaskClient, publish: Publish, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(task(1, LOVED))
    names = [label_all(client, redis_client), publish("One."), publish("Two.")]
    work(redis_client, queues=[LABEL])
    label_studio.predict(1, "positive", version=names[1])
    service_of(client).dispatch.touch(PROJECT, "prune")
    label_studio.outages = [200, 200, 200, 503]
    work(redis_client, queues=[LABEL])
    assert sorted(label_studio.versions(1)) == names
    assert retry_now(redis_client) == 1
    work(redis_client, queues=[LABEL])
    assert sorted(label_studio.versions(1)) == names[1:]
