"""Makes the service a Label Studio project's model, and repairs what is left of an earlier attempt."""

import base64
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from backend.label_studio import (
    BackendRow,
    BasicAuth,
    LabelStudioClient,
    LabelStudioRefusedError,
    Project,
    Webhook,
)
from backend.labeling.errors import WhetstoneError

State = Literal["done", "already", "repaired", "failed"]

SECRET_HEADER = "X-Whetstone-Secret"
_ML_SETTING = "ML_BLOCK_LOCAL_IP=false"
_WEBHOOK_SETTING = "SSRF_PROTECTION_ENABLED=false"
_CONNECTED = {"CO", "TR"}
_TAB = "Least certain first"
_BY_SCORE = "tasks:predictions_score"
# What Label Studio hides in a new tab, but for the score and the version.
_ALWAYS_HIDDEN = [
    f"tasks:{column}"
    for column in (
        "inner_id", "annotations_results", "annotations_ids", "predictions_results", "file_upload", "storage_filename",
        "created_at", "updated_at", "updated_by", "avg_lead_time", "draft_exists", "cancelled_annotations",
        "annotators",
    )
]  # fmt: skip
HIDDEN_COLUMNS = {
    "explore": _ALWAYS_HIDDEN,
    "labeling": [*_ALWAYS_HIDDEN, "tasks:id", "tasks:completed_at", "tasks:total_predictions"],
}
_SETUP_TIMEOUT_S = 10.0


class ServiceUnreachableError(WhetstoneError):
    """The service itself gives no version."""

    retryable = True
    exit_code = 3
    hint = "Start it with `whetstone up`; --backend-url or PUBLIC_URL must be its address as Label Studio sees it."


@dataclass(frozen=True, slots=True)
class Step:
    """`already` found as wanted, `done` made new, `repaired` found wrong and put right; `detail` is the way out."""

    name: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ConnectReport:
    project_id: int
    project_key: str
    project_title: str
    backend_url: str
    version: str
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        return all(step.state != "failed" for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def connect(
    client: LabelStudioClient,
    project: Project,
    *,
    backend_url: str,
    version: str,
    basic_auth: BasicAuth | None = None,
    webhook_secret: str = "",
) -> ConnectReport:
    """A second call changes nothing. A step that fails does not stop those that can do without it.

    The webhook comes before the backend: Label Studio then finds it and registers none without the secret, and a
    refusal names the one setting it comes from. `version` becomes the backend's title, so that scores show.
    """
    url = backend_url.rstrip("/")
    rows = client.backends(project.id)
    ours = [row for row in rows if row.url.rstrip("/") == url]
    headers = _headers(basic_auth, webhook_secret)
    hook_step, made_hook = _ensure_webhook(client, project, f"{url}/webhook", headers, was_connected=bool(ours))
    backend_step, row = _ensure_backend(client, project, ours, url=url, version=version, auth=basic_auth)
    steps = [backend_step, hook_step]
    if row is None and made_hook:
        client.delete_webhook(made_hook)
        steps = [backend_step, Step(hook_step.name, "failed", "taken back, since the backend is not registered")]
    if row is not None:
        steps += [_is_first(row, [other for other in rows if other not in ours])]
        steps += [*_serve_predictions(client, project, row), _tab_by_score(client, project)]
    return ConnectReport(project.id, project.key, project.title, url, version, tuple(steps))


def _headers(basic_auth: BasicAuth | None, secret: str) -> dict[str, str]:
    """What opens the service's webhook: Label Studio sends no credentials of its own there."""
    if secret:
        return {SECRET_HEADER: secret}
    if basic_auth:
        pair = f"{basic_auth.user}:{basic_auth.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _ensure_webhook(
    client: LabelStudioClient, project: Project, url: str, headers: dict[str, str], *, was_connected: bool
) -> tuple[Step, Webhook | None]:
    """The step, and the webhook if it was made just now."""
    name = "webhook"
    hooks = [hook for hook in client.webhooks(project.id) if hook.url == url]
    if not hooks:
        try:
            hook = client.create_webhook(project.id, url, headers)
        except LabelStudioRefusedError as error:
            return Step(name, "failed", _webhook_refusal(error, url)), None
        return Step(name, "repaired" if was_connected else "done", url), hook
    kept, *extra = hooks
    for hook in extra:  # each would deliver every event once more
        client.delete_webhook(hook)
    complete = kept.sends_everything and headers.items() <= kept.headers.items()
    if not complete:
        client.set_webhook_headers(kept, {**kept.headers, **headers})
    return Step(name, "already" if complete and not extra else "repaired", url), None


def _webhook_refusal(error: LabelStudioRefusedError, url: str) -> str:
    if error.blocks_private_address:
        return (
            f"Label Studio sends no events to a private address: set {_WEBHOOK_SETTING} where it runs, then try again"
        )
    if "valid URL" in error.detail:
        host = urlsplit(url).hostname
        return f"Label Studio takes no webhook at the host {host!r}: use localhost, an IP address or a name with a dot"
    return str(error)


