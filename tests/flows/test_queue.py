"""`whetstone queue` against a Label Studio: numbers in the tasks' data, a tab, and a record of why."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from backend.labeling.schema import parse
from backend.predictions.audit import is_audit
from backend.predictions.blind import is_blind
from backend.queue.dispatch import LABEL
from backend.service import Service
from tests.flows.conftest import Learner, work
from tests.flows.label_studio_stub import LabelStudioStub, choices
from tests.flows.payloads import CONFIG, LOVED, PROJECT, tasks
from tests.histories import History
from tests.scripted_llm import ScriptedLLM
from worker.cli.queue import queue
from worker.queue.order import Place
from worker.queue.queueing import FIELD, TAB
from worker.queue.store import QueueStore

Run = Callable[..., Result]
TASKS = 60


@pytest.fixture
def whetstone(
    service: Service, pushes: dict[str, str], redis_url: str, scripted_llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """`whetstone queue 1 ...`"""
    settings = {"redis_url": redis_url, "openai_base_url": scripted_llm.base_url, "llm_model": "scripted-1", **pushes}
    for name, value in settings.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    return lambda *arguments: CliRunner().invoke(queue, ["1", *arguments])


@pytest.fixture
def predicted(service: Service, label_studio: LabelStudioStub) -> None:
    """So many tasks, the surer the higher their number."""
    label_studio.add(*tasks(f"{LOVED} {number} {number**3}" for number in range(1, TASKS + 1)))
    active = service.store.active(PROJECT)
    assert active
    rows = {
        parse(CONFIG).data_hash(data): json.dumps({"score": 0.4 + number / 200, "result": choices("positive")}).encode()
        for number, data in label_studio.tasks.items()
    }
    service.store.keep_predictions(PROJECT, active.name, rows)


def numbers(label_studio: LabelStudioStub) -> dict[int, int]:
    """Of the tasks that have one, first to last."""
    found = {task_id: data[FIELD] for task_id, data in label_studio.tasks.items() if FIELD in data}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


@pytest.mark.usefixtures("predicted")
def test_tasks_are_numbered_in_their_data_as_the_queue_has_them(whetstone: Run, label_studio: LabelStudioStub) -> None:
    result = whetstone("--count", "10", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["open"], document["scored"]) == (TASKS, TASKS)
    assert list(numbers(label_studio)) == [place["task"] for place in document["places"]]
    assert list(numbers(label_studio).values()) == list(range(1, 11))
    assert {place["reason"] for place in document["places"]} == {"least certain", "audit"}


@pytest.mark.usefixtures("predicted")
def test_the_number_changes_no_prediction_and_reaches_no_prompt(
    whetstone: Run, label_studio: LabelStudioStub, service: Service, scripted_llm: ScriptedLLM
) -> None:
    before = {task_id: dict(data) for task_id, data in label_studio.tasks.items()}
    whetstone("--count", "10")
    schema = parse(CONFIG)
    for task_id in numbers(label_studio):
        data = label_studio.tasks[task_id]
        assert {**before[task_id], FIELD: data[FIELD]} == data
        assert schema.data_hash(data) == schema.data_hash(before[task_id])
    service.label(
        PROJECT, service.current(PROJECT, CONFIG), [{"text": "New to it.", FIELD: 7531}],
        priority="live", deadline_s=20,
    )  # fmt: skip
    asked = json.dumps([request.body for request in scripted_llm.requests])
    assert "New to it." in asked
    assert FIELD not in asked
    assert "7531" not in asked


@pytest.mark.usefixtures("predicted")
def test_another_queue_takes_the_older_numbers_away(whetstone: Run, label_studio: LabelStudioStub) -> None:
    whetstone("--count", "10")
    first = numbers(label_studio)
    for task_id in list(first)[:8]:
        label_studio.annotate(task_id, "positive")
    whetstone("--count", "5")
    assert len(numbers(label_studio)) == 5
    assert list(numbers(label_studio).values()) == [1, 2, 3, 4, 5]
    assert not set(numbers(label_studio)) & set(list(first)[:8])


@pytest.mark.usefixtures("predicted")
def test_why_a_task_was_taken_is_kept(whetstone: Run, redis_client: Redis) -> None:
    places = json.loads(whetstone("--count", "10", "--json").stdout)["places"]
    kept = QueueStore(redis_client).drawn(PROJECT)
    assert {int(task): drawn.reason for task, drawn in kept.items()} == {p["task"]: p["reason"] for p in places}
    assert {int(task): drawn.probability for task, drawn in kept.items()} == {
        p["task"]: p["probability"] for p in places
    }


@pytest.mark.usefixtures("predicted")
def test_a_tab_shows_the_queue_in_its_order_and_is_made_once(whetstone: Run, label_studio: LabelStudioStub) -> None:
    whetstone("--count", "10")
    whetstone("--count", "10")
    assert [tab["data"]["title"] for tab in label_studio.tabs] == [TAB]
    tab = label_studio.tabs[0]["data"]
    assert tab["ordering"] == [f"tasks:data.{FIELD}"]
    assert tab["columnsDisplayType"] == {f"tasks:data.{FIELD}": "Number"}
    assert len(tab["filters"]["items"]) == 3


@pytest.mark.usefixtures("predicted")
def test_blind_tasks_are_queued_for_the_audit_without_their_score(
    whetstone: Run, label_studio: LabelStudioStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLIND_SHARE", "0.2")
    monkeypatch.setenv("AUDIT_SHARE", "0.2")
    places = json.loads(whetstone("--count", "30", "--json").stdout)["places"]
    audit = [place for place in places if place["reason"] == "audit"]
    assert audit
    assert all(is_blind(PROJECT, place["task"], 0.2) and is_audit(PROJECT, place["task"], 0.2) for place in audit)
    assert all(place["score"] is None for place in audit)
    assert not any(is_blind(PROJECT, place["task"], 0.2) for place in places if place["reason"] == "least certain")
    assert label_studio.predictions == {}


@pytest.mark.usefixtures("predicted")
def test_a_waiting_challenger_is_asked_where_it_disagrees(
    whetstone: Run, service: Service, scripted_llm: ScriptedLLM
) -> None:
    """The stored answers are all "positive"; the challenger finds half of the asked texts negative."""
    history = History(service)
    active = service.store.active(PROJECT)
    assert active
    rows = {parse(CONFIG).data_hash(data): json.dumps({"score": 0.7, "result": choices("negative")}).encode()
            for data in ({"text": f"{LOVED} {n} {n**3}"} for n in range(1, TASKS + 1))}  # fmt: skip
    service.store.keep_predictions(PROJECT, active.name, rows)
    result = whetstone("--count", "10", "--json")
    document = json.loads(result.stdout)
    assert f"{history.waiting} waits: on 10 of 10 open tasks it disagrees." in document["words"]
    assert sum(place["reason"] == "disagreement" for place in document["places"]) == 2
    assert scripted_llm.calls >= 10


@pytest.mark.usefixtures("predicted")
def test_a_challenger_that_may_cost_nothing_is_not_asked(
    whetstone: Run, service: Service, scripted_llm: ScriptedLLM
) -> None:
    History(service)
    result = whetstone("--count", "10", "--budget", "0")
    assert result.exit_code == 0, result.output
    assert "is asked nothing" in result.stdout
    assert not any("completions" in request.path for request in scripted_llm.requests)


def test_a_budget_that_ends_leaves_a_queue_and_says_so(
    whetstone: Run, service: Service, label_studio: LabelStudioStub
) -> None:
    history = History(service)
    label_studio.add(*tasks(f"{LOVED} {number} {number**3}" for number in range(1, TASKS + 1)))
    rows = {parse(CONFIG).data_hash(data): json.dumps({"score": 0.7, "result": choices("negative")}).encode()
            for data in label_studio.tasks.values()}  # fmt: skip
    service.store.keep_predictions(PROJECT, history.active(), rows)
    result = whetstone("--count", "50", "--budget", "20")
    assert result.exit_code == 0, result.output
    assert "16 of 16 open tasks it disagrees, as far as its budget went" in result.stdout


@pytest.mark.usefixtures("predicted")
def test_embeddings_that_cannot_be_had_leave_a_queue(whetstone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_MODEL", "none")
    monkeypatch.setenv("EMBEDDINGS_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    result = whetstone("--count", "10", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout[result.stdout.index("{") :])["places"]) == 10


def test_a_project_without_predictions_has_a_queue_drawn_by_lot(whetstone: Run, label_studio: LabelStudioStub) -> None:
    label_studio.add(*tasks([LOVED, "Bad."]))
    result = whetstone()
    assert result.exit_code == 0, result.output
    assert "No open task has a prediction" in result.stdout
    assert len(numbers(label_studio)) == 2


def test_a_project_with_nothing_open_says_so(whetstone: Run, label_studio: LabelStudioStub) -> None:
    result = whetstone()
    assert result.exit_code == 0, result.output
    assert "No task is open" in result.stdout


@pytest.mark.usefixtures("predicted")
def test_a_dry_run_writes_nothing(whetstone: Run, label_studio: LabelStudioStub, redis_client: Redis) -> None:
    assert whetstone("--dry-run", "--sampling").exit_code == 0
    assert numbers(label_studio) == {}
    assert label_studio.tabs == []
    assert label_studio.sampling == "Sequential sampling"
    assert QueueStore(redis_client).drawn(PROJECT) == {}


@pytest.mark.usefixtures("predicted")
def test_the_label_stream_is_changed_only_when_asked_to(whetstone: Run, label_studio: LabelStudioStub) -> None:
    whetstone("--count", "5")
    assert label_studio.sampling == "Sequential sampling"
    whetstone("--count", "5", "--sampling")
    assert label_studio.sampling == "Uncertainty sampling"


@pytest.mark.usefixtures("predicted")
def test_clearing_takes_all_numbers_away(whetstone: Run, label_studio: LabelStudioStub) -> None:
    whetstone("--count", "5")
    assert "5 tasks had a number, which are gone." in whetstone("--clear").stdout
    assert numbers(label_studio) == {}


def test_a_project_that_labels_by_a_field_of_that_name_is_left_alone(
    whetstone: Run, label_studio: LabelStudioStub
) -> None:
    label_studio.config = CONFIG.replace("$text", f"${FIELD}")
    result = whetstone()
    assert result.exit_code != 0
    assert FIELD in str(result.exception)


def test_a_runs_report_weighs_labels_by_why_the_queue_took_their_tasks(learn: Learner) -> None:
    """140 tasks have predictions; of 24 labels the record says that 12 were given for their score."""
    learn.service.dispatch.label_project(PROJECT)
    work(learn.redis, queues=[LABEL])
    chosen = [Place(number, "least certain", 1.0, 0.8) for number in range(1, 13)]
    lot = [Place(number, "audit", 0.1, 0.8) for number in range(13, 25)]
    QueueStore(learn.redis).keep(PROJECT, [*chosen, *lot])
    assert learn(24).state == "done"
    document = learn.service.runs.report(PROJECT)
    assert document
    whole = document["whole"]
    assert (whole["tasks"], whole["labels"], whole["chosen"], whole["speaks_for"]) == (140, 24, 12, 1.0)
    assert 0 < whole["accuracy"]["effective"] < 24
    assert document["prefill"]["words"].startswith("What a shown prediction does to people cannot be told yet")
