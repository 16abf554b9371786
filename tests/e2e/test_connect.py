import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from backend.cli.connect import connect as connect_command
from backend.label_studio import BackendRow, BasicAuth, LabelStudioClient, LabelStudioRefusedError, Project, Webhook
from backend.projects.connection import ConnectReport, active_version, connect
from demo.label_studio_environment import LabelStudioEnvironment
from demo.label_studio_server import LabelStudioServer
from tests.e2e.conftest import MakeProject
from tests.loopback import Answer, LoopbackServer

VERSION = "p0001-aaaa"
AUTH = BasicAuth("annie", "hunter2")


@pytest.fixture
def service() -> Iterator[LoopbackServer]:
    """What Label Studio asks of a backend, at its smallest."""
    with LoopbackServer({"GET /health": Answer(200, {"status": "UP"}), "POST /webhook": Answer(201, {})}) as running:
        serve(running, VERSION)
        yield running


def serve(service: LoopbackServer, version: str) -> None:
    service.answers["POST /setup"] = [Answer(200, {"model_version": version})]


def states(report: ConnectReport) -> dict[str, str]:
    return {step.name: step.state for step in report.steps}


def details(report: ConnectReport) -> dict[str, str]:
    return {step.name: step.detail for step in report.steps}


def connected(client: LabelStudioClient, project: Project) -> tuple[list[BackendRow], list[Webhook], Project]:
    return client.backends(project.id), client.webhooks(project.id), client.project(project.id)


def test_a_fresh_project_is_connected(client: LabelStudioClient, project: Project, service: LoopbackServer) -> None:
    report = connect(client, project, backend_url=service.url, version=VERSION, webhook_secret="s3cret")
    assert report.ok
    assert {states(report)[name] for name in ("backend", "webhook")} == {"done"}
    (row,), (hook,), project = connected(client, project)
    assert (row.url, row.title, row.model_version, row.state) == (service.url, VERSION, VERSION, "CO")
    assert (hook.url, hook.headers) == (f"{service.url}/webhook", {"X-Whetstone-Secret": "s3cret"})
    assert hook.sends_everything
    assert project.model_version == VERSION


def test_a_second_run_changes_nothing(client: LabelStudioClient, project: Project, service: LoopbackServer) -> None:
    for _ in range(2):
        report = connect(client, project, backend_url=f"{service.url}/", version=VERSION, webhook_secret="s3cret")
        before, seen = connected(client, project), len(service.asked)
    assert set(states(report).values()) == {"already"}
    assert connected(client, project) == before
    assert not [asked for asked in service.asked[:seen] if (asked.body or {}).get("action") == "PROJECT_UPDATED"]


