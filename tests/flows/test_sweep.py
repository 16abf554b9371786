"""No event comes, and yet: annotations are read, and work that was lost is taken up."""

import threading
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from backend.queue.dispatch import LABEL, OPTIMIZE
from backend.queue.kinds import Request
from backend.settings import Settings
from tests.flows.conftest import Web, queued, service_of, until, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import LOVED, PROJECT, setup_body, task, tasks
from tests.redis_server import RedisServer
from worker.labels.annotation_store import AnnotationStore
from worker.runs.sweep import Sweep, sweeping

OTHER = "2.1795346384"


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment; it knows one project."""
    client = shared_web()
    client.post("/setup", json=setup_body())
    return client


def swept(client: FlaskClient, times: int = 1) -> None:
    """As often, each time after the last one's turn is over."""
    service = service_of(client)
    sweep = Sweep(service.settings, every_s=30)
    for _ in range(times):
        service.redis.delete("whetstone:turn:sweep")
        assert sweep.once()


def test_annotations_are_read_when_the_time_has_come(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    """Imported ones, say, or those of which the event got lost."""
    label_studio.add(task(1, LOVED))
    label_studio.annotate(1, "positive")
    swept(client)
    work(redis_client, queues=[LABEL])
    assert [each.id for each in AnnotationStore(redis_client).tasks(PROJECT)] == [1]


def test_deletions_are_found_too(client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis) -> None:
    label_studio.add(*tasks([LOVED, LOVED]))
    for task_id in (1, 2):
        label_studio.annotate(task_id, "positive")
    swept(client)
    work(redis_client, queues=[LABEL])
    label_studio.delete_task(1)
    redis_client.delete(f"whetstone:turn:reconcile:{PROJECT}")
    swept(client)
    work(redis_client, queues=[LABEL])
    assert [each.id for each in AnnotationStore(redis_client).tasks(PROJECT)] == [2]


def reconciled(client: FlaskClient, redis_client: Redis) -> None:
    redis_client.delete(f"whetstone:turn:reconcile:{PROJECT}")
    swept(client)
    work(redis_client, queues=[LABEL])


def test_tasks_of_which_no_event_told_get_their_predictions(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks([LOVED] * 3))
    reconciled(client, redis_client)
    version = service_of(client).store.active(PROJECT)
    assert version
    assert [label_studio.versions(task_id) for task_id in (1, 2, 3)] == [[version.name]] * 3
    label_studio.calls.clear()
    reconciled(client, redis_client)
    assert not any("import" in call for call in label_studio.calls)


def test_a_task_that_fails_each_time_is_asked_for_once_a_day(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add({**task(1, LOVED), "data": {"other": "field"}})
    dispatch = service_of(client).dispatch
    version = service_of(client).store.active(PROJECT)
    assert version
    reconciled(client, redis_client)
    assert label_studio.versions(1) == []
    assert dispatch.unasked(PROJECT, version.name, [1, 2]) == [2]
    assert dispatch.unasked(PROJECT, "p0009-aaaa", [1]) == [1]
    redis_client.delete(f"whetstone:turn:reconcile:{PROJECT}")
    swept(client)
    work(redis_client, jobs=1)
    assert queued(redis_client) == []


def test_while_tasks_wait_to_be_labelled_none_counts_as_missed(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(*tasks([LOVED] * 3))
    service_of(client).dispatch.label_tasks(PROJECT, [1], chunk=1)
    swept(client)
    work(redis_client, jobs=1)
    assert queued(redis_client) == [("label_chunk", [PROJECT, [1]])]


def test_a_project_that_is_gone_is_asked_for_once_and_again_when_it_is_seen(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    gone = "7.1795346384"
    client.post("/setup", json=setup_body(project=gone))
    reconciled(client, redis_client)
    label_studio.calls.clear()
    for _ in range(2):
        redis_client.delete(f"whetstone:turn:reconcile:{gone}")
        reconciled(client, redis_client)
    assert not any("/api/projects/7/" in call for call in label_studio.calls)
    client.post("/setup", json=setup_body(project=gone))
    redis_client.delete(f"whetstone:turn:reconcile:{gone}")
    reconciled(client, redis_client)
    assert any("/api/projects/7/" in call for call in label_studio.calls)


def test_each_project_is_read_once_in_its_time_however_many_sweep(client: FlaskClient, redis_client: Redis) -> None:
    client.post("/setup", json=setup_body(project=OTHER))
    swept(client, times=3)
    dispatch = service_of(client).dispatch
    assert [dispatch.request(key, "follow") for key in (PROJECT, OTHER)] == [Request(1, "reconcile")] * 2
    ttl_s = redis_client.ttl(f"whetstone:turn:reconcile:{PROJECT}")
    assert 800 < ttl_s <= 900


def test_of_many_workers_one_sweeps(client: FlaskClient) -> None:
    sweeps = [Sweep(service_of(client).settings) for _ in range(4)]
    assert [sweep.once() for sweep in sweeps] == [True, False, False, False]


def test_without_a_key_for_label_studio_nothing_is_asked_for(
    client: FlaskClient, configured: Callable[..., Settings], redis_client: Redis
) -> None:
    assert Sweep(configured(label_studio_url="", label_studio_api_key="")).once()
    assert queued(redis_client) == []


@pytest.mark.parametrize("kind", ["optimize", "label_project", "prune"])
def test_lost_work_is_queued_again(kind: str, client: FlaskClient, redis_client: Redis) -> None:
    """As by a worker that died between taking a job and beginning it, or a Redis that lost its last second."""
    service_of(client).dispatch.touch(PROJECT, kind)
    queue = OPTIMIZE if kind == "optimize" else LABEL
    redis_client.delete(f"rq:queue:{queue}")
    swept(client, times=3)
    assert [name for name, _ in queued(redis_client, queue) if name != "follow"] == [kind]


def test_the_run_of_a_worker_that_died_is_tried_again(client: FlaskClient, redis_client: Redis) -> None:
    service_of(client).dispatch.touch(PROJECT, "optimize", trigger="forced")
    job_id = redis_client.lpop("rq:queue:optimize").decode()
    Job.fetch(job_id, connection=redis_client, serializer=JSONSerializer).set_status(JobStatus.STARTED)
    redis_client.zadd("rq:wip:optimize", {f"{job_id}:execution": 1})  # the worker has not been heard of since
    swept(client)
    assert [each.decode() for each in redis_client.zrange("rq:scheduled:optimize", 0, -1)] == [job_id]
    assert service_of(client).dispatch.request(PROJECT, "optimize") == Request(1, "forced")


def test_a_sweep_goes_on_by_itself_over_an_outage_of_redis(
    own_redis: RedisServer, configured: Callable[..., Settings], pushes: dict[str, str]
) -> None:
    settings = configured(redis_url=own_redis.url, **pushes)
    with sweeping(settings, every_s=0.05), Redis.from_url(own_redis.url) as redis:
        until(lambda: redis.exists("whetstone:turn:sweep"))
        own_redis.restart()
        redis.flushall()
        until(lambda: redis.exists("whetstone:turn:sweep"))
    assert not [thread for thread in threading.enumerate() if thread.name == "sweep"]
