"""Label Studio's task list, read page by page while it changes."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.label_studio.transport import Transport
from backend.label_studio.values import Json

Filter = dict[str, object]

_IDS_A_CALL = 400  # they travel in the address, which servers and proxies limit to 8 KB
_FIRST_PAGE = 1


@dataclass(frozen=True, slots=True)
class Columns:
    """`names` are the wanted ones. Those that Label Studio finds beyond the task's own row make it compute them all,
    which takes four to eight times as long (10,000 tasks: 34 to 67 s against 8 s)."""

    names: str
    beyond_row: bool = False


class TaskPages:
    """Rows of tasks by rising id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of_ids(
        self, project_id: int, ids: Iterable[int], filters: Sequence[Filter], columns: Columns, *, size: int = 400
    ) -> Iterator[Json]:
        """Those that exist and match."""
        for chunk in _chunks(sorted(set(ids)), min(size, _IDS_A_CALL)):
            _, rows = self._page(project_id, [_is_one_of(chunk), *filters], len(chunk), columns)
            yield from rows

    def matching(self, project_id: int, filters: Sequence[Filter], columns: Columns, *, size: int) -> Iterator[Json]:
        """Tasks may be added, deleted or changed meanwhile: none of the others is skipped or comes twice."""
        # Always the first page of what comes after the last id: page numbers would shift under deletions, and under
        # the very predictions that the caller imports for the tasks it was given.
        last_id, total = 0, 1
        rows: list[Json] = []
        while total > len(rows):
            total, rows = self._page(project_id, [_comes_after(last_id), *filters], size, columns)
            yield from rows
            last_id = self._transport.parsed(row_id, rows[-1]) if rows else last_id

    def _page(self, project_id: int, filters: list[Filter], size: int, columns: Columns) -> tuple[int, list[Json]]:
        """How many tasks match, and the first `size` of them."""
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": []}
        params = {
            "project": project_id,
            "page": _FIRST_PAGE,
            "page_size": size,
            "fields": "all" if columns.beyond_row else "task_only",
            "include": columns.names,
            "resolve_uri": False,  # the task's data as `/predict` gets it
            "query": json.dumps(query, separators=(",", ":")),
        }
        answer = self._transport.read("api/tasks/", params, what=f"project {project_id}")
        return self._transport.parsed(lambda row: (int(row["total"]), list(row["tasks"])), answer)


def row_id(row: Json) -> int:
    return int(row["id"])


def lacks(version: str) -> Filter:
    """No prediction of any version that contains this one."""
    name = "filter:tasks:predictions_model_versions"
    return {"filter": name, "operator": "not_contains", "type": "List", "value": [version]}


def changed_after(moment: datetime) -> Filter:
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # no other form is read
    return {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": text}


def has_annotations() -> Filter:
    return _count("total_annotations", "greater")


def has_skips_only() -> tuple[Filter, Filter]:
    return _count("total_annotations", "equal"), _count("cancelled_annotations", "greater")


def has_no_annotations() -> tuple[Filter, Filter]:
    """Neither annotated nor skipped."""
    return _count("total_annotations", "equal"), _count("cancelled_annotations", "equal")


def has_number(key: str) -> Filter:
    """In the task's data, above 0."""
    return _count(f"data.{key}", "greater")


def scores_at_least(score: float, version: str) -> tuple[Filter, ...]:
    """The score is of the version that Label Studio shows: `version` must be it."""
    at_least: Filter = {
        "filter": "filter:tasks:predictions_score", "operator": "greater_or_equal", "type": "Number", "value": score
    }  # fmt: skip
    name = "filter:tasks:predictions_model_versions"
    return at_least, {"filter": name, "operator": "contains", "type": "List", "value": [version]}


def _count(column: str, operator: str) -> Filter:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number", "value": 0}


def _comes_after(task_id: int) -> Filter:
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}


def _is_one_of(ids: Sequence[int]) -> Filter:
    return {"filter": "filter:tasks:id", "operator": "in_list", "type": "Number", "value": list(ids)}


def _chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
