from dataclasses import replace
from typing import Any

import pytest

from backend.diagnosis import environment, label_studio, project, redis_server
from backend.diagnosis.project import State
from backend.label_studio import BackendRow, Project, Webhook
from backend.projects.connection import SECRET_HEADER
from backend.settings import Settings

URL = "http://localhost:9090"
PROJECT = Project(7, "7.1", "Tickets", "<View/>", "", "p0001-aa", 5, shows_predictions=True)
OWN = BackendRow(3, 7, URL, "p0001-aa", "CO", "", "p0001-aa", "NONE", "")
HOOK = Webhook(1, f"{URL}/webhook", {}, (), sends_everything=True)
STATE = State(PROJECT, URL, OWN, OWN, (HOOK,))


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("check", "info", "status"),
    [
        (redis_server.persistence, {"aof_enabled": 1}, "ok"),
        (redis_server.persistence, {"aof_enabled": 0}, "warning"),
        (redis_server.persistence, {"aof_enabled": 1, "aof_last_write_status": "err"}, "failed"),
        (redis_server.eviction, {"maxmemory_policy": "noeviction", "maxmemory": 9}, "ok"),
        (redis_server.eviction, {"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warning"),
        (redis_server.eviction, {"maxmemory_policy": "allkeys-lru", "maxmemory": 9}, "failed"),
        (redis_server.memory, {"used_memory": 95, "maxmemory": 100}, "warning"),
        (redis_server.memory, {"used_memory": 50, "maxmemory": 100}, "ok"),
        (redis_server.memory, {"used_memory": 50}, "ok"),
    ],
)
def test_redis_is_judged_by_what_it_keeps(check: Any, info: dict[str, Any], status: str) -> None:
    assert check(info).status == status


def test_a_redis_that_takes_no_writes_fails(redis_client: Any, redis_url: str) -> None:
    redis_client.config_set("maxmemory", "1")
    try:
        checks = {check.name: check for check in redis_server.examine(Settings(redis_url=redis_url)).checks}
    finally:
        redis_client.config_set("maxmemory", "0")
    assert (checks["writes"].status, checks["writes"].needed, checks["memory"].status) == ("failed", True, "warning")


@pytest.mark.parametrize(
    ("settings", "password", "secret"),
    [
        ({}, "ok", "ok"),
        ({"host": "0.0.0.0"}, "warning", "warning"),
        ({"host": "0.0.0.0", "basic_auth_user": "u", "basic_auth_pass": "p"}, "ok", "warning"),
        ({"host": "0.0.0.0", "webhook_secret": "s"}, "warning", "ok"),
    ],
)
def test_an_open_door_is_a_warning(settings: dict[str, Any], password: str, secret: str) -> None:
    chosen = Settings(**settings)
    assert (environment.password(chosen).status, environment.secret(chosen).status) == (password, secret)


@pytest.mark.parametrize(
    ("public_url", "label_studio_url", "status"),
    [
        ("", "http://localhost:8080", "warning"),
        ("http://192.168.1.5:9090", "http://192.168.1.4:8080", "warning"),
        ("http://whetstone:9090", "http://label-studio:8080", "warning"),
        ("http://user:pass@10.1.1.1:9090", "https://label.example.com", "warning"),
        ("https://whetstone.example.com", "https://label.example.com", "ok"),
        ("http://8.8.8.8:9090", "https://label.example.com", "ok"),
        ("", "https://label.example.com", "failed"),
    ],
)
def test_an_address_that_label_studio_blocks_is_told_from_one_it_reaches(
    public_url: str, label_studio_url: str, status: str
) -> None:
    check = label_studio.private_addresses(Settings(public_url=public_url, label_studio_url=label_studio_url))
    assert (check.status, "pass" in check.found) == (status, False)


@pytest.mark.parametrize(
    ("change", "name", "status", "says"),
    [
        ({}, "model", "ok", "connected"),
        ({}, "webhook", "ok", "all events"),
        ({}, "score column", "ok", "p0001-aa"),
        ({"own": None, "first": None, "webhooks": ()}, "model", "warning", "not connected"),
        ({"own": None, "webhooks": ()}, "webhook", "skipped", "not connected"),
        ({"first": replace(OWN, id=1, url="http://old")}, "model", "failed", "asks http://old"),
        ({"own": replace(OWN, state="DI")}, "model", "failed", "/health"),
        ({"own": replace(OWN, state="ER", error_message="boom")}, "model", "failed", "boom"),
        ({"webhooks": ()}, "webhook", "failed", "no event arrives"),
        ({"webhooks": (HOOK, HOOK)}, "webhook", "warning", "2 of them"),
        ({"webhooks": (replace(HOOK, sends_everything=False),)}, "webhook", "failed", "is off"),
        ({"own": replace(OWN, title="default")}, "score column", "warning", '"default"'),
        ({"project": replace(PROJECT, model_version="")}, "score column", "warning", "uses"),
        ({"project": replace(PROJECT, shows_predictions=False)}, "score column", "warning", "shown no predictions"),
    ],
)
def test_a_half_made_connection_is_told_by_what_is_missing(
    change: dict[str, Any], name: str, status: str, says: str
) -> None:
    checks = project.checks(replace(STATE, **change), Settings())
    check = next(check for check in checks if check.name == name)
    assert (check.status, says in check.found) == (status, True), check


@pytest.mark.parametrize(
    ("headers", "settings", "status"),
    [
        ({}, {"webhook_secret": "s3"}, "failed"),
        ({SECRET_HEADER: "other"}, {"webhook_secret": "s3"}, "failed"),
        ({SECRET_HEADER.lower(): "s3"}, {"webhook_secret": "s3"}, "ok"),
        ({}, {"basic_auth_user": "u", "basic_auth_pass": "p"}, "failed"),
        ({"Authorization": "Basic dTpw"}, {"basic_auth_user": "u", "basic_auth_pass": "p"}, "ok"),
    ],
)
def test_a_webhook_must_carry_what_the_service_asks_for(
    headers: dict[str, str], settings: dict[str, Any], status: str
) -> None:
    state = replace(STATE, webhooks=(replace(HOOK, headers=headers),))
    assert project.webhook(state, Settings(**settings)).status == status


def test_the_setting_that_blocks_webhooks_is_told_by_a_model_without_one() -> None:
    check = project.reach(replace(STATE, webhooks=()))
    assert check
    assert (check.status, "SSRF_PROTECTION_ENABLED=false" in check.hint) == ("failed", True)
    assert project.reach(replace(STATE, own=None)) is None
