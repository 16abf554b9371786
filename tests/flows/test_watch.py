"""Once a day predictions and model are compared with what they were; what is found starts a run and swaps nothing."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from backend.calls.engine import endpoint_key
from backend.labeling.answers import ControlPrediction, TaskPrediction
from backend.projects import pushing
from backend.queue.dispatch import LABEL, OPTIMIZE
from backend.queue.kinds import Request
from backend.storage.alarms import AlarmStore, Raised
from backend.storage.runs import Estimate, RunRecord
from backend.storage.windows import Windows
from backend.web import metrics
from tests.flows import learning
from tests.flows.conftest import Learner, Logs, queued, retry_now, work
from tests.flows.payloads import PROJECT, predict_body, tasks
from tests.scripted_llm import Script, ScriptedLLM
from tests.scripted_llm.answers import frame_and_task, keyword_label
from worker.calls.ledger import Ledger
from worker.labels.annotation_store import AnnotationStore
from worker.runs import sweep
from worker.watching.store import DriftStore
from worker.watching.watch import watch

NOW = datetime(2026, 12, 10, 12, tzinfo=UTC)


def hazy(prompt: str) -> Mapping[str, float]:
    """Another model: less sure, and wrong about whatever is liked."""
    _, text = frame_and_task(prompt)
    right = keyword_label(prompt)
    low, high = min(right.values()), max(right.values())
    return right if "terrible" in text else {label: low + high - p for label, p in right.items()}


@pytest.fixture
def learn(learn: Learner, scripted_llm: ScriptedLLM) -> Learner:
    """With a model that does what it is asked."""
    scripted_llm.script = Script(label=keyword_label)
    return learn


def watched(learn: Learner) -> None:
    """A day's watch, by the worker."""
    learn.service.dispatch.touch(PROJECT, "watch")
    work(learn.redis, queues=[LABEL])


def raised(learn: Learner) -> list[Raised]:
    return AlarmStore(learn.redis).alarms(PROJECT)


def kinds(learn: Learner) -> list[str]:
    return [each.alarm.kind for each in raised(learn)]


def active(learn: Learner) -> str:
    version = learn.service.store.active(PROJECT)
    assert version
    return version.name


# -- the canary


