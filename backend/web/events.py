"""Label Studio's webhook events: taken note of and answered at once, the work is the worker's."""

from collections.abc import Mapping
from typing import Any

import structlog

from backend.label_studio import identity
from backend.labeling.errors import SchemaError, WhetstoneError
from backend.service import Seen, Service

_log = structlog.get_logger(__name__)
# What changes annotations: skips, edits, and lists of ids alone among them. Nothing of the payloads is kept, since the
# worker reads what is true by then. What was deleted shows only when all is read anew.
_WRITTEN = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"})
_DELETED = frozenset({"ANNOTATIONS_DELETED", "TASKS_DELETED"})
# What Label Studio 1.23 sends; figures of anything else go under one name, so that they stay few.
_ACTIONS = _WRITTEN | _DELETED | {"TASKS_CREATED", "PROJECT_UPDATED", "START_TRAINING"}


def receive(service: Service, payload: Mapping[str, Any]) -> dict[str, Any]:
    """An unknown event is no error: Label Studio adds some. Raises `StoreError` when nothing could be kept."""
    action = payload.get("action")
    project = payload.get("project")
    if not isinstance(action, str) or not isinstance(project, Mapping):
        raise WhetstoneError('an event needs an "action" and a "project"', hint="Send events as Label Studio does.")
    key = identity.from_payload(project)
    service.counters.count("events", {"action": action if action in _ACTIONS else "other"})
    _see(service, key, project)
    _queue(service, key, action, payload)
    return {"status": "ok"}


def _queue(service: Service, key: str, action: str, payload: Mapping[str, Any]) -> None:
    if action in _WRITTEN:
        service.follow(key)
    elif action in _DELETED:
        service.follow(key, trigger="reconcile")
    elif action == "TASKS_CREATED":
        service.queue_tasks(key, _task_ids(payload.get("tasks")))
        if payload["project"].get("total_annotations_number") != 0:
            service.follow(key)  # imported tasks may bring annotations, of which no event tells
    elif action == "START_TRAINING" and _trains_itself(payload["project"]):
        service.follow(key)
    elif action == "START_TRAINING":
        service.label_open_tasks(key)
        service.learn(key, trigger="forced")


def _trains_itself(project: Mapping[str, Any]) -> bool:
    """Whether Label Studio sends START_TRAINING by itself too, with every annotation or every N-th. A click is then the
    same event, so that neither forces a run."""
    every = project.get("min_annotations_to_start_training")
    return isinstance(every, int) and every > 0


def _see(service: Service, key: str, project: Mapping[str, Any]) -> None:
    """Keeps name, configuration and guideline, nothing else of the payload: it holds tokens. A change of the latter two
    may give the project another version, for which its tasks are queued; a new guideline is learned from."""
    config = project.get("label_config")
    if not isinstance(config, str) or not config:
        return
    title = project.get("title")
    guideline = str(project.get("expert_instruction") or "")
    service.see_project(key, Seen(config, expert_instruction=guideline, name=title if isinstance(title, str) else None))
    try:
        service.current(key, config)
    except SchemaError as error:
        _log.warning("the project's configuration cannot be labelled", project=key, reason=str(error))


def _task_ids(tasks: Any) -> list[int]:
    if not isinstance(tasks, list):
        return []
    return [task["id"] for task in tasks if isinstance(task, Mapping) and isinstance(task.get("id"), int)]
