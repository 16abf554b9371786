from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.predictions.blind import is_blind, lacks_annotations
from worker.labels.examples import split_of

PROJECT = "1.1795346384"
ids = st.integers(1, 10**9)


def share_of(project: str, share: float, tasks: range) -> float:
    return sum(is_blind(project, task_id, share) for task_id in tasks) / len(tasks)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_the_share_of_blind_tasks_is_as_asked(share: float) -> None:
    """Of 10,000 within four standard errors, at most .02."""
    assert share_of(PROJECT, share, range(1, 10_001)) == pytest.approx(share, abs=0.02)


@given(ids)
def test_a_share_of_nothing_is_no_task_and_of_all_is_every_task(task_id: int) -> None:
    assert not is_blind(PROJECT, task_id, 0)
    assert is_blind(PROJECT, task_id, 1)


@given(ids, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_the_tasks_of_a_smaller_one(task_id: int, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    assert is_blind(PROJECT, task_id, larger) or not is_blind(PROJECT, task_id, smaller)


def test_another_project_has_other_blind_tasks() -> None:
    own, others = ([n for n in range(1000) if is_blind(key, n, 0.1)] for key in (PROJECT, "2.1795346384"))
    assert own != others


def test_every_split_has_its_share_of_blind_tasks() -> None:
    """Of about 4,000, 3,500 and 2,500 examples, within four standard errors, at most .025."""
    for split in ("train", "dev", "holdout"):
        members = [task_id for task_id in range(1, 10_001) if split_of(str(task_id)) == split]
        blind = sum(is_blind(PROJECT, task_id, 0.1) for task_id in members)
        assert blind / len(members) == pytest.approx(0.1, abs=0.025)


@pytest.mark.parametrize(
    ("task", "lacks"),
    [
        ({"is_labeled": False, "annotations": []}, True),
        ({"is_labeled": True, "annotations": [{}]}, False),
        ({"is_labeled": False, "annotations": [{}]}, True),  # one of two annotators has decided
        ({"annotations": []}, True),
        ({"annotations": [{"was_cancelled": False}]}, False),
        ({"annotations": [{"was_cancelled": True}]}, True),
        ({"annotations": [{"was_cancelled": True}, {"was_cancelled": False}]}, False),
        ({"annotations": "text"}, True),
        ({"annotations": [1]}, True),
        ({"is_labeled": None, "annotations": [{}]}, False),
        ({}, True),
    ],
)
def test_a_task_lacks_annotations_until_it_has_all_it_is_to_have(task: dict[str, Any], lacks: bool) -> None:
    assert lacks_annotations(task) is lacks
