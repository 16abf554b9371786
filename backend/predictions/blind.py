"""Tasks without a prediction until they are annotated: what annotators decide there, no prediction has suggested.

Labels of tasks that came with a prediction lean towards it, and so towards the prompt that is judged by them.
"""

import hashlib
from collections.abc import Mapping
from typing import Any


def is_blind(project: str, task_id: object, share: float) -> bool:
    """`share` of all tasks, by a hash of their id, so that no task ever changes sides while the share stays; a larger
    share keeps those of a smaller one. Independent of the splits, which hash the id in another way."""
    digest = hashlib.sha256(f"blind|{project}|{task_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def lacks_annotations(task: Mapping[str, Any]) -> bool:
    """Of a task as `/predict` gets it: whether some of the annotations it is to have are missing. A skip is none."""
    labelled = task.get("is_labeled")
    if isinstance(labelled, bool):
        return not labelled
    annotations = task.get("annotations")
    given = annotations if isinstance(annotations, list) else []
    return not any(isinstance(each, Mapping) and not each.get("was_cancelled") for each in given)
