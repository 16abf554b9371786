from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.label_studio import TaskRow, TaskStamp
from worker.predictions.relabel import Waiting, ordered, superfluous

VERSIONS = ["p0004-dddd", "p0003-cccc", "p0002-bbbb", "p0001-aaaa"]  # the latest activated first

waiting = st.builds(Waiting, st.integers(1, 50), st.booleans(), st.none() | st.floats(0, 1))


def row(*versions: str, annotations: Sequence[Any] = ()) -> TaskRow:
    predictions = tuple({"id": number, "model_version": name} for number, name in enumerate(versions, start=1))
    stamp = TaskStamp(7, datetime(2026, 11, 22, tzinfo=UTC), len(annotations))
    return TaskRow(stamp, {"text": "It works."}, tuple(annotations), predictions)


def test_open_tasks_come_first_and_in_them_what_is_likeliest_to_change() -> None:
    tasks = [
        Waiting(1, labelled=True, score=0.1),
        Waiting(2, labelled=False, score=0.9),
        Waiting(3, labelled=False, score=0.4),
        Waiting(4, labelled=False, score=None),
        Waiting(5, labelled=False, score=0.4),
        Waiting(6, labelled=True, score=None),
    ]
    assert ordered(tasks) == [4, 3, 5, 2, 6, 1]


@given(st.lists(waiting, unique_by=lambda task: task.id))
def test_no_task_is_lost_or_comes_twice_and_the_order_they_come_in_does_not_count(tasks: list[Waiting]) -> None:
    assert sorted(ordered(tasks)) == sorted(task.id for task in tasks)
    assert ordered(tasks) == ordered(tasks[::-1])


@pytest.mark.parametrize(
    ("there", "gone"),
    [
        ([], []),
        (["p0001-aaaa"], []),
        (["p0003-cccc", "p0004-dddd"], []),
        (["p0001-aaaa", "p0003-cccc", "p0004-dddd"], [1]),
        (["p0004-dddd", "p0003-cccc", "p0002-bbbb", "p0001-aaaa"], [3, 4]),
        (["p0001-aaaa", "p0002-bbbb", "p0003-cccc"], [1]),  # its prediction of the active version is yet to come
        (["p0001-aaaa", "p0001-aaaa", "p0003-cccc", "p0004-dddd"], [1, 2]),  # one that was stored twice
        (["p0004-dddd", "p0004-dddd", "p0003-cccc"], []),
        (
            ["another model", "p0001-aaaa", "p0003-cccc", "p0004-dddd", "undefined"],
            [2],
        ),  # others' are not ours to delete
        (["p0009-9999", "p0003-cccc", "p0004-dddd"], []),
    ],
)
def test_of_our_versions_the_two_that_were_active_last_stay(there: list[str], gone: list[int]) -> None:
    assert superfluous(row(*there), VERSIONS) == gone


def test_after_a_rollback_the_version_that_was_returned_to_is_the_latest() -> None:
    versions = ["p0001-aaaa", "p0003-cccc", "p0002-bbbb"]
    assert superfluous(row("p0001-aaaa", "p0002-bbbb", "p0003-cccc"), versions) == [2]


def test_what_an_annotator_saw_stays() -> None:
    assert superfluous(row(*VERSIONS, annotations=[{"id": 1}]), VERSIONS) == []
