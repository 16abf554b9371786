import gc
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backend.calls.engine import memory
from backend.cli import main
from backend.settings import Settings
from backend.storage.redis_client import connect
from backend.storage.store import Store
from tests.loopback import Answer, LoopbackServer
from tests.scripted_llm import LLAMA_CPP, OPENAI, ScriptedLLM

# The HTTP clients of a diagnosis live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

KEY = "5ecre7" * 6
CONFIG = """<View><Text name="text" value="$text"/><Choices name="sentiment" toName="text">
<Choice value="positive"/><Choice value="negative"/></Choices><TextArea name="why" toName="text"/></View>"""
UP = {"GET /health": Answer(200, {"status": "UP"})}
Doctor = Callable[..., Result]


@pytest.fixture
def doctor(scripted_llm: ScriptedLLM, redis_url: str) -> Iterator[Doctor]:
    """Runs the command with nothing but the given settings in the environment, and neighbours that work."""
    bare = {name.upper(): None for name in Settings.model_fields}
    neighbours = {"OPENAI_BASE_URL": scripted_llm.base_url, "REDIS_URL": redis_url, "LLM_MODEL": "scripted-1"}

    def run(*arguments: str, **environment: str) -> Result:
        env: Mapping[str, str | None] = {**os.environ, **bare, **neighbours, "COLUMNS": "200", **environment}
        return CliRunner().invoke(main, ["doctor", *arguments], env=env)

    yield run
    gc.collect()


@pytest.fixture
def label_studio(captured: Callable[[str], Any]) -> Iterator[LoopbackServer]:
    """One project with tasks, not connected."""
    project, tasks = captured("api_project_get")["response"]["body"], captured("api_tasks_page")["response"]["body"]
    answers = {
        **UP,
        "GET /api/version/": Answer(200, {"release": "1.23.2"}),
        "GET /api/current-user/whoami": Answer(200, {"email": "a@example.com"}),
        "GET /api/projects/1/": Answer(200, {**project, "model_version": "p0001-aa"}),
        "GET /api/tasks/": Answer(200, tasks),
        "GET /api/ml/": Answer(200, []),
        "GET /api/webhooks/": Answer(200, []),
    }
    with LoopbackServer(answers) as server:
        yield server


def checks(result: Result) -> dict[str, dict[str, Any]]:
    """Those of --json, by "subject name"."""
    return {f"{check['subject']} {check['name']}": check for check in json.loads(result.stdout)["checks"]}


def backend(captured: Callable[[str], Any], **change: Any) -> dict[str, Any]:
    row = captured("api_ml_create")["response"]["body"]
    return {**row, "url": "http://localhost:9090", "title": "p0001-aa", "model_version": "p0001-aa", **change}


def test_with_all_neighbours_up_the_exit_code_is_0(doctor: Doctor) -> None:
    result = doctor()
    assert (result.exit_code, "All that is needed works" in result.stdout) == (0, True), result.output


def test_a_table_shows_each_check_its_status_and_the_way_out(doctor: Doctor) -> None:
    lines = doctor().stdout.splitlines()
    row = next(line for line in lines if "workers" in line)
    assert "warning" in row
    assert "→ Start one with `whetstone worker`" in lines[lines.index(row) + 1]


def test_json_is_all_that_is_printed(doctor: Doctor) -> None:
    result = doctor("--json")
    document = json.loads(result.stdout)
    assert (document["ok"], result.stderr) == (True, "")
    assert {"subject", "name", "status", "found", "hint", "needed"} == set(document["checks"][0])


def test_what_the_endpoint_can_do_is_remembered_for_the_service(
    doctor: Doctor, scripted_llm: ScriptedLLM, redis_url: str
) -> None:
    doctor("--json")
    store = Store(connect(redis_url), max_predictions=0)
    kept = memory(Settings(openai_base_url=scripted_llm.base_url, llm_model="scripted-1"), store).load()
    assert kept
    assert kept.chat_logprobs == 200


def test_the_stronger_llm_is_tried_under_its_own_name(doctor: Doctor, scripted_llm: ScriptedLLM) -> None:
    found = checks(doctor("--json", STRONG_MODEL="scripted-1"))
    assert found["stronger LLM answer"]["status"] == "ok"
    found = checks(doctor("--json", STRONG_MODEL="large", STRONG_BASE_URL="http://127.0.0.1:9/v1"))
    assert (found["LLM answer"]["status"], found["stronger LLM address"]["status"]) == ("ok", "failed")
    assert "STRONG_BASE_URL" in found["stronger LLM address"]["hint"]


