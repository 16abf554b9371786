"""Label Studio's API as far as the client calls it, in memory: what it stores, and what it silently drops."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from label_studio_sdk.label_interface import LabelInterface

from tests.flows.payloads import CONFIG, Json

KEY = "0123456789abcdef0123456789abcdef01234567"
CREATED_AT = "2026-11-22T11:19:44.371321Z"  # of project 1.1795346384


@dataclass(slots=True)
class RefusedError(Exception):
    status: int
    detail: str = ""


@dataclass
class LabelStudioStub:
    """Serves inside `with`. `strict` refuses a whole import for one bad prediction instead of dropping that one.
    `outages` are the next answers' statuses, 200 for a good one. `config_for_import`, when set, is what predictions are
    validated against. `loses_answer_of_import` carries imports out and answers 504. `calls` are method and path of all
    requests. Each write moves the `now` of its clock by a second."""

    config: str = CONFIG
    tasks: dict[int, Json] = field(default_factory=dict)
    predictions: dict[int, list[Json]] = field(default_factory=dict)
    annotations: dict[int, list[Json]] = field(default_factory=dict)
    updated_at: dict[int, str] = field(default_factory=dict)
    now: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)
    backend_url: str = "http://localhost:9090"
    title: str = "LLM labeler"
    model_version: str = "LLM labeler"
    expert_instruction: str = ""
    connected: bool = True
    strict: bool = False
    config_for_import: str = ""
    loses_answer_of_import: bool = False
    sampling: str = "Sequential sampling"
    outages: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    tabs: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._last_id = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, *rows: Json) -> None:
        self.tasks.update({row["id"]: row["data"] for row in rows})
        self.updated_at.update(dict.fromkeys((row["id"] for row in rows), self._tick()))

    def annotate(self, task_id: int, *labels: str, by: int = 1, **fields: Any) -> Json:
        """As a person who looked at the task; `fields` are of the annotation. It is returned as it is stored."""
        new = self._new()
        annotation = {
            **new,
            "result": choices(*labels) if labels else [],
            "completed_by": by,
            "was_cancelled": False,
            "ground_truth": False,
            "updated_at": new["created_at"],
            "lead_time": 4.2,
            "parent_prediction": None,
            "task": task_id,
            **fields,
        }
        self.annotations.setdefault(task_id, []).append(annotation)
        self.updated_at[task_id] = annotation["updated_at"]
        return annotation

    def edit(self, annotation: Json, *labels: str, **fields: Any) -> None:
        annotation |= {"updated_at": self._tick(), **fields, **({"result": choices(*labels)} if labels else {})}
        self.updated_at[annotation["task"]] = annotation["updated_at"]

    def delete_annotation(self, annotation: Json) -> None:
        self.annotations[annotation["task"]].remove(annotation)
        self.updated_at[annotation["task"]] = self._tick()

    def delete_task(self, task_id: int) -> None:
        del self.tasks[task_id], self.updated_at[task_id]
        self.annotations.pop(task_id, None)
        self.predictions.pop(task_id, None)

    def predict(self, task_id: int, label: str, *, version: str, **fields: Any) -> Json:
        """A stored prediction, which leaves the task's time as it is: it came by a bulk import."""
        row = {"task": task_id, "result": choices(label), "model_version": version, "score": 0.8}
        prediction = {**self._new(), **row, **fields}
        self.predictions.setdefault(task_id, []).append(prediction)
        return prediction

    def delete_predictions(self, task_id: int) -> None:
        """Which also empties what annotations say of their origin."""
        self.predictions.pop(task_id, None)
        for annotation in self.annotations.get(task_id, ()):
            annotation["parent_prediction"] = None

    def versions(self, task_id: int) -> list[str]:
        return [prediction["model_version"] for prediction in self.predictions.get(task_id, [])]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        parts = urlsplit(target)
        with self._lock:
            self.calls.append(f"{method} {parts.path}")
            self.tokens.add(headers.get("Authorization", ""))
            try:
                if headers.get("Authorization") != f"Token {KEY}":
                    raise RefusedError(401, "Invalid token.")
                if self.outages and (status := self.outages.pop(0)) != 200:
                    raise RefusedError(status, "scripted")
                if parts.path.startswith("/api/dm/"):
                    return self._manage(f"{method} {parts.path}", body)
                return self._respond(f"{method} {parts.path}", parse_qs(parts.query), body)
            except RefusedError as refusal:
                return refusal.status, {"detail": refusal.detail}

    def _respond(self, call: str, query: Mapping[str, list[str]], body: Any) -> tuple[int, Any]:
        match call:
            case "GET /api/projects/1/" | "PATCH /api/projects/1/":
                return 200, self._project(body)
            case "GET /api/tasks/":
                return 200, self._page(query)
            case "POST /api/projects/1/import/predictions":
                return 201, self._import(body)
            case "GET /api/ml/":
                return 200, [self._backend()] if self.connected else []
            case "PATCH /api/ml/1":
                return 200, self._rename(body)
            case _ if "/api/predictions/" in call or call.startswith("PATCH /api/tasks/"):
                method, _, path = call.partition(" ")
                _, _, kind, number, _ = path.split("/")
                return self._one(f"{method} {kind}", int(number), body)
        raise RefusedError(404, "Not found.")

    def _manage(self, call: str, body: Any) -> tuple[int, Any]:
        """The Data Manager's part."""
        match call:
            case "GET /api/dm/views/":
                return 200, self.tabs
            case "POST /api/dm/views/":
                self.tabs.append({**self._new(), "data": body["data"]})
                return 201, self.tabs[-1]
            case "POST /api/dm/actions/":
                return 200, self._annotate_from_predictions(body)
            case _ if call.startswith("PATCH /api/dm/views/"):
                (tab,) = [tab for tab in self.tabs if tab["id"] == int(call.split("/")[4])]
                tab["data"] = body["data"]
                return 200, tab
        raise RefusedError(404, "Not found.")

    def _project(self, changes: Json | None) -> Json:
        self.config = (changes or {}).get("label_config", self.config)
        self.sampling = (changes or {}).get("sampling", self.sampling)
        return {
            "id": 1,
            "created_at": CREATED_AT,
            "title": "Kettles",
            "label_config": self.config,
            "expert_instruction": self.expert_instruction,
            "model_version": self.model_version,
            "task_number": len(self.tasks),
            "show_collab_predictions": True,
        }

    def _page(self, query: Mapping[str, list[str]]) -> Json:
        filters = json.loads(query["query"][0])["filters"]["items"]
        found = [task_id for task_id in sorted(self.tasks) if all(self._passes(task_id, each) for each in filters)]
        page = found[: int(query["page_size"][0])]
        included = query["include"][0].split(",")
        whole = query["fields"] == ["all"]
        return {"total": len(found), "tasks": [self._row(task_id, included, whole=whole) for task_id in page]}

    def _passes(self, task_id: int, each: Json) -> bool:
        match each["filter"], each["operator"]:
            case "filter:tasks:id", "greater":
                return task_id > int(each["value"])
            case "filter:tasks:id", "in_list":
                return task_id in each["value"]
            case "filter:tasks:predictions_model_versions", "not_contains":
                return not set(self.versions(task_id)) & set(each["value"])
            case "filter:tasks:updated_at", "greater":
                read = datetime.strptime(each["value"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                return datetime.fromisoformat(self.updated_at[task_id]) > read
            case column, "greater":
                return self._number(task_id, column) > each["value"]
            case column, "equal":
                return self._number(task_id, column) == each["value"]
        raise RefusedError(400, f"unknown filter {each}")

    def _number(self, task_id: int, column: str) -> float:
        name = column.rpartition(":")[2]
        if name.startswith("data."):
            return float(self.tasks[task_id].get(name.removeprefix("data."), 0))
        return self._count(task_id, name)

    def _row(self, task_id: int, included: Sequence[str], *, whole: bool) -> Json:
        row = {
            "id": task_id,
            "data": self.tasks[task_id],
            "updated_at": self.updated_at[task_id],
            "is_labeled": self._count(task_id, "total_annotations") > 0,
            "total_annotations": self._count(task_id, "total_annotations"),
            "cancelled_annotations": self._count(task_id, "cancelled_annotations"),
        }
        if whole:
            row["predictions_model_versions"] = ",".join(self.versions(task_id))
            row["annotations"] = [_only(included, each) for each in self.annotations.get(task_id, ())]
            row["predictions"] = [_only(included, each) for each in self.predictions.get(task_id, ())]
        return _only(included, row)

    def _count(self, task_id: int, column: str) -> int:
        skips = sum(annotation["was_cancelled"] for annotation in self.annotations.get(task_id, ()))
        return skips if column == "cancelled_annotations" else len(self.annotations.get(task_id, ())) - skips

    def _new(self) -> Json:
        self._last_id += 1
        return {"id": self._last_id, "created_at": self._tick()}

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return self.now.isoformat().replace("+00:00", "Z")

    def _import(self, rows: list[Json]) -> Json:
        unknown = [row["task"] for row in rows if row["task"] not in self.tasks]
        if unknown:
            raise RefusedError(400, f"unknown tasks {unknown}")
        interface = LabelInterface(self.config_for_import or self.config)
        valid = [row for row in rows if not interface.validate_prediction(dict(row), return_errors=True)]
        if self.strict and len(valid) < len(rows):
            raise RefusedError(400, "Validation error")
        for row in valid:
            self.predictions.setdefault(row["task"], []).append({**self._new(), "model_version": "undefined", **row})
        if self.loses_answer_of_import:
            raise RefusedError(504)
        return {"created": len(valid)}

    def _annotate_from_predictions(self, body: Json) -> Json:
        """As the Data Manager's action does: the result as the prediction has it, and no time spent."""
        made = 0
        for task_id in body["selectedItems"]["included"]:
            if all(self._passes(task_id, each) for each in body["filters"]["items"]):
                for prediction in self.predictions.get(task_id, ()):
                    if prediction["model_version"] == body["model_version"]:
                        copied = {"result": prediction["result"], "parent_prediction": prediction["id"]}
                        self.annotate(task_id, lead_time=None, **copied)
                        made += 1
        return {"response_code": 200, "detail": f"Created {made} annotations"}

    def _one(self, what: str, number: int, body: Json) -> tuple[int, Json | None]:
        if what == "PATCH tasks":
            return 200, self._change_task(number, body)
        if what == "PATCH predictions":
            return 200, self._change_prediction(number, body)
        self._delete_prediction(number)
        return 204, None

    def _change_prediction(self, prediction_id: int, body: Json) -> Json:
        """The strict one finds what to validate against by the task, and refuses without."""
        found = [row for rows in self.predictions.values() for row in rows if row["id"] == prediction_id]
        if not found:
            raise RefusedError(404)
        interface = LabelInterface(self.config)
        if self.strict and ("task" not in body or interface.validate_prediction(dict(body), return_errors=True)):
            raise RefusedError(400, "Validation error")
        found[0] |= {"result": body["result"]}
        self.updated_at[found[0]["task"]] = self._tick()
        return found[0]

    def _change_task(self, task_id: int, body: Json) -> Json:
        self.tasks[task_id] = body["data"]
        self.updated_at[task_id] = self._tick()
        return {"id": task_id, "data": self.tasks[task_id]}

    def _delete_prediction(self, prediction_id: int) -> None:
        for task_id, rows in self.predictions.items():
            kept = [row for row in rows if row["id"] != prediction_id]
            if len(kept) < len(rows):
                self.predictions[task_id] = kept
                self.updated_at[task_id] = self._tick()
                return
        raise RefusedError(404)

    def _backend(self) -> Json:
        return {
            "id": 1,
            "project": 1,
            "url": self.backend_url,
            "title": self.title,
            "state": "CO",
            "error_message": None,
        }

    def _rename(self, body: Json) -> Json:
        """Without both, the real one fails."""
        if not {"url", "project"} <= body.keys():
            raise RefusedError(500)
        if self.model_version == self.title:
            self.model_version = body["title"]
        self.title = body["title"]
        return self._backend()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _only(included: Sequence[str], row: Json) -> Json:
    """As the real one does with annotations and predictions too."""
    return {name: row[name] for name in included if name in row}


def choices(*labels: str) -> list[Json]:
    """A result for the payloads' configuration."""
    return [{"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}]


def _handler(stub: LabelStudioStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            status, answer = stub.answer(self.command, self.path, dict(self.headers), body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *line: Any) -> None:
            """Quiet."""

    return Handler
