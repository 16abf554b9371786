import base64
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.label_studio import (
    BackendRow,
    BasicAuth,
    LabelStudioClient,
    LabelStudioDownError,
    LabelStudioRefusedError,
    Project,
    Task,
    TaskRow,
    TaskStamp,
    Webhook,
)
from backend.labeling.errors import LabelStudioError
from tests.loopback import Answer, LoopbackServer

# The SDK's own, when it reads a traded token.
pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")

KEY = "5ecre7" * 6
PROJECT = "GET /api/projects/7/"
LEGACY_OFF = "Authentication token no longer valid: legacy token authentication has been disabled for this organization"


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as running:
        yield running


def client_of(server: LoopbackServer, key: str = KEY, **options: Any) -> LabelStudioClient:
    return LabelStudioClient(server.url, key, **{"retries": 0, **options})


def error_of(server: LoopbackServer, answer: Answer) -> LabelStudioError:
    server.answers[PROJECT] = [answer]
    with pytest.raises(LabelStudioError) as raised:
        client_of(server).project(7)
    return raised.value


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (Answer(401, {"detail": "Invalid token."}), LabelStudioRefusedError, "LABEL_STUDIO_API_KEY, which is a legacy"),
        (Answer(401, {"detail": LEGACY_OFF}), LabelStudioRefusedError, "has legacy tokens disabled"),
        (Answer(403, {"detail": "No permission."}), LabelStudioRefusedError, "answered 403 to GET"),
        (Answer(404, {"detail": "No Project matches"}), LabelStudioRefusedError, "has no project 7"),
        (Answer(404, "<h1>404</h1>"), LabelStudioRefusedError, "has no project 7"),
        (
            Answer(400, {"detail": "Validation error", "validation_errors": {"url": ["bad"]}}),
            LabelStudioError,
            "url: bad",
        ),
        (Answer(400, {"validation_errors": {"non_field_errors": ["<b>x</b> y"]}}), LabelStudioRefusedError, ": x y"),
        (Answer(200, "<html>a proxy's login page</html>"), LabelStudioRefusedError, "is not Label Studio"),
        (Answer(200, {"no": "project"}), LabelStudioRefusedError, "another shape"),
        (Answer(200, ["a", "list"]), LabelStudioRefusedError, "another shape"),
        (Answer(302, "", {"Location": "https://x.test/login?next=1"}), LabelStudioRefusedError, "https://x.test/login"),
        (Answer(429, {"detail": "slow down"}), LabelStudioDownError, "429"),
        (Answer(500, {"detail": "database is locked"}), LabelStudioDownError, "database is locked"),
        (Answer(502, "<html>Bad gateway</html>"), LabelStudioDownError, "answered 502"),
    ],
)
def test_every_bad_answer_becomes_one_clear_error(
    server: LoopbackServer, answer: Answer, kind: type[LabelStudioError], says: str
) -> None:
    error = error_of(server, answer)
    assert isinstance(error, kind)
    assert says in str(error)
    assert error.hint or "400" in str(error)
    assert "<" not in str(error)
    assert KEY not in f"{error}{error.hint}{error!r}"


def test_a_key_that_label_studio_repeats_is_masked(server: LoopbackServer) -> None:
    error = error_of(server, Answer(401, {"detail": f"Token {KEY} is unknown"}))
    assert "Token *** is unknown" in str(error)


def test_only_an_outage_is_worth_another_try(server: LoopbackServer) -> None:
    assert error_of(server, Answer(503, {})).retryable
    assert not error_of(server, Answer(401, {})).retryable
    assert error_of(server, Answer(503, {})).exit_code == 3
    assert error_of(server, Answer(404, {})).exit_code == 1


def test_the_guard_against_private_addresses_is_told_from_a_missing_permission(server: LoopbackServer) -> None:
    guard = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
    for detail, blocked in ((guard, True), ("You do not have permission to perform this action.", False)):
        error = error_of(server, Answer(403, {"detail": detail}))
        assert isinstance(error, LabelStudioRefusedError)
        assert error.blocks_private_address is blocked


def test_a_closed_port_is_an_outage() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        client = LabelStudioClient(f"http://127.0.0.1:{unheard.getsockname()[1]}", KEY, retries=0)
        with pytest.raises(LabelStudioDownError, match="cannot be reached"):
            client.version()


