"""Ground truth out of a file that Label Studio exported (JSON: tasks with their annotations). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from backend.labeling.labelled_row import RowError
from backend.labeling.schema import LabelingSchema
from worker.labels import ground_truth
from worker.labels.annotations import AnnotatedTask, Wanted, fingerprint, parse
from worker.labels.ground_truth import GroundTruth
from worker.statistics.consensus import Method


def truth(tasks: Iterable[Mapping[str, Any]], schema: LabelingSchema, *, method: Method = "auto") -> GroundTruth:
    """By the rules that hold for annotations out of Label Studio itself. Raises `RowError`, which names the task."""
    return ground_truth.examples([_task(task, schema) for task in tasks], schema, method=method)


def _task(task: Mapping[str, Any], schema: LabelingSchema) -> AnnotatedTask:
    """The data stands there as it was annotated: an export does not tell of earlier ones."""
    wanted, seen = Wanted.of(schema, None), fingerprint(schema, task["data"])
    try:
        number = int(task["id"])
        annotations = tuple(
            replace(parse({"task": number, **each}, wanted=wanted), seen=seen) for each in task["annotations"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise RowError(f"task {task.get('id')!r} is not as Label Studio exports it: {what}") from None
    data = {key: task["data"][key] for key in schema.keys if key in task["data"]}
    return AnnotatedTask(number, data, "", annotations)
