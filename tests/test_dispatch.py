from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from rq import SimpleWorker, get_current_job
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from backend.labeling.errors import StoreError
from backend.queue.dispatch import QUEUES, Dispatch
from backend.queue.kinds import Request
from backend.storage.redis_client import connect

PROJECT = "1.1795346384"
KIND = "label_project"


def label_chunk(project: str, task_ids: list[int]) -> None:
    """A job as the worker has it; it notes what it was given."""
    client = here()
    Dispatch(client, jobs=__name__).taken(project, task_ids)
    client.rpush("labelled", *task_ids)


def label_project(project: str) -> None:
    """A job during which annotations may come in; `arrivals` says in how many runs they do. It notes what it saw."""
    dispatch = Dispatch(here(), jobs=__name__)
    seen = dispatch.request(project, KIND).revision
    here().rpush("seen", seen)
    if here().decr("arrivals") >= 0:
        dispatch.touch(project, KIND)
    dispatch.settle(project, KIND, seen)


def here() -> Redis:
    job = get_current_job()
    assert job is not None
    return job.connection


@pytest.fixture
def dispatch(redis_client: Redis) -> Dispatch:
    return Dispatch(redis_client, jobs=__name__)


def work(client: Redis) -> None:
    SimpleWorker(list(QUEUES), connection=client, serializer=JSONSerializer).work(burst=True)


def jobs(client: Redis, queue: str = "label") -> list[Job]:
    ids = [job_id.decode() for job_id in client.lrange(f"rq:queue:{queue}", 0, -1)]
    return [job for job in Job.fetch_many(ids, connection=client, serializer=JSONSerializer) if job]


def numbers(client: Redis, key: str) -> list[int]:
    return [int(value) for value in client.lrange(key, 0, -1)]


def test_tasks_are_split_into_chunks_that_a_worker_labels(dispatch: Dispatch, redis_client: Redis) -> None:
    assert dispatch.label_tasks(PROJECT, range(1, 6), chunk=2) == 5
    assert [list(job.args) for job in jobs(redis_client)] == [[PROJECT, [1, 2]], [PROJECT, [3, 4]], [PROJECT, [5]]]
    work(redis_client)
    assert numbers(redis_client, "labelled") == [1, 2, 3, 4, 5]
    assert dispatch.failed() == []


def test_a_task_that_waits_is_not_queued_again(dispatch: Dispatch, redis_client: Redis) -> None:
    assert dispatch.label_tasks(PROJECT, [1, 2, 2], chunk=10) == 2
    assert dispatch.label_tasks(PROJECT, [2, 3], chunk=10) == 1
    assert dispatch.label_tasks("2.99", [2], chunk=10) == 1
    assert dispatch.label_tasks(PROJECT, [], chunk=10) == 0
    work(redis_client)
    assert sorted(numbers(redis_client, "labelled")) == [1, 2, 2, 3]


def test_a_task_that_was_labelled_can_be_queued_again(dispatch: Dispatch, redis_client: Redis) -> None:
    dispatch.label_tasks(PROJECT, [1], chunk=10)
    work(redis_client)
    assert dispatch.label_tasks(PROJECT, [1], chunk=10) == 1


def test_tasks_asked_for_by_many_at_once_are_queued_once(dispatch: Dispatch, redis_client: Redis) -> None:
    with ThreadPoolExecutor(4) as threads:
        fresh = list(threads.map(lambda start: dispatch.label_tasks(PROJECT, range(start, 20), chunk=3), range(8)))
    assert sum(fresh) == 20
    assert sorted(task for job in jobs(redis_client) for task in job.args[1]) == list(range(20))


def test_every_job_has_a_time_limit_retries_and_an_end(dispatch: Dispatch, redis_client: Redis) -> None:
    dispatch.label_tasks(PROJECT, range(3), chunk=50)
    dispatch.label_project(PROJECT)
    assert [(job.timeout, job.retries_left, job.result_ttl) for job in jobs(redis_client)] == [
        (600 + 3 * 60, 3, 300),
        (3600, 3, 300),
    ]


