"""The audit slice: tasks drawn by lot, whose labels speak for all tasks, whatever else people choose to label."""

from backend.predictions.blind import is_blind


def is_audit(project: str, task_id: object, share: float) -> bool:
    """By the very hash of `is_blind`, so that with BLIND_SHARE at most AUDIT_SHARE blind tasks belong to it."""
    return is_blind(project, task_id, share)
