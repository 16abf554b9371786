"""Authenticated calls over the SDK's HTTP layer; every third-party error becomes a `LabelStudioError` here, once."""

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from threading import Lock
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.client_wrapper import SyncClientWrapper

from backend.label_studio.errors import LabelStudioDownError, LabelStudioRefusedError
from backend.label_studio.values import Json, TokenKind
from backend.labeling.errors import LabelStudioError

Value = TypeVar("Value")

_CONNECT_TIMEOUT_S = 5.0
_DETAIL_CHARACTERS = 400
_DOTS_IN_A_JWT = 2
_KEY_HINT = (
    "Set LABEL_STUDIO_API_KEY to a key from Label Studio's Account & Settings page, one that may see the project."
)
_LEGACY_HINT = (
    "Set LABEL_STUDIO_API_KEY to a personal access token (Account & Settings > Personal Access Token), "
    "or have an administrator allow legacy tokens (Organization > API Tokens Settings)."
)
_URL_HINT = "LABEL_STUDIO_URL must be Label Studio's own address, with its sub-path if it has one."


class Transport:
    """Reads are tried again on a lost connection and on 5xx; writes never, since none of them is idempotent."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float, retries: int) -> None:
        self.url = url.rstrip("/")
        self._key = api_key
        self._timeout_s = timeout_s
        self._retries = retries
        self._session: SyncClientWrapper | None = None
        self._lock = Lock()

    @property
    def token_kind(self) -> TokenKind:
        """A personal access token is a JWT, three parts with dots; a legacy token is plain hex."""
        if not self._key:
            return "missing"
        return "personal" if self._key.count(".") == _DOTS_IN_A_JWT else "legacy"

    def read(self, path: str, params: Mapping[str, object] | None = None, *, what: str = "") -> Json:
        """`what` names the thing asked for in the message of a 404."""
        return self._call("GET", path, params=params, retries=self._retries, what=what)

    def write(self, method: str, path: str, body: Json, *, what: str = "", timeout_s: float | None = None) -> Json:
        return self._call(method, path, body=body, timeout_s=timeout_s, what=what)

    def parsed(self, parse: Callable[[Json], Value], row: Json) -> Value:
        try:
            return parse(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"Label Studio at {self.url} gave an answer of another shape than 1.23's ({error!r})"
            raise LabelStudioRefusedError(message) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: Json = None,
        retries: int = 0,
        timeout_s: float | None = None,
        what: str,
    ) -> Json:
        # Encoded here: the SDK's own encoder walks every value of a bulk import in Python.
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        timeout_s = timeout_s or self._timeout_s
        options = {"max_retries": retries, "timeout": httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)}
        arguments: dict[str, object] = {
            "method": method,
            "params": params,
            "content": content,
            "request_options": options,
        }
        if content is not None:
            arguments["headers"] = {"Content-Type": "application/json"}
        try:
            response = self._send(path, arguments)
        except ApiError as error:  # only from trading a personal token
            raise self._refused_key(
                self._masked(_detail(error.body)), status=error.status_code or HTTPStatus.UNAUTHORIZED
            ) from None
        except httpx.TimeoutException as error:
            raise LabelStudioDownError(f"{self._name} did not answer {method} {path} in {timeout_s:g} s") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise LabelStudioRefusedError(f"{self.url!r} is no address: {error}", hint=_URL_HINT) from error
        except httpx.HTTPError as error:
            raise LabelStudioDownError(f"{self._name} cannot be reached: {_one_line(str(error))}") from error
        except ValueError:  # the token route's answer is no JSON
            raise self._not_label_studio() from None
        return self._answer(response, what)

    def _send(self, path: str, arguments: dict[str, object]) -> httpx.Response:
        response: httpx.Response = self._open().httpx_client.request(path, **arguments)
        if response.status_code == HTTPStatus.UNAUTHORIZED and self.token_kind == "personal":
            # The access token ran out between the SDK's check and Label Studio's, or the clocks differ: a fresh one.
            response = self._open(fresh=True).httpx_client.request(path, **arguments)
        return response

    def _open(self, *, fresh: bool = False) -> SyncClientWrapper:
        with self._lock:
            if self._session is None or fresh:
                if not self.url or not self._key:
                    raise self._unset()
                self._session = SyncClientWrapper(
                    # Without the final slash the SDK drops a sub-path when it trades the token.
                    base_url=f"{self.url}/",
                    api_key=self._key,
                    timeout=self._timeout_s,
                    # A redirected POST would arrive as a GET, and a connection that was kept may be gone when a write,
                    # which is not repeated, wants it.
                    httpx_client=httpx.Client(
                        timeout=self._timeout_s,
                        follow_redirects=False,
                        limits=httpx.Limits(max_keepalive_connections=0),
                    ),
                )
            return self._session

    def _unset(self) -> LabelStudioError:
        missing = "LABEL_STUDIO_API_KEY" if self.url else "LABEL_STUDIO_URL"
        return LabelStudioRefusedError(f"{missing} is not set", hint=_KEY_HINT if self.url else _URL_HINT)

    def _answer(self, response: httpx.Response, what: str) -> Json:
        if response.is_success:
            return self._json(response)
        raise self._failure(response, what)

    def _json(self, response: httpx.Response) -> Json:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise self._not_label_studio() from None

    def _failure(self, response: httpx.Response, what: str) -> LabelStudioError:
        status, detail = response.status_code, self._masked(_detail_of(response))
        if response.is_redirect:
            return self._redirected(response)
        if status == HTTPStatus.UNAUTHORIZED:
            return self._refused_key(detail, status=status)
        if status == HTTPStatus.NOT_FOUND:
            thing = what or response.request.url.path
            return LabelStudioRefusedError(
                f"{self._name} has no {thing}, or not for this API key", status=status, detail=detail, hint=_KEY_HINT
            )
        message = f"{self._name} answered {status} to {response.request.method} {response.request.url.path}"
        message = f"{message}: {detail}" if detail else message
        # 500 is also what Label Studio says of a backend's address whose host it does not know.
        is_outage = response.is_server_error and "resolve hostname" not in detail
        if is_outage or status == HTTPStatus.TOO_MANY_REQUESTS:
            return LabelStudioDownError(message)
        hint = (
            "The user of LABEL_STUDIO_API_KEY lacks the permission for this." if status == HTTPStatus.FORBIDDEN else ""
        )
        return LabelStudioRefusedError(message, status=status, detail=detail, hint=hint)

    def _refused_key(self, detail: str, *, status: int) -> LabelStudioError:
        if "legacy token" in detail:
            message = f"{self._name} has legacy tokens disabled, and LABEL_STUDIO_API_KEY is one"
            return LabelStudioRefusedError(message, status=status, detail=detail, hint=_LEGACY_HINT)
        kind = {"personal": "a personal access token", "legacy": "a legacy token"}.get(self.token_kind, "empty")
        message = f"{self._name} does not accept LABEL_STUDIO_API_KEY, which is {kind}: {detail}"
        return LabelStudioRefusedError(message, status=status, detail=detail, hint=_KEY_HINT)

    def _redirected(self, response: httpx.Response) -> LabelStudioError:
        target = urlsplit(response.headers.get("location", ""))
        message = f"{self._name} redirects to {target.scheme}://{target.netloc}{target.path}"
        return LabelStudioRefusedError(message, status=response.status_code, hint=f"{_URL_HINT} Use the final address.")

    def _not_label_studio(self) -> LabelStudioError:
        return LabelStudioRefusedError(f"What answers at {self.url} is not Label Studio: no JSON", hint=_URL_HINT)

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    @property
    def _name(self) -> str:
        return f"Label Studio at {re.sub('//[^/]*@', '//', self.url)}"


def _detail_of(response: httpx.Response) -> str:
    try:
        return _detail(response.json())
    except ValueError:
        return ""


def _detail(body: Json) -> str:
    """Label Studio's reason in one line: its validation errors when there are any, else `detail`; no HTML."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("validation_errors")
    if isinstance(errors, dict):
        return _one_line("; ".join(_field_errors(name, errors[name]) for name in errors))
    return _one_line(str(body.get("detail") or ""))


def _field_errors(name: str, messages: Json) -> str:
    text = " ".join(map(str, messages)) if isinstance(messages, list) else str(messages)
    return text if name == "non_field_errors" else f"{name}: {text}"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"<[^<>]*>", "", text).split())[:_DETAIL_CHARACTERS]