def test_a_project_has_one_job_pending_however_often_it_is_touched(dispatch: Dispatch, redis_client: Redis) -> None:
    with ThreadPoolExecutor(4) as threads:
        revisions = list(threads.map(lambda _: dispatch.touch(PROJECT, KIND), range(10)))
    assert sorted(revisions) == list(range(1, 11))
    assert dispatch.queue_lengths() == {"label": 1, "optimize": 0}
    work(redis_client)
    assert numbers(redis_client, "seen") == [10]


def test_what_arrives_while_the_job_runs_is_worked_on_by_another(dispatch: Dispatch, redis_client: Redis) -> None:
    redis_client.set("arrivals", 2)
    dispatch.label_project(PROJECT)
    work(redis_client)
    assert numbers(redis_client, "seen") == [1, 2, 3]


def test_a_settled_project_gets_a_job_when_it_is_touched_again(dispatch: Dispatch, redis_client: Redis) -> None:
    for _ in range(2):
        dispatch.label_project(PROJECT)
        work(redis_client)
    assert numbers(redis_client, "seen") == [1, 2]


def test_a_pending_job_that_was_lost_does_not_block_its_project(dispatch: Dispatch, redis_client: Redis) -> None:
    dispatch.label_project(PROJECT)
    jobs(redis_client)[0].delete()
    dispatch.label_project(PROJECT)
    work(redis_client)
    assert numbers(redis_client, "seen") == [2]


def test_a_job_that_failed_waits_for_its_next_try_and_blocks_a_second(redis_client: Redis) -> None:
    dispatch = Dispatch(redis_client, jobs="tests.no_such_module")
    dispatch.label_project(PROJECT)
    work(redis_client)
    dispatch.label_project(PROJECT)
    assert dispatch.queue_lengths()["label"] == 0
    assert dispatch.failed() == []


def test_a_job_out_of_tries_is_listed_with_its_reason(redis_client: Redis) -> None:
    dispatch = Dispatch(redis_client, jobs="tests.no_such_module")
    dispatch.label_project(PROJECT)
    (job,) = jobs(redis_client)
    job.retries_left = 0
    job.save()
    work(redis_client)
    (failed,) = dispatch.failed()
    assert (failed.queue, failed.description) == ("label", f"label_project of project {PROJECT}")
    assert failed.reason == "ValueError: Invalid attribute name: label_project"
    dispatch.label_project(PROJECT)
    assert dispatch.queue_lengths()["label"] == 1


def test_light_work_goes_before_the_tasks_that_wait_and_a_run_has_hours(
    dispatch: Dispatch, redis_client: Redis
) -> None:
    dispatch.label_tasks(PROJECT, range(3), chunk=2)
    dispatch.touch(PROJECT, "follow")
    dispatch.touch(PROJECT, "optimize")
    assert [job.func_name.rpartition(".")[2] for job in jobs(redis_client)] == ["follow", "label_chunk", "label_chunk"]
    assert [job.timeout for job in jobs(redis_client, "optimize")] == [6 * 3600]


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        (["labels"], "labels"),
        (["labels", "forced"], "forced"),
        (["forced", "labels"], "forced"),
        (["guideline", "errors"], "guideline"),
        ([""], ""),
        (["errors", ""], "errors"),
    ],
)
def test_the_strongest_reason_is_read(asked: list[str], read: str, dispatch: Dispatch) -> None:
    for trigger in asked:
        dispatch.touch(PROJECT, "optimize", trigger=trigger)
    assert dispatch.request(PROJECT, "optimize") == Request(len(asked), read)


def test_a_reason_is_settled_with_what_was_seen_and_a_later_one_is_not(dispatch: Dispatch) -> None:
    seen = dispatch.touch(PROJECT, "optimize", trigger="forced")
    assert not dispatch.settle(PROJECT, "optimize", seen)
    assert dispatch.request(PROJECT, "optimize") == Request(1)
    dispatch.touch(PROJECT, "optimize", trigger="labels")
    assert dispatch.settle(PROJECT, "optimize", seen)
    assert dispatch.request(PROJECT, "optimize") == Request(2, "labels")


