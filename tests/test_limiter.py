import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from redis import Redis
from structlog.testing import capture_logs

from backend.calls.limiter import Limiter, Priority, Slots
from backend.labeling.errors import EngineBusyError
from backend.storage.redis_client import connect
from tests.redis_server import RedisServer

LIMIT_S = 60.0
HOLDER = """
import sys
from backend.calls.limiter import Limiter
from backend.storage.redis_client import connect
from tests.redis_server import RedisServer
with Limiter(connect(sys.argv[1]), name="llm", most=4, lease_s=1).slots("live", 4) as slots:
    print(slots.count, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def limiter(redis_client: Redis) -> Limiter:
    return Limiter(redis_client, name="llm", most=4)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that may be stopped."""
    with RedisServer() as server:
        yield server


def until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not claim():
        assert time.monotonic() < deadline, "did not come true"
        threading.Event().wait(0.005)


def take(limiter: Limiter, priority: Priority, wanted: int = 1) -> int:
    with limiter.slots(priority, wanted, wait_s=LIMIT_S) as slots:
        return slots.count


def waiting(client: Redis) -> list[int]:
    """The ranks of those that wait for a first slot."""
    rows = [value.split() for value in client.hvals("whetstone:limiter:llm:entries")]
    return sorted(int(rank) for rank, _wanted, count, *_times in rows if int(count) == 0)


def held(client: Redis) -> list[bytes]:
    """The entries of those that hold slots; a look renews its own."""
    return [row for row in client.hvals("whetstone:limiter:llm:entries") if int(row.split()[2]) > 0]


def answers_until_a_look(slots: Slots, client: Redis) -> list[bool]:
    """What `should_yield` says up to the first answer that came from Redis."""
    before, answers = held(client), list[bool]()
    until(lambda: answers.append(slots.should_yield()) or held(client) != before)
    return answers


def give_way(slots: Slots) -> None:
    until(slots.should_yield)
    slots.release()


def wait_behind(limiter: Limiter, client: Redis, threads: ThreadPoolExecutor, priority: Priority) -> Future[int]:
    before = len(waiting(client))
    future = threads.submit(take, limiter, priority)
    until(lambda: len(waiting(client)) > before)
    return future


def test_a_batch_gets_what_it_wants_up_to_the_limit(limiter: Limiter) -> None:
    assert (take(limiter, "live", 3), take(limiter, "live", 99), take(limiter, "live", 0)) == (3, 4, 1)


@pytest.mark.parametrize("priority", ["bulk", "optimize"])
def test_one_slot_is_left_to_live_requests(limiter: Limiter, priority: Priority) -> None:
    with limiter.slots(priority, 99) as slots:
        assert slots.count == 3
        assert take(limiter, "live") == 1


def test_where_there_is_one_slot_bulk_may_have_it(redis_client: Redis) -> None:
    assert take(Limiter(redis_client, name="llm", most=1), "bulk", 5) == 1


def test_slots_come_back_when_a_batch_ends_or_fails(limiter: Limiter, redis_client: Redis) -> None:
    with pytest.raises(ZeroDivisionError), limiter.slots("live", 4):
        _ = 1 / 0
    assert take(limiter, "live", 4) == 4
    assert redis_client.hlen("whetstone:limiter:llm:entries") == 0


def test_who_waits_too_long_is_told_and_forgotten(limiter: Limiter, redis_client: Redis) -> None:
    with limiter.slots("live", 4):
        with pytest.raises(EngineBusyError, match=r"in 0\.05 s, of 4"), limiter.slots("live", 1, wait_s=0.05):
            pass
        assert waiting(redis_client) == []


def test_who_waits_is_woken_by_a_release(limiter: Limiter, redis_client: Redis, threads: ThreadPoolExecutor) -> None:
    with limiter.slots("live", 4) as slots:
        waiter = wait_behind(limiter, redis_client, threads, "live")
        slots.release()
        assert waiter.result(LIMIT_S) == 1


