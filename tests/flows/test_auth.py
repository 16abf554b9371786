"""Who may call what."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from tests.flows.conftest import Web
from tests.flows.payloads import predict_body, setup_body, tasks

USER, PASSWORD, SECRET = "label-studio", "correct horse", "battery staple"
BASIC = {"basic_auth_user": USER, "basic_auth_pass": PASSWORD}
HOOK = {"webhook_secret": SECRET}
ROUTES = [
    ("GET", "/ready"),
    ("GET", "/versions"),
    ("GET", "/metrics"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("POST", "/webhook"),
    ("POST", "/validate"),
    ("POST", "/train"),
    ("GET", "/no-such-page"),
]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


RIGHT = basic(USER, PASSWORD)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_everything_but_health_wants_credentials_when_they_are_set(method: str, path: str, web: Web) -> None:
    response = web(**BASIC).open(path, method=method, json={})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert "error" in response.json


def test_health_is_open(web: Web) -> None:
    assert web(**BASIC, **HOOK).get("/health").status_code == 200


def test_nothing_is_closed_when_nothing_is_set(web: Web, captured: Callable[[str], Any]) -> None:
    client = web()
    assert client.get("/versions").status_code == 200
    assert client.post("/webhook", json=captured("webhook_start_training")["body"]).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(USER, "wrong"),
        basic("wrong", PASSWORD),
        basic(USER, ""),
        basic("", ""),
        basic(USER, PASSWORD + "x"),
        basic(USER, "gr\u00fcn \U0001f40e"),
        {"Authorization": f"Bearer {PASSWORD}"},
        {"Authorization": "Basic not-base64!"},
        {"Authorization": f"Basic {PASSWORD}"},
        {"X-Whetstone-Secret": SECRET},
    ],
)
def test_wrong_credentials_are_refused(headers: dict[str, str], web: Web) -> None:
    response = web(**BASIC, **HOOK).post("/predict", json=predict_body(tasks(["x"])), headers=headers)
    assert response.status_code == 401
    assert not {PASSWORD, SECRET} & set(response.text.split('"'))


def test_right_credentials_open_setup_and_predict(web: Web) -> None:
    client = web(**BASIC)
    assert client.post("/setup", json=setup_body(), headers=RIGHT).status_code == 200
    assert client.post("/predict", json=predict_body(tasks(["I love it"])), headers=RIGHT).status_code == 200


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        (HOOK, {"X-Whetstone-Secret": SECRET}, 201),
        (HOOK, {}, 401),
        (HOOK, {"X-Whetstone-Secret": "wrong"}, 401),
        (HOOK, {"X-Whetstone-Secret": ""}, 401),
        (HOOK, RIGHT, 401),
        (BASIC, RIGHT, 201),
        (BASIC, {"X-Whetstone-Secret": ""}, 401),
        (BASIC | HOOK, RIGHT, 201),
        (BASIC | HOOK, {"X-Whetstone-Secret": SECRET}, 201),
        (BASIC | HOOK, {"X-Whetstone-Secret": PASSWORD}, 401),
        (BASIC | HOOK, basic(USER, SECRET), 401),
    ],
)
def test_the_webhook_takes_its_secret_or_the_credentials(
    settings: dict[str, str], headers: dict[str, str], status: int, web: Web, captured: Callable[[str], Any]
) -> None:
    """Label Studio sends events with the webhook's header, and START_TRAINING with the backend's credentials."""
    body = captured("webhook_start_training")["body"]
    assert web(**settings).post("/webhook", json=body, headers=headers).status_code == status


def test_a_refusal_says_what_to_set(web: Web) -> None:
    client = web(**BASIC, **HOOK)
    assert "BASIC_AUTH_USER" in client.get("/versions").json["error"]
    assert "whetstone connect" in client.post("/webhook", json={}).json["error"]
