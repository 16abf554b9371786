from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from redis import Redis

from backend.labeling.engines.base import Usage
from backend.labeling.errors import BudgetError, StoreError
from backend.settings import Settings
from backend.storage.redis_client import connect
from backend.storage.runs import Spend
from tests.redis_server import RedisServer
from worker.calls.ledger import Ledger, RunLedger

PROJECT, OTHER = "1.1795346384", "2.1795346384"
OPENAI = {"openai_base_url": "https://api.openai.com/v1", "llm_model": "gpt-4o-mini"}
UNKNOWN = {"openai_base_url": "https://llm.example.com/v1", "llm_model": "mine"}
USAGE = Usage(prompt_tokens=90, cached_tokens=50, completion_tokens=10)
MAY, JUNE = datetime(2026, 5, 31, 23, 59, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)

Make = Callable[..., Ledger]


@pytest.fixture
def ledger(redis_client: Redis) -> Make:
    """Of these settings; by itself nothing is capped."""
    bare = {"run_max_calls": 0, "local_model": "smollm2-135m"}

    def make(*, now: datetime = MAY, lease_s: float = 3600, **changes: Any) -> Ledger:
        return Ledger(redis_client, Settings(**(bare | changes)), now=lambda: now, lease_s=lease_s)

    return make


def spend(run: RunLedger, calls: int, usage: Usage = USAGE) -> None:
    run.settle(run.reserve("student", calls, 100), usage)


def test_what_was_settled_is_the_runs_spend(ledger: Make) -> None:
    run = ledger().open(PROJECT, "r1")
    run.settle(run.reserve("student", 5, 500), USAGE)
    run.settle(run.reserve("teacher", 1, 500), USAGE)
    run.count_cached(7)
    assert run.spend() == Spend(5, 1, 180, 100, 20, usd=0.0, from_cache=7)


def test_a_run_that_spent_nothing_cost_nothing(ledger: Make) -> None:
    assert ledger().open(PROJECT, "r1").spend() == Spend(usd=0.0)


@pytest.mark.parametrize(
    ("cap", "calls", "tokens", "message"),
    [
        ({"run_max_calls": 9}, 5, 0, "5 calls more would pass RUN_MAX_CALLS: 5 calls of 9 calls"),
        ({"run_max_tokens": 900}, 1, 500, "500 tokens more would pass RUN_MAX_TOKENS: 500 tokens of 900 tokens"),
        # gpt-4o-mini: 500 completion tokens at $0.60 a million are $0.0003
        ({"run_max_usd": 0.0005, **OPENAI}, 1, 500, r"\$0.0003 more would pass RUN_MAX_USD: \$0.0003 of \$0.0005"),
        (
            {"month_max_calls": 9},
            5,
            0,
            "MONTH_MAX_CALLS: 5 calls of 9 calls are spent or reserved as the runs' of 2026-05",
        ),
        ({"month_max_tokens": 900}, 1, 500, "MONTH_MAX_TOKENS"),
        ({"month_max_usd": 0.0005, **OPENAI}, 1, 500, "MONTH_MAX_USD"),
    ],
)
def test_a_call_that_would_pass_a_cap_is_refused_before_it_is_made(
    cap: dict[str, Any], calls: int, tokens: int, message: str, ledger: Make
) -> None:
    run = ledger(**cap).open(PROJECT, "r1")
    run.reserve("student", calls, tokens)
    with pytest.raises(BudgetError, match=message):
        run.reserve("student", calls, tokens)


def test_a_cap_may_be_used_up_to_its_last_call(ledger: Make) -> None:
    run = ledger(run_max_calls=10, month_max_calls=10).open(PROJECT, "r1")
    spend(run, 4)
    run.reserve("teacher", 6, 0)
    with pytest.raises(BudgetError):
        run.reserve("student", 1, 0)


