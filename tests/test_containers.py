"""What the Dockerfile and docker-compose.yml must keep, as far as no container engine is needed to see it."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.settings import Settings

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("whetstone:"))
SETTINGS = {name.upper() for name in Settings.model_fields}
LABEL_STUDIO_VARIABLES = {
    "COLLECT_ANALYTICS",
    "FRONTEND_SENTRY_DSN",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN",
    "LABEL_STUDIO_PASSWORD",
    "LABEL_STUDIO_USERNAME",
    "LABEL_STUDIO_USER_TOKEN",
    "LATEST_VERSION_CHECK",
    "ML_BLOCK_LOCAL_IP",
    "SENTRY_DSN",
    "SSRF_PROTECTION_ENABLED",
}
READ_BY_COMPOSE = {"COMPOSE_PROFILES", "LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_USERNAME"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order: (keyword, the rest)."""
    joined = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_a_healthcheck(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert re.match(r"\d", tag)


@pytest.mark.parametrize("name", OURS)
def test_our_image_is_tagged_with_the_projects_version(name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES[name]["image"].removesuffix("-local") == f"whetstone:{version}"


def test_redis_writes_to_disk_and_never_evicts() -> None:
    redis = SERVICES["redis"]
    assert shlex.join(redis["command"]) == "redis-server --appendonly yes --maxmemory-policy noeviction"
    assert redis["volumes"] == ["redis:/data"]


def test_label_studio_allows_private_addresses_and_keeps_its_data() -> None:
    label_studio = SERVICES["label-studio"]
    assert label_studio["environment"]["ML_BLOCK_LOCAL_IP"] == "false"
    assert label_studio["environment"]["SSRF_PROTECTION_ENABLED"] == "false"
    assert label_studio["volumes"] == ["label-studio:/label-studio/data"]


def test_label_studio_is_given_only_variables_it_reads() -> None:
    assert set(SERVICES["label-studio"]["environment"]) <= LABEL_STUDIO_VARIABLES


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_given_only_settings(name: str) -> None:
    assert set(SERVICES[name]["environment"]) <= SETTINGS


def test_the_example_environment_names_only_what_is_read() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = {match[1] for line in lines if (match := re.match(r"#?([A-Z_]+)=", line))}
    assert names <= SETTINGS | READ_BY_COMPOSE


def test_the_example_environment_has_every_variable_that_compose_asks_for() -> None:
    asked = re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text())
    example = (ROOT / ".env.example").read_text()
    assert asked
    assert all(f"\n{name}=" in example for name in asked)


def test_compose_holds_no_secret() -> None:
    names = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    written = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert written.isdisjoint({name.upper() for name in names})


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_waits_for_known_and_healthy_neighbours(name: str) -> None:
    for neighbour, how in SERVICES[name].get("depends_on", {}).items():
        assert neighbour in SERVICES
        assert how["condition"] == "service_healthy"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_named_volume_is_declared(name: str) -> None:
    used = {volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])}
    assert used <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_whetstone_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["command"][0] == "whetstone"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_local_llm_is_optional() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"llm"}


def test_the_image_ends_as_a_plain_user_with_a_healthcheck() -> None:
    last_stage = instructions()[[keyword for keyword, _ in instructions()].index("FROM", 1) :]
    assert [rest for keyword, rest in last_stage if keyword == "USER"] == ["10001"]
    assert "/health" in next(rest for keyword, rest in last_stage if keyword == "HEALTHCHECK")
    assert last_stage[-1] == ("CMD", '["whetstone", "serve"]')


def test_everything_the_image_copies_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [rest.split()[:-1] for keyword, rest in instructions() if keyword == "COPY" and "--from" not in rest]
    sources = [source.replace("${LOCK}", lock) for copy in copies for source in copy for lock in ("base", "local")]
    assert sources
    assert all((ROOT / source).exists() and source.split("/")[0] in kept for source in sources)


def test_the_image_installs_from_the_lock_with_hashes() -> None:
    runs = " ".join(rest for keyword, rest in instructions() if keyword == "RUN")
    assert runs.count("--require-hashes") == 2
    assert "--no-deps --no-build-isolation" in runs