def test_live_passes_bulk_and_bulk_passes_optimize(
    limiter: Limiter, redis_client: Redis, threads: ThreadPoolExecutor
) -> None:
    order: list[str] = []

    def note(priority: Priority) -> None:
        with Limiter(redis_client, name="llm", most=1).slots(priority, 1, wait_s=LIMIT_S):
            order.append(priority)

    with Limiter(redis_client, name="llm", most=1).slots("live", 1):
        for number, priority in enumerate(("optimize", "bulk", "live"), start=1):
            threads.submit(note, priority)
            until(lambda expected=number: len(waiting(redis_client)) == expected)
    until(lambda: len(order) == 3)
    assert order == ["live", "bulk", "optimize"]


def test_equals_are_served_in_the_order_they_came(limiter: Limiter, redis_client: Redis) -> None:
    order: list[int] = []

    def note(number: int) -> None:
        with one.slots("live", 1, wait_s=LIMIT_S):
            order.append(number)

    one = Limiter(redis_client, name="llm", most=1)
    with ThreadPoolExecutor(4) as threads:
        with one.slots("live", 1):
            for number in range(4):
                threads.submit(note, number)
                until(lambda expected=number + 1: len(waiting(redis_client)) == expected)
        until(lambda: len(order) == 4)
    assert order == [0, 1, 2, 3]


def test_bulk_yields_its_last_slot_to_a_live_request(redis_client: Redis, threads: ThreadPoolExecutor) -> None:
    limiter = Limiter(redis_client, name="llm", most=1)
    with limiter.slots("bulk", 1) as slots:
        assert not slots.should_yield()
        waiter = wait_behind(limiter, redis_client, threads, "live")
        give_way(slots)
        assert waiter.result(LIMIT_S) == 1
        assert slots.count == 0
        assert slots.grow(1) == 1


def test_bulk_makes_way_for_a_live_batch_that_wants_more(limiter: Limiter) -> None:
    with limiter.slots("bulk", 3) as bulk, limiter.slots("live", 4) as live:
        assert live.count == 1
        for _ in range(3):
            give_way(bulk)
        until(lambda: live.grow(4))
        assert live.count == 4


def test_a_big_batch_shares_with_its_equals_and_keeps_its_share(
    limiter: Limiter, redis_client: Redis, threads: ThreadPoolExecutor
) -> None:
    with limiter.slots("live", 4) as slots:
        waiter = wait_behind(limiter, redis_client, threads, "live")
        give_way(slots)
        assert waiter.result(LIMIT_S) == 1
        assert slots.count == 3
        until(lambda: slots.grow(4))
        assert not slots.should_yield()


def test_a_third_batch_gets_a_slot_of_two_that_have_their_share(
    limiter: Limiter, redis_client: Redis, threads: ThreadPoolExecutor
) -> None:
    with limiter.slots("live", 2) as first, limiter.slots("live", 2) as second:
        waiter = wait_behind(limiter, redis_client, threads, "live")
        assert not first.grow(4) + second.grow(4)
        give_way(first)
        assert waiter.result(LIMIT_S) == 1


def test_what_cannot_be_shared_evenly_is_not_left_unused(limiter: Limiter) -> None:
    with limiter.slots("live", 1) as first, limiter.slots("live", 1), limiter.slots("live", 1) as third:
        until(lambda: third.grow(4))
        assert (first.grow(4), third.count) == (0, 2)


def test_nobody_is_asked_to_yield_to_a_lower_priority(
    limiter: Limiter, redis_client: Redis, threads: ThreadPoolExecutor
) -> None:
    with limiter.slots("live", 4) as slots:
        waiter = wait_behind(limiter, redis_client, threads, "bulk")
        assert not any(answers_until_a_look(slots, redis_client))
        slots.release(2)  # one stays reserved for live requests
        assert waiter.result(LIMIT_S) == 1


def test_slots_of_a_killed_process_come_back(redis_url: str, redis_client: Redis) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, redis_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "4\n"
        holder.kill()
    assert take(Limiter(redis_client, name="llm", most=4, lease_s=1), "live", 4) == 4


