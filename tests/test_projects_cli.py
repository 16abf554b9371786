"""`whetstone projects`: which are known, and how one is forgotten."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from backend.cli.projects import projects
from backend.projects.naming import ConflictError
from tests.flows.payloads import PROJECT
from tests.histories import History

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
OTHER = "2.1795346384"
Run = Callable[..., Result]


@pytest.fixture
def run(history: History, redis_url: str) -> Run:
    env = {"REDIS_URL": redis_url, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "COLUMNS": "200"}
    return lambda *arguments, answer="": CliRunner().invoke(projects, list(arguments), env=env, input=answer)


def test_the_list_says_what_is_gone(run: Run, history: History) -> None:
    History(history.service, key=OTHER)
    history.service.store.update_project(OTHER, gone=True)
    here, gone = (line.split() for line in run("list").stdout.splitlines() if "1795346384" in line)
    assert (here[:3], here[-1]) == (["1", PROJECT, "Reviews"], history.learned)
    assert (gone[:2], gone[-4:]) == (["2", OTHER], ["gone", "from", "Label", "Studio"])
    assert [each["gone"] for each in json.loads(run("list", "--json").stdout)] == [False, True]


def test_without_a_project_the_list_says_what_to_do(run: Run, history: History) -> None:
    history.service.store.forget_project(PROJECT)
    assert "whetstone connect" in run("list").stdout


def test_all_of_a_forgotten_project_goes_and_nothing_of_another(
    run: Run, history: History, redis_client: Redis
) -> None:
    other = History(history.service, key=OTHER)
    history.service.dispatch.touch(PROJECT, "follow")
    assert run("forget", "1", "--yes").exit_code == 0
    assert redis_client.keys(f"whetstone:project:{PROJECT}:*") == []
    assert redis_client.llen("rq:queue:label") == 0
    assert [record.key for record in other.service.store.projects()] == [OTHER]
    assert len(other.service.runs.runs(OTHER)) == 2


@pytest.mark.parametrize(("answer", "kept"), [("n\n", True), ("", True), ("y\n", False)])
def test_it_asks_first(answer: str, kept: bool, run: Run, history: History) -> None:
    result = run("forget", "1", answer=answer)
    assert f"Forget project 1 (Reviews, {PROJECT}) with 4 prompt versions" in result.output
    assert (history.service.store.project(PROJECT) is not None) == kept


def test_a_project_with_a_run_under_way_stays(run: Run, history: History) -> None:
    with history.service.dispatch.run_lock(PROJECT):
        result = run("forget", "1", "--yes")
    assert isinstance(result.exception, ConflictError)
    assert history.service.store.project(PROJECT)