def test_events_carry_the_secret(
    label_studio: LabelStudioServer, client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    connect(client, project, backend_url=service.url, version=VERSION, webhook_secret="s3cret")
    import_task(label_studio, project)
    (event,) = [asked for asked in service.asked if asked.path == "/webhook"]
    assert event.body["action"] == "TASKS_CREATED"
    assert event.headers["X-Whetstone-Secret"] == "s3cret"


def import_task(label_studio: LabelStudioServer, project: Project) -> None:
    headers = {"Authorization": f"Token {label_studio.token}"}
    url = f"{label_studio.url}/api/projects/{project.id}/import"
    httpx.post(url, json=[{"data": {"text": "fine"}}], headers=headers, timeout=60).raise_for_status()


def test_with_basic_auth_alone_events_carry_that(
    label_studio: LabelStudioServer, client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    report = connect(client, project, backend_url=service.url, version=VERSION, basic_auth=AUTH)
    assert report.ok
    import_task(label_studio, project)
    wanted = httpx.BasicAuth(AUTH.user, AUTH.password)._auth_header
    asked = [asked for asked in service.asked if asked.path in {"/webhook", "/setup"}]
    assert {each.headers["Authorization"] for each in asked} == {wanted}
    assert set(
        states(connect(client, project, backend_url=service.url, version=VERSION, basic_auth=AUTH)).values()
    ) == {"already"}


def test_credentials_are_added_to_a_backend_without(
    client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    client.create_backend(project.id, service.url, VERSION)
    report = connect(client, project, backend_url=service.url, version=VERSION, basic_auth=AUTH)
    assert (states(report)["backend"], states(report)["webhook"]) == ("repaired", "repaired")
    (row,), _, _ = connected(client, project)
    assert (row.auth_method, row.auth_user) == ("BASIC_AUTH", AUTH.user)


def test_a_new_version_takes_the_projects_model_version_along(
    client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    connect(client, project, backend_url=service.url, version=VERSION)
    serve(service, "p0002-bbbb")
    report = connect(client, project, backend_url=service.url, version="p0002-bbbb")
    assert (states(report)["backend"], states(report)["webhook"]) == ("repaired", "already")
    (row,), _, project = connected(client, project)
    assert {row.title, row.model_version, project.model_version} == {"p0002-bbbb"}


def test_a_backend_connected_by_hand_is_taken_over(
    label_studio: LabelStudioServer, make_project: MakeProject, client: LabelStudioClient, service: LoopbackServer
) -> None:
    project = make_project(label_studio, show_collab_predictions=False)
    client.create_backend(project.id, service.url, "My model")
    (hook,) = client.webhooks(project.id)
    client.create_webhook(project.id, hook.url, {"X-Own": "kept"})
    report = connect(client, project, backend_url=service.url, version=VERSION, webhook_secret="s3cret")
    assert set(states(report).values()) <= {"repaired", "already", "done"}
    (row,), (hook,), project = connected(client, project)
    assert (row.title, project.model_version, project.shows_predictions) == (VERSION, VERSION, True)
    assert hook.headers["X-Whetstone-Secret"] == "s3cret"


def test_another_model_that_comes_first_is_named(
    client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    with LoopbackServer({"GET /health": Answer(200, {}), "POST /setup": Answer(200, {"model_version": "x"})}) as other:
        client.create_backend(project.id, other.url, "Other")
        report = connect(client, project, backend_url=service.url, version=VERSION)
        assert states(report)["first in line"] == "failed"
        assert f"{other.url} (Other)" in details(report)["first in line"]


def test_a_service_that_label_studio_cannot_reach_leaves_nothing_behind(
    client: LabelStudioClient, project: Project
) -> None:
    report = connect(client, project, backend_url="http://127.0.0.1:9", version=VERSION)
    assert not report.ok
    assert "Can't connect to ML backend" in details(report)["backend"]
    assert connected(client, project) == ([], [], project)


def test_a_host_without_a_dot_takes_no_webhook(client: LabelStudioClient, project: Project) -> None:
    report = connect(client, project, backend_url="http://backend:9090", version=VERSION)
    assert "the host 'backend'" in details(report)["webhook"]


def test_a_connection_that_lost_its_service_fails(
    client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    connect(client, project, backend_url=service.url, version=VERSION)
    service.answers["POST /setup"] = [Answer(503, {"error": "Redis is away"})]
    report = connect(client, project, backend_url=service.url, version=VERSION)
    assert states(report)["backend"] == "failed"


def test_a_half_made_connection_names_its_setting_and_is_repaired_once_that_is_set(
    label_studio_environment: LabelStudioEnvironment, make_project: MakeProject, service: LoopbackServer, tmp_path: Path
) -> None:
    blocked = LabelStudioServer(
        tmp_path, environment=label_studio_environment, extra={"SSRF_PROTECTION_ENABLED": "true"}
    )
    with blocked:
        project = make_project(blocked)
        client = LabelStudioClient(blocked.url, blocked.token)
        with pytest.raises(LabelStudioRefusedError):
            client.create_backend(project.id, service.url, "default")
        report = connect(client, project, backend_url=service.url, version=VERSION)
    assert states(report) == {
        "backend": "repaired",
        "webhook": "failed",
        "first in line": "already",
        "model version": "done",
        "show predictions": "already",
        "tab by score": "done",
    }
    assert "set SSRF_PROTECTION_ENABLED=false where it runs" in details(report)["webhook"]
    with LabelStudioServer(tmp_path, environment=label_studio_environment) as opened:
        client = LabelStudioClient(opened.url, opened.token)
        report = connect(client, project, backend_url=service.url, version=VERSION)
    assert report.ok
    assert states(report)["webhook"] == "repaired"


@pytest.mark.parametrize("webhooks_blocked", ["false", "true"])
def test_the_setting_that_blocks_the_backend_is_named(
    label_studio_environment: LabelStudioEnvironment,
    make_project: MakeProject,
    service: LoopbackServer,
    tmp_path: Path,
    webhooks_blocked: str,
) -> None:
    extra = {"ML_BLOCK_LOCAL_IP": "true", "SSRF_PROTECTION_ENABLED": webhooks_blocked}
    with LabelStudioServer(tmp_path, environment=label_studio_environment, extra=extra) as blocked:
        project = make_project(blocked)
        client = LabelStudioClient(blocked.url, blocked.token)
        report = connect(client, project, backend_url=service.url, version=VERSION)
        assert connected(client, project) == ([], [], project)
    assert "set ML_BLOCK_LOCAL_IP=false where it runs" in details(report)["backend"]
    assert ("SSRF_PROTECTION_ENABLED" in details(report)["webhook"]) is (webhooks_blocked == "true")


def test_the_key_is_what_label_studio_itself_sends(
    client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    active_version(service.url, project, label_studio_url=client.url, auth=None)
    client.create_backend(project.id, service.url, VERSION)
    ours, *theirs = [asked.body for asked in service.asked if asked.path == "/setup"]
    assert {body["project"] for body in theirs} == {ours["project"]}
    assert {body["schema"] for body in theirs} == {ours["schema"]}


def test_the_command_connects_and_reports(
    label_studio: LabelStudioServer, client: LabelStudioClient, project: Project, service: LoopbackServer
) -> None:
    env = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": label_studio.personal_token()}
    arguments = [str(project.id), "--backend-url", service.url]
    result = CliRunner(env=env).invoke(connect_command, [*arguments, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["version"] == VERSION
    again = CliRunner(env=env).invoke(connect_command, arguments)
    assert "already" in again.stdout
    assert client.project(project.id).model_version == VERSION