def test_what_was_refused_is_not_reserved(ledger: Make) -> None:
    run = ledger(run_max_calls=10).open(PROJECT, "r1")
    with pytest.raises(BudgetError):
        run.reserve("student", 11, 0)
    run.reserve("student", 10, 0)


def test_what_was_used_stands_in_place_of_what_was_reserved(ledger: Make) -> None:
    run = ledger(run_max_calls=10, run_max_tokens=1000).open(PROJECT, "r1")
    run.settle(run.reserve("student", 10, 1000), USAGE, calls=3)
    run.reserve("student", 7, 900)
    assert run.spend().student_calls == 3


def test_settling_again_counts_once(ledger: Make) -> None:
    run = ledger().open(PROJECT, "r1")
    reservation = run.reserve("student", 2, 100)
    run.settle(reservation, USAGE)
    run.settle(reservation, USAGE)
    assert run.spend().student_calls == 2


def test_many_threads_together_do_not_pass_a_cap(ledger: Make) -> None:
    run = ledger(run_max_calls=50).open(PROJECT, "r1")

    def attempt(number: int) -> bool:
        try:
            reservation = run.reserve("student", 1, 100)
        except BudgetError:
            return False
        if number % 2:
            run.settle(reservation, USAGE)
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(120))) == 50


def test_each_run_has_its_own_cap_and_all_share_the_months(ledger: Make) -> None:
    book = ledger(run_max_calls=10, month_max_calls=15)
    spend(book.open(PROJECT, "r1"), 10)
    other = book.open(OTHER, "r1")
    other.reserve("student", 5, 0)
    with pytest.raises(BudgetError, match="MONTH_MAX_CALLS"):
        other.reserve("student", 1, 0)


def test_a_new_month_begins_at_nothing_in_utc(ledger: Make) -> None:
    spend(ledger(month_max_calls=10).open(PROJECT, "r1"), 10)
    in_may = JUNE.astimezone(timezone(timedelta(hours=3))) - timedelta(minutes=1)  # June already, by its own calendar
    with pytest.raises(BudgetError):
        ledger(month_max_calls=10, now=in_may).open(PROJECT, "r2").reserve("student", 1, 0)
    ledger(month_max_calls=10, now=JUNE).open(PROJECT, "r2").reserve("student", 10, 0)


def test_calls_that_end_in_the_next_month_are_paid_by_the_one_they_were_reserved_in(redis_client: Redis) -> None:
    now = [MAY]
    book = Ledger(redis_client, Settings(), now=lambda: now[0])
    run = book.open(PROJECT, "r1")
    reservation = run.reserve("student", 3, 100)
    now[0] = JUNE
    run.settle(reservation, USAGE)
    assert book.month() == Spend(usd=0.0)
    now[0] = MAY
    assert book.month().student_calls == 3


def test_a_month_and_a_run_survive_a_restart_of_redis(own_redis: RedisServer) -> None:
    settings = Settings(month_max_calls=10)
    with Redis.from_url(own_redis.url) as client:
        spend(Ledger(client, settings, now=lambda: MAY).open(PROJECT, "r1"), 8)
    own_redis.restart()
    with Redis.from_url(own_redis.url) as client:
        run = Ledger(client, settings, now=lambda: MAY).open(PROJECT, "r1")
        assert run.spend().student_calls == 8
        with pytest.raises(BudgetError):
            run.reserve("student", 3, 0)


@pytest.fixture
def own_redis() -> Any:
    with RedisServer() as server:
        yield server


def test_a_run_taken_up_again_frees_what_its_dead_process_had_reserved(ledger: Make) -> None:
    book = ledger(run_max_calls=10, month_max_calls=10)
    dead = book.open(PROJECT, "r1")
    spend(dead, 4)
    dead.reserve("student", 6, 0)
    again = book.open(PROJECT, "r1")
    again.reserve("student", 6, 0)
    assert again.spend().student_calls == 4


