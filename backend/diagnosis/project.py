"""One Label Studio project: is the service its model, do events arrive, do scores show?"""

from dataclasses import dataclass

from backend.diagnosis.check import Check
from backend.label_studio import BackendRow, LabelStudioClient, Project, Webhook
from backend.projects.connection import SECRET_HEADER
from backend.settings import Settings

NAMES = ("project", "model", "webhook", "score column")
_CONNECTED = {"CO", "TR"}


@dataclass(frozen=True, slots=True)
class State:
    """`own` is our row in Label Studio, None when there is none; `first` is the one that Label Studio asks."""

    project: Project
    url: str
    own: BackendRow | None
    first: BackendRow | None
    webhooks: tuple[Webhook, ...]

    @property
    def connect(self) -> str:
        return f"Run `whetstone connect {self.project.id}`."


def look(client: LabelStudioClient, project: Project, backend_url: str) -> State:
    """Raises `LabelStudioError`. Label Studio calls each backend's health and setup for this."""
    rows = client.backends(project.id)
    own = [row for row in rows if row.url.rstrip("/") == backend_url]
    hooks = [hook for hook in client.webhooks(project.id) if hook.url == f"{backend_url}/webhook"]
    return State(project, backend_url, own[0] if own else None, rows[0] if rows else None, tuple(hooks))


def reach(state: State) -> Check | None:
    """The two settings that block private addresses, from what they let through; None where nothing shows."""
    name = "private addresses"
    if state.own is None or state.own.state not in _CONNECTED:
        return None
    if state.webhooks:
        return Check(name, "ok", "Label Studio takes the service's address for model and webhook")
    found = "a half-made connection: Label Studio took the model's address and refused the webhook's"
    hint = f"Start Label Studio with SSRF_PROTECTION_ENABLED=false. {state.connect}"
    return Check(name, "failed", found, hint, needed=True)


def checks(state: State, settings: Settings) -> tuple[Check, ...]:
    project = state.project
    tasks = "1 task" if project.task_number == 1 else f"{project.task_number} tasks"
    shown = Check("project", "ok", f"{project.title}, {tasks}", needed=True)
    return (shown, model(state), webhook(state, settings), score_column(state))


def model(state: State) -> Check:
    if state.own is None:
        found = "not connected" if state.first is None else f"not connected; its model is {state.first.url}"
        return Check("model", "warning", found, state.connect)
    if state.first is not None and state.first.id != state.own.id:
        found = f"Label Studio asks {state.first.url} ({state.first.title}) instead"
        return Check("model", "failed", found, "Remove that model under Settings > Model.", needed=True)
    if state.own.state in _CONNECTED:
        return Check("model", "ok", "connected", needed=True)
    reason = state.own.error_message or "its /health does not answer within a second"
    found = f"Label Studio cannot use it (state {state.own.state}): {reason}"
    hint = "Is the service up (`whetstone up`)? PUBLIC_URL must be its address as Label Studio sees it."
    return Check("model", "failed", found, hint, needed=True)


def webhook(state: State, settings: Settings) -> Check:
    if not state.webhooks:
        if state.own is None:
            return Check("webhook", "skipped", "not connected")
        return Check("webhook", "failed", "none: no event arrives", state.connect, needed=True)
    hook = state.webhooks[0]
    if not hook.sends_everything:
        return Check(
            "webhook", "failed", "it is off, or leaves events or their payload out", state.connect, needed=True
        )
    if not _opens(hook, settings):
        found = "it does not carry the secret: the service turns its events away"
        return Check("webhook", "failed", found, state.connect, needed=True)
    if len(state.webhooks) > 1:
        return Check("webhook", "warning", f"{len(state.webhooks)} of them: each event arrives as often", state.connect)
    return Check("webhook", "ok", "sends all events", needed=True)


def _opens(hook: Webhook, settings: Settings) -> bool:
    """As the service decides: the secret, or the password, where either is set."""
    secret = settings.webhook_secret.get_secret_value()
    headers = {name.lower(): value for name, value in hook.headers.items()}
    if not secret and not settings.basic_auth_user:
        return True
    if secret and headers.get(SECRET_HEADER.lower()) == secret:
        return True
    return bool(settings.basic_auth_user) and ("authorization" in headers or "@" in hook.url)


def score_column(state: State) -> Check:
    """It shows scores of the version that the project names, and Label Studio fetches where it names a title."""
    if state.own is None:
        return Check("score column", "skipped", "not connected")
    title, version = state.own.title, state.own.model_version
    if not state.project.shows_predictions:
        return Check("score column", "warning", "annotators are shown no predictions", state.connect)
    if title != version:
        found = f'empty: the model\'s title is "{title}", the active version "{version}"'
        return Check("score column", "warning", found, state.connect)
    if state.project.model_version != title:
        found = f'the project uses "{state.project.model_version}", the active version is "{version}"'
        return Check("score column", "warning", found, state.connect)
    return Check("score column", "ok", f"shows {version}")
