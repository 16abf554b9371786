"""Settings: each is valid by now; do they go together?"""

from backend.diagnosis.check import Check, Section
from backend.settings import Settings

SUBJECT = "settings"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def examine(settings: Settings) -> Section:
    return Section(SUBJECT, (_style(settings), password(settings), secret(settings)))


def _style(settings: Settings) -> Check:
    chosen = "chat turns" if settings.prompt_style == "chat" else "one plain text"
    return Check("prompt style", "ok", f"{chosen} (LLM_PROMPT_STYLE={settings.llm_prompt_style})")


def password(settings: Settings) -> Check:
    if settings.basic_auth_user:
        return Check("password", "ok", "basic auth on everything but /health")
    if settings.host in _LOOPBACK:
        return Check("password", "ok", f"none; the service listens on {settings.host} only")
    found = f"none, and the service listens on {settings.host}: whoever reaches it can spend your tokens"
    return Check("password", "warning", found, "Set BASIC_AUTH_USER and BASIC_AUTH_PASS.")


def secret(settings: Settings) -> Check:
    """Label Studio sends a webhook's headers and no credentials of the backend."""
    if settings.webhook_secret.get_secret_value():
        return Check("webhook secret", "ok", "set")
    if settings.basic_auth_user:
        found = "none: the webhook carries the password instead, and Label Studio shows it to the project's members"
        return Check("webhook secret", "warning", found, "Set WEBHOOK_SECRET, then run `whetstone connect` again.")
    if settings.host in _LOOPBACK:
        return Check("webhook secret", "ok", f"none; the service listens on {settings.host} only")
    return Check("webhook secret", "warning", "none: anybody can send events", "Set WEBHOOK_SECRET.")