def test_a_dead_runs_reservations_lapse_for_others_in_time(ledger: Make) -> None:
    ledger(lease_s=0).open(PROJECT, "dead").reserve("student", 10, 0)
    ledger(month_max_calls=10).open(PROJECT, "next").reserve("student", 10, 0)


def test_what_ends_after_its_reservation_lapsed_is_counted_all_the_same(ledger: Make) -> None:
    run = ledger(lease_s=0).open(PROJECT, "r1")
    late = run.reserve("student", 5, 0)
    run.reserve("student", 1, 0)
    run.settle(late, USAGE)
    assert run.spend().student_calls == 5


def test_what_was_spent_before_the_search_stays_what_it_was(ledger: Make) -> None:
    """Also for a process that takes the run up, when its search has spent more."""
    run = ledger().open(PROJECT, "r1")
    spend(run, 3)
    assert run.before_search() == 3
    spend(run, 5)
    again = ledger().open(PROJECT, "r1")
    assert (again.before_search(), again.spend().calls) == (3, 8)


def test_known_prices_add_up(ledger: Make) -> None:
    run = ledger(**OPENAI, teacher_model="gpt-4o").open(PROJECT, "r1")
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=100_000)
    run.settle(run.reserve("student", 1, 0), usage)  # 0.15 + 0.1 * 0.60 = 0.21
    run.settle(run.reserve("teacher", 1, 0), usage)  # 2.50 + 0.1 * 10.00 = 3.50
    assert run.spend().usd == pytest.approx(3.71)


def test_an_unknown_price_counts_tokens_and_leaves_the_dollars_unknown(ledger: Make) -> None:
    run = ledger(**UNKNOWN).open(PROJECT, "r1")
    spend(run, 2)
    assert run.spend() == Spend(2, 0, 90, 50, 10, usd=None)


def test_with_an_unknown_price_a_cap_in_dollars_refuses_and_names_the_way_out(ledger: Make) -> None:
    run = ledger(**UNKNOWN, month_max_usd=5).open(PROJECT, "r1")
    with pytest.raises(BudgetError, match="price of 'mine' is unknown: MONTH_MAX_USD cannot be kept") as refused:
        run.reserve("student", 1, 100)
    assert "RUN_MAX_TOKENS" in refused.value.hint


def test_a_model_that_the_settings_leave_open_is_priced_by_its_found_name(redis_client: Redis) -> None:
    settings = Settings(openai_base_url=OPENAI["openai_base_url"])
    run = Ledger(redis_client, settings, models={"student": "gpt-4o-mini"}).open(PROJECT, "r1")
    spend(run, 1, Usage(prompt_tokens=1_000_000))
    assert run.spend().usd == pytest.approx(0.15)


def test_the_split_of_an_estimate_makes_its_price_exact(ledger: Make) -> None:
    # 1 000 000 prompt tokens and one of completion: $0.15, where the dearest split would be $0.60
    run = ledger(**OPENAI, run_max_usd=0.16).open(PROJECT, "r1")
    with pytest.raises(BudgetError):
        run.reserve("student", 1, 1_000_001)
    run.reserve("student", 1, 1_000_001, completion_tokens=1)


def test_a_forgotten_project_leaves_the_month_as_it_was(redis_client: Redis, ledger: Make) -> None:
    book = ledger()
    spend(book.open(PROJECT, "r1"), 3)
    for key in redis_client.scan_iter(f"whetstone:project:{PROJECT}:*"):
        redis_client.unlink(key)
    assert book.month().student_calls == 3


def test_figures_do_not_stay_for_ever(redis_client: Redis, ledger: Make) -> None:
    run = ledger().open(PROJECT, "r1")
    spend(run, 1)
    run.reserve("student", 1, 0)
    run.before_search()
    keys = list(redis_client.scan_iter("*spend*"))
    assert len(keys) == 4
    assert all(redis_client.ttl(key) > 0 for key in keys)


def test_a_redis_that_is_down_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        Ledger(connect("redis://127.0.0.1:1/0"), Settings()).open(PROJECT, "r1")
