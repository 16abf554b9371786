"""The API under /api, held against its own OpenAPI document."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from backend.web.openapi import document
from tests.flows.conftest import Web, service_of
from tests.flows.payloads import PROJECT
from tests.histories import History
from worker.report.document import Report

Call = Callable[..., TestResponse]
PUSHES = {"label_studio_url": "http://label-studio.test:8080", "label_studio_api_key": "k"}


@pytest.fixture
def client(web: Web) -> FlaskClient:
    return web(**PUSHES)


@pytest.fixture
def history(client: FlaskClient) -> History:
    return History(service_of(client))


@pytest.fixture
def call(client: FlaskClient) -> Call:
    """Makes a request, and holds its answer against what the document says of that route and status."""

    def make(method: str, path: str, **arguments: Any) -> TestResponse:
        response = client.open(path, method=method, **arguments)
        jsonschema.Draft202012Validator(schema(method, path.partition("?")[0], response.status_code)).validate(
            response.json
        )
        return response

    return make


def schema(method: str, path: str, status: int) -> Mapping[str, Any]:
    """With the components beside it, for its references."""
    described = document()
    (template,) = [known for known in described["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path)]
    answer = described["paths"][template][method.lower()]["responses"][str(status)]
    if "$ref" in answer:
        answer = described["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    found: dict[str, Any] = answer["content"]["application/json"]["schema"]
    return {**found, "components": described["components"]}


def test_the_document_names_every_route_of_the_api_and_no_other(client: FlaskClient) -> None:
    routes = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = client.get("/api/openapi.json").json
    assert {(path, method) for path, methods in described["paths"].items() for method in methods} == routes


def test_the_document_is_whole() -> None:
    """Each reference leads somewhere, each place in a path is described, no operation has another's name."""
    described = document()
    for reference in re.findall(r"'\$ref': '#/components/(\w+)/(\w+)'", str(described)):
        assert reference[1] in described["components"][reference[0]]
    operations = [(path, one) for path, methods in described["paths"].items() for one in methods.values()]
    for path, operation in operations:
        places = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert places == set(re.findall(r"{(\w+)}", path))
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    for described_schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(described_schema)


def test_projects_are_listed_with_their_active_version_and_latest_run(call: Call, history: History) -> None:
    (project,) = call("GET", "/api/projects").json["projects"]
    assert (project["id"], project["key"], project["active"]) == (1, PROJECT, history.learned)
    assert (project["run"]["id"], project["run"]["decision"]) == ("run-2", "awaiting_approval")


def test_versions_are_listed_latest_first(call: Call, history: History) -> None:
    found = call("GET", "/api/projects/1/prompts").json
    assert [version["name"] for version in found["versions"]][-1] == history.seed
    assert (found["active"], found["previous"]) == (history.learned, history.seed)


def test_a_version_comes_with_its_prompt_and_the_verdict_of_its_run(call: Call, history: History) -> None:
    page = call("GET", f"/api/projects/{PROJECT}/prompts/{history.learned}").json
    assert page["prompt"]["rules"] == ["Sarcasm is negative."]
    assert page["run"]["words"][0] == "It now says that sarcasm is negative."
    assert [one["by"] for one in page["entry"]["activations"]] == ["run-1"]


def test_an_activated_version_serves_the_next_request_and_open_tasks_are_queued(
    call: Call, client: FlaskClient, history: History, redis_client: Redis
) -> None:
    answer = call("POST", f"/api/projects/1/prompts/{history.waiting}/activate")
    assert answer.json == {"project": 1, "before": history.learned, "active": history.waiting}
    assert client.get("/versions").json["versions"][0] == history.waiting == history.active()
    assert service_of(client).dispatch.is_pending(PROJECT, "label_project")
    assert history.service.store.activations(PROJECT)[0].by == "API"


def test_a_rollback_returns_to_the_version_before_and_the_second_is_a_conflict(call: Call, history: History) -> None:
    assert call("POST", "/api/projects/1/rollback").json["active"] == history.seed == history.active()
    assert call("POST", "/api/projects/1/rollback").status_code == 409


def test_certificates_of_the_last_report_come_for_each_target_or_for_one(call: Call, history: History) -> None:
    written = history.report()["acceptable"]
    assert call("GET", "/api/projects/1/acceptance").json == written
    one = call("GET", "/api/projects/1/acceptance?target=.950").json
    assert one == {**written, "certificates": [written["certificates"][1]]}
    assert [each["target"] for each in written["certificates"]] == [0.9, 0.95, 0.99]


@pytest.mark.parametrize("target", ["0.97", "95", "high"])
def test_a_target_without_a_certificate_names_those_there_are(call: Call, history: History, target: str) -> None:
    history.report()
    answer = call("GET", f"/api/projects/1/acceptance?target={target}")
    assert answer.status_code == 404
    assert answer.json["hint"].startswith("There are 0.9, 0.95, 0.99")


def test_a_seed_to_which_a_person_returned_stays_though_the_guideline_is_another_by_now(
    call: Call, history: History, client: FlaskClient
) -> None:
    service = service_of(client)
    service.store.update_project(PROJECT, expert_instruction="Sarcasm is positive.")
    call("POST", "/api/projects/1/rollback")
    record = service.store.project(PROJECT)
    assert record
    assert service.current(PROJECT, record.config).version.name == history.seed


