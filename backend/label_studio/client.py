"""The calls Whetstone makes to Label Studio. Every method raises `LabelStudioError` only."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus

from backend.label_studio.errors import LabelStudioRefusedError
from backend.label_studio.task_pages import (
    Columns,
    TaskPages,
    changed_after,
    has_annotations,
    has_no_annotations,
    has_number,
    has_skips_only,
    lacks,
    row_id,
    scores_at_least,
)
from backend.label_studio.transport import Transport, Value
from backend.label_studio.values import (
    BackendRow,
    BasicAuth,
    Json,
    Project,
    Task,
    TaskRow,
    TaskStamp,
    TokenKind,
    Webhook,
)

_ID = Columns("id")
_TASK = Columns("id,data,is_labeled,predictions_model_versions", beyond_row=True)
_DATA = Columns("id,data")
_STAMP = Columns("id,updated_at,total_annotations,cancelled_annotations")
# Label Studio picks the named columns of annotations and predictions too.
_ANNOTATION = "created_at,completed_by,result,was_cancelled,ground_truth,lead_time,parent_prediction"
_PREDICTION = "model_version,score"
_ROW = Columns(f"{_STAMP.names},data,annotations,predictions,{_ANNOTATION},{_PREDICTION}", beyond_row=True)
_IMPORT_TIMEOUT_S = 300.0


class LabelStudioClient:
    """One Label Studio with one API key, legacy or personal (traded and refreshed here). Safe to share by threads.

    Nothing is asked before the first call. `retries` are the further attempts of a read.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 60.0, retries: int = 2) -> None:
        self._transport = Transport(url, api_key, timeout_s=timeout_s, retries=retries)
        self._pages = TaskPages(self._transport)

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

    def set_config(self, project_id: int, config: str) -> None:
        """Refused where annotations would lose what they answer."""
        self._change_project(project_id, {"label_config": config})

    def set_sampling(self, project_id: int, sampling: str) -> None:
        """In which order the label stream serves tasks, in Label Studio's own words."""
        self._change_project(project_id, {"sampling": sampling})

    def tasks(
        self, project_id: int, ids: Iterable[int] | None = None, *, lacking: str = "", page_size: int = 500
    ) -> Iterator[Task]:
        """By rising id, of all tasks or of those in `ids` that exist.

        `lacking` leaves out the tasks that have a prediction of that version (of any version that contains it, rather).
        Label Studio cuts `Task.versions` at 500 characters a task: where it must be exact, ask with `lacking`.
        Tasks may be added, deleted or predicted meanwhile: none of the others is skipped or comes twice.
        """
        filters = [lacks(lacking)] if lacking else []
        if ids is None:
            rows = self._pages.matching(project_id, filters, _TASK, size=page_size)
        else:
            rows = self._pages.of_ids(project_id, ids, filters, _TASK)
        return (self._parsed(Task.parse, row) for row in rows)

    def task_ids(self, project_id: int, *, lacking: str = "", page_size: int = 2000) -> Iterator[int]:
        """As `tasks`, at less than half the cost."""
        filters = [lacks(lacking)] if lacking else []
        rows = self._pages.matching(project_id, filters, _ID, size=page_size)
        return (self._parsed(row_id, row) for row in rows)

    def untouched(self, project_id: int, *, page_size: int = 2000) -> Iterator[Task]:
        """Tasks that nobody has annotated or skipped, by rising id; their predictions are not asked for."""
        for row in self._pages.matching(project_id, has_no_annotations(), _DATA, size=page_size):
            yield self._parsed(Task.parse, row)

    def numbered(self, project_id: int, key: str, *, page_size: int = 2000) -> Iterator[Task]:
        """Tasks whose data has a number above 0 under `key`, by rising id; their predictions are not asked for."""
        for row in self._pages.matching(project_id, [has_number(key)], _DATA, size=page_size):
            yield self._parsed(Task.parse, row)

    def set_data(self, task_id: int, data: Mapping[str, Json]) -> None:
        """In place of all that the task's data is."""
        self._transport.write("PATCH", f"api/tasks/{task_id}/", {"data": dict(data)}, what=f"task {task_id}")

    def annotated(self, project_id: int, *, page_size: int = 2000) -> Iterator[TaskStamp]:
        """All tasks with an annotation, skips included; first, by rising id, those with more than skips."""
        for filters in ((has_annotations(),), has_skips_only()):
            for row in self._pages.matching(project_id, filters, _STAMP, size=page_size):
                yield self._parsed(TaskStamp.parse, row)

    def changed(self, project_id: int, since: datetime, *, page_size: int = 2000) -> Iterator[TaskStamp]:
        """Tasks made or changed after `since`, by Label Studio's clock, or with an annotation or a single prediction
        written or deleted after it. Bulk imports of predictions do not count; deleted tasks do not come."""
        for row in self._pages.matching(project_id, [changed_after(since)], _STAMP, size=page_size):
            yield self._parsed(TaskStamp.parse, row)

    def task_rows(self, project_id: int, ids: Iterable[int], *, page_size: int = 100) -> Iterator[TaskRow]:
        """With all annotations and predictions, by rising id; never more than a page of them in memory."""
        for row in self._pages.of_ids(project_id, ids, [], _ROW, size=page_size):
            yield self._parsed(TaskRow.parse, row)

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

    def set_result(self, prediction_id: int, task_id: int, result: Sequence[Mapping[str, Json]]) -> bool:
        """In place of what the prediction holds; its id and its time of creation stay. False when it is gone."""
        # Where Label Studio validates strictly, it finds the labeling configuration by the task.
        return self._write_prediction("PATCH", prediction_id, {"task": task_id, "result": list(result)})

    def delete_prediction(self, prediction_id: int) -> None:
        """One that is gone already is no error. Unlike deleting all of a version, it leaves the project's
        `model_version` as it is."""
        self._write_prediction("DELETE", prediction_id, None)

    def _write_prediction(self, method: str, prediction_id: int, body: Json) -> bool:
        """False when it is gone."""
        try:
            self._transport.write(method, f"api/predictions/{prediction_id}/", body, what=f"prediction {prediction_id}")
        except LabelStudioRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

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

    def annotate_from_predictions(self, project_id: int, task_ids: Sequence[int], version: str) -> int:
        """How many predictions of `version` became annotations of the key's user: of those tasks, the ones that nobody
        has annotated or skipped until then. Doing it again changes nothing."""
        chosen = {
            "selectedItems": {"all": False, "included": list(task_ids)},
            "filters": {"conjunction": "and", "items": list(has_no_annotations())},
            "model_version": version,
        }
        path = f"api/dm/actions/?id=predictions_to_annotations&project={project_id}"
        answer = self._transport.write("POST", path, chosen, what=f"project {project_id}", timeout_s=_IMPORT_TIMEOUT_S)
        return self._parsed(lambda row: int(re.findall(r"\d+", row["detail"])[0]), answer)

    def tabs(self, project_id: int) -> list[str]:
        """Titles of the tabs over the project's table."""
        return [title for _, title in self._tabs(project_id)]

    def create_tab(self, project_id: int, title: str, *, ordering: str, hidden: Mapping[str, Sequence[str]]) -> None:
        """`ordering` is a column such as tasks:id; `hidden` columns are named for the table and beside an open task
        ("explore" and "labeling")."""
        body = {"project": project_id, "data": _tab(title, ordering, hidden)}
        self._transport.write("POST", "api/dm/views/", body)

    def create_tab_by_number(
        self, project_id: int, title: str, key: str, *, hidden: Mapping[str, Sequence[str]]
    ) -> None:
        """The tasks that nobody has annotated and whose data has a number above 0 under `key`, the smallest first."""
        column = f"tasks:data.{key}"
        data = _tab(title, column, hidden, [has_number(key), *has_no_annotations()])
        numeric = {"columnsDisplayType": {column: "Number"}}  # as text, 10 would come before 9
        self._transport.write("POST", "api/dm/views/", {"project": project_id, "data": data | numeric})

    def put_tab_of_surest(
        self, project_id: int, title: str, *, score: float, version: str, hidden: Mapping[str, Sequence[str]]
    ) -> None:
        """The untouched tasks of at least that score by `version`, the least sure first; in place of the tab of that
        title."""
        filters = [*scores_at_least(score, version), *has_no_annotations()]
        body = {"project": project_id, "data": _tab(title, "tasks:predictions_score", hidden, filters)}
        known = next((tab for tab, other in self._tabs(project_id) if other == title), None)
        self._transport.write("PATCH" if known else "POST", f"api/dm/views/{f'{known}/' if known else ''}", body)

    def _tabs(self, project_id: int) -> list[tuple[int, str]]:
        rows = self._transport.read("api/dm/views/", {"project": project_id}, what=f"project {project_id}")
        return self._parsed_list(lambda row: (int(row["id"]), str(row["data"].get("title", ""))), rows)

    def _change_project(self, project_id: int, change: dict[str, Json]) -> None:
        self._transport.write("PATCH", f"api/projects/{project_id}/", change, what=f"project {project_id}")

    def _parsed(self, parse: Callable[[Json], Value], row: Json) -> Value:
        return self._transport.parsed(parse, row)

    def _parsed_list(self, parse: Callable[[Json], Value], rows: Json) -> list[Value]:
        return self._parsed(lambda answer: [parse(row) for row in answer], rows)


def _tab(
    title: str, ordering: str, hidden: Mapping[str, Sequence[str]], filters: Sequence[Json] = ()
) -> dict[str, Json]:
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": [ordering],
        "hiddenColumns": {place: list(columns) for place, columns in hidden.items()},
        "filters": {"conjunction": "and", "items": list(filters)},
    }


def _credentials(auth: BasicAuth | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": auth.user, "basic_auth_pass": auth.password}


def _webhook_body(url: str, headers: Mapping[str, str]) -> dict[str, Json]:
    flags = {"send_payload": True, "send_for_all_actions": True, "is_active": True}
    return {"url": url, "headers": dict(headers), **flags}
