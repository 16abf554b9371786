from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from redis import Redis

from backend.labeling.errors import StoreError
from backend.storage.redis_client import connect
from backend.storage.store import Store
from tests.annotating import annotation, answer, at, task
from worker.labels.annotation_store import AnnotationStore, Cursor, Learned
from worker.labels.annotations import AnnotatedTask, ShownPrediction
from worker.labels.used import Used

PROJECT = "1.1795346384"
SHOWN = ShownPrediction("p0001-aaaa", (answer("a"),), 0.7)


@pytest.fixture
def store(redis_client: Redis) -> AnnotationStore:
    return AnnotationStore(redis_client)


def stamped(task_id: int, *labels: str, stamp: str = "then 1") -> AnnotatedTask:
    return replace(task(task_id, *(annotation(label) for label in labels)), stamp=stamp)


def test_a_task_comes_back_as_it_was_stored(store: AnnotationStore) -> None:
    rich = annotation("a", "b", shown=SHOWN, origins={"kind": "prediction"}, seen="k-d", completed_by=None)
    stored = replace(task(7, rich, annotation(by=2), options=["«x»", {"value": 1}]), stamp="then 2")
    store.merge(PROJECT, [stored])
    assert store.tasks(PROJECT) == [stored]
    assert store.known(PROJECT, [7, 8]) == {7: stored}
    assert store.stamps(PROJECT) == {7: "then 2"}


def test_tasks_come_by_rising_id(store: AnnotationStore) -> None:
    tasks = [stamped(task_id, "a") for task_id in (30, 4, 1000, 5)]
    store.merge(PROJECT, tasks)
    assert [each.id for each in store.tasks(PROJECT)] == [4, 5, 30, 1000]


def test_what_is_pulled_anew_takes_the_place_of_what_was(store: AnnotationStore) -> None:
    store.merge(PROJECT, [stamped(1, "a"), stamped(2, "a")])
    newer = stamped(1, "b", "b", stamp="later 2")
    store.merge(PROJECT, [newer])
    assert store.known(PROJECT, [1]) == {1: newer}
    assert store.stamps(PROJECT) == {1: "later 2", 2: "then 1"}


def test_a_task_without_annotations_is_not_kept(store: AnnotationStore) -> None:
    store.merge(PROJECT, [stamped(1, "a"), stamped(2)])
    store.merge(PROJECT, [stamped(1)])
    assert store.tasks(PROJECT) == []
    assert store.stamps(PROJECT) == {}


def test_dropped_tasks_are_gone_and_the_others_stay(store: AnnotationStore) -> None:
    tasks = [stamped(n, "a") for n in range(1, 451)]
    store.merge(PROJECT, tasks)
    store.drop_tasks(PROJECT, [*range(1, 450), 7000])
    assert store.tasks(PROJECT) == [tasks[449]]
    store.drop_tasks(PROJECT, [])
    assert store.stamps(PROJECT) == {450: "then 1"}


def test_what_was_asked_for_earlier_and_comes_later_changes_nothing(store: AnnotationStore) -> None:
    early, late = store.ticket(PROJECT), store.ticket(PROJECT)
    newer = stamped(1, "b", stamp="later 1")
    store.merge(PROJECT, [newer], ticket=late)
    store.merge(PROJECT, [stamped(1, "a")], ticket=early)
    store.drop_tasks(PROJECT, [1], ticket=early)
    assert store.tasks(PROJECT) == [newer]
    assert store.stamps(PROJECT) == {1: "later 1"}


def test_projects_are_apart(store: AnnotationStore) -> None:
    store.merge(PROJECT, [stamped(1, "a")])
    store.note_run(PROJECT, Learned(5))
    assert store.tasks("2.99") == []
    assert store.learned("2.99") == Learned()
    assert store.ticket("2.99") == 1


def test_the_cursor_moves_and_says_under_which_scope(store: AnnotationStore) -> None:
    assert store.cursor(PROJECT) is None
    cursor = Cursor(datetime(2026, 11, 22, 11, 19, 45, 279028, tzinfo=UTC), "abcd1234")
    store.move_cursor(PROJECT, cursor)
    assert store.cursor(PROJECT) == cursor


def test_the_labels_of_the_last_run_are_remembered(store: AnnotationStore) -> None:
    assert store.learned(PROJECT) == Learned()
    store.note_run(PROJECT, Learned(20))
    assert store.learned(PROJECT) == Learned(20)
    later = Learned(41, datetime(2026, 11, 22, 11, 19, 45, 279028, tzinfo=UTC))
    store.note_run(PROJECT, later)
    assert store.learned(PROJECT) == later


def test_what_runs_have_read_is_remembered_since_the_first_of_them(store: AnnotationStore) -> None:
    assert store.used(PROJECT, "c1").begun is None
    store.note_used(PROJECT, "c1", ["1", "2"], at(10))
    store.note_used(PROJECT, "c1", ["2", "3"], at(20))
    store.note_used(PROJECT, "c2", ["4"], at(30))
    assert store.used(PROJECT, "c1") == Used({"1": at(10), "2": at(10), "3": at(20)}, at(10))


def test_a_forgotten_project_leaves_no_annotation(redis_client: Redis, store: AnnotationStore) -> None:
    store.merge(PROJECT, [stamped(1, "a")])
    store.move_cursor(PROJECT, Cursor(datetime(2026, 1, 1, tzinfo=UTC), ""))
    store.note_run(PROJECT, Learned(1))
    Store(redis_client, max_predictions=1).forget_project(PROJECT)
    assert redis_client.dbsize() == 0


def test_a_redis_that_is_away_is_a_store_error() -> None:
    away = AnnotationStore(connect("redis://127.0.0.1:1"))
    calls: list[Callable[[], object]] = [
        lambda: away.tasks(PROJECT),
        lambda: away.merge(PROJECT, [stamped(1, "a")]),
        lambda: away.drop_tasks(PROJECT, [1]),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="cannot be reached"):
            call()
