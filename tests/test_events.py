from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from backend import events
from backend.identity import IdentityError
from backend.labeling.errors import StoreError, WhetstoneError
from backend.service import Service
from backend.settings import Settings

PROJECT = "1.1795346384"
Event = Callable[..., dict[str, Any]]


@pytest.fixture
def service(redis_url: str) -> Service:
    return Service(
        Settings(
            redis_url=redis_url,
            openai_base_url="http://127.0.0.1:1/v1",
            label_studio_url="http://127.0.0.1:1",
            label_studio_api_key="key",
        )
    )


@pytest.fixture
def event(captured: Callable[[str], Any]) -> Event:
    """A recorded event with other fields; what is given for `project` is laid over the recorded project."""

    def make(action: str, *, project: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        recorded = captured("webhook_project_updated")["body"]["project"]
        return {"action": action, "project": {**recorded, **(project or {})}, **fields}

    return make


def counted(service: Service) -> dict[str, float]:
    return {count.labels["action"]: count.value for count in service.counters.counts() if count.name == "events"}


def test_only_the_configuration_and_the_guideline_of_a_project_are_kept(service: Service, event: Event) -> None:
    payload = event("PROJECT_UPDATED", project={"token": "PROJECT-TOKEN", "task_data_password": "DATA-PASSWORD"})
    events.receive(service, payload)
    record = service.store.project(PROJECT)
    assert record
    assert asdict(record) == {
        "key": PROJECT,
        "numeric_id": 1,
        "label_studio_url": "",
        "config": payload["project"]["label_config"],
        "expert_instruction": "<p>Label how the customer feels <b>now</b>.</p>",
        "backend_id": None,
        "title": "",
    }


def test_new_tasks_are_queued_by_their_ids(service: Service, event: Event) -> None:
    rows = [{"id": 5, "data": {}}, {"id": "6"}, {"data": {}}, None, {"id": 7}]
    events.receive(service, event("TASKS_CREATED", tasks=rows))
    assert service.dispatch.queue_lengths()["label"] == 1
    assert service.dispatch.label_tasks(PROJECT, [5, 6, 7], chunk=50) == 1  # 5 and 7 wait already


@pytest.mark.parametrize("tasks", [None, {}, "text", [], [[]]])
def test_an_event_with_no_usable_tasks_queues_nothing(tasks: Any, service: Service, event: Event) -> None:
    events.receive(service, event("TASKS_CREATED", tasks=tasks))
    assert service.dispatch.queue_lengths()["label"] == 0


def test_training_asked_for_again_and_again_is_one_job(service: Service, event: Event) -> None:
    for _ in range(3):
        events.receive(service, event("START_TRAINING"))
    assert service.dispatch.queue_lengths()["label"] == 1


def test_the_same_project_again_changes_nothing(service: Service, event: Event) -> None:
    events.receive(service, event("PROJECT_UPDATED"))
    before = service.store.active(PROJECT)
    events.receive(service, event("PROJECT_UPDATED", project={"title": "renamed", "model_version": "other"}))
    assert service.store.active(PROJECT) == before
    assert service.dispatch.queue_lengths()["label"] == 0


def test_another_guideline_is_another_version_and_has_the_project_labelled_anew(service: Service, event: Event) -> None:
    events.receive(service, event("PROJECT_UPDATED"))
    before = service.store.active(PROJECT)
    events.receive(service, event("PROJECT_UPDATED", project={"expert_instruction": "Sarcasm is negative."}))
    after = service.store.active(PROJECT)
    assert before
    assert after
    assert after.name != before.name
    assert after.prompt.instruction == "Sarcasm is negative."
    assert service.dispatch.queue_lengths()["label"] == 1


def test_a_configuration_that_cannot_be_labelled_is_taken_note_of(service: Service, event: Event) -> None:
    with capture_logs() as lines:
        answer = events.receive(service, event("PROJECT_UPDATED", project={"label_config": "<View/>"}))
    assert answer == {"status": "ok"}
    assert [line["event"] for line in lines] == ["the project's configuration cannot be labelled"]
    record = service.store.project(PROJECT)
    assert record
    assert record.config == "<View/>"


def test_events_yet_unknown_are_taken_and_counted_under_one_name(service: Service, event: Event) -> None:
    for action in ("LABELS_DELETED", "X" * 5000, "ANNOTATION_CREATED"):
        assert events.receive(service, event(action)) == {"status": "ok"}
    assert counted(service) == {"other": 2, "ANNOTATION_CREATED": 1}


@pytest.mark.parametrize("payload", [{}, {"action": 5, "project": {}}, {"action": "TASKS_CREATED"}, {"project": {}}])
def test_what_is_no_event_is_refused(payload: dict[str, Any], service: Service) -> None:
    with pytest.raises(WhetstoneError, match='"action" and a "project"'):
        events.receive(service, payload)


def test_a_project_without_its_creation_time_is_refused(service: Service) -> None:
    with pytest.raises(IdentityError):
        events.receive(service, {"action": "START_TRAINING", "project": {"id": 1}})


def test_an_event_that_cannot_be_kept_is_an_error(event: Event, redis_client: Redis) -> None:
    away = Service(Settings(redis_url="redis://127.0.0.1:1/0", openai_base_url="http://127.0.0.1:1/v1"))
    with pytest.raises(StoreError):
        events.receive(away, event("PROJECT_UPDATED"))
