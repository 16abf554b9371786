"""The client of Label Studio's API that the service and the worker share."""

from backend.label_studio.client import LabelStudioClient
from backend.label_studio.errors import LabelStudioDownError, LabelStudioRefusedError
from backend.label_studio.values import BackendRow, BasicAuth, Project, Task, TaskRow, TaskStamp, Webhook

__all__ = [
    "BackendRow",
    "BasicAuth",
    "LabelStudioClient",
    "LabelStudioDownError",
    "LabelStudioRefusedError",
    "Project",
    "Task",
    "TaskRow",
    "TaskStamp",
    "Webhook",
]
