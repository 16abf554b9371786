"""Label Studio: its address, our key, and whether it can reach us."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from backend.diagnosis import project as projects
from backend.diagnosis.check import Check, Section, skipped
from backend.label_studio import LabelStudioClient, Project
from backend.labeling.errors import LabelStudioError
from backend.settings import Settings

SUBJECT = "Label Studio"
_TIMEOUT_S = 30.0
_GUARDS = "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
_KINDS = {"legacy": "a legacy token", "personal": "a personal access token"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A project as it is in Label Studio, and the data of its first task if it has any."""

    project: Project
    data: Mapping[str, Any] | None


def examine(settings: Settings, project_id: int | None) -> tuple[Section, Seen | None]:
    names = ("key", "version", "private addresses", *(projects.NAMES if project_id else ()))
    if not settings.label_studio_url:
        return Section(SUBJECT, (_unset(needed=project_id is not None), *skipped(names, "no address"))), None
    address = _address(settings.label_studio_url)
    if address.status == "failed":
        return Section(SUBJECT, (address, *skipped(names, "Label Studio was not reached"))), None
    client = LabelStudioClient(
        settings.label_studio_url,
        settings.label_studio_api_key.get_secret_value(),
        timeout_s=_TIMEOUT_S,
        retries=0,
    )
    key, version = _key(client), Check("version", "skipped", "the key is not accepted")
    if key.status == "failed":
        rest = skipped(names[2:], "the key is not accepted")
        return Section(SUBJECT, (address, key, version, *rest)), None
    if project_id is None:
        return Section(SUBJECT, (address, key, _version(client), private_addresses(settings))), None
    connection, seen = _project(client, settings, project_id)
    return Section(SUBJECT, (address, key, _version(client), *connection)), seen


def _unset(*, needed: bool) -> Check:
    found = "LABEL_STUDIO_URL is not set: tasks are labelled as they are opened, none in the background"
    hint = "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY; `connect` and `label` need them."
    return Check("address", "failed" if needed else "skipped", found, hint, needed=needed)


def _address(url: str) -> Check:
    shown, began = _without_credentials(url), time.monotonic()
    try:
        response = httpx.get(f"{url}/health", timeout=_TIMEOUT_S)
        up = response.is_success and response.json().get("status") == "UP"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = f"{shown} cannot be reached: {error or type(error).__name__}"
        return Check("address", "failed", found, "Is Label Studio up? LABEL_STUDIO_URL must point at it.", needed=True)
    except (ValueError, AttributeError):
        up = False
    if up:
        return Check("address", "ok", f"{shown} answers in {(time.monotonic() - began) * 1000:.0f} ms", needed=True)
    elsewhere = f", a redirect to {response.headers.get('location')}" if response.is_redirect else ""
    found = f"what answers at {shown} is not Label Studio: /health gives {response.status_code}{elsewhere}"
    hint = "LABEL_STUDIO_URL must be Label Studio's own address, with its sub-path if it has one."
    return Check("address", "failed", found, hint, needed=True)


def _key(client: LabelStudioClient) -> Check:
    if client.token_kind == "missing":
        hint = "Set it to a key from Label Studio's Account & Settings page."
        return Check("key", "failed", "LABEL_STUDIO_API_KEY is not set", hint, needed=True)
    try:
        return Check("key", "ok", f"{_KINDS[client.token_kind]} of {client.whoami()}", needed=True)
    except LabelStudioError as error:
        return Check("key", "failed", str(error), _hint(error), needed=True)


def _version(client: LabelStudioClient) -> Check:
    try:
        return Check("version", "ok", client.version())
    except LabelStudioError as error:
        return Check("version", "warning", str(error))


def private_addresses(settings: Settings) -> Check:
    """Label Studio does not tell these two settings: what they would do to our address can be told."""
    url = _without_credentials(settings.backend_url)
    if not _is_private(url):
        return Check("private addresses", "ok", f"{url} is public")
    found = f"{url}, where Label Studio is to find the service, is private: it refuses such addresses by default"
    hint = (
        f"Start Label Studio with {_GUARDS}. With the first alone the model is connected, but without a webhook: "
        "no event arrives. Once connected, `doctor --project` tells."
    )
    if _is_loopback(url) and not _is_private(settings.label_studio_url):
        return Check("private addresses", "failed", found, "Set PUBLIC_URL to an address that Label Studio reaches.")
    return Check("private addresses", "warning", found, hint)


def _project(client: LabelStudioClient, settings: Settings, project_id: int) -> tuple[tuple[Check, ...], Seen | None]:
    try:
        project = client.project(project_id)
        task = next(client.tasks(project_id, page_size=1), None)
        state = projects.look(client, project, settings.backend_url)
    except LabelStudioError as error:
        failed = Check("project", "failed", str(error), _hint(error), needed=True)
        return (private_addresses(settings), failed, *skipped(projects.NAMES[1:], "the project was not read")), None
    reach = projects.reach(state) or private_addresses(settings)
    return (reach, *projects.checks(state, settings)), Seen(project, task.data if task else None)


def _hint(error: LabelStudioError) -> str:
    return "" if error.hint == LabelStudioError.hint else error.hint


def _is_private(url: str) -> bool:
    """A name without a dot is a container's or a machine's on this network."""
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".localhost"))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_credentials(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
