"""`whetstone prompts`: what a person sees and does of a project's prompt versions."""

import json

import pytest

from backend.labeling.prompt import Prompt
from tests.commanding import Run, runner
from tests.flows.payloads import PROJECT
from tests.histories import History

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def whetstone(history: History, redis_url: str) -> Run:
    return runner(REDIS_URL=redis_url, OPENAI_BASE_URL="http://127.0.0.1:1/v1")


def row(output: str, name: str) -> str:
    (line,) = [line for line in output.splitlines() if line.split()[:1] == [name] or line.split()[1:2] == [name]]
    return line.strip()


def test_the_list_shows_which_is_active_what_was_gained_and_since_when(whetstone: Run, history: History) -> None:
    result = whetstone("prompts", "list", "1")
    assert result.exit_code == 0, result.output
    active = row(result.stdout, history.learned)
    assert active.startswith("●")
    assert "78.0% → 86.0% (n=50)" in active
    assert "run-1" in active
    assert "awaiting approval" in row(result.stdout, history.waiting)
    before = row(result.stdout, history.seed)
    assert before.startswith("↶")
    assert ("since 20" in active, "last from 20" in before, "since" in before) == (True, True, False)
    assert "made for other labels" in row(result.stdout, history.foreign)


def test_the_list_as_json_is_that_of_the_api(whetstone: Run, history: History) -> None:
    document = json.loads(whetstone("prompts", "list", "1", "--json").stdout)
    assert (document["active"], document["previous"]) == (history.learned, history.seed)
    names = [history.foreign, history.waiting, history.learned, history.seed]
    assert [version["name"] for version in document["versions"]] == names
    assert [version["fits"] for version in document["versions"]] == [False, True, True, True]
    assert document["versions"][2]["run"] == "run-1"


def test_show_prints_the_active_prompt_as_people_read_it(whetstone: Run, history: History) -> None:
    output = whetstone("prompts", "show", "1").stdout
    assert output.startswith(f"{history.learned}: active\n  rewrite, made 2026-03-01")
    for said in (
        f"  from {history.seed}\n",
        "Instruction\n  Decide how the customer feels.\n  Mind what they say last.\n",
        "Definitions\n  positive: praise\n  negative: a complaint\n",
        "Rules\n  - Sarcasm is negative.\n",
        "Demonstrations\n  1. sentiment: negative\n     text: Broke twice.\n       Never again.\n",
        "  fitted on 64 labels; temperature 1.25\n  bias removed from sentiment: positive +0.31, negative -0.31\n",
        "  for the model scripted-1\n",
        "  It now says that sarcasm is negative.\n",
        "  It turns right 2 tasks: 11, 12\n  It turns wrong 1 task: 13\n",
    ):
        assert said in output


def test_the_initial_prompt_has_no_verdict(whetstone: Run, history: History) -> None:
    output = whetstone("prompts", "show", "1", history.seed).stdout
    assert output.startswith(f"{history.seed}: not active\n")
    assert "Verdict" not in output
    assert "Calibration" not in output


def test_show_as_json_holds_the_exact_prompt(whetstone: Run, history: History) -> None:
    page = json.loads(whetstone("prompts", "show", "1", history.learned, "--json").stdout)
    assert page["prompt"]["instruction"] == "Decide how the customer feels. Mind what they say last."
    assert page["run"]["estimate"]["gain"] == 0.08
    assert "Rules\n  - Sarcasm is negative." in page["text"]


def test_a_prompt_cannot_take_over_the_terminal(whetstone: Run, history: History) -> None:
    name = history.add(Prompt("Label it.\x1b]0;mine\x07 Now."), origin="rewrite")
    assert "Label it.]0;mine Now." in whetstone("prompts", "show", "1", name).stdout
    assert "\x1b" not in whetstone("prompts", "diff", "1", history.seed, name).stdout


def test_diff_shows_what_the_active_version_changed(whetstone: Run, history: History) -> None:
    lines = whetstone("prompts", "diff", "1").stdout.splitlines()
    assert lines[:2] == [f"--- {history.seed}", f"+++ {history.learned}"]
    assert "+  - Sarcasm is negative." in lines


def test_diff_of_two_named_versions_shows_only_what_differs(whetstone: Run, history: History) -> None:
    document = json.loads(whetstone("prompts", "diff", "1", history.learned, history.waiting, "--json").stdout)
    changed = [line for line in document["diff"] if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert sorted(changed) == ["-", "-  - Sarcasm is negative.", "-Rules"]


def test_diff_of_a_version_with_itself_says_so(whetstone: Run, history: History) -> None:
    result = whetstone("prompts", "diff", "1", history.learned)
    assert result.stdout == f"{history.learned} and {history.learned} say the same.\n"


def test_a_version_that_waits_is_approved_by_activating_it(whetstone: Run, history: History) -> None:
    result = whetstone("prompts", "activate", "1", history.waiting)
    assert (result.exit_code, history.active()) == (0, history.waiting)
    assert f"{history.waiting} is the active version of project 1; before it was {history.learned}." in result.stdout
    (latest, *_) = history.service.store.activations(PROJECT)
    assert (latest.version, "command line" in latest.by) == (history.waiting, True)


def test_activating_the_active_version_changes_and_records_nothing(whetstone: Run, history: History) -> None:
    before = history.service.store.activations(PROJECT)
    result = whetstone("prompts", "activate", "1", history.learned)
    assert (result.exit_code, "already" in result.stdout) == (0, True)
    assert history.service.store.activations(PROJECT) == before


def test_rolling_back_returns_to_the_version_before_and_then_there_is_none(whetstone: Run, history: History) -> None:
    document = json.loads(whetstone("prompts", "rollback", "1", "--json").stdout)
    assert document == {"project": 1, "before": history.learned, "active": history.seed}
    assert history.active() == history.seed
    result = whetstone("prompts", "rollback", "1")
    assert (result.exit_code, history.active()) == (1, history.seed)
    assert "project 1 has no earlier version to return to" in result.stderr


def test_a_version_of_other_labels_is_refused(whetstone: Run, history: History) -> None:
    result = whetstone("prompts", "activate", "1", history.foreign)
    assert (result.exit_code, history.active()) == (1, history.learned)
    assert "another labeling configuration" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "7"], "no project '7' is known\nhint: Known are: 1. "),
        (["show", "1", "p0099-aaaa"], "project 1 has no prompt version 'p0099-aaaa'\nhint: `whetstone prompts list 1`"),
        (["activate", "1", "p0099-aaaa"], "project 1 has no prompt version 'p0099-aaaa'"),
    ],
)
def test_what_is_not_known_is_wrong_usage_and_what_is_known_is_named(
    arguments: list[str], said: str, whetstone: Run
) -> None:
    result = whetstone("prompts", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_number_that_two_instances_have_wants_the_key(whetstone: Run, history: History) -> None:
    other = History(history.service, key="1.1795000000", url="http://other.test")
    result = whetstone("prompts", "list", "1")
    assert result.exit_code == 1
    assert PROJECT in result.stderr
    assert other.key in result.stderr
    assert whetstone("prompts", "list", other.key).exit_code == 0


def test_without_redis_the_exit_code_is_3(whetstone: Run) -> None:
    result = whetstone("prompts", "list", "1", REDIS_URL="redis://127.0.0.1:1/0")
    assert result.exit_code == 3
    assert "REDIS_URL" in result.stderr
