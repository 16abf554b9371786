"""Annotations of tasks as a pull leaves them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from worker.labels.annotations import AnnotatedTask, Annotation, Item

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
_numbers = count(1)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def answer(*labels: str, control: str = "kind") -> Item:
    return {"from_name": control, "type": "choices", "value": {"choices": list(labels)}}


def annotation(*labels: str, by: int | None = 1, minute: int = 0, **fields: Any) -> Annotation:
    """As a person who was shown nothing made it."""
    plain = Annotation(
        unique_id=f"u{next(_numbers)}",
        task_id=0,
        result=(answer(*labels),) if labels else (),
        was_cancelled=False,
        ground_truth=False,
        completed_by=by,
        created_at=at(minute),
        updated_at=at(minute),
        lead_time=3.0,
        parent_prediction=None,
        copied=False,
        origins={},
        shown=None,
    )
    return replace(plain, **fields)


def task(task_id: int, *annotations: Annotation, **data: Any) -> AnnotatedTask:
    owned = tuple(replace(each, task_id=task_id) for each in annotations)
    return AnnotatedTask(task_id, {"text": f"text {task_id}", **data}, "", owned)