def test_a_version_of_other_labels_is_a_conflict(call: Call, history: History) -> None:
    assert call("POST", f"/api/projects/1/prompts/{history.foreign}/activate").status_code == 409
    assert history.active() == history.learned


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/7/prompts",
        "/api/projects/1/prompts/p0099-aaaa",
        "/api/projects/1/runs/run-9",
        "/api/projects/1/report",
        "/api/projects/1/acceptance",
    ],
)
def test_what_is_not_there_is_404_with_a_way_out(path: str, call: Call, history: History) -> None:
    answer = call("GET", path)
    assert answer.status_code == 404
    assert answer.json["hint"]


def test_an_id_that_two_instances_have_is_a_conflict_that_names_both_keys(
    call: Call, history: History, client: FlaskClient
) -> None:
    other = History(service_of(client), key="1.1795000000", url="http://other.test")
    answer = call("GET", "/api/projects/1/prompts")
    assert answer.status_code == 409
    assert all(key in answer.json["hint"] for key in (PROJECT, other.key))
    assert call("GET", f"/api/projects/{other.key}/prompts").status_code == 200


def test_a_run_that_is_asked_for_is_queued_with_its_limits(call: Call, history: History, client: FlaskClient) -> None:
    answer = call("POST", "/api/projects/1/optimize", json={"budget": 500, "require_approval": True})
    assert (answer.status_code, answer.json) == (202, {"project": 1, "running": None, "workers": 0})
    asked = service_of(client).dispatch.request(PROJECT, "optimize")
    assert (asked.trigger, asked.options) == ("forced", {"budget_calls": 500, "require_approval": True})


def test_without_a_body_the_settings_say_what_a_run_may_spend(
    call: Call, history: History, client: FlaskClient
) -> None:
    assert call("POST", "/api/projects/1/optimize").status_code == 202
    assert service_of(client).dispatch.request(PROJECT, "optimize").options == {}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"budget": 0}', "budget"),
        ('{"budget": "5"}', "budget"),
        ('{"rouns": 2}', "rouns"),
        ("[]", "body"),
        ("{", "JSON"),
    ],
)
def test_wrong_options_are_refused_by_name_and_nothing_is_queued(
    body: str, said: str, call: Call, history: History, client: FlaskClient
) -> None:
    answer = call("POST", "/api/projects/1/optimize", data=body)
    assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json
    assert not service_of(client).dispatch.is_pending(PROJECT, "optimize")


def test_a_run_needs_a_label_studio_to_learn_from(web: Web) -> None:
    client = web()
    History(service_of(client))
    answer = client.post("/api/projects/1/optimize")
    assert (answer.status_code, "LABEL_STUDIO_API_KEY" in answer.json["error"]) == (400, True)


def test_runs_are_listed_latest_first_as_many_as_asked(call: Call, history: History) -> None:
    assert [run["id"] for run in call("GET", "/api/projects/1/runs").json["runs"]] == ["run-2", "run-1"]
    assert [run["id"] for run in call("GET", "/api/projects/1/runs", query_string="limit=1").json["runs"]] == ["run-2"]


def test_a_run_under_way_says_how_far_it_is(call: Call, history: History) -> None:
    history.save(history.run("run-3", state="running", stage="race", progress=0.4, candidates=5, best=0.81))
    run = call("GET", "/api/projects/1/runs/run-3").json
    assert (run["stage"], run["progress"], run["candidates"], run["best"]) == ("race", 0.4, 5, 0.81)


def test_a_run_under_way_is_told_to_stop(call: Call, history: History, client: FlaskClient) -> None:
    history.save(history.run("run-3", state="running", decision=None))
    dispatch = service_of(client).dispatch
    with dispatch.run_lock(PROJECT):
        answer = call("POST", "/api/projects/1/runs/run-3/cancel")
        assert (answer.status_code, answer.json) == (202, {"project": 1, "run": "run-3"})
        assert dispatch.is_canceled(PROJECT)


def test_a_run_that_is_over_cannot_be_canceled(call: Call, history: History) -> None:
    assert call("POST", "/api/projects/1/runs/run-1/cancel").status_code == 409


def test_the_report_is_that_of_the_last_run(call: Call, history: History) -> None:
    saved = history.report()
    assert call("GET", "/api/projects/1/report").json == json.loads(json.dumps(saved))


def test_the_document_names_all_parts_of_a_report() -> None:
    assert set(document()["components"]["schemas"]["Report"]["required"]) == set(Report.__annotations__)


def test_the_api_wants_credentials_when_they_are_set_and_records_whose(web: Web) -> None:
    client = web(basic_auth_user="ann", basic_auth_pass="pass word")
    history = History(service_of(client))
    path = f"/api/projects/1/prompts/{history.waiting}/activate"
    assert client.post(path).status_code == 401
    assert client.get("/api/openapi.json").status_code == 401
    right = {"Authorization": "Basic " + b64encode(b"ann:pass word").decode()}
    assert client.post(path, headers=right).status_code == 200
    assert history.service.store.activations(PROJECT)[0].by == "ann (API)"


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.test", 403), ("null", 403), ("http://localhost", 200), ("http://localhost:9090", 200)],
)
def test_a_page_of_another_site_changes_nothing(origin: str, status: int, call: Call, history: History) -> None:
    answer = call("POST", "/api/projects/1/rollback", headers={"Origin": origin})
    assert (answer.status_code, history.active() == history.seed) == (status, status == 200)


def test_redis_away_is_said_so(web: Web) -> None:
    answer = web(redis_url="redis://127.0.0.1:1/0").get("/api/projects")
    assert (answer.status_code, "Redis" in answer.json["error"]) == (503, True)
