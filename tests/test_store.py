from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from backend.labeling.errors import StoreError
from backend.labeling.prompt import Prompt, PromptVersion
from backend.storage.redis_client import connect
from backend.storage.store import BulkProgress, ProjectRecord, Store

PROJECT = "1.1795346384"
RECORD = ProjectRecord(PROJECT, 1, "http://localhost:8080", "<View/>", "", None)


@pytest.fixture
def store(redis_client: Redis) -> Store:
    return Store(redis_client, max_predictions=100)


def version(number: int, instruction: str = "Label it.") -> PromptVersion:
    prompt = Prompt(instruction)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return PromptVersion.of(number, prompt, config_hash="c", model="m", origin="seed", created_at=at)


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, expert_instruction="«اكتب»\n", backend_id=7)])
def test_a_project_comes_back_as_it_was_saved(store: Store, record: ProjectRecord) -> None:
    store.save_project(record)
    assert store.project(PROJECT) == record
    assert store.projects() == [record]


def test_a_change_touches_only_its_field(store: Store) -> None:
    store.save_project(RECORD)
    assert store.update_project(PROJECT, backend_id=3)
    assert store.update_project(PROJECT, config="<View></View>")
    assert store.project(PROJECT) == replace(RECORD, backend_id=3, config="<View></View>")


def test_a_project_that_is_not_known_is_not_made_by_a_change(store: Store) -> None:
    assert not store.update_project(PROJECT, backend_id=3)
    assert store.project(PROJECT) is None


@pytest.mark.parametrize("name", ["token", "key"])
def test_nothing_but_a_records_own_fields_is_stored(store: Store, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        store.update_project(PROJECT, **{name: "secret"})


def test_predictions_come_in_the_order_asked(store: Store) -> None:
    store.keep_predictions(PROJECT, "p0001-aaaa", {"a": b"1", "b": b"\x00\xff"})
    assert store.predictions(PROJECT, "p0001-aaaa", ["b", "none", "a"]) == [b"\x00\xff", None, b"1"]
    assert store.predictions(PROJECT, "p0002-bbbb", ["a"]) == [None]
    assert store.predictions(PROJECT, "p0001-aaaa", []) == []


def test_the_oldest_prediction_of_all_projects_goes_first(redis_client: Redis) -> None:
    store = Store(redis_client, max_predictions=2)
    for data_hash in ("a", "b", "a"):
        store.keep_predictions(PROJECT, "v", {data_hash: b"1"})
    store.keep_predictions("2.99", "v", {"c": b"1"})
    assert store.predictions(PROJECT, "v", ["a", "b"]) == [b"1", None]
    assert store.predictions("2.99", "v", ["c"]) == [b"1"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["1.1", "2.2"]), st.sampled_from("vw"), st.sets(st.sampled_from("abcdef")))))
def test_never_more_predictions_are_kept_than_allowed(
    redis_client: Redis, kept: list[tuple[str, str, set[str]]]
) -> None:
    redis_client.flushdb()
    store = Store(redis_client, max_predictions=3)
    for project, name, hashes in kept:
        store.keep_predictions(project, name, dict.fromkeys(hashes, b"1"))
    found = [store.predictions(project, name, "abcdef") for project in ("1.1", "2.2") for name in "vw"]
    assert sum(prediction is not None for row in found for prediction in row) == min(
        3, len({(project, name, data_hash) for project, name, hashes in kept for data_hash in hashes})
    )


def test_no_predictions_are_kept_when_none_are_allowed(redis_client: Redis) -> None:
    store = Store(redis_client, max_predictions=0)
    store.keep_predictions(PROJECT, "v", {"a": b"1"})
    assert store.predictions(PROJECT, "v", ["a"]) == [None]
    assert redis_client.dbsize() == 0