def test_a_lease_is_renewed_for_as_long_as_its_process_lives(redis_client: Redis) -> None:
    with Limiter(redis_client, name="llm", most=1, lease_s=0.3).slots("live", 1):
        for _ in range(3):
            before = held(redis_client)
            until(lambda before=before: held(redis_client) not in (before, []))


def test_a_redis_that_lost_its_data_learns_from_the_holders(limiter: Limiter, redis_client: Redis) -> None:
    with limiter.slots("live", 3) as slots:
        redis_client.flushdb()
        until(lambda: slots.should_yield() or redis_client.exists("whetstone:limiter:llm:entries"))
        assert take(limiter, "live", 4) == 1


def test_a_refused_call_pauses_all(limiter: Limiter) -> None:
    with limiter.slots("live", 2) as slots:
        limiter.backoff(60)
        assert [slots.should_yield() for _ in range(3)] == [True, True, False]
        with pytest.raises(EngineBusyError), limiter.slots("live", 1, wait_s=0.01):
            pass


def test_the_pause_ends_when_the_endpoint_said(limiter: Limiter) -> None:
    limiter.backoff(0.2)
    assert take(limiter, "live") == 1


def test_calls_refused_together_halve_the_limit_once(limiter: Limiter, redis_client: Redis) -> None:
    for _ in range(5):
        limiter.backoff(60)
    assert redis_client.hget("whetstone:limiter:llm:pace", "limit") == b"2"


def test_successes_raise_the_limit_to_what_it_was(limiter: Limiter) -> None:
    def eased() -> bool:
        limiter.ease()
        return take(limiter, "live", 4) == 4

    limiter.backoff(0)
    assert take(limiter, "live", 4) == 2
    until(eased)


def test_with_redis_down_each_process_counts_for_itself() -> None:
    limiter = Limiter(connect("redis://127.0.0.1:1/0"), name="llm", most=2)
    with capture_logs() as logs, limiter.slots("bulk", 5) as slots:
        assert slots.count == 2
        with pytest.raises(EngineBusyError), limiter.slots("live", 1, wait_s=0.01):
            pass
        slots.release()
        assert take(limiter, "live", 5) == 1
        limiter.backoff(1)
        limiter.ease()
    assert [log["log_level"] for log in logs] == ["warning"]


def test_a_redis_that_comes_back_is_used_again(own_redis: RedisServer) -> None:
    limiter = Limiter(connect(own_redis.url), name="llm", most=4)
    own_redis.stop()
    assert take(limiter, "bulk", 4) == 4, "on its own, a process has all"
    own_redis.start()
    until(lambda: take(limiter, "bulk", 4) == 3)


def test_a_batch_goes_on_when_redis_goes_away_under_it(own_redis: RedisServer) -> None:
    limiter = Limiter(connect(own_redis.url), name="llm", most=4)
    with capture_logs() as logs, limiter.slots("live", 2) as slots:
        own_redis.stop()
        until(lambda: slots.should_yield() or logs)
        slots.release()
        assert slots.count == 1
        slots.release()
        assert slots.grow(2) == 1
    assert [log["log_level"] for log in logs] == ["warning"]


def test_no_more_slots_are_held_than_there_are(limiter: Limiter, threads: ThreadPoolExecutor) -> None:
    held, most_held, lock = 0, 0, threading.Lock()

    def work(priority: Priority) -> None:
        nonlocal held, most_held
        for _ in range(20):
            with limiter.slots(priority, 3, wait_s=LIMIT_S) as slots:
                with lock:
                    held += slots.count
                    most_held = max(most_held, held)
                with lock:
                    held -= slots.count

    priorities: list[Priority] = ["live", "bulk", "optimize", "live", "bulk", "optimize"]
    for future in [threads.submit(work, priority) for priority in priorities]:
        future.result(LIMIT_S)
    assert 0 < most_held <= 4
