import pytest
from redis import Redis
from structlog.testing import capture_logs

from backend.storage.counters import Count, Counters
from backend.storage.redis_client import connect


@pytest.fixture
def counters(redis_client: Redis) -> Counters:
    return Counters(redis_client)


def test_counts_of_all_processes_add_up(redis_client: Redis, counters: Counters) -> None:
    counters.count("tokens", {"kind": "prompt"}, 100)
    Counters(redis_client).count("tokens", {"kind": "prompt"}, 20.5)
    assert counters.counts() == [Count("tokens", {"kind": "prompt"}, 120.5)]


def test_the_order_of_labels_makes_no_difference(counters: Counters) -> None:
    counters.count_many([Count("calls", {"a": "1", "b": "2"}), Count("calls", {"b": "2", "a": "1"})])
    assert counters.counts() == [Count("calls", {"a": "1", "b": "2"}, 2)]


def test_counts_are_sorted_by_name_and_labels(counters: Counters) -> None:
    counters.count_many([Count("b"), Count("a", {"code": "500"}), Count("a", {"code": "200"})])
    assert [(count.name, dict(count.labels)) for count in counters.counts()] == [
        ("a", {"code": "200"}),
        ("a", {"code": "500"}),
        ("b", {}),
    ]


def test_durations_become_a_cumulative_histogram(counters: Counters) -> None:
    counters.observe("call_seconds", 0.005, 0.02, 99)
    (histogram,) = counters.histograms()
    buckets = dict(histogram.buckets)
    assert (buckets["0.005"], buckets["0.01"], buckets["0.025"], buckets["80.0"], buckets["+Inf"]) == (1, 1, 2, 2, 3)
    assert histogram.sum_s == pytest.approx(99.025)


def test_with_redis_down_figures_are_dropped_with_one_warning() -> None:
    counters = Counters(connect("redis://127.0.0.1:1/0"))
    with capture_logs() as logs:
        counters.count("calls")
        counters.observe("call_seconds", 0.1)
    assert [log["log_level"] for log in logs] == ["warning"]
