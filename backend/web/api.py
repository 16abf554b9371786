"""The routes that Label Studio calls, and those that operators watch."""

import hmac
import json
from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import BadRequest, Forbidden, MisdirectedRequest, Unauthorized

from backend.label_studio import identity
from backend.labeling.errors import SchemaError, StoreError
from backend.projects.connection import SECRET_HEADER
from backend.service import Seen, Service
from backend.settings import Settings
from backend.web import addresses, events, metrics, readiness
from backend.web.model import WhetstoneModel

blueprint = Blueprint("label_studio", __name__)


def service() -> Service:
    return cast(Service, current_app.extensions["whetstone"])


@blueprint.before_app_request
def authorize() -> None:
    """Basic auth on everything but `/health`, when configured; the webhook's secret header opens the webhook too."""
    if request.path == "/health":
        return
    settings = service().settings
    if request.path == "/webhook":
        if not _webhook_is_allowed(settings):
            raise Unauthorized("the webhook's secret is missing or wrong: `whetstone connect` sets it")
    elif settings.basic_auth_user and not _basic_auth_is_right(settings):
        raise Unauthorized("user or password is missing or wrong (BASIC_AUTH_USER, BASIC_AUTH_PASS)")


@blueprint.before_app_request
def refuse_other_sites() -> None:
    """A browser sends what it remembers of a password along with any page's POST, and names the page's origin. Programs
    name none, Label Studio's server among them."""
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin and not addresses.may_send(origin, request.host, service().settings):
        raise Forbidden("a page of another site may not change anything here")


def refuse_other_names() -> None:
    """For what a browser reads or changes; Label Studio may call its own routes by any name."""
    if not addresses.is_own(request.host, service().settings):
        raise MisdirectedRequest(
            f"this service does not know itself as {request.host!r}: set PUBLIC_URL to the address by which you open "
            "it, or set a password (BASIC_AUTH_USER, BASIC_AUTH_PASS)"
        )


def _webhook_is_allowed(settings: Settings) -> bool:
    secret = settings.webhook_secret.get_secret_value()
    if not secret and not settings.basic_auth_user:
        return True
    if secret and _same(request.headers.get(SECRET_HEADER, ""), secret):
        return True
    return bool(settings.basic_auth_user) and _basic_auth_is_right(settings)


def _basic_auth_is_right(settings: Settings) -> bool:
    given = request.authorization
    user = (given and given.username) or ""
    password = (given and given.password) or ""
    right = _same(user, settings.basic_auth_user)
    return _same(password, settings.basic_auth_pass.get_secret_value()) and right


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


@blueprint.get("/health")
def health() -> dict[str, str]:
    """Alive: touches neither Redis nor the LLM."""
    return {"status": "UP", "model_class": WhetstoneModel.__name__}


@blueprint.get("/ready")
def ready() -> tuple[dict[str, Any], int]:
    report = readiness.check(service())
    return report, 200 if report["ready"] else 503


@blueprint.post("/setup")
def setup() -> dict[str, str]:
    """No call to the LLM or to Label Studio: this is inside an annotator's request."""
    body = _body()
    key = identity.checked(body.get("project"))
    config = _text(body.get("schema"), "schema")
    extra = body.get("extra_params")
    more = extra if isinstance(extra, Mapping) else {}
    seen = Seen(
        config,
        label_studio_url=str(body.get("hostname") or "") or None,
        **{name: more[name] for name in ("expert_instruction", "name") if isinstance(more.get(name), str)},
    )
    current = service().current_after_seeing(key, seen)
    return {"model_version": current.version.name}


@blueprint.post("/predict")
def predict() -> dict[str, Any]:
    body = _body()
    key = identity.checked(body.get("project"))
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        raise BadRequest('"tasks" must be a list of objects')
    params = body.get("params")
    context = params.get("context") if isinstance(params, Mapping) else None
    model = WhetstoneModel(service=service(), project=key, config=_config(body, key))
    return {"results": model.predict(tasks, context=context)}


@blueprint.post("/webhook")
def webhook() -> tuple[dict[str, Any], int]:
    return events.receive(service(), _body()), 201


@blueprint.get("/versions")
def versions() -> dict[str, list[str]]:
    """Label Studio does not say of which project: newest first over all."""
    published = [at for record in service().store.projects() for at in service().store.versions(record.key)]
    published.sort(key=lambda publication: publication.published_at, reverse=True)
    return {"versions": [publication.version.name for publication in published]}


@blueprint.get("/metrics")
def prometheus() -> Response:
    return Response(metrics.render(service()), content_type=metrics.CONTENT_TYPE)


@blueprint.post("/validate")
def validate() -> dict[str, Any]:
    """Whether a configuration can be labelled; Label Studio's Community edition does not ask."""
    config = _text(_body().get("config") or _body().get("schema"), "config")
    schema = service().schema(config)
    return {"status": "ok", "notes": list(schema.notes_but(service().rationale_area(schema)))}


@blueprint.post("/train")
def train() -> tuple[dict[str, str], int]:
    """Training is asked for through the webhook; this old route does nothing and harms nothing."""
    return {"status": "ok"}, 201


def _body() -> dict[str, Any]:
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"the body is a JSON {type(body).__name__}, not an object")
    return body


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRequest(f'"{name}" must hold the labeling configuration')
    return value


def _config(body: Mapping[str, Any], key: str) -> str:
    """As sent, else as last seen."""
    config = body.get("label_config")
    if isinstance(config, str) and config.strip():
        return config
    try:
        record = service().store.project(key)
    except StoreError:
        record = None
    if record is None or not record.config:
        raise SchemaError(f'the request has no "label_config", and project {key} is not known')
    return record.config