def test_a_forgotten_project_leaves_nothing_and_its_neighbour_stays(redis_client: Redis, store: Store) -> None:
    neighbour = replace(RECORD, key="1.17953463840")
    for record in (RECORD, neighbour):
        store.save_project(record)
        store.publish(record.key, version(1), None)
        store.keep_predictions(record.key, version(1).name, {"a": b"1"})
        store.active(record.key)
    store.forget_project(PROJECT)
    assert store.projects() == [neighbour]
    assert store.active(PROJECT) is None is store.last_active(PROJECT)
    assert store.predictions(neighbour.key, version(1).name, ["a"]) == [b"1"]
    assert redis_client.zrange("whetstone:predictions", 0, -1) == [f"{neighbour.key}|{version(1).name}|a".encode()]


def test_capabilities_are_kept_for_a_while(redis_client: Redis, store: Store) -> None:
    assert store.capabilities("http://llm/v1 model") is None
    store.keep_capabilities("http://llm/v1 model", "{}", ttl_s=60)
    assert store.capabilities("http://llm/v1 model") == "{}"
    assert 0 < redis_client.ttl("whetstone:capabilities:http://llm/v1 model") <= 60


def test_of_those_who_find_that_the_model_changed_one_begins_the_next_epoch(store: Store) -> None:
    assert store.model_epoch("http://llm/v1 model") == 0
    assert [store.begin_model_epoch("http://llm/v1 model", 0) for _ in range(3)] == [True, False, False]
    assert store.begin_model_epoch("http://llm/v1 model", 1)
    assert store.model_epoch("http://llm/v1 model") == 2
    assert store.model_epoch("http://llm/v1 another") == 0


def test_in_another_epoch_the_endpoint_is_tried_anew(store: Store) -> None:
    store.keep_capabilities("http://llm/v1 model", "{}", ttl_s=60)
    store.begin_model_epoch("http://llm/v1 model", 0)
    assert store.capabilities("http://llm/v1 model") is None


def test_a_bulk_labeling_is_finished_when_each_task_is_done_or_failed(store: Store) -> None:
    store.begin_bulk(PROJECT, "v", 10, done=4)
    assert store.advance_bulk(PROJECT, "v", done=5) == BulkProgress(10, 9, 0)
    assert store.bulk(PROJECT, "v") == BulkProgress(10, 9, 0)
    last = store.advance_bulk(PROJECT, "v", failed=1)
    assert last is not None
    assert last.finished


def test_nothing_is_counted_where_no_bulk_labeling_is_under_way(store: Store) -> None:
    store.begin_bulk(PROJECT, "v", 10)
    store.end_bulk(PROJECT, "v")
    assert store.advance_bulk(PROJECT, "v", done=5) is None
    assert store.bulk(PROJECT, "v") is None


def test_a_bulk_labeling_begun_again_counts_its_failures_anew(store: Store) -> None:
    store.begin_bulk(PROJECT, "v", 10)
    store.advance_bulk(PROJECT, "v", done=6, failed=4)
    store.begin_bulk(PROJECT, "v", 10, done=6)
    assert store.bulk(PROJECT, "v") == BulkProgress(10, 6, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.active(PROJECT),
        lambda store: store.publish(PROJECT, version(1), None),
        lambda store: store.projects(),
        lambda store: store.forget_project(PROJECT),
        lambda store: store.predictions(PROJECT, "v", ["a"]),
        lambda store: store.keep_predictions(PROJECT, "v", {"a": b"1"}),
        lambda store: store.advance_bulk(PROJECT, "v", done=1),
    ],
)
def test_a_redis_that_is_down_is_a_store_error(call: Callable[[Store], object]) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        call(Store(connect("redis://127.0.0.1:1/0"), max_predictions=1))


def test_what_is_held_is_held_by_one_process_at_a_time(redis_client: Redis) -> None:
    one, other = Store(redis_client, max_predictions=1), Store(redis_client, max_predictions=1)
    with one.held("1.2", "title"):
        with (
            pytest.raises(StoreError, match="busy with the title of project"),
            other.held("1.2", "title", most_s=0.2),
        ):
            pass
        with other.held("1.2", "report"):
            pass
    with other.held("1.2", "title"):
        pass


def test_one_that_died_holds_it_no_longer_than_that(redis_client: Redis) -> None:
    store = Store(redis_client, max_predictions=1)
    with store.held("1.2", "title", most_s=0.1), store.held("1.2", "title", most_s=5):
        pass
