"""Walk 2: annotations become a better prompt, published under running traffic; and what happens when they do not."""

import hashlib

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.flows.conftest import Learner, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.learning import muddled, truth
from tests.flows.payloads import CONFIG, PROJECT, predict_body, setup_body, task
from tests.scripted_llm import Script, ScriptedLLM


@pytest.fixture
def learn_settings(learn_settings: dict[str, str]) -> dict[str, str]:
    """No teacher but the student, which writes nonsense."""
    return {**learn_settings, "llm_prompt_style": "text", "run_max_calls": "2000", "optimize_rounds": "3"}


@pytest.fixture
def learn(learn: Learner, scripted_llm: ScriptedLLM) -> Learner:
    scripted_llm.script = Script(label=muddled)
    return learn


@pytest.fixture
def client(learn: Learner) -> FlaskClient:
    return learn.client


def test_annotations_become_a_prompt_that_serves(client: FlaskClient, learn: Learner) -> None:
    before = learn.version
    run = learn(40)
    assert (run.decision, run.state) == ("published", "done")
    assert learn.version == run.challenger != before
    fresh = task(500, "Excellent kettle, love it. And one more thing.")
    answer = client.post("/predict", json=predict_body([fresh], config=CONFIG)).json
    assert answer["results"][0]["model_version"] == run.challenger  # type: ignore[index]
    assert answer["results"][0]["result"][0]["value"]["choices"] == ["positive"]  # type: ignore[index]


def test_the_verdict_is_in_words_with_the_evidence(learn: Learner) -> None:
    run = learn(40)
    assert run.estimate
    assert run.estimate.n == 40
    assert run.estimate.wins > run.estimate.losses
    assert run.fixes
    assert any("published" in line.lower() for line in run.words)
    assert run.spend.student_calls > 0


def test_open_tasks_get_predictions_of_the_new_version(
    client: FlaskClient, learn: Learner, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    run = learn(40)
    work(redis_client)
    assert run.challenger in label_studio.versions(120)
    assert label_studio.title == run.challenger


def test_a_report_is_there_after_a_run(client: FlaskClient, learn: Learner) -> None:
    run = learn(40)
    report = service_of(client).runs.report(PROJECT)
    assert report
    assert report["active"] == run.challenger
    assert report["labels"] == 40
    laid_out = service_of(client).runs.report_layout(PROJECT)
    assert list(laid_out[0].paragraphs) == report["words"]


def test_the_report_holds_people_and_the_llm_against_each_other(learn: Learner, label_studio: LabelStudioStub) -> None:
    learn.annotate(30)
    for number in range(1, 31):
        label_studio.annotate(number, "neutral" if number <= 3 else truth(number - 1), by=2)
    run = learn(30)
    report = learn.service.runs.report(PROJECT)
    assert report
    assert (run.labels, report["contested"]) == (27, ["1", "2", "3"])
    (ceiling,) = report["people"]["ceiling"]
    assert (ceiling["tasks"], ceiling["people"]["value"]) == (30, 0.9)
    assert ceiling["llm"]["value"] is not None


def test_labels_of_chance_publish_nothing(client: FlaskClient, learn: Learner) -> None:
    before = learn.version
    run = learn(40, truth=lambda i: ("positive", "negative")[hashlib.sha256(bytes([i])).digest()[0] % 2])
    assert run.decision in {"kept", "no_headroom"}
    assert learn.version == before


def test_a_handful_of_labels_is_too_few_and_says_so(client: FlaskClient, learn: Learner) -> None:
    run = learn(9, action="START_TRAINING")
    assert run.decision == "too_few_labels"
    assert "10" in " ".join(run.words)


def test_labels_that_are_all_the_same_compare_nothing(learn: Learner) -> None:
    run = learn(25, truth=lambda _: "positive")
    assert run.decision == "too_few_labels"
    assert '"positive"' in " ".join(run.words)


def test_with_approval_required_nothing_is_swapped(
    client: FlaskClient, learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_APPROVAL", "true")
    before = learn.version
    run = learn(40)
    assert run.decision == "awaiting_approval"
    assert learn.version == before
    assert service_of(client).store.version(PROJECT, run.challenger or "")


def test_a_budget_that_is_used_up_is_a_verdict_and_a_larger_one_goes_on_from_there(
    client: FlaskClient, learn: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUN_MAX_CALLS", "40")
    first = learn(40)
    assert first.decision == "out_of_budget"
    assert first.spend.student_calls <= 40
    monkeypatch.setenv("RUN_MAX_CALLS", "2000")
    second = learn(60)
    assert second.decision == "published"
    assert second.spend.from_cache > 0


def test_a_run_that_learned_nothing_new_is_not_made_again(client: FlaskClient, learn: Learner) -> None:
    first = learn(40)
    assert learn(40).id == first.id
    assert learn(45).id == first.id
    assert learn(60).id != first.id


def test_another_annotated_configuration_begins_anew(
    client: FlaskClient, learn: Learner, label_studio: LabelStudioStub
) -> None:
    published = learn(40).challenger
    label_studio.config = CONFIG.replace('<Choice value="neutral"/>', "")
    changed = setup_body(config=label_studio.config)
    assert client.post("/setup", json=changed).json["model_version"] != published  # type: ignore[index]
