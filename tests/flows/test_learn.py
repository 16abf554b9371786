"""Walk 2: annotations become a better prompt, published under running traffic; and what happens when they do not."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.dispatch import LABEL, OPTIMIZE
from backend.runs import RunRecord
from tests.flows.conftest import Web, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import CONFIG, PROJECT, event, predict_body, setup_body, task, tasks
from tests.scripted_llm import Script, ScriptedLLM
from tests.scripted_llm.answers import frame_and_task, keyword_label

Learn = Callable[..., RunRecord]

LIKED = ("I love this great kettle", "An excellent, wonderful lamp", "Great sound, I love it")
DISLIKED = ("A terrible kettle, broken on arrival", "Awful lamp, I hate it", "Bad sound, it was broken")


def muddled(prompt: str) -> Mapping[str, float]:
    """Right where the prompt shows what is meant, by four texts with their labels; a coin else."""
    frame, text = frame_and_task(prompt)
    shown = sum(frame.count(f"sentiment: {label}") for label in ("positive", "negative", "neutral"))
    if shown >= 4:
        return keyword_label(prompt)
    heads = hashlib.sha256(text.encode()).digest()[0] % 2
    return {"positive": 0.8, "negative": 0.15, "neutral": 0.05} if heads else {
        "positive": 0.15, "negative": 0.8, "neutral": 0.05
    }  # fmt: skip


def texts(count: int) -> list[str]:
    return [f"{(LIKED, DISLIKED)[i % 2][i // 2 % 3]}. No {i}." for i in range(count)]


def truth(index: int) -> str:
    return ("positive", "negative")[index % 2]


@pytest.fixture
def settings(redis_url: str, scripted_llm: ScriptedLLM, pushes: dict[str, str]) -> dict[str, str]:
    """Of the service, and of the worker in its environment: no teacher but the student, which writes nonsense."""
    return {
        "redis_url": redis_url,
        "openai_base_url": scripted_llm.base_url,
        "llm_prompt_style": "text",
        "run_max_calls": "2000",
        **pushes,
    }


@pytest.fixture
def client(
    web: Web, settings: dict[str, str], scripted_llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    for name, value in settings.items():
        monkeypatch.setenv(name.upper(), value)
    scripted_llm.script = Script(label=muddled)
    client = web(**settings)
    client.post("/setup", json=setup_body())
    return client


@pytest.fixture
def learn(
    client: FlaskClient, label_studio: LabelStudioStub, captured: Callable[[str], Any], redis_client: Redis
) -> Learn:
    """So many tasks are annotated, Label Studio sends word, the workers do what is queued; the latest run."""
    label_studio.add(*tasks(texts(140)))

    def learn(labels: int, *, action: str = "ANNOTATION_CREATED", truth: Callable[[int], str] = truth) -> RunRecord:
        for index in range(len(label_studio.annotations), labels):
            label_studio.annotate(index + 1, truth(index))
        client.post("/webhook", json=event(action, captured("webhook_annotation_created")))
        work(redis_client, queues=[LABEL])
        work(redis_client, queues=[OPTIMIZE])
        latest = service_of(client).runs.latest(PROJECT)
        assert latest
        return latest

    return learn


def version(client: FlaskClient) -> str:
    answer = client.post("/setup", json=setup_body())
    name: str = answer.json["model_version"]  # type: ignore[index]
    return name


def test_annotations_become_a_prompt_that_serves(client: FlaskClient, learn: Learn) -> None:
    before = version(client)
    run = learn(40)
    assert (run.decision, run.state) == ("published", "done")
    assert version(client) == run.challenger != before
    fresh = task(500, "Excellent kettle, love it. And one more thing.")
    answer = client.post("/predict", json=predict_body([fresh], config=CONFIG)).json
    assert answer["results"][0]["model_version"] == run.challenger  # type: ignore[index]
    assert answer["results"][0]["result"][0]["value"]["choices"] == ["positive"]  # type: ignore[index]


def test_the_verdict_is_in_words_with_the_evidence(learn: Learn) -> None:
    run = learn(40)
    assert run.estimate
    assert run.estimate.n == 40
    assert run.estimate.wins > run.estimate.losses
    assert run.fixes
    assert any("published" in line.lower() for line in run.words)
    assert run.spend.student_calls > 0


def test_open_tasks_get_predictions_of_the_new_version(
    client: FlaskClient, learn: Learn, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    run = learn(40)
    work(redis_client)
    assert run.challenger in label_studio.versions(120)
    assert label_studio.title == run.challenger


def test_a_report_is_there_after_a_run(client: FlaskClient, learn: Learn) -> None:
    run = learn(40)
    report = service_of(client).runs.report(PROJECT)
    assert report
    assert report["active"] == run.challenger
    assert report["labels"] == 40


def test_labels_of_chance_publish_nothing(client: FlaskClient, learn: Learn) -> None:
    before = version(client)
    run = learn(40, truth=lambda i: ("positive", "negative")[hashlib.sha256(bytes([i])).digest()[0] % 2])
    assert run.decision in {"kept", "no_headroom"}
    assert version(client) == before


def test_a_handful_of_labels_is_too_few_and_says_so(client: FlaskClient, learn: Learn) -> None:
    run = learn(9, action="START_TRAINING")
    assert run.decision == "too_few_labels"
    assert "10" in " ".join(run.words)


def test_labels_that_are_all_the_same_compare_nothing(learn: Learn) -> None:
    run = learn(25, truth=lambda _: "positive")
    assert run.decision == "too_few_labels"
    assert '"positive"' in " ".join(run.words)


def test_with_approval_required_nothing_is_swapped(
    client: FlaskClient, learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_APPROVAL", "true")
    before = version(client)
    run = learn(40)
    assert run.decision == "awaiting_approval"
    assert version(client) == before
    assert service_of(client).store.version(PROJECT, run.challenger or "")


def test_a_budget_that_is_used_up_is_a_verdict_and_a_larger_one_goes_on_from_there(
    client: FlaskClient, learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUN_MAX_CALLS", "100")
    first = learn(40)
    assert first.decision == "out_of_budget"
    assert first.spend.student_calls <= 100
    monkeypatch.setenv("RUN_MAX_CALLS", "2000")
    second = learn(60)
    assert second.decision == "published"
    assert second.spend.from_cache > 0


def test_a_run_that_learned_nothing_new_is_not_made_again(client: FlaskClient, learn: Learn) -> None:
    first = learn(40)
    assert learn(40).id == first.id
    assert learn(45).id == first.id
    assert learn(60).id != first.id


def test_another_annotated_configuration_begins_anew(
    client: FlaskClient, learn: Learn, label_studio: LabelStudioStub
) -> None:
    published = learn(40).challenger
    label_studio.config = CONFIG.replace('<Choice value="neutral"/>', "")
    changed = setup_body(config=label_studio.config)
    assert client.post("/setup", json=changed).json["model_version"] != published  # type: ignore[index]
