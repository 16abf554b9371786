from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from structlog.testing import capture_logs

from backend.label_studio.identity import IdentityError
from backend.labeling.errors import StoreError, WhetstoneError
from backend.queue.kinds import Request
from backend.service import Service
from backend.settings import Settings
from backend.web import events

PROJECT = "1.1795346384"
NEW = {"total_annotations_number": 0}
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


def jobs(service: Service, queue: str = "label") -> list[str]:
    """Names of the jobs that wait."""
    ids = service.redis.lrange(f"rq:queue:{queue}", 0, -1)
    found = Job.fetch_many([each.decode() for each in ids], connection=service.redis, serializer=JSONSerializer)
    return [job.func_name.rpartition(".")[2] for job in found if job]


def counted(service: Service) -> dict[str, float]:
    return {count.labels["action"]: count.value for count in service.counters.counts() if count.name == "events"}


def test_only_name_configuration_and_guideline_of_a_project_are_kept(service: Service, event: Event) -> None:
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
        "name": "Ticket sentiment",
        "gone": False,
        "labels": None,
        "new_labels": None,
    }


def test_new_tasks_are_queued_by_their_ids(service: Service, event: Event) -> None:
    rows = [{"id": 5, "data": {}}, {"id": "6"}, {"data": {}}, None, {"id": 7}]
    events.receive(service, event("TASKS_CREATED", project=NEW, tasks=rows))
    assert jobs(service) == ["label_chunk"]
    assert service.dispatch.label_tasks(PROJECT, [5, 6, 7], chunk=50) == 1  # 5 and 7 wait already


@pytest.mark.parametrize("tasks", [None, {}, "text", [], [[]]])
def test_an_event_with_no_usable_tasks_queues_nothing(tasks: Any, service: Service, event: Event) -> None:
    events.receive(service, event("TASKS_CREATED", project=NEW, tasks=tasks))
    assert jobs(service) == []


def test_tasks_imported_into_a_project_with_annotations_may_bring_some(service: Service, event: Event) -> None:
    events.receive(service, event("TASKS_CREATED", tasks=[{"id": 5}]))
    assert jobs(service) == ["follow", "label_chunk"]


def test_training_asked_for_again_and_again_is_one_run(service: Service, event: Event) -> None:
    for _ in range(3):
        events.receive(service, event("START_TRAINING"))
    assert (jobs(service), jobs(service, "optimize")) == (["label_project"], ["optimize"])
    assert service.dispatch.request(PROJECT, "optimize").trigger == "forced"


@pytest.mark.parametrize("told", [0, None, "1", {}])
def test_training_is_forced_where_label_studio_does_not_ask_by_itself(
    told: object, service: Service, event: Event
) -> None:
    events.receive(service, event("START_TRAINING", project={"min_annotations_to_start_training": told}))
    assert service.dispatch.request(PROJECT, "optimize").trigger == "forced"


@pytest.mark.parametrize(
    ("name", "trigger"),
    [
        ("annotation_created", ""),
        ("annotation_created_skipped", ""),
        ("annotation_created_ui_skip", ""),
        ("annotation_updated", ""),
        ("annotation_updated_ground_truth", ""),
        ("annotations_created_bulk_from_predictions", ""),
        ("annotations_deleted", "reconcile"),
        ("tasks_deleted", "reconcile"),
    ],
)
def test_whatever_changes_annotations_has_them_read_once(
    name: str, trigger: str, service: Service, captured: Callable[[str], Any]
) -> None:
    """Lists, lists of ids alone and skips among them."""
    for _ in range(3):
        events.receive(service, captured(f"webhook_{name}")["body"])
    assert (jobs(service), jobs(service, "optimize")) == (["follow"], [])
    assert service.dispatch.request(PROJECT, "follow") == Request(3, trigger)


def test_without_a_key_for_label_studio_nothing_is_learned_and_the_log_says_so(redis_url: str, event: Event) -> None:
    service = Service(Settings(redis_url=redis_url, openai_base_url="http://127.0.0.1:1/v1"))
    with capture_logs() as lines:
        events.receive(service, event("ANNOTATION_CREATED"))
    assert jobs(service) == []
    assert [line["project"] for line in lines if "LABEL_STUDIO_API_KEY" in line["event"]] == [PROJECT]


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
    assert jobs(service) == ["label_project"]


def test_a_guideline_is_learned_from_when_it_changes_and_not_when_it_is_first_seen(
    service: Service, event: Event
) -> None:
    events.receive(service, event("PROJECT_UPDATED"))
    assert jobs(service, "optimize") == []
    events.receive(service, event("PROJECT_UPDATED", project={"expert_instruction": "Sarcasm is negative."}))
    assert jobs(service, "optimize") == ["optimize"]
    assert service.dispatch.request(PROJECT, "optimize") == Request(1, "guideline")


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
