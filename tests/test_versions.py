import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from backend.labeling.errors import StoreError
from backend.labeling.prompt import Prompt, PromptVersion
from backend.storage.redis_client import connect
from backend.storage.versions import VersionStore

PROJECT = "1.1795346384"


@pytest.fixture
def store(redis_client: Redis) -> VersionStore:
    return VersionStore(redis_client)


def version(number: int, instruction: str = "Label it.", config_hash: str = "c") -> PromptVersion:
    prompt = Prompt(instruction)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return PromptVersion.of(number, prompt, config_hash=config_hash, model="m", origin="seed", created_at=at)


def activate(store: VersionStore, *chosen: PromptVersion) -> None:
    """One after the other."""
    for each in chosen:
        active = store.active(PROJECT)
        assert store.publish(PROJECT, each, active.name if active else None, by="a test")


def test_a_project_has_no_active_version_before_the_first_is_published(store: VersionStore) -> None:
    assert store.active(PROJECT) is None


def test_a_published_version_is_active_in_every_process(redis_client: Redis, store: VersionStore) -> None:
    assert store.publish(PROJECT, version(1), None)
    assert store.active(PROJECT) == version(1) == VersionStore(redis_client).active(PROJECT)


def test_a_version_published_elsewhere_is_seen_by_the_next_read(redis_client: Redis, store: VersionStore) -> None:
    store.publish(PROJECT, version(1), None)
    store.active(PROJECT)
    VersionStore(redis_client).publish(PROJECT, version(2), version(1).name)
    assert store.active(PROJECT) == version(2)


def test_an_unchanged_version_is_not_parsed_again(store: VersionStore) -> None:
    store.publish(PROJECT, version(1), None)
    assert store.active(PROJECT) is store.active(PROJECT)


def test_publishing_on_a_stale_expectation_changes_nothing(store: VersionStore) -> None:
    store.publish(PROJECT, version(1), None)
    assert not store.publish(PROJECT, version(2), None)
    assert not store.publish(PROJECT, version(2), version(3).name)
    assert store.active(PROJECT) == version(1)
    assert store.version(PROJECT, version(2).name) is None


def test_publishing_what_is_active_again_succeeds(store: VersionStore) -> None:
    assert store.publish(PROJECT, version(1), None)
    assert store.publish(PROJECT, version(1), None)


def test_of_many_that_publish_at_once_exactly_one_wins(store: VersionStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda number: store.publish(PROJECT, version(number), None), range(1, 9)))
    assert won.count(True) == 1
    assert store.active(PROJECT) == version(1 + won.index(True))


def test_a_name_never_changes_its_content(store: VersionStore) -> None:
    store.publish(PROJECT, version(1), None)
    with pytest.raises(StoreError, match="stored with other content"):
        store.publish(PROJECT, replace(version(1), model="other"), version(1).name)


def test_an_active_version_that_is_not_stored_is_an_error(redis_client: Redis, store: VersionStore) -> None:
    redis_client.set(f"whetstone:project:{PROJECT}:active", "p0001-0000")
    with pytest.raises(StoreError, match="p0001-0000 is active but not stored"):
        store.active(PROJECT)


def test_versions_are_listed_latest_published_first(store: VersionStore) -> None:
    store.publish(PROJECT, version(1), None)
    store.publish(PROJECT, version(2), version(1).name)
    store.publish(PROJECT, version(1), version(2).name)
    assert [publication.version for publication in store.versions(PROJECT)] == [version(1), version(2)]


def test_the_last_active_version_is_known_without_redis(store: VersionStore) -> None:
    store.publish(PROJECT, version(1), None)
    assert store.last_active(PROJECT) is None
    store.active(PROJECT)
    assert store.last_active(PROJECT) == version(1)


def test_numbers_are_given_once(store: VersionStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(lambda _: store.next_number(PROJECT), range(20))) == list(range(1, 21))


