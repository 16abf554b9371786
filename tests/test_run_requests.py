import pytest
from redis import Redis

from backend.run_requests import RunRequests
from backend.runs import RunRequest

PROJECT = "1.1795346384"
REQUEST = RunRequest("ann", budget_calls=500, rounds=1, require_approval=True)


@pytest.fixture
def requests(redis_client: Redis) -> RunRequests:
    return RunRequests(redis_client)


def test_nothing_is_asked_for_at_first(requests: RunRequests) -> None:
    assert requests.asked(PROJECT) is None


def test_what_is_asked_for_stays_until_it_is_done(requests: RunRequests, redis_client: Redis) -> None:
    requests.ask(PROJECT, REQUEST)
    assert requests.asked(PROJECT) == RunRequests(redis_client).asked(PROJECT) == REQUEST
    requests.done(PROJECT, REQUEST)
    assert requests.asked(PROJECT) is None


def test_the_latest_request_counts_and_outlives_the_end_of_the_one_before(requests: RunRequests) -> None:
    requests.ask(PROJECT, REQUEST)
    requests.ask(PROJECT, RunRequest("bob"))
    requests.done(PROJECT, REQUEST)
    assert requests.asked(PROJECT) == RunRequest("bob")


def test_a_project_that_is_forgotten_has_no_request(requests: RunRequests, redis_client: Redis) -> None:
    requests.ask(PROJECT, REQUEST)
    assert [key.decode() for key in redis_client.scan_iter()] == [f"whetstone:project:{PROJECT}:run_request"]
