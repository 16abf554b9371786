"""The Flask application: `gunicorn 'backend.app:create_app()'`."""

import time
import uuid

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, Unauthorized

from backend import logs, settings
from backend.labeling.errors import StoreError, WhetstoneError
from backend.pages import routes
from backend.service import Service
from backend.settings import Settings
from backend.storage.counters import Count
from backend.web import api, rest

_log = structlog.get_logger(__name__)


def create_app(configured: Settings | None = None) -> Flask:
    """Raises `SettingsError`; connects to nothing yet."""
    current = configured or settings.load()
    logs.configure(current)
    app = Flask(__name__, static_folder="pages/static", template_folder="pages/templates")
    app.config["MAX_CONTENT_LENGTH"] = current.max_body_mb * 1024 * 1024
    app.json.sort_keys = False  # type: ignore[attr-defined] # Flask's default provider has it
    app.extensions["whetstone"] = Service(current, serves=True)
    app.before_request(_begin)
    app.after_request(_end)
    app.register_blueprint(api.blueprint)
    app.register_blueprint(rest.blueprint)
    app.register_blueprint(routes.blueprint)
    app.register_error_handler(WhetstoneError, _refuse)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    return app


def _begin() -> None:
    g.began = time.perf_counter()
    g.request_id = request.headers.get("X-Request-ID", "")[:64] or uuid.uuid4().hex[:16]
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    """`/health` is asked for before everything and must not wait for Redis: it is not counted."""
    seconds = time.perf_counter() - g.began
    response.headers["X-Request-ID"] = g.request_id
    if request.path != "/health":
        route = request.url_rule.rule if request.url_rule else "other"
        counters = api.service().counters
        counters.count_many([Count("requests", {"route": route, "status": str(response.status_code)})])
        counters.observe("request_seconds", seconds)
        _log.info("request", method=request.method, route=route, status=response.status_code, ms=round(seconds * 1000))
    structlog.contextvars.unbind_contextvars("request_id")
    return response


def _refuse(error: WhetstoneError) -> tuple[dict[str, str], int]:
    status = 503 if isinstance(error, StoreError) else 400
    reason = str(error).strip()
    _log.warning("refused", route=request.path, status=status, reason=reason)
    return {"error": reason, "hint": error.hint}, status


def _http_error(error: HTTPException) -> tuple[dict[str, str], int, dict[str, str]]:
    headers = {"WWW-Authenticate": 'Basic realm="whetstone"'} if isinstance(error, Unauthorized) else {}
    reason = error.description or error.name
    if isinstance(error, RequestEntityTooLarge):
        reason = f"the body is larger than {api.service().settings.max_body_mb} MB, which MAX_BODY_MB allows"
    _log.warning("refused", route=request.path, status=error.code, reason=reason)
    return {"error": reason}, error.code or 500, headers


def _fault(error: Exception) -> tuple[dict[str, str], int]:
    """The request's boundary: what happened is in the log, under the id that the answer carries."""
    _log.error("fault", route=request.path, exc_info=error)
    return {"error": "an internal error, see the log", "request_id": g.request_id}, 500
