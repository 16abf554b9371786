"""Pages for a browser at / and /projects, and the forms on them."""

from datetime import datetime

import structlog
from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden, HTTPException, MisdirectedRequest, NotFound

from backend.labeling.errors import StoreError, WhetstoneError
from backend.pages import content
from backend.projects import activation, catalog, run_control, run_text
from backend.projects.naming import ConflictError, NotKnownError
from backend.projects.run_control import RunOptions
from backend.storage.store import ProjectRecord
from backend.web.api import refuse_other_names, service

blueprint = Blueprint("pages", __name__)

_log = structlog.get_logger(__name__)
# What a page may load: its stylesheet and icon. No script, no frame, no form that leads elsewhere.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # stricter, and browsers would hide a form's origin
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
_DONE = {
    "activated": "That version is active now: the next task is labelled by it, and open tasks are predicted anew.",
    "returned": "The earlier version is active again, and open tasks are predicted anew.",
    "started": "A run is queued.",
    "canceled": "Canceled: a run under way ends at its next step, and what it published before stays.",
}


@blueprint.before_request
def refuse_strangers() -> None:
    """Browsers name the origin of each form; programs have the API."""
    if request.method == "POST" and not request.headers.get("Origin"):
        raise Forbidden("this is for forms of a browser, which name their origin; programs use /api")
    refuse_other_names()


@blueprint.after_request
def restrict(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


@blueprint.errorhandler(WhetstoneError)
def refused(error: WhetstoneError) -> tuple[str, int]:
    known = {NotKnownError: 404, ConflictError: 409, StoreError: 503}
    return _error(next((known[kind] for kind in type(error).__mro__ if kind in known), 400), str(error), error.hint)


@blueprint.errorhandler(Forbidden)
def forbidden(error: HTTPException) -> tuple[str, int]:
    return _error(403, error.description or error.name, "Open the page anew and try again.")


@blueprint.errorhandler(MisdirectedRequest)
def misdirected(error: HTTPException) -> tuple[str, int]:
    return _error(421, error.description or error.name, "")


@blueprint.get("/")
def home() -> str:
    """For who asks for HTML by name; to a machine nothing is here."""
    if not any(kind == "text/html" and quality for kind, quality in request.accept_mimetypes):
        raise NotFound("Whetstone has pages here for a browser; for programs there are /health, /ready and /api")
    return render_template("home.html", projects=content.overview(service()))


@blueprint.get("/projects/<project>")
def show_project(project: str) -> str:
    page = content.project(service(), _record(project))
    done = _DONE.get(request.args.get("done", ""))
    return render_template("project.html", project=project, page=page, done=done)


@blueprint.get("/projects/<project>/prompts/<name>")
def show_prompt(project: str, name: str) -> str:
    return render_template("prompt.html", project=project, page=content.prompt(service(), _record(project), name))


@blueprint.post("/projects/<project>/prompts/<name>/activate")
def activate(project: str, name: str) -> ResponseReturnValue:
    activation.activate(service(), _record(project), name, by=_caller())
    return _back(project, "activated")


@blueprint.post("/projects/<project>/rollback")
def roll_back(project: str) -> ResponseReturnValue:
    activation.roll_back(service(), _record(project), by=_caller())
    return _back(project, "returned")


@blueprint.post("/projects/<project>/optimize")
def optimize(project: str) -> ResponseReturnValue:
    run_control.request(service(), _record(project), RunOptions())
    return _back(project, "started")


@blueprint.post("/projects/<project>/cancel")
def cancel(project: str) -> ResponseReturnValue:
    run_control.cancel(service(), _record(project))
    return _back(project, "canceled")


@blueprint.app_template_filter("when")
def when(at: datetime | str) -> str:
    """A text is ISO 8601."""
    return run_text.when(datetime.fromisoformat(at) if isinstance(at, str) else at)


@blueprint.app_template_filter("percent")
def percent(share: float | None) -> str:
    """Whole; only all is 100 %, only none 0 %."""
    if share is None:
        return "-"
    return f"{min(max(round(100 * share), 1 if share > 0 else 0), 100 if share >= 1 else 99)} %"


blueprint.add_app_template_filter(run_text.headline)
blueprint.add_app_template_filter(run_text.gain)
blueprint.add_app_template_filter(run_text.verdict)


def _record(project: str) -> ProjectRecord:
    return catalog.project(service(), project)


def _back(project: str, done: str) -> ResponseReturnValue:
    """A reload of the page that is shown then asks for nothing again."""
    return redirect(url_for("pages.show_project", project=project, done=done), 303)


def _caller() -> str:
    """Who is recorded for it."""
    user = request.authorization.username if request.authorization else None
    return f"{user} (page)" if user else "page"


def _error(status: int, reason: str, hint: str) -> tuple[str, int]:
    _log.warning("refused", route=request.path, status=status, reason=reason)
    return render_template("error.html", reason=reason.strip(), hint=hint), status