def test_the_first_watch_asks_twenty_tasks_twice_and_alarms_nobody(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    before = scripted_llm.calls
    watched(learn)
    baseline = DriftStore(learn.redis).baseline(PROJECT)
    assert baseline
    assert len(baseline.first) == 20
    assert raised(learn) == []
    assert 40 <= scripted_llm.calls - before <= 40 + 15  # the endpoint is tried out, too


def test_a_model_that_stays_the_same_is_asked_anew_each_day_and_is_no_alarm(
    learn: Learner, scripted_llm: ScriptedLLM
) -> None:
    watched(learn)
    before = scripted_llm.calls
    watched(learn)
    watched(learn)
    assert scripted_llm.calls - before == 40
    assert raised(learn) == []


def test_a_model_that_changed_under_its_name_is_named_in_words(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    watched(learn)
    scripted_llm.script = Script(label=hazy)
    watched(learn)
    (found,) = raised(learn)
    assert found.alarm.kind == "model"
    assert found.version == active(learn)
    assert 'The model behind "scripted-1" seems to be another one' in found.alarm.words
    assert "of 20 tasks that are asked again and again" in found.alarm.words


def test_another_address_is_no_alarm_unless_another_model_answers_there(
    learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(learn)
    with ScriptedLLM(Script(label=keyword_label)) as moved, ScriptedLLM(Script(label=hazy)) as other:
        monkeypatch.setenv("OPENAI_BASE_URL", moved.base_url)
        watched(learn)
        assert raised(learn) == []
        monkeypatch.setenv("OPENAI_BASE_URL", other.base_url)
        watched(learn)
    assert kinds(learn) == ["model"]


def test_a_changed_model_alarms_once(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    watched(learn)
    scripted_llm.script = Script(label=hazy)
    for _ in range(3):
        watched(learn)
    assert kinds(learn) == ["model"]


def test_an_alarm_moves_no_pointer_by_itself(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    watched(learn)
    before, activations = active(learn), learn.service.store.activations(PROJECT)
    scripted_llm.script = Script(label=hazy)
    watched(learn)
    assert active(learn) == before
    assert learn.service.store.activations(PROJECT) == activations
    assert queued(learn.redis, LABEL) == []


def test_an_alarm_asks_for_a_run(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    watched(learn)
    scripted_llm.script = Script(label=hazy)
    watched(learn)
    assert queued(learn.redis, OPTIMIZE) == [("optimize", [PROJECT])]
    assert learn.service.dispatch.request(PROJECT, "optimize").trigger == "drift"


def test_the_run_evaluates_the_active_prompt_anew_and_nothing_stale_decides(
    learn: Learner, scripted_llm: ScriptedLLM
) -> None:
    """No label is new, so without the alarm there would be no run; and all was evaluated before."""
    first = learn(40)
    report = learn.service.runs.report(PROJECT)
    assert report
    before = report["versions"][0]["all"]["accuracy"]["value"]
    watched(learn)
    scripted_llm.script = Script(label=hazy)
    watched(learn)
    work(learn.redis, queues=[OPTIMIZE])
    assert learn.run.id != first.id
    assert learn.run.trigger == "drift"
    after = learn.service.runs.report(PROJECT)
    assert after
    of_first = next(each for each in after["versions"] if each["version"] == report["active"])
    assert of_first["all"]["accuracy"]["value"] < before - 0.2


def test_the_alarm_stands_in_the_report_before_the_run_and_after(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    learn(40)
    watched(learn)
    scripted_llm.script = Script(label=hazy)
    watched(learn)
    report = learn.service.runs.report(PROJECT)
    assert report
    assert [each["kind"] for each in report["drift"]] == ["model"]
    assert any("1 drift alarm since" in sentence for sentence in report["words"])
    assert any(each.title == "Drift" for each in learn.service.runs.report_layout(PROJECT))  # what its page shows
    work(learn.redis, queues=[OPTIMIZE])
    again = learn.service.runs.report(PROJECT)
    assert again
    assert again["made_at"] != report["made_at"]
    assert [each["kind"] for each in again["drift"]] == ["model"]


def test_the_alarm_is_a_gauge_and_a_warning_without_texts(
    learn: Learner, scripted_llm: ScriptedLLM, logged: Logs
) -> None:
    watched(learn)
    scripted_llm.script = Script(label=hazy)
    logged()
    watched(learn)
    text = metrics.render(learn.service).decode()
    assert f'whetstone_drift_alarms{{kind="model",project="{PROJECT}"}} 1.0' in text
    assert f'whetstone_drift_alarms{{kind="labels",project="{PROJECT}"}} 0.0' in text
    (line,) = [line for line in logged() if line["event"] == "drift"]
    assert line["level"] == "warning"
    assert line["kind"] == "model"
    assert "kettle" not in json.dumps(line)


def test_another_version_begins_with_two_runs_of_its_own(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    watched(learn)
    service, old = learn.service, learn.service.store.active(PROJECT)
    assert old
    other = replace(old.prompt, instruction="Say how the customer feels.")
    version = type(old).of(
        2, other, config_hash=old.config_hash, model=old.model, origin="manual", created_at=datetime.now(UTC)
    )
    assert service.store.publish(PROJECT, version, old.name, by="a person")
    before = scripted_llm.calls
    watched(learn)
    assert scripted_llm.calls - before == 40
    assert raised(learn) == []


def test_a_change_that_another_project_found_first_begins_one_epoch_only(
    learn: Learner, scripted_llm: ScriptedLLM
) -> None:
    endpoint = endpoint_key(learn.service.settings, model="")
    watched(learn)
    assert learn.service.store.begin_model_epoch(endpoint, 0)
    scripted_llm.script = Script(label=hazy)
    watched(learn)
    assert kinds(learn) == ["model"]
    assert learn.service.store.model_epoch(endpoint) == 1


def test_an_endpoint_that_is_away_is_no_alarm_and_is_asked_again(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    watched(learn)
    scripted_llm.stop()
    watched(learn)
    scripted_llm.start()
    before = scripted_llm.calls
    assert retry_now(learn.redis) == 1
    work(learn.redis, queues=[LABEL])
    assert scripted_llm.calls - before == 20
    assert raised(learn) == []


def test_the_month_s_cap_keeps_the_canary_silent(
    learn: Learner, scripted_llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch, logged: Logs
) -> None:
    monkeypatch.setenv("MONTH_MAX_CALLS", "10")
    before = scripted_llm.calls
    watched(learn)
    assert scripted_llm.calls - before <= 15  # the endpoint was tried out
    assert any("MONTH_MAX_CALLS" in str(line.get("reason")) for line in logged())
    assert not learn.service.dispatch.is_pending(PROJECT, "watch")


def test_the_canary_s_calls_count_in_the_month(learn: Learner) -> None:
    watched(learn)
    assert Ledger(learn.redis, learn.service.settings).month().student_calls == 40


def test_a_project_with_fewer_than_twenty_tasks_has_no_canary(learn: Learner, scripted_llm: ScriptedLLM) -> None:
    for task_id in range(20, 141):
        learn.label_studio.delete_task(task_id)
    before = scripted_llm.calls
    watched(learn)
    assert scripted_llm.calls == before


# -- what was predicted


def predictions(version: str, label: str, count: int) -> list[TaskPrediction]:
    said = ControlPrediction("sentiment", (label,), 0.8, "logprob", {}, 0.6, 0.5, 0.95)
    return [TaskPrediction((), 0.8, version, controls=(said,))] * count


def day(learn: Learner, number: int, **counts: int) -> None:
    """Served on the day so many days before `NOW`."""
    windows = Windows(learn.redis, now=lambda: NOW - timedelta(days=number))
    for label, count in counts.items():
        windows.note(PROJECT, active(learn), _schema(learn), predictions(active(learn), label, count))


def _schema(learn: Learner) -> Any:
    return learn.service.schema(learn.label_studio.config)


def looked(learn: Learner, at: datetime = NOW) -> list[str]:
    """A watch at a moment; the kinds of its alarms."""
    client = pushing.make_client(learn.service.settings)
    return [alarm.kind for alarm in watch(learn.service, client, pushing.target(learn.service, client, 1), at)]


def test_label_shares_that_shift_alarm_once_and_become_the_reference(learn: Learner) -> None:
    day(learn, 5, positive=100, negative=100)
    day(learn, 4, positive=60, negative=60)
    assert looked(learn, NOW - timedelta(days=3)) == []
    day(learn, 3, positive=95, negative=105)
    assert looked(learn, NOW - timedelta(days=2)) == []
    day(learn, 2, positive=190, negative=60)
    assert looked(learn, NOW - timedelta(days=1)) == ["labels"]
    assert '"positive" went from 50 % to 76 %' in raised(learn)[0].alarm.words
    day(learn, 1, positive=150, negative=50)
    assert looked(learn) == []


def test_days_of_few_predictions_wait_for_one_another(learn: Learner) -> None:
    day(learn, 9, positive=100, negative=100)
    assert looked(learn, NOW - timedelta(days=5)) == []
    day(learn, 4, positive=150)
    assert looked(learn, NOW - timedelta(days=3)) == []
    day(learn, 2, positive=150)
    assert looked(learn) == ["labels"]


def test_what_is_predicted_today_waits_for_tomorrow(learn: Learner) -> None:
    day(learn, 5, positive=100, negative=100)
    assert looked(learn, NOW - timedelta(days=1)) == []
    day(learn, 0, positive=300)
    assert looked(learn) == []
    assert looked(learn, NOW + timedelta(days=1)) == ["labels"]


def test_the_uncertain_tasks_that_a_bulk_labeling_begins_with_are_no_reference(learn: Learner) -> None:
    day(learn, 5, positive=200, negative=100)
    learn.service.store.begin_bulk(PROJECT, active(learn), 1000)
    assert looked(learn, NOW - timedelta(days=2)) == []
    learn.service.store.end_bulk(PROJECT, active(learn))
    day(learn, 2, positive=0, negative=700)
    assert looked(learn) == []
    reference = DriftStore(learn.redis).reference(PROJECT, active(learn))
    assert reference.window
    assert reference.window.labels == {"sentiment": {"positive": 200, "negative": 800}}


def test_what_the_service_predicts_is_counted(learn: Learner) -> None:
    rows = tasks(learning.texts(12))
    assert learn.client.post("/predict", json=predict_body(rows)).status_code == 200
    assert learn.client.post("/predict", json=predict_body(rows)).status_code == 200
    today = datetime.now(UTC).date()
    days = Windows(learn.redis).days(PROJECT, active(learn), today - timedelta(days=1), today)
    assert sum(each.n for each in days) == 12


# -- accuracy on new labels


def promise(learn: Learner, accuracy: float) -> None:
    """As if a run had published the active version with this estimate."""
    name, at = active(learn), datetime(2026, 11, 22, tzinfo=UTC)
    estimate = Estimate("holdout", 100, 0.5, accuracy, accuracy - 0.5, 0.1, 0.5, 0.99, 30, 5)
    learn.service.runs.save(
        RunRecord("r1", PROJECT, "done", at, 40, "p0000-0000", "labels", "published", ("Published.",), name, estimate)
    )


def served(learn: Learner, texts: list[str]) -> None:
    target = pushing.target(learn.service, pushing.make_client(learn.service.settings), 1)
    learn.service.label(PROJECT, target.current, [{"text": t} for t in texts], priority="bulk", deadline_s=60)


@pytest.mark.parametrize(("wrong", "expected"), [(False, []), (True, ["accuracy"])])
def test_labels_that_contradict_a_promise_alarm(
    wrong: bool, expected: list[str], learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_SHARE", "1")
    promise(learn, 0.9)
    served(learn, learning.texts(40))
    learn.label_studio.now = datetime.now(UTC)
    learn.annotate(40, truth=lambda i: learning.truth(i + wrong))
    learn.tell()
    work(learn.redis, queues=[LABEL])
    assert len(AnnotationStore(learn.redis).tasks(PROJECT)) == 40
    watched(learn)
    assert kinds(learn) == expected
    watched(learn)
    assert kinds(learn) == expected


def test_labels_of_tasks_that_no_lot_drew_prove_nothing(learn: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_SHARE", "0")
    promise(learn, 0.9)
    served(learn, learning.texts(40))
    learn.label_studio.now = datetime.now(UTC)
    learn.annotate(40, truth=lambda i: learning.truth(i + 1))
    learn.tell()
    work(learn.redis, queues=[LABEL])
    watched(learn)
    assert kinds(learn) == []


# -- when it happens


def test_a_project_is_watched_once_in_its_time(learn: Learner) -> None:
    settings = learn.service.settings.model_copy(update={"canary_s": 86_400})
    for _ in range(3):
        learn.redis.delete("whetstone:turn:sweep")
        assert sweep.Sweep(settings).once()
    assert learn.service.dispatch.request(PROJECT, "watch") == Request(1)
    assert 86_000 < learn.redis.ttl(f"whetstone:turn:watch:{PROJECT}") <= 86_400


def test_with_canary_s_at_zero_nothing_is_watched(learn: Learner, redis_client: Redis) -> None:
    sweep.Sweep(learn.service.settings.model_copy(update={"canary_s": 0})).once()
    assert "watch" not in [name for name, _ in queued(redis_client)]


def test_a_watch_waits_behind_other_light_work(learn: Learner, redis_client: Redis) -> None:
    dispatch = learn.service.dispatch
    for kind in ("label_project", "watch", "follow"):
        dispatch.touch(PROJECT, kind)
    assert [name for name, _ in queued(redis_client)] == ["follow", "label_project", "watch"]
