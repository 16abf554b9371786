"""Two models: the loop finds out which tasks the student had better hand on, and the service does so."""

import hashlib
from collections.abc import Iterator, Mapping

import pytest
from flask.testing import FlaskClient

from tests.flows.conftest import Learner, service_of
from tests.flows.payloads import CONFIG, PROJECT, predict_body, task
from tests.scripted_llm import Script, ScriptedLLM
from tests.scripted_llm.answers import frame_and_task, keyword_label


def half_sure(prompt: str) -> Mapping[str, float]:
    """Sure and right of every other text; of the rest it knows nothing, and says so."""
    _, text = frame_and_task(prompt)
    digest = hashlib.sha256(text.encode()).digest()
    if digest[1] % 2:
        return {label: 0.97 if p > 0.5 else 0.015 for label, p in keyword_label(prompt).items()}
    first = digest[0] % 2
    return {"positive": 0.5 if first else 0.45, "negative": 0.45 if first else 0.5, "neutral": 0.05}


@pytest.fixture
def strong() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(Script(label=keyword_label)) as llm:
        yield llm


@pytest.fixture
def learn_settings(learn_settings: dict[str, str], strong: ScriptedLLM) -> dict[str, str]:
    return {
        **learn_settings,
        "llm_prompt_style": "text",
        "run_max_calls": "2000",
        "optimize_rounds": "3",
        "strong_model": "scripted-1",
        "strong_base_url": strong.base_url,
    }


@pytest.fixture
def learn(learn: Learner, scripted_llm: ScriptedLLM) -> Learner:
    scripted_llm.script = Script(label=half_sure)
    return learn


def test_a_cascade_is_found_published_and_served(learn: Learner, strong: ScriptedLLM) -> None:
    client: FlaskClient = learn.client
    run = learn(60)
    assert run.decision == "published"
    version = service_of(client).store.version(PROJECT, run.challenger or "")
    assert version
    assert 0 < version.prompt.escalate_below < 1
    asked = strong.calls
    texts = [f"Awful kettle, I hate it. New {i}." for i in range(20)]
    body = predict_body([task(500 + i, text) for i, text in enumerate(texts)], config=CONFIG)
    results = client.post("/predict", json=body).get_json()["results"]
    escalated = [each["result"][0]["whetstone"].get("escalated", False) for each in results]
    assert all(each["result"][0]["value"]["choices"] == ["negative"] for each in results)
    assert 0 < sum(escalated) < 20
    assert strong.calls == asked + sum(escalated)
