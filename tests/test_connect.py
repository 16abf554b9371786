import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backend.cli.connect import connect as connect_command
from backend.label_studio import BasicAuth, Project
from backend.labeling.errors import WhetstoneError
from backend.projects.connection import ServiceUnreachableError, active_version
from tests.loopback import Answer, LoopbackServer

LABEL_STUDIO = "http://label-studio.test"


@pytest.fixture
def service() -> Iterator[LoopbackServer]:
    with LoopbackServer({"POST /setup": Answer(200, {"model_version": "p0001-aaaa"})}) as running:
        yield running


@pytest.fixture
def project(captured: Callable[[str], Any]) -> Project:
    return Project.parse(captured("api_project_get")["response"]["body"])


def test_the_service_is_asked_as_label_studio_asks_with_the_instruction(
    service: LoopbackServer, project: Project, captured: Callable[[str], Any]
) -> None:
    auth = BasicAuth("annie", "hunter2")
    assert active_version(service.url, project, label_studio_url=LABEL_STUDIO, auth=auth) == "p0001-aaaa"
    (asked,) = service.asked
    recorded = captured("setup_request")["body"]
    assert {name: asked.body[name] for name in ("project", "schema")} == {
        name: recorded[name] for name in ("project", "schema")
    }
    assert asked.body["hostname"] == LABEL_STUDIO
    assert asked.body["extra_params"] == {"expert_instruction": project.expert_instruction, "name": project.title}
    assert asked.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("answer", "exit_code", "says"),
    [
        (Answer(401, {"error": "user or password is missing"}), 1, "401 to /setup: user or password is missing"),
        (Answer(422, {"error": "no Choices to label"}), 1, "no Choices to label"),
        (Answer(503, {"error": "Redis cannot be reached"}), 3, "Redis cannot be reached"),
        (Answer(500, "<html>"), 3, "answered 500"),
        (Answer(200, "<html>"), 3, "is not this service"),
        (Answer(200, {"model_version": ""}), 3, "is not this service"),
        (Answer(200, ["p0001"]), 3, "is not this service"),
    ],
)
def test_a_service_that_gives_no_version_is_one_clear_error(
    service: LoopbackServer, project: Project, answer: Answer, exit_code: int, says: str
) -> None:
    service.answers["POST /setup"] = [answer]
    with pytest.raises(WhetstoneError, match=says) as raised:
        active_version(service.url, project, label_studio_url=LABEL_STUDIO, auth=None)
    assert raised.value.exit_code == exit_code
    assert raised.value.hint


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[::1", "nonsense"])
def test_a_service_that_is_not_there_is_named(project: Project, url: str) -> None:
    with pytest.raises(ServiceUnreachableError, match="the service at") as raised:
        active_version(url, project, label_studio_url=LABEL_STUDIO, auth=None)
    assert url in str(raised.value)
    assert "PUBLIC_URL" in raised.value.hint


@pytest.fixture
def label_studio(captured: Callable[[str], Any], service: LoopbackServer) -> Iterator[LoopbackServer]:
    """One where all is as wanted, as recorded from the real one."""
    project = {**captured("api_project_get")["response"]["body"], "model_version": "p0001-aaaa"}
    row = {**captured("api_ml_create")["response"]["body"], "url": service.url, "title": "p0001-aaaa"}
    (hook,) = captured("api_webhooks_list_auto_created")["response"]["body"]
    answers = {
        "GET /api/projects/1/": Answer(200, project),
        "GET /api/ml/": Answer(200, [row]),
        "GET /api/dm/views/": Answer(200, [{"id": 1, "data": {"title": "Least certain first"}}]),
        "GET /api/webhooks/": Answer(200, [{**hook, "url": f"{service.url}/webhook"}]),
    }
    with LoopbackServer(answers) as running:
        yield running


def run(label_studio: LoopbackServer, service: LoopbackServer, *arguments: str, **env: str) -> Result:
    given = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": "abc", "PUBLIC_URL": service.url, **env}
    return CliRunner(env=given).invoke(connect_command, ["1", *arguments])


def test_a_connection_that_stands_is_reported_and_left_alone(
    label_studio: LoopbackServer, service: LoopbackServer
) -> None:
    result = run(label_studio, service, "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["project_key"]) == (0, True, "1.1795346384")
    assert {step["state"] for step in report["steps"]} == {"already"}
    assert {asked.method for asked in label_studio.asked} == {"GET"}


def test_a_step_that_fails_is_exit_code_one_with_the_way_out(
    label_studio: LoopbackServer, service: LoopbackServer
) -> None:
    guard = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
    label_studio.answers["GET /api/webhooks/"] = [Answer(200, [])]
    label_studio.answers["POST /api/webhooks/"] = [Answer(403, {"detail": guard})]
    result = run(label_studio, service, COLUMNS="200")
    assert result.exit_code == 1
    assert "SSRF_PROTECTION_ENABLED=false" in result.stdout


def test_the_text_area_for_reasons_is_added_when_it_is_asked_for(
    label_studio: LoopbackServer, service: LoopbackServer
) -> None:
    project = label_studio.answers["GET /api/projects/1/"][0].body
    bare = project["label_config"].replace('name="rationale"', 'name="note"')
    label_studio.answers["GET /api/projects/1/"] = [Answer(200, {**project, "label_config": bare})]
    label_studio.answers["PATCH /api/projects/1/"] = [Answer(200, project)]
    result = run(label_studio, service, "--with-rationale", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["steps"][-1]["name"] == "rationale"
    (change,) = [asked for asked in label_studio.asked if asked.method == "PATCH"]
    assert '<TextArea name="rationale" toName="text"' in change.body["label_config"]


def test_the_webhooks_secret_is_never_printed(label_studio: LoopbackServer, service: LoopbackServer) -> None:
    hook = label_studio.answers["GET /api/webhooks/"][0].body[0]
    label_studio.answers["PATCH /api/webhooks/1/"] = [Answer(200, hook)]
    result = run(label_studio, service, "--json", WEBHOOK_SECRET="s3cret")
    assert result.exit_code == 0
    assert "s3cret" not in result.output
    assert label_studio.asked[-1].method == "GET"
    (change,) = [asked for asked in label_studio.asked if asked.method == "PATCH"]
    assert change.body["headers"] == {"X-Whetstone-Secret": "s3cret"}


def test_a_project_that_is_no_number_is_wrong_usage() -> None:
    result = CliRunner().invoke(connect_command, ["reviews"])
    assert result.exit_code == 2


def test_help_tells_the_exit_codes() -> None:
    result = CliRunner().invoke(connect_command, ["--help"])
    assert "Exit codes: 0 connected" in " ".join(result.stdout.split())