def test_options_are_of_whoever_asked_for_the_strongest_reason_last(dispatch: Dispatch) -> None:
    dispatch.touch(PROJECT, "optimize", trigger="forced", options={"budget": 5})
    dispatch.touch(PROJECT, "optimize", trigger="labels", options={"budget": 6})
    assert dispatch.request(PROJECT, "optimize") == Request(2, "forced", {"budget": 5})
    dispatch.touch(PROJECT, "optimize", trigger="forced", options={"budget": 7})
    assert dispatch.request(PROJECT, "optimize") == Request(3, "forced", {"budget": 7})


def lose_from_queue(job: Job, client: Redis) -> None:
    client.lrem("rq:queue:label", 0, job.id)


def lose_when_started(job: Job, client: Redis) -> None:
    lose_from_queue(job, client)
    job.set_status(JobStatus.STARTED)


def lose_wholly(job: Job, client: Redis) -> None:
    job.delete()


@pytest.mark.parametrize("lose", [lose_from_queue, lose_when_started, lose_wholly])
def test_lost_work_is_taken_up_again_once(
    lose: Callable[[Job, Redis], None], dispatch: Dispatch, redis_client: Redis
) -> None:
    dispatch.label_project(PROJECT)
    lose(jobs(redis_client)[0], redis_client)
    assert [dispatch.take_up(PROJECT, KIND) for _ in range(3)] == [False, True, False]
    work(redis_client)
    assert numbers(redis_client, "seen") == [1]


def test_work_that_waits_or_is_done_is_not_taken_up(dispatch: Dispatch, redis_client: Redis) -> None:
    assert not any(dispatch.take_up(PROJECT, KIND) for _ in range(3))
    dispatch.label_project(PROJECT)
    assert not any(dispatch.take_up(PROJECT, KIND) for _ in range(3))
    work(redis_client)
    assert not any(dispatch.take_up(PROJECT, KIND) for _ in range(3))
    assert numbers(redis_client, "seen") == [1]


def test_work_that_waits_for_its_next_try_is_not_taken_up(redis_client: Redis) -> None:
    dispatch = Dispatch(redis_client, jobs="tests.no_such_module")
    dispatch.label_project(PROJECT)
    work(redis_client)
    assert not any(dispatch.take_up(PROJECT, KIND) for _ in range(3))


def test_the_job_of_a_worker_that_died_is_tried_again(dispatch: Dispatch, redis_client: Redis) -> None:
    """RQ keeps what is under way with the time until which its worker has not died."""
    dispatch.label_project(PROJECT)
    (job,) = jobs(redis_client)
    lose_when_started(job, redis_client)
    redis_client.zadd("rq:wip:label", {f"{job.id}:execution": 1})
    dispatch.free_abandoned()
    assert [job_id.decode() for job_id in redis_client.zrange("rq:scheduled:label", 0, -1)] == [job.id]
    assert dispatch.is_pending(PROJECT, KIND)


def test_work_that_waits_can_be_withdrawn(dispatch: Dispatch, redis_client: Redis) -> None:
    assert not dispatch.withdraw(PROJECT, KIND)
    dispatch.touch(PROJECT, KIND, trigger="forced")
    assert dispatch.is_pending(PROJECT, KIND)
    assert dispatch.withdraw(PROJECT, KIND)
    assert (jobs(redis_client), dispatch.is_pending(PROJECT, KIND)) == ([], False)
    dispatch.touch(PROJECT, KIND)
    assert dispatch.request(PROJECT, KIND) == Request(2)
    assert len(jobs(redis_client)) == 1


def test_a_redis_that_is_down_is_a_store_error() -> None:
    dispatch = Dispatch(connect("redis://127.0.0.1:1/0"))
    for call in (lambda: dispatch.label_project(PROJECT), dispatch.queue_lengths, dispatch.failed):
        with pytest.raises(StoreError, match="cannot be reached"):
            call()
