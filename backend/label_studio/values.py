"""What Label Studio's API answers, as values; parsing raises `KeyError`, `TypeError` or `ValueError`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backend.label_studio.identity import project_key

Json = Any
TokenKind = Literal["legacy", "personal", "missing"]


@dataclass(frozen=True, slots=True)
class BasicAuth:
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Project:
    """`expert_instruction` is HTML; `model_version` holds a backend's title or the version of stored predictions."""

    id: int
    key: str
    title: str
    config: str
    expert_instruction: str
    model_version: str
    task_number: int
    shows_predictions: bool

    @property
    def created_at(self) -> int:
        """Epoch seconds."""
        return int(self.key.rpartition(".")[2])

    @classmethod
    def parse(cls, row: Mapping[str, Json]) -> "Project":
        return cls(
            id=int(row["id"]),
            key=project_key(int(row["id"]), row["created_at"]),
            title=row.get("title") or "",
            config=row.get("label_config") or "",
            expert_instruction=row.get("expert_instruction") or "",
            model_version=row.get("model_version") or "",
            task_number=int(row.get("task_number") or 0),
            shows_predictions=bool(row.get("show_collab_predictions")),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """`versions` are those of its predictions; `labelled` when it has all the annotations its overlap asks for."""

    id: int
    data: dict[str, Json] = field(repr=False)
    versions: frozenset[str]
    labelled: bool

    @classmethod
    def parse(cls, row: Mapping[str, Json]) -> "Task":
        versions = (version.strip() for version in (row.get("predictions_model_versions") or "").split(","))
        return cls(int(row["id"]), dict(row["data"]), frozenset(filter(None, versions)), bool(row.get("is_labeled")))


@dataclass(frozen=True, slots=True)
class TaskStamp:
    """When a task or something of it last changed, by Label Studio's clock; `annotations` counts skips too."""

    id: int
    updated_at: datetime
    annotations: int

    @classmethod
    def parse(cls, row: Mapping[str, Json]) -> "TaskStamp":
        count = int(row.get("total_annotations") or 0) + int(row.get("cancelled_annotations") or 0)
        return cls(int(row["id"]), datetime.fromisoformat(row["updated_at"]), count)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task with its annotations and predictions as Label Studio lists them."""

    stamp: TaskStamp
    data: dict[str, Json] = field(repr=False)
    annotations: tuple[Mapping[str, Json], ...] = field(repr=False)
    predictions: tuple[Mapping[str, Json], ...] = field(repr=False)

    @property
    def id(self) -> int:
        return self.stamp.id

    @classmethod
    def parse(cls, row: Mapping[str, Json]) -> "TaskRow":
        annotations = tuple(_having(each, "id", "created_at", "updated_at") for each in row["annotations"])
        predictions = tuple(_having(each, "id", "created_at") for each in row["predictions"])
        return cls(TaskStamp.parse(row), dict(row["data"]), annotations, predictions)


@dataclass(frozen=True, slots=True)
class BackendRow:
    """A registered backend; `state` is CO, DI, ER or TR as just seen, `model_version` what its `/setup` answered."""

    id: int
    project_id: int
    url: str
    title: str
    state: str
    error_message: str
    model_version: str
    auth_method: str
    auth_user: str

    @classmethod
    def parse(cls, row: Mapping[str, Json]) -> "BackendRow":
        return cls(
            id=int(row["id"]),
            project_id=int(row["project"]),
            url=row["url"],
            title=row.get("title") or "",
            state=row.get("state") or "",
            error_message=row.get("error_message") or "",
            model_version=row.get("model_version") or "",
            auth_method=row.get("auth_method") or "NONE",
            auth_user=row.get("basic_auth_user") or "",
        )


@dataclass(frozen=True, slots=True)
class Webhook:
    """`headers` hold the secret in clear."""

    id: int
    url: str
    headers: dict[str, str] = field(repr=False)
    actions: tuple[str, ...]
    sends_everything: bool

    @classmethod
    def parse(cls, row: Mapping[str, Json]) -> "Webhook":
        return cls(
            id=int(row["id"]),
            url=row["url"],
            headers=dict(row.get("headers") or {}),
            actions=tuple(row.get("actions") or ()),
            sends_everything=all(row.get(flag) for flag in ("send_payload", "send_for_all_actions", "is_active")),
        )


def _having(row: Mapping[str, Json], *names: str) -> Mapping[str, Json]:
    missing = [name for name in names if name not in row]
    if missing:
        raise KeyError(*missing)
    return row
