"""The calls Whetstone makes to Label Studio. Every method raises `LabelStudioError` only."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from backend.label_studio.errors import LabelStudioRefusedError
from backend.label_studio.transport import Transport
from backend.label_studio.values import BackendRow, BasicAuth, Json, Project, Task, TokenKind, Webhook

Value = TypeVar("Value")
Filter = dict[str, object]

# Everything a task row can hold costs four to eight times as long (10,000 tasks: 34 to 67 s against 8 s).
_TASK_FIELDS = "id,data,is_labeled,predictions_model_versions"
_IDS_A_CALL = 400  # they travel in the address, which servers and proxies limit to 8 KB
_IMPORT_TIMEOUT_S = 300.0
_FIRST_PAGE = 1


class LabelStudioClient:
    """One Label Studio with one API key, legacy or personal (traded and refreshed here). Safe to share by threads.

    Nothing is asked before the first call. `retries` are the further attempts of a read.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 60.0, retries: int = 2) -> None:
        self._transport = Transport(url, api_key, timeout_s=timeout_s, retries=retries)

    @property
    def url(self) -> str:
        return self._transport.url

    @property
    def token_kind(self) -> TokenKind:
        return self._transport.token_kind

    def version(self) -> str:
        """Label Studio's release, such as 1.23.2."""
        return self._parsed(lambda row: str(row["release"]), self._transport.read("api/version/"))

    def whoami(self) -> str:
        """The e-mail address of the key's user."""
        return self._parsed(lambda row: str(row["email"]), self._transport.read("api/current-user/whoami"))

    def project(self, project_id: int) -> Project:
        row = self._transport.read(f"api/projects/{project_id}/", what=f"project {project_id}")
        return self._parsed(Project.parse, row)

    def set_model_version(self, project_id: int, model_version: str) -> None:
        """Refused unless it is a backend's title or the version of a stored prediction."""
        self._change_project(project_id, {"model_version": model_version})

    def show_predictions(self, project_id: int) -> None:
        """Switches on that annotators see predictions, without which none is ever fetched."""
        self._change_project(project_id, {"show_collab_predictions": True})

    def tasks(
        self, project_id: int, ids: Iterable[int] | None = None, *, lacking: str = "", page_size: int = 500
    ) -> Iterator[Task]:
        """By rising id, of all tasks or of those in `ids` that exist.

        `lacking` leaves out the tasks that have a prediction of that version (of any version that contains it, rather).
        Label Studio cuts `Task.versions` at 500 characters a task: where it must be exact, ask with `lacking`.
        Tasks may be added, deleted or predicted meanwhile: none of the others is skipped or comes twice.
        """
        for row in self._task_rows(project_id, ids, lacking=lacking, page_size=page_size, fields=_TASK_FIELDS):
            yield self._parsed(Task.parse, row)

    def task_ids(self, project_id: int, *, lacking: str = "", page_size: int = 2000) -> Iterator[int]:
        """As `tasks`, at less than half the cost."""
        for row in self._task_rows(project_id, None, lacking=lacking, page_size=page_size, fields="id"):
            yield self._parsed(_id, row)

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Json]]) -> int:
        """How many Label Studio says it created: fewer than sent when its validator dropped some without a word.

        Not idempotent: after a timeout, look up with `tasks(lacking=...)` which are there before sending again.
        """
        answer = self._transport.write(
            "POST",
            f"api/projects/{project_id}/import/predictions",
            list(predictions),
            what=f"project {project_id}",
            timeout_s=_IMPORT_TIMEOUT_S,
        )
        return self._parsed(lambda row: int(row["created"]), answer)

    def backends(self, project_id: int) -> list[BackendRow]:
        """In Label Studio's order, the first being the one it asks. It calls each one's health and setup for this."""
        rows = self._transport.read("api/ml/", {"project": project_id}, what=f"project {project_id}")
        return sorted(self._parsed_list(BackendRow.parse, rows), key=lambda backend: backend.id)

    def create_backend(self, project_id: int, url: str, title: str, auth: BasicAuth | None = None) -> BackendRow:
        body = {"project": project_id, "url": url, "title": title, **_credentials(auth)}
        return self._parsed(BackendRow.parse, self._transport.write("POST", "api/ml/", body))

    def set_title(self, backend: BackendRow, title: str, auth: BasicAuth | None = None) -> BackendRow:
        """Moves the project's `model_version` along if that held the old title. `auth` replaces the credentials."""
        # Without url and project: 500. Without credentials Label Studio checks the backend as a stranger; an empty
        # password means the one it has.
        kept = {"auth_method": backend.auth_method, "basic_auth_user": backend.auth_user, "basic_auth_pass": ""}
        credentials = _credentials(auth) or (kept if backend.auth_method == "BASIC_AUTH" else {})
        body = {"project": backend.project_id, "url": backend.url, "title": title, **credentials}
        return self._parsed(
            BackendRow.parse, self._transport.write("PATCH", f"api/ml/{backend.id}", body, what=f"backend {backend.id}")
        )

    def webhooks(self, project_id: int) -> list[Webhook]:
        rows = self._transport.read("api/webhooks/", {"project": project_id}, what=f"project {project_id}")
        return self._parsed_list(Webhook.parse, rows)

    def create_webhook(self, project_id: int, url: str, headers: Mapping[str, str]) -> Webhook:
        body = {"project": project_id, **_webhook_body(url, headers)}
        return self._parsed(Webhook.parse, self._transport.write("POST", "api/webhooks/", body))

    def set_webhook_headers(self, webhook: Webhook, headers: Mapping[str, str]) -> Webhook:
        """Also makes it active for all actions, with payload."""
        # Label Studio empties `actions` when a PATCH leaves them out.
        body = {**_webhook_body(webhook.url, headers), "actions": list(webhook.actions)}
        return self._parsed(
            Webhook.parse,
            self._transport.write("PATCH", f"api/webhooks/{webhook.id}/", body, what=f"webhook {webhook.id}"),
        )

    def delete_webhook(self, webhook: Webhook) -> None:
        self._transport.write("DELETE", f"api/webhooks/{webhook.id}/", None, what=f"webhook {webhook.id}")

    def tabs(self, project_id: int) -> list[str]:
        """Titles of the tabs over the project's table."""
        rows = self._transport.read("api/dm/views/", {"project": project_id}, what=f"project {project_id}")
        return self._parsed_list(lambda row: str(row["data"].get("title", "")), rows)

    def create_tab(self, project_id: int, title: str, *, ordering: str, hidden: Mapping[str, Sequence[str]]) -> None:
        """`ordering` is a column such as tasks:id; `hidden` columns are named for the table and beside an open task
        ("explore" and "labeling")."""
        data = {
            "title": title,
            "type": "list",
            "target": "tasks",
            "ordering": [ordering],
            "hiddenColumns": {place: list(columns) for place, columns in hidden.items()},
            "filters": {"conjunction": "and", "items": []},
        }
        self._transport.write("POST", "api/dm/views/", {"project": project_id, "data": data})

    def _change_project(self, project_id: int, change: dict[str, Json]) -> None:
        self._transport.write("PATCH", f"api/projects/{project_id}/", change, what=f"project {project_id}")

    def _task_rows(
        self, project_id: int, ids: Iterable[int] | None, *, lacking: str, page_size: int, fields: str
    ) -> Iterator[Json]:
        filters = [_lacks(lacking)] if lacking else []
        if ids is None:
            yield from self._rows_by_rising_id(project_id, filters, page_size, fields)
            return
        for chunk in _chunks(sorted(set(ids)), _IDS_A_CALL):
            _, rows = self._page(project_id, [_is_one_of(chunk), *filters], len(chunk), fields)
            yield from rows

    def _rows_by_rising_id(self, project_id: int, filters: list[Filter], page_size: int, fields: str) -> Iterator[Json]:
        # Always the first page of what comes after the last id: page numbers would shift under deletions, and under
        # the very predictions that the caller imports for the tasks it was given.
        last_id, total = 0, 1
        rows: list[Json] = []
        while total > len(rows):
            total, rows = self._page(project_id, [_comes_after(last_id), *filters], page_size, fields)
            yield from rows
            last_id = self._parsed(_id, rows[-1]) if rows else last_id

    def _page(self, project_id: int, filters: list[Filter], size: int, fields: str) -> tuple[int, list[Json]]:
        """How many tasks match, and the first `size` of them."""
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": []}
        params = {
            "project": project_id,
            "page": _FIRST_PAGE,
            "page_size": size,
            "fields": "task_only" if fields == "id" else "all",
            "include": fields,
            "resolve_uri": False,  # the task's data as `/predict` gets it
            "query": json.dumps(query, separators=(",", ":")),
        }
        answer = self._transport.read("api/tasks/", params, what=f"project {project_id}")
        return self._parsed(lambda row: (int(row["total"]), list(row["tasks"])), answer)

    def _parsed(self, parse: Callable[[Json], Value], row: Json) -> Value:
        try:
            return parse(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"Label Studio at {self.url} gave an answer of another shape than 1.23's ({error!r})"
            raise LabelStudioRefusedError(message) from error

    def _parsed_list(self, parse: Callable[[Json], Value], rows: Json) -> list[Value]:
        return self._parsed(lambda answer: [parse(row) for row in answer], rows)


def _id(row: Json) -> int:
    return int(row["id"])


def _credentials(auth: BasicAuth | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": auth.user, "basic_auth_pass": auth.password}


def _webhook_body(url: str, headers: Mapping[str, str]) -> dict[str, Json]:
    flags = {"send_payload": True, "send_for_all_actions": True, "is_active": True}
    return {"url": url, "headers": dict(headers), **flags}


def _comes_after(task_id: int) -> Filter:
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}


def _is_one_of(ids: Sequence[int]) -> Filter:
    return {"filter": "filter:tasks:id", "operator": "in_list", "type": "Number", "value": list(ids)}


def _lacks(version: str) -> Filter:
    name = "filter:tasks:predictions_model_versions"
    return {"filter": name, "operator": "not_contains", "type": "List", "value": [version]}


def _chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