def test_silence_is_an_outage(server: LoopbackServer) -> None:
    server.silent.set()
    with pytest.raises(LabelStudioDownError, match=r"did not answer GET api/version/ in 0\.2 s"):
        client_of(server, timeout_s=0.2).version()


@pytest.mark.parametrize("url", ["http://", "http://[::1", "ftp://host", "http://host:port"])
def test_an_address_that_is_none_is_a_label_studio_error(url: str) -> None:
    with pytest.raises(LabelStudioError):
        LabelStudioClient(url, KEY, retries=0).version()


@pytest.mark.parametrize(
    ("url", "key", "missing"), [("", KEY, "LABEL_STUDIO_URL"), ("http://127.0.0.1:1", "", "LABEL_STUDIO_API_KEY")]
)
def test_a_setting_that_is_missing_is_named(url: str, key: str, missing: str) -> None:
    with pytest.raises(LabelStudioError, match=f"{missing} is not set"):
        LabelStudioClient(url, key).version()


def test_a_read_is_tried_again_and_a_write_never(server: LoopbackServer) -> None:
    server.answers["GET /api/version/"] = [Answer(500, {}), Answer(200, {"release": "1.23.2"})]
    server.answers["POST /api/projects/7/import/predictions"] = [Answer(500, {}), Answer(201, {"created": 1})]
    client = client_of(server, retries=1)
    assert client.version() == "1.23.2"
    with pytest.raises(LabelStudioDownError):
        client.import_predictions(7, [{"task": 1, "result": []}])
    assert [asked.method for asked in server.asked] == ["GET", "GET", "POST"]


def test_a_legacy_token_goes_out_as_it_is(server: LoopbackServer) -> None:
    server.answers["GET /api/version/"] = [Answer(200, {"release": "1.23.2"})]
    client = client_of(server)
    client.version()
    assert client.token_kind == "legacy"
    assert server.asked[0].headers["Authorization"] == f"Token {KEY}"


def jwt(**claims: object) -> str:
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


PERSONAL = jwt(token_type="refresh", exp=8_102_585_629)


def access(number: int) -> str:
    return jwt(token_type="access", exp=8_102_585_629, jti=number)


def test_a_personal_token_is_traded_below_the_sub_path(server: LoopbackServer) -> None:
    server.answers["POST /sub/api/token/refresh/"] = [Answer(200, {"access": access(1)})]
    server.answers["GET /sub/api/version/"] = [Answer(200, {"release": "1.23.2"})]
    client = LabelStudioClient(f"{server.url}/sub", PERSONAL, retries=0)
    assert (client.token_kind, client.version(), client.version()) == ("personal", "1.23.2", "1.23.2")
    assert [asked.path for asked in server.asked] == ["/sub/api/token/refresh/", *["/sub/api/version/"] * 2]
    assert server.asked[1].headers["Authorization"] == f"Bearer {access(1)}"


def test_an_access_token_that_ran_out_is_traded_anew(server: LoopbackServer) -> None:
    server.answers["POST /api/token/refresh/"] = [Answer(200, {"access": access(n)}) for n in (1, 2)]
    server.answers["GET /api/version/"] = [Answer(401, {"detail": "expired"}), Answer(200, {"release": "1.23.2"})]
    assert client_of(server, PERSONAL).version() == "1.23.2"
    assert server.asked[-1].headers["Authorization"] == f"Bearer {access(2)}"


@pytest.mark.parametrize(
    ("key", "answer", "says"),
    [
        (PERSONAL, Answer(401, {"detail": "Token is blacklisted"}), "personal access token: Token is blacklisted"),
        (PERSONAL, Answer(200, "<html>"), "is not Label Studio"),
        (jwt(token_type="refresh", exp=1), Answer(), "has expired"),
        (jwt(token_type="refresh"), Answer(), "expiration"),
    ],
)
def test_a_personal_token_that_is_refused_is_named(server: LoopbackServer, key: str, answer: Answer, says: str) -> None:
    server.answers["POST /api/token/refresh/"] = [answer]
    with pytest.raises(LabelStudioRefusedError, match=says) as raised:
        client_of(server, key).version()
    assert key not in f"{raised.value}{raised.value.hint}"


