"""A published prompt that shows each task demonstrations like it, served over HTTP."""

from datetime import UTC, datetime
from typing import Any

import pytest

from backend.labeling import schema as schemas
from backend.labeling.prompt import Demonstration, Prompt, PromptVersion
from tests.flows.conftest import Logs, Web, service_of
from tests.flows.payloads import CONFIG, PROJECT, label, predict_body, setup_body, tasks
from tests.labeling.vectors import values
from tests.scripted_llm import ScriptedLLM

SHOWN = ("The kettle leaks.", "A lamp with a warm light.", "This film is too long.", "The train came late again.")
ASKED = ("Does the kettle leak?", "Was the train late?")


@pytest.fixture
def published(web: Web, scripted_llm: ScriptedLLM) -> Any:
    """Makes a client of a service whose active prompt shows the most similar demonstration of four."""

    def make(**changes: Any) -> Any:
        client = web(**changes)
        client.post("/setup", json=setup_body())
        service = service_of(client)
        store = service.store
        shown = tuple(Demonstration(values(text), {"sentiment": ("negative",)}) for text in SHOWN)
        version = PromptVersion.of(
            2,
            Prompt("Say which fits.", demonstrations=shown, shown=1),
            config_hash=schemas.parse(CONFIG).config_hash,
            model=service.settings.model_name,
            origin="learned",
            created_at=datetime.now(UTC),
        )
        active = store.active(PROJECT)
        assert active
        assert store.publish(PROJECT, version, active.name)
        return client

    return make


def asked_with(llm: ScriptedLLM) -> dict[str, list[str]]:
    """The demonstrations that each task was sent with."""
    sent = [str(each.body["messages"]) for each in llm.requests if "messages" in each.body]
    return {task: [each for each in SHOWN if each in text] for task in ASKED for text in sent if task in text}


def test_each_task_is_sent_with_the_demonstration_most_like_it(published: Any, scripted_llm: ScriptedLLM) -> None:
    answer = published().post("/predict", json=predict_body(tasks([*ASKED, SHOWN[1]]))).json
    assert [label(result) for result in answer["results"]] == ["neutral"] * 3
    assert asked_with(scripted_llm) == {ASKED[0]: [SHOWN[0]], ASKED[1]: [SHOWN[3]]}


def test_an_embeddings_endpoint_that_comes_back_with_other_dimensions_goes_on_serving(
    published: Any, scripted_llm: ScriptedLLM
) -> None:
    client = published(embeddings_model="embed-1")
    client.post("/predict", json=predict_body(tasks(ASKED[:1])))
    scripted_llm.change(dimensions=64)
    answer = client.post("/predict", json=predict_body(tasks(ASKED))).json
    assert all(answer["results"])
    assert asked_with(scripted_llm) == {ASKED[0]: [SHOWN[0]], ASKED[1]: [SHOWN[3]]}


def test_while_embeddings_are_away_no_task_is_labelled_in_another_way(published: Any, logged: Logs) -> None:
    client = published(embeddings_model="embed-1", embeddings_base_url="http://127.0.0.1:1/v1")
    assert client.post("/predict", json=predict_body(tasks(ASKED))).json["results"] == [{}, {}]
    told = [line for line in logged() if line["event"] == "no prediction"]
    assert all("EMBEDDINGS_BASE_URL" in line["reason"] and line["retry"] for line in told)
    assert len(told) == 2