def _ensure_backend(
    client: LabelStudioClient,
    project: Project,
    ours: list[BackendRow],
    *,
    url: str,
    version: str,
    auth: BasicAuth | None,
) -> tuple[Step, BackendRow | None]:
    """The step, and the backend's row unless Label Studio has none."""
    if ours:
        return _repair_backend(client, ours[0], version=version, auth=auth)
    name = "backend"
    try:
        row = client.create_backend(project.id, url, version, auth)
    except LabelStudioRefusedError as error:
        # Where the webhook is refused, Label Studio saves the row all the same before it says 403.
        saved = [row for row in client.backends(project.id) if row.url.rstrip("/") == url]
        if not saved:
            return Step(name, "failed", _backend_refusal(error)), None
        row = saved[0]
    return _answers(row, Step(name, "done", url)), row


def _repair_backend(
    client: LabelStudioClient, row: BackendRow, *, version: str, auth: BasicAuth | None
) -> tuple[Step, BackendRow]:
    has_credentials = auth is None or (row.auth_method == "BASIC_AUTH" and row.auth_user == auth.user)
    if row.title == version and has_credentials and row.state in _CONNECTED:
        return Step("backend", "already", row.url), row
    try:
        row = client.set_title(row, version, auth)
    except LabelStudioRefusedError as error:
        return Step("backend", "failed", _backend_refusal(error)), row
    return _answers(row, Step("backend", "repaired", row.url)), row


def _answers(row: BackendRow, step: Step) -> Step:
    if row.state in _CONNECTED:
        return step
    reason = row.error_message or "its /health does not answer within a second"
    return Step(step.name, "failed", f"registered, but Label Studio cannot use it: {reason}")


def _backend_refusal(error: LabelStudioRefusedError) -> str:
    if error.blocks_private_address:
        return f"Label Studio calls no backend at a private address: set {_ML_SETTING} where it runs, then try again"
    return error.detail or str(error)


def _is_first(row: BackendRow, others: list[BackendRow]) -> Step:
    """Label Studio fetches predictions from a project's first backend alone."""
    before = [other for other in others if other.id < row.id]
    if not before:
        return Step("first in line", "already")
    other = before[0]
    return Step("first in line", "failed", f"Label Studio asks {other.url} ({other.title}) instead: remove that model")


def _serve_predictions(client: LabelStudioClient, project: Project, row: BackendRow) -> list[Step]:
    # Read anew: a changed title takes the project's model version along.
    project = client.project(project.id)
    return [
        _wanted(
            "model version",
            row.title,
            is_so=project.model_version == row.title,
            is_new=not project.model_version,
            make=lambda: client.set_model_version(project.id, row.title),
        ),
        _wanted(
            "show predictions",
            "",
            is_so=project.shows_predictions,
            is_new=False,
            make=lambda: client.show_predictions(project.id),
        ),
    ]


def _tab_by_score(client: LabelStudioClient, project: Project) -> Step:
    """A tab of the table that shows the score and sorts by it, so that nobody has to look for the column."""
    return _wanted(
        "tab by score",
        _TAB,
        is_so=_TAB in client.tabs(project.id),
        is_new=True,
        make=lambda: client.create_tab(project.id, _TAB, ordering=_BY_SCORE, hidden=HIDDEN_COLUMNS),
    )


def _wanted(name: str, detail: str, *, is_so: bool, is_new: bool, make: Callable[[], None]) -> Step:
    if is_so:
        return Step(name, "already", detail)
    try:
        make()
    except LabelStudioRefusedError as error:
        return Step(name, "failed", error.detail or str(error))
    return Step(name, "done" if is_new else "repaired", detail)


def active_version(url: str, project: Project, *, label_studio_url: str, auth: BasicAuth | None) -> str:
    """Asked of the running service, which thereby also learns of the project and its instruction."""
    body = {
        "project": project.key,
        "schema": project.config,
        "hostname": label_studio_url,
        "extra_params": {"expert_instruction": project.expert_instruction, "name": project.title},
    }
    pair = (auth.user, auth.password) if auth else None
    try:
        response = httpx.post(f"{url}/setup", json=body, auth=pair, timeout=_SETUP_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceUnreachableError(f"the service at {url} cannot be reached: {error}") from error
    if not response.is_success:
        raise _refusal(url, response)
    version = _json(response).get("model_version")
    if not isinstance(version, str) or not version:
        raise ServiceUnreachableError(f"what answers at {url}/setup is not this service: it names no model_version")
    return version


def _refusal(url: str, response: httpx.Response) -> WhetstoneError:
    reason = str(_json(response).get("error") or "")
    message = f"the service at {url} answered {response.status_code} to /setup" + (f": {reason}" if reason else "")
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return WhetstoneError(message, hint="BASIC_AUTH_USER and BASIC_AUTH_PASS must be those the service was given.")
    if response.is_server_error:
        return ServiceUnreachableError(message, hint="`whetstone doctor` tells what the service lacks.")
    return WhetstoneError(message, hint="Correct what the message names, or try `whetstone doctor`.")


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