def test_the_recorded_project_is_read(captured: Callable[[str], Any]) -> None:
    project = Project.parse(captured("api_project_get")["response"]["body"])
    sent = captured("setup_request")["body"]
    assert (project.key, project.config) == (sent["project"], sent["schema"])
    assert (project.created_at, project.model_version, project.task_number) == (1795346384, "prompt-2", 5)
    assert project.shows_predictions


@pytest.mark.parametrize(
    ("listed", "versions"),
    [("p0001-aaaa,p0002-bbbb", {"p0001-aaaa", "p0002-bbbb"}), ("p1, p2", {"p1", "p2"}), ("", set()), (None, set())],
)
def test_a_tasks_versions_are_read_as_sqlite_and_postgresql_list_them(listed: str | None, versions: set[str]) -> None:
    task = Task.parse({"id": 3, "data": {"text": "x"}, "is_labeled": True, "predictions_model_versions": listed})
    assert task == Task(3, {"text": "x"}, frozenset(versions), labelled=True)
    assert "'x'" not in repr(task)


def test_a_recorded_task_is_read_with_its_annotations(captured: Callable[[str], Any]) -> None:
    annotated, skipped = map(TaskRow.parse, captured("api_tasks_page")["response"]["body"]["tasks"])
    changed = datetime(2026, 11, 22, 11, 19, 47, 181689, tzinfo=UTC)
    assert (annotated.id, annotated.stamp) == (1, TaskStamp(1, changed, annotations=1))
    assert [each["model_version"] for each in annotated.predictions] == ["prompt-1", "prompt-2"]
    assert (skipped.stamp.annotations, skipped.annotations[0]["was_cancelled"]) == (1, True)
    assert "refund" not in repr(annotated)


def test_annotations_of_another_shape_are_told_so(server: LoopbackServer, captured: Callable[[str], Any]) -> None:
    body = captured("api_tasks_page")["response"]["body"]
    del body["tasks"][0]["annotations"][0]["created_at"]
    server.answers["GET /api/tasks/"] = [Answer(200, body)]
    with pytest.raises(LabelStudioRefusedError, match=r"another shape.*created_at"):
        list(client_of(server).task_rows(7, [1, 2]))


def test_a_title_is_set_with_the_credentials_the_backend_has(
    server: LoopbackServer, captured: Callable[[str], Any]
) -> None:
    recorded = captured("api_ml_rename_to_version")
    server.answers["PATCH /api/ml/1"] = [Answer(200, recorded["response"]["body"])]
    row = BackendRow.parse({**recorded["response"]["body"], "auth_method": "BASIC_AUTH", "basic_auth_user": "u"})
    assert client_of(server).set_title(row, "prompt-2").title == "prompt-2"
    kept = {"auth_method": "BASIC_AUTH", "basic_auth_user": "u", "basic_auth_pass": ""}
    assert server.asked[0].body == {**recorded["request"]["body"], **kept}


def test_a_webhooks_headers_are_set_without_losing_its_actions(
    server: LoopbackServer, captured: Callable[[str], Any]
) -> None:
    recorded = captured("api_webhook_create")["response"]["body"]
    webhook = Webhook.parse(recorded)
    server.answers["PATCH /api/webhooks/2/"] = [Answer(200, recorded)]
    client_of(server).set_webhook_headers(webhook, {"X-Whetstone-Secret": "s3"})
    body = server.asked[0].body
    assert sorted(body["actions"]) == sorted(recorded["actions"])
    assert body["headers"] == {"X-Whetstone-Secret": "s3"}
    assert body["send_for_all_actions"]
    assert not webhook.sends_everything


def test_no_secret_is_in_a_repr(captured: Callable[[str], Any]) -> None:
    webhook = Webhook.parse(captured("api_webhook_create")["response"]["body"])
    assert "DUMMY_SECRET" not in repr(webhook)
    assert "hunter2" not in repr(BasicAuth("u", "hunter2"))
    assert KEY not in repr(LabelStudioClient("http://127.0.0.1:1", KEY))


def test_deleting_a_prediction_that_is_gone_already_is_no_error(server: LoopbackServer) -> None:
    call = "DELETE /api/predictions/5/"
    server.answers[call] = [Answer(204, ""), Answer(404, {"detail": "Not found."}), Answer(403, {"detail": "No."})]
    client = client_of(server)
    client.delete_prediction(5)
    client.delete_prediction(5)
    with pytest.raises(LabelStudioRefusedError, match=r"No\."):
        client.delete_prediction(5)
