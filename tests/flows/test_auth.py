"""Who may call what."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from tests.flows.conftest import Web, service_of
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


@pytest.mark.parametrize("settings", [{}, HOOK, BASIC | HOOK])
@pytest.mark.parametrize("path", ["/webhook", "/setup", "/predict", "/validate", "/train"])
def test_a_page_of_another_site_is_refused_whatever_a_browser_remembers(
    path: str, settings: dict[str, str], web: Web, captured: Callable[[str], Any]
) -> None:
    """As a form or a script sends it without asking first: its text is taken for JSON."""
    client = web(**settings)
    headers = RIGHT | {"X-Whetstone-Secret": SECRET, "Origin": "http://evil.example", "Content-Type": "text/plain"}
    body = json.dumps(captured("webhook_project_updated")["body"] | setup_body())
    assert client.post(path, data=body, headers=headers).status_code == 403
    assert service_of(client).store.projects() == []


@pytest.mark.parametrize("settings", [{}, HOOK])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/projects/1"), ("GET", "/api/projects"), ("POST", "/webhook")]
)
def test_a_name_that_someone_else_pointed_here_opens_nothing(
    method: str, path: str, settings: dict[str, str], web: Web
) -> None:
    headers = {"Host": "evil.example:9090", "Accept": "text/html", "X-Whetstone-Secret": SECRET}
    origin = {"Origin": "http://evil.example:9090"} if method == "POST" else {}
    assert web(**settings).open(path, method=method, headers=headers | origin, json={}).status_code in {403, 421}


@pytest.mark.parametrize("path", ["/", "/api/projects"])
def test_an_unknown_name_is_told_the_way_out_and_known_by_it(path: str, web: Web) -> None:
    headers = {"Host": "gpu.example.com:9090", "Accept": "text/html"}
    assert "PUBLIC_URL" in web().get(path, headers=headers).text
    assert web(public_url="http://gpu.example.com:9090").get(path, headers=headers).status_code == 200
    assert web(**BASIC).get(path, headers=headers | RIGHT).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/versions"])
def test_what_watches_may_call_by_any_name(path: str, web: Web) -> None:
    assert web().get(path, headers={"Host": "backend.internal:9090"}).status_code == 200


def test_label_studio_may_call_by_any_name(web: Web, captured: Callable[[str], Any]) -> None:
    client, headers = web(), {"Host": "backend.internal:9090"}
    assert client.post("/setup", json=setup_body(), headers=headers).status_code == 200
    assert client.post("/predict", json=predict_body(tasks(["I love it"])), headers=headers).status_code == 200
    body = captured("webhook_project_updated")["body"]
    assert client.post("/webhook", json=body, headers=headers).status_code == 201
