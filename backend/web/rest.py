"""The JSON API under /api: what the command line shows and does, for programs. `openapi` describes it."""

from typing import Any

from flask import Blueprint, request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from werkzeug.exceptions import BadRequest

from backend.projects import activation, catalog, run_control
from backend.projects.naming import ConflictError, NotKnownError
from backend.projects.run_control import RunOptions
from backend.storage.run_store import MOST_RUNS
from backend.storage.store import ProjectRecord
from backend.web import openapi
from backend.web.api import refuse_other_names, service

blueprint = Blueprint("rest", __name__, url_prefix="/api")

Answer = dict[str, Any]
_OPTIONS = TypeAdapter(RunOptions)
_LISTED = 50


blueprint.before_request(refuse_other_names)


@blueprint.errorhandler(NotKnownError)
def not_known(error: NotKnownError) -> tuple[Answer, int]:
    return {"error": str(error), "hint": error.hint}, 404


@blueprint.errorhandler(ConflictError)
def conflict(error: ConflictError) -> tuple[Answer, int]:
    return {"error": str(error), "hint": error.hint}, 409


@blueprint.get("/openapi.json")
def describe() -> Answer:
    return openapi.document()


@blueprint.get("/projects")
def list_projects() -> Answer:
    return _json({"projects": catalog.entries(service())})


@blueprint.get("/projects/<project>/prompts")
def list_prompts(project: str) -> Answer:
    return _json(catalog.versions(service(), catalog.project(service(), project)))


@blueprint.get("/projects/<project>/prompts/<name>")
def show_prompt(project: str, name: str) -> Answer:
    return _json(catalog.page(service(), catalog.project(service(), project), name))


@blueprint.post("/projects/<project>/prompts/<name>/activate")
def activate(project: str, name: str) -> Answer:
    return _json(activation.activate(service(), catalog.project(service(), project), name, by=_caller()))


@blueprint.post("/projects/<project>/rollback")
def roll_back(project: str) -> Answer:
    return _json(activation.roll_back(service(), catalog.project(service(), project), by=_caller()))


@blueprint.post("/projects/<project>/optimize")
def optimize(project: str) -> tuple[Answer, int]:
    """Queues a run: it shows among the runs once a worker takes it up."""
    record = catalog.project(service(), project)
    return _json(run_control.request(service(), record, _options())), 202


@blueprint.get("/projects/<project>/runs")
def list_runs(project: str) -> Answer:
    record = catalog.project(service(), project)
    limit = request.args.get("limit", default=_LISTED, type=int)
    return _json({"runs": service().runs.runs(record.key, max(1, min(limit, MOST_RUNS)))})


@blueprint.get("/projects/<project>/runs/<run>")
def show_run(project: str, run: str) -> Answer:
    return _json(catalog.run(service(), catalog.project(service(), project), run))


@blueprint.post("/projects/<project>/runs/<run>/cancel")
def cancel_run(project: str, run: str) -> tuple[Answer, int]:
    """It ends at its next step; what it published before stays."""
    return _json(run_control.cancel(service(), catalog.project(service(), project), run)), 202


@blueprint.get("/projects/<project>/report")
def report(project: str) -> Answer:
    """As of the last run."""
    return _report(catalog.project(service(), project))


@blueprint.get("/projects/<project>/acceptance")
def acceptance(project: str) -> Answer:
    """The certificates of the last run's report, or the one for `target`."""
    record = catalog.project(service(), project)
    found: Answer = _report(record)["acceptable"]
    target = request.args.get("target")
    if target is None:
        return found
    chosen = [each for each in found["certificates"] if f"{each['target']:g}" == _plain(target)]
    if not chosen:
        known = ", ".join(f"{each['target']:g}" for each in found["certificates"])
        hint = f"There are {known}; `whetstone accept` finds the threshold for any other."
        raise NotKnownError(f"the report of project {record.numeric_id} has no target {target!r}", hint=hint)
    return {**found, "certificates": chosen}


def _plain(number: str) -> str:
    """So that .95 and 0.950 are 0.95."""
    try:
        return f"{float(number):g}"
    except ValueError:
        return number


def _report(record: ProjectRecord) -> Answer:
    found = service().runs.report(record.key)
    if found is None:
        hint = "The first run writes it: `whetstone optimize PROJECT` starts one."
        raise NotKnownError(f"project {record.numeric_id} has no report yet", hint=hint)
    return found


def _options() -> RunOptions:
    body = request.get_data()
    try:
        return _OPTIONS.validate_json(body) if body.strip() else RunOptions()
    except ValidationError as error:
        raise BadRequest("; ".join(_mistake(dict(mistake)) for mistake in error.errors())) from None


def _mistake(mistake: dict[str, Any]) -> str:
    where = ".".join(map(str, mistake["loc"])) or "the body"
    return f"{where}: {mistake['msg']}"


def _caller() -> str:
    """Who is recorded for it: the user of the basic auth, where there is one."""
    user = request.authorization.username if request.authorization else None
    return f"{user} (API)" if user else "API"


def _json(value: Any) -> Answer:
    document: Answer = to_jsonable_python(value)
    return document
