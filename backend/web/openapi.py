"""The OpenAPI 3.1 document of the API under /api. Shapes are those of the values that are sent."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from backend.projects.activation import Swap
from backend.projects.catalog import ProjectEntry, VersionList, VersionPage
from backend.projects.run_control import Canceled, Requested, RunOptions
from backend.storage.run_store import MOST_RUNS
from backend.storage.runs import RunRecord

Document = dict[str, Any]

_TEMPLATE = "#/components/schemas/{model}"
_INTRODUCTION = (
    "Prompt versions, optimization runs and reports of a Whetstone service. It wants basic auth where BASIC_AUTH_USER "
    "and BASIC_AUTH_PASS are set."
)
_PLACES = {
    "project": "Label Studio's numeric id, or the project's key (id.created) where several instances have that id",
    "name": "a prompt version's name, such as p0007-3fa2",
    "run": "a run's id",
}
_ERRORS = {
    400: "The request is wrong",
    401: "User or password is missing or wrong",
    403: "The request comes from a page of another site",
    404: "There is no such project, version, run or report",
    409: "It does not go with how things stand, or several instances have a project of this id",
    421: "The Host header names no address that the service knows as its own",
    503: "Redis cannot be reached",
}
_ERROR: Document = {
    "type": "object",
    "description": "What is wrong, and the way out where there is one.",
    "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
    "required": ["error"],
}
_LIMIT: Document = {
    "name": "limit",
    "in": "query",
    "description": "at most so many",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_RUNS, "default": 50},
}

_TARGET: Document = {
    "name": "target",
    "in": "query",
    "description": "one of the precisions that the report has certificates for; all without it",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
}


@dataclass(frozen=True, slots=True)
class _Route:
    """`answer` and `body` are schemas."""

    method: str
    path: str
    name: str
    summary: str
    answer: Document
    status: int = 200
    body: Document | None = None
    query: tuple[Document, ...] = ()


def _ref(name: str) -> Document:
    return {"$ref": _TEMPLATE.format(model=name)}


def _list_of(key: str, name: str) -> Document:
    items = {"type": "array", "items": _ref(name)}
    return {"type": "object", "properties": {key: items}, "required": [key]}


_PROJECT = "/api/projects/{project}"
_PROMPT = f"{_PROJECT}/prompts/{{name}}"
_RUN = f"{_PROJECT}/runs/{{run}}"
_ROUTES = (
    _Route("get", "/api/openapi.json", "describe", "This document", {"type": "object"}),
    _Route("get", "/api/projects", "list_projects", "All projects", _list_of("projects", "ProjectEntry")),
    _Route("get", f"{_PROJECT}/prompts", "list_prompts", "All prompt versions, latest first", _ref("VersionList")),
    _Route("get", _PROMPT, "show_prompt", "A version: its prompt, lineage and verdict", _ref("VersionPage")),
    _Route("post", f"{_PROMPT}/activate", "activate", "Make it active; open tasks are predicted anew", _ref("Swap")),
    _Route("post", f"{_PROJECT}/rollback", "roll_back", "Return to the version active before", _ref("Swap")),
    _Route(
        "post", f"{_PROJECT}/optimize", "optimize", "Queue a run", _ref("Requested"), 202, body=_ref("RunOptions")
    ),
    _Route("get", f"{_PROJECT}/runs", "list_runs", "Latest first", _list_of("runs", "RunRecord"), query=(_LIMIT,)),
    _Route("get", _RUN, "show_run", "A run, also while it is under way", _ref("RunRecord")),
    _Route("post", f"{_RUN}/cancel", "cancel_run", "End a run at its next step", _ref("Canceled"), 202),
    _Route("get", f"{_PROJECT}/report", "report", "The report as of the last run", _ref("Report")),
    _Route(
        "get", f"{_PROJECT}/acceptance", "acceptance", "What may be accepted unseen, as of the last run",
        _ref("Acceptable"), query=(_TARGET,),
    ),
)  # fmt: skip


@cache
def document() -> Document:
    paths: Document = {}
    for route in _ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Whetstone", "version": version("whetstone"), "description": _INTRODUCTION},
        "security": [{"basic": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "responses": {f"E{status}": _response(words, _ref("Error")) for status, words in _ERRORS.items()},
        },
    }


def _operation(route: _Route) -> Document:
    places = re.findall(r"{(\w+)}", route.path)
    errors = {401, 421, 503} | ({404, 409} if places else set()) | ({400, 403} if route.method == "post" else set())
    operation: Document = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*map(_place, places), *route.query],
        "responses": {
            str(route.status): _response(route.summary, route.answer),
            **{str(status): {"$ref": f"#/components/responses/E{status}"} for status in sorted(errors)},
        },
    }
    if route.body:
        operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": route.body}}}
    return operation


def _place(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "description": _PLACES[name], "schema": {"type": "string"}}


def _response(words: str, schema: Document) -> Document:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _schemas() -> Document:
    """Of what is sent and, for `RunOptions`, taken; the values they hold included."""
    sent = [
        TypeAdapter(kind) for kind in (ProjectEntry, VersionList, VersionPage, RunRecord, Swap, Requested, Canceled)
    ]
    _, definitions = TypeAdapter.json_schemas(
        [(str(adapter), "serialization", adapter) for adapter in sent], ref_template=_TEMPLATE
    )
    taken = TypeAdapter(RunOptions).json_schema(ref_template=_TEMPLATE)
    return {
        **definitions["$defs"],
        "RunOptions": taken,
        "Report": _report(),
        "Acceptable": _acceptable(),
        "Error": _ERROR,
    }


def _report() -> Document:
    """The worker makes it: its parts are told here, and described where they are made."""
    words, objects = {"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "object"}}
    text, whole = {"type": "string"}, {"type": "object"}
    optional: Document = {"type": ["object", "null"]}
    parts: Document = {
        "project": text, "title": text, "made_at": text, "labels": {"type": "integer"}, "active": text, "words": words,
        "versions": objects, "whole": optional, "prefill": optional, "curve": objects, "acceptance": whole,
        "acceptable": _ref("Acceptable"),
        "spend": whole, "splits": objects,
        "left_out": {"type": "object", "additionalProperties": {"type": "integer"}}, "contested": words,
        "people": whole,
        "last_run": optional, "activations": objects, "drift": objects,
    }  # fmt: skip
    about = "What `whetstone report --json` prints: accuracy with its interval by version and by number of labels."
    return {"type": "object", "description": about, "properties": parts, "required": list(parts)}


def _acceptable() -> Document:
    """As `_report`: made by the worker."""
    number, text = {"type": "number"}, {"type": "string"}
    perhaps: Document = {"type": ["number", "null"]}
    certificate: Document = {
        "score_kind": text, "threshold": perhaps, "target": number, "sure": number, "checked": {"type": "integer"},
        "errors": {"type": "integer"}, "bound": number, "coverage": perhaps, "tasks": {"type": "integer"},
        "more_checks": {"type": ["object", "null"]}, "reachable": perhaps, "words": text,
    }  # fmt: skip
    items = {"type": "object", "properties": certificate, "required": list(certificate)}
    parts: Document = {
        "version": text, "score_kind": text, "calibrated_on": {"type": "integer"}, "checked": {"type": "integer"},
        "open": {"type": "integer"}, "certificates": {"type": "array", "items": items},
        "words": {"type": "array", "items": text},
    }  # fmt: skip
    about = (
        "From a score of `threshold` on, at least `target` of the tasks are right, with certainty `sure`; null: no "
        "such threshold is known, and `reachable` can be promised instead."
    )
    return {"type": "object", "description": about, "properties": parts, "required": list(parts)}