def test_a_challenger_is_kept_and_not_active(store: VersionStore) -> None:
    activate(store, version(1))
    store.add_version(PROJECT, version(2))
    store.add_version(PROJECT, version(2))
    assert store.active(PROJECT) == version(1)
    assert store.version(PROJECT, version(2).name) == version(2)
    assert [publication.version for publication in store.versions(PROJECT)] == [version(1)]
    assert store.all_versions(PROJECT) == [version(2), version(1)]


def test_a_challenger_takes_no_name_of_other_content(store: VersionStore) -> None:
    store.add_version(PROJECT, version(1))
    with pytest.raises(StoreError, match="stored with other content"):
        store.add_version(PROJECT, replace(version(1), model="other"))
    assert store.version(PROJECT, version(1).name) == version(1)


def test_versions_are_listed_by_number_beyond_four_digits_too(store: VersionStore) -> None:
    for number in (9999, 10000, 2):
        store.add_version(PROJECT, version(number))
    assert [each.name[:6] for each in store.all_versions(PROJECT)] == ["p10000", "p9999-", "p0002-"]


def test_a_stored_version_is_activated_by_its_name(store: VersionStore) -> None:
    activate(store, version(1))
    store.add_version(PROJECT, version(2))
    assert store.activate(PROJECT, version(2).name, expected=version(1).name, by="ann")
    assert store.active(PROJECT) == version(2)


def test_activating_on_a_stale_expectation_changes_and_records_nothing(store: VersionStore) -> None:
    activate(store, version(1), version(2))
    before = store.activations(PROJECT)
    assert not store.activate(PROJECT, version(1).name, expected=version(1).name, by="ann")
    assert not store.activate(PROJECT, version(1).name, expected=None, by="ann")
    assert store.active(PROJECT) == version(2)
    assert store.activations(PROJECT) == before


@pytest.mark.parametrize("name", ["p0009-ffff", ""])
def test_a_version_that_is_not_stored_cannot_be_activated(name: str, store: VersionStore) -> None:
    activate(store, version(1))
    with pytest.raises(StoreError, match=f"has no version {name}"):
        store.activate(PROJECT, name, expected=version(1).name, by="ann")
    assert store.active(PROJECT) == version(1)


def test_each_activation_is_recorded_with_who_and_when(store: VersionStore) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    store.publish(PROJECT, version(1), None)
    store.publish(PROJECT, version(2), version(1).name, by="run 7 of the worker")
    store.activate(PROJECT, version(1).name, expected=version(2).name, by="«ann»\nby hand")
    found = store.activations(PROJECT)
    assert [(each.version, each.by) for each in found] == [
        (version(1).name, "«ann»\nby hand"),
        (version(2).name, "run 7 of the worker"),
        (version(1).name, "seed"),
    ]
    assert began < found[2].at <= found[1].at <= found[0].at < datetime.now(UTC) + timedelta(seconds=1)


def test_activating_what_is_active_succeeds_and_records_nothing(store: VersionStore) -> None:
    activate(store, version(1))
    assert store.activate(PROJECT, version(1).name, expected=version(1).name, by="ann")
    assert len(store.activations(PROJECT)) == 1


@pytest.mark.parametrize(
    ("activated", "previous"),
    [
        ([1], None),
        ([1, 2], 1),
        ([1, 2, 3], 2),
        ([1, 2, 3, 2], 1),  # one step back, and the next goes further
        ([1, 2, 3, 2, 1], None),
        ([1, 2, 3, 1], 3),  # an old one by hand is a step forward
        ([1, 2, 1, 3], 1),
    ],
)
def test_a_rollback_undoes_and_never_swings_to_and_fro(
    activated: list[int], previous: int | None, store: VersionStore
) -> None:
    activate(store, *map(version, activated))
    assert store.previous(PROJECT) == (version(previous).name if previous else None)


def test_a_rollback_stays_within_the_labeling_configuration(store: VersionStore) -> None:
    one, other, two = version(1), version(2, config_hash="d"), version(3)
    activate(store, one, other)
    assert store.previous(PROJECT) is None
    activate(store, two)
    assert store.previous(PROJECT) == one.name


