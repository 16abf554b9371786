from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from backend.labeling.errors import StoreError
from backend.storage.redis_client import connect, project_key
from backend.storage.report_layout import Section, Table
from backend.storage.run_store import RunStore
from backend.storage.runs import Estimate, RunRecord, Spend
from backend.storage.store import Store

PROJECT, OTHER = "1.1795346384", "2.1795346384"
STARTED = datetime(2026, 5, 1, tzinfo=UTC)
ESTIMATE = Estimate("holdout", 40, 0.7, 0.8, 0.1, 0.02, 0.18, 0.97, 6, 2)
SPENT = Spend(120, 3, 40_000, 9_000, 900, None, 12.5, 60)


@pytest.fixture
def store(redis_client: Redis) -> RunStore:
    return RunStore(redis_client)


def run(number: int, project: str = PROJECT) -> RunRecord:
    started = STARTED + timedelta(minutes=number)
    return RunRecord(f"r{number}", project, "running", started, 30, "p0001-aaaa", "20 new labels")


def test_a_run_comes_back_as_it_was_saved(store: RunStore) -> None:
    done = replace(
        run(1), state="done", decision="published", words=("«Besser».",), challenger="p0002-bbbb", estimate=ESTIMATE,
        fixes=("3", "9"), breaks=("7",), spend=SPENT, stage="gate", progress=1.0, ended_at=STARTED,
    )  # fmt: skip
    store.save(done)
    assert store.run(PROJECT, "r1") == done


def test_runs_are_listed_latest_first_and_as_many_as_asked(store: RunStore) -> None:
    for number in range(1, 6):
        store.save(run(number))
    assert store.runs(PROJECT) == [run(number) for number in (5, 4, 3, 2, 1)]
    assert store.runs(PROJECT, limit=2) == [run(5), run(4)]
    assert store.runs(PROJECT, limit=0) == []
    assert store.latest(PROJECT) == run(5)


def test_a_run_that_goes_on_keeps_its_place(store: RunStore) -> None:
    store.save(run(1))
    store.save(run(2))
    further = replace(run(1), stage="race", progress=0.5)
    store.save(further)
    assert store.runs(PROJECT) == [run(2), further]


def test_the_oldest_runs_of_a_project_make_room(redis_client: Redis) -> None:
    store = RunStore(redis_client, most=3)
    store.save(run(1, OTHER))
    for number in range(1, 6):
        store.save(run(number))
    assert store.runs(PROJECT) == [run(5), run(4), run(3)]
    assert store.run(PROJECT, "r1") is None
    assert store.runs(OTHER) == [run(1, OTHER)]


def test_a_clock_that_jumps_back_does_not_make_the_newest_run_the_oldest(redis_client: Redis) -> None:
    store = RunStore(redis_client, most=2)
    for number in (9, 8, 1):
        store.save(run(number))
    assert store.runs(PROJECT) == [run(1), run(8)]


def test_a_project_without_runs_has_none(store: RunStore) -> None:
    assert store.runs(PROJECT) == []
    assert store.latest(PROJECT) is None
    assert store.run(PROJECT, "r1") is None
    assert store.report(PROJECT) is None


def test_the_last_report_is_kept(store: RunStore) -> None:
    store.save_report(PROJECT, {"accuracy": 0.5}, ())
    store.save_report(PROJECT, {"accuracy": None, "by_version": [{"name": "«p»"}]}, ())
    assert store.report(PROJECT) == {"accuracy": None, "by_version": [{"name": "«p»"}]}
    assert store.report(OTHER) is None


def test_a_report_is_kept_with_its_layout_and_both_are_replaced(store: RunStore) -> None:
    laid_out = (Section("In short", ("Well.",)), Section("Labels", (), Table(("label", "n"), (("<a>", "3"),))))
    store.save_report(PROJECT, {"accuracy": 0.5}, laid_out)
    assert store.report_layout(PROJECT) == laid_out
    store.save_report(PROJECT, {"accuracy": 0.6}, ())
    assert store.report_layout(PROJECT) == store.report_layout(OTHER) == ()


def test_a_report_of_an_earlier_build_is_none_until_the_next_run(redis_client: Redis, store: RunStore) -> None:
    redis_client.mset({project_key(PROJECT, "report"): "{}", project_key(PROJECT, "report:layout"): "[]"})
    assert store.report(PROJECT) is None
    assert store.report_layout(PROJECT) == ()
    store.save_report(PROJECT, {"accuracy": 0.6}, ())
    assert store.report(PROJECT) == {"accuracy": 0.6}


def test_a_report_that_is_no_json_is_refused_and_the_last_one_stays(store: RunStore) -> None:
    store.save_report(PROJECT, {"accuracy": 0.5}, ())
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.save_report(PROJECT, {"accuracy": float("nan")}, ())
    assert store.report(PROJECT) == {"accuracy": 0.5}


def test_a_forgotten_project_leaves_no_run_and_no_report(redis_client: Redis, store: RunStore) -> None:
    store.save(run(1))
    store.save_report(PROJECT, {}, ())
    Store(redis_client, max_predictions=0).forget_project(PROJECT)
    assert redis_client.dbsize() == 0


def test_a_redis_that_is_down_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        RunStore(connect("redis://127.0.0.1:1/0")).save(run(1))