def test_nobody_at_the_endpoint_is_a_failure_that_names_the_address(doctor: Doctor, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.stop()
    result = doctor("--json")
    found = checks(result)
    assert (result.exit_code, found["LLM address"]["status"], found["LLM seed"]["status"]) == (1, "failed", "skipped")
    assert scripted_llm.base_url in found["LLM address"]["found"]
    assert "OPENAI_BASE_URL" in found["LLM address"]["hint"]


def test_without_any_setting_the_local_llm_is_missed(doctor: Doctor, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.stop()
    result = doctor("--json", OPENAI_BASE_URL="", LLM_MODEL="", LOCAL_LLM_PORT=str(scripted_llm.port))
    assert "`whetstone up`" in checks(result)["LLM address"]["hint"]


def test_a_web_page_is_told_from_an_endpoint(doctor: Doctor) -> None:
    with LoopbackServer({"GET /v1/models": Answer(200, "<html>Welcome</html>")}) as server:
        result = doctor("--json", OPENAI_BASE_URL=f"{server.url}/v1")
    check = checks(result)["LLM address"]
    assert (result.exit_code, "not JSON" in check["found"], "/v1" in check["hint"]) == (1, True, True)


def test_a_refused_key_is_named_and_not_shown(doctor: Doctor, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.script = replace(OPENAI, api_key="right")
    result = doctor("--json", OPENAI_API_KEY=KEY)
    check = checks(result)["LLM answer"]
    assert (result.exit_code, check["status"], "OPENAI_API_KEY" in check["hint"]) == (1, "failed", True)
    assert KEY not in result.output


def test_an_endpoint_without_log_probs_is_good_enough(doctor: Doctor, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.script = replace(LLAMA_CPP, rejects=frozenset({"logprobs", "top_logprobs"}))
    result = doctor("--json")
    assert (result.exit_code, checks(result)["LLM log-probs"]["status"]) == (0, "warning")


def test_redis_away_is_a_failure_and_the_rest_is_tried(doctor: Doctor) -> None:
    with LoopbackServer() as gone:
        port = gone.url.rpartition(":")[2]
    result = doctor("--json", REDIS_URL=f"redis://:{KEY}@127.0.0.1:{port}/0")
    found = checks(result)
    assert (result.exit_code, found["Redis address"]["status"], found["LLM answer"]["status"]) == (1, "failed", "ok")
    assert KEY not in result.output


def test_a_configuration_is_tried_and_what_is_left_alone_is_named_once(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "labels.xml"
    path.write_text(CONFIG)
    result = doctor("--config", str(path))
    assert (result.exit_code, result.stdout.count("is left alone")) == (0, 1), result.output
    assert "2 labels as words, 1 call a task" in result.stdout


@pytest.mark.parametrize("content", [b"<View/>", b"<View", b"\x00\x01"])
def test_a_configuration_with_nothing_to_label_fails(doctor: Doctor, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.xml"
    path.write_bytes(content)
    result = doctor("--config", str(path), "--json")
    assert (result.exit_code, checks(result)["labels configuration"]["status"]) == (1, "failed")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--config", "/nowhere.xml"], {}),
        (["--config", __file__, "--project", "1"], {}),
        (["--project", "0"], {}),
        ([], {"PORT": "99999"}),
    ],
)
def test_wrong_usage_is_2(doctor: Doctor, arguments: list[str], environment: dict[str, str]) -> None:
    result = doctor(*arguments, **environment)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)


def test_a_file_that_is_no_text_is_wrong_usage(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "labels.xml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in doctor("--config", str(path)).stderr


def test_without_label_studio_its_rows_are_skipped(doctor: Doctor) -> None:
    found = checks(doctor("--json"))
    assert (found["Label Studio address"]["status"], found["Label Studio key"]["status"]) == ("skipped", "skipped")


def test_a_project_cannot_be_looked_at_without_label_studio(doctor: Doctor) -> None:
    result = doctor("--project", "1", "--json")
    assert (result.exit_code, checks(result)["Label Studio address"]["status"]) == (1, "failed")


@pytest.mark.parametrize(
    ("answers", "row", "says"),
    [
        ({}, "address", "/health gives 404"),
        ({"GET /health": Answer(200, "<html/>")}, "address", "is not Label Studio"),
        ({"GET /health": Answer(302, "", {"Location": "https://x.test/"})}, "address", "a redirect to https://x.test/"),
        ({**UP, "GET /api/current-user/whoami": Answer(401, {"detail": "Invalid token."})}, "key", "a legacy token"),
        ({**UP, "GET /api/current-user/whoami": Answer(500, {})}, "key", "answered 500"),
    ],
)
def test_a_label_studio_that_refuses_says_which_setting_is_wrong(
    doctor: Doctor, answers: dict[str, Answer], row: str, says: str
) -> None:
    with LoopbackServer(answers) as server:
        result = doctor("--json", LABEL_STUDIO_URL=server.url, LABEL_STUDIO_API_KEY=KEY)
    check = checks(result)[f"Label Studio {row}"]
    assert (result.exit_code, check["status"], says in check["found"]) == (1, "failed", True), check
    assert KEY not in result.output


def test_label_studio_without_a_key_asks_for_one(doctor: Doctor, label_studio: LoopbackServer) -> None:
    found = checks(doctor("--json", LABEL_STUDIO_URL=label_studio.url))
    assert found["Label Studio key"]["found"] == "LABEL_STUDIO_API_KEY is not set"


def test_label_studio_away_is_a_failure(doctor: Doctor) -> None:
    with LoopbackServer() as server:
        url = server.url
    check = checks(doctor("--json", LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=KEY))["Label Studio address"]
    assert (check["status"], "cannot be reached" in check["found"]) == ("failed", True)


def test_a_private_address_names_the_two_settings_that_block_it(doctor: Doctor, label_studio: LoopbackServer) -> None:
    result = doctor("--json", LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=KEY)
    found = checks(result)
    hint = found["Label Studio private addresses"]["hint"]
    assert (result.exit_code, "ML_BLOCK_LOCAL_IP" in hint, "SSRF_PROTECTION_ENABLED" in hint) == (0, True, True)
    assert found["Label Studio version"]["found"] == "1.23.2"


def test_a_project_that_is_not_connected_is_told_how_and_its_labels_are_tried(
    doctor: Doctor, label_studio: LoopbackServer
) -> None:
    result = doctor("--project", "1", "--json", LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=KEY)
    found = checks(result)
    assert (result.exit_code, found["Label Studio model"]["hint"]) == (0, "Run `whetstone connect 1`.")
    assert "3 labels as words" in found["labels sentiment"]["found"]
    assert {asked.method for asked in label_studio.asked} == {"GET"}


def test_a_connected_project_shows_that_label_studio_reaches_the_service(
    doctor: Doctor, label_studio: LoopbackServer, captured: Callable[[str], Any]
) -> None:
    hook = captured("api_webhooks_list_auto_created")["response"]["body"][0]
    label_studio.answers["GET /api/ml/"] = [Answer(200, [backend(captured)])]
    label_studio.answers["GET /api/webhooks/"] = [Answer(200, [{**hook, "url": "http://localhost:9090/webhook"}])]
    found = checks(doctor("--project", "1", "--json", LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=KEY))
    names = ("private addresses", "model", "webhook", "score column")
    assert [found[f"Label Studio {name}"]["status"] for name in names] == ["ok"] * 4


def test_a_half_made_connection_fails_and_names_the_setting(
    doctor: Doctor, label_studio: LoopbackServer, captured: Callable[[str], Any]
) -> None:
    label_studio.answers["GET /api/ml/"] = [Answer(200, [backend(captured)])]
    result = doctor("--project", "1", "--json", LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=KEY)
    hint = checks(result)["Label Studio private addresses"]["hint"]
    assert (result.exit_code, "SSRF_PROTECTION_ENABLED=false" in hint) == (1, True)


def test_a_project_that_does_not_exist_is_a_failure(doctor: Doctor, label_studio: LoopbackServer) -> None:
    result = doctor("--project", "99", "--json", LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=KEY)
    check = checks(result)["Label Studio project"]
    assert (result.exit_code, check["status"], "no project 99" in check["found"]) == (1, "failed", True)