def test_a_project_without_a_version_has_nothing_to_roll_back_to(store: VersionStore) -> None:
    assert store.previous(PROJECT) is None
    assert store.activations(PROJECT) == []


def test_of_a_publisher_and_a_rollback_at_once_exactly_one_wins(store: VersionStore) -> None:
    activate(store, version(1), version(2))
    for number in range(3, 23):
        active = store.active(PROJECT)
        previous = store.previous(PROJECT)
        assert active
        assert previous
        both = threading.Barrier(2)

        def publish(number: int = number, expected: str = active.name, both: threading.Barrier = both) -> bool:
            both.wait()
            return store.publish(PROJECT, version(number), expected, by="run")

        def roll_back(to: str = previous, expected: str = active.name, both: threading.Barrier = both) -> bool:
            both.wait()
            return store.activate(PROJECT, to, expected=expected, by="ann")

        with ThreadPoolExecutor(2) as threads:
            published, rolled_back = threads.submit(publish), threads.submit(roll_back)
        assert published.result() != rolled_back.result()
        now = store.active(PROJECT)
        assert now
        assert now.name == (version(number).name if published.result() else previous)
        if rolled_back.result():
            activate(store, version(number))


def test_old_challengers_make_room_and_what_was_active_stays(redis_client: Redis) -> None:
    store = VersionStore(redis_client, most_versions=4)
    activate(store, version(1), version(2))
    for number in range(3, 9):
        store.add_version(PROJECT, version(number))
    assert store.all_versions(PROJECT) == [version(8), version(7), version(2), version(1)]


def test_of_too_many_once_active_versions_the_longest_unused_goes(redis_client: Redis) -> None:
    store = VersionStore(redis_client, most_versions=3)
    activate(store, version(1), version(2), version(3), version(1), version(4))
    assert store.all_versions(PROJECT) == [version(4), version(3), version(1)]
    assert [publication.version for publication in store.versions(PROJECT)] == [version(4), version(1), version(3)]
    assert store.previous(PROJECT) == version(1).name


def test_activations_are_kept_up_to_a_number(redis_client: Redis) -> None:
    store = VersionStore(redis_client, most_activations=2)
    activate(store, version(1), version(2), version(3))
    assert [each.version for each in store.activations(PROJECT)] == [version(3).name, version(2).name]


steps = st.lists(
    st.tuples(st.sampled_from(["publish", "activate", "add"]), st.integers(1, 4), st.integers(0, 4)), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_is_done_the_active_version_is_the_last_that_was_recorded(
    redis_client: Redis, done: list[tuple[str, int, int]]
) -> None:
    redis_client.flushdb()
    store = VersionStore(redis_client)
    for step, number, expecting in done:
        expected = version(expecting).name if expecting else None
        if step == "publish":
            store.publish(PROJECT, version(number), expected)
        elif step == "add":
            store.add_version(PROJECT, version(number))
        elif store.version(PROJECT, version(number).name):
            store.activate(PROJECT, version(number).name, expected=expected, by="ann")
    active, recorded = store.active(PROJECT), store.activations(PROJECT)
    assert (active.name if active else None) == (recorded[0].version if recorded else None)
    assert all(one.version != next_.version for one, next_ in pairwise(recorded))


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.active(PROJECT),
        lambda store: store.publish(PROJECT, version(1), None),
        lambda store: store.activate(PROJECT, "p0001-aaaa", expected=None, by="ann"),
        lambda store: store.add_version(PROJECT, version(1)),
        lambda store: store.all_versions(PROJECT),
        lambda store: store.activations(PROJECT),
        lambda store: store.previous(PROJECT),
    ],
)
def test_a_redis_that_is_down_is_a_store_error(call: Callable[[VersionStore], object]) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        call(VersionStore(connect("redis://127.0.0.1:1/0")))
