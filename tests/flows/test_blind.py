"""Blind tasks: no prediction by any way until they are annotated."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.predictions.blind import is_blind
from backend.projects import pushing
from backend.storage.store import BulkProgress
from tests.flows.conftest import Web, service_of, work
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import LOVED, PROJECT, label, predict_body, sent_to, task, tasks
from tests.scripted_llm import ScriptedLLM

SHARE = 0.4
IDS = range(1, 11)
BLIND = [number for number in IDS if is_blind(PROJECT, number, SHARE)]
SEEN = [number for number in IDS if number not in BLIND]


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment."""
    return shared_web(blind_share=str(SHARE))


@pytest.fixture
def label_all(client: FlaskClient, redis_client: Redis) -> Callable[[], None]:
    def label_all() -> None:
        service_of(client).dispatch.label_project(PROJECT)
        work(redis_client)

    return label_all


def test_the_tasks_of_these_tests_are_of_both_kinds() -> None:
    assert len(BLIND) in range(2, 9)


def test_blind_tasks_are_answered_with_nothing_and_the_llm_is_not_asked(
    client: FlaskClient, scripted_llm: ScriptedLLM
) -> None:
    rows = tasks(f"{LOVED} No {number}." for number in IDS)
    results = client.post("/predict", json=predict_body(rows)).json["results"]
    assert [number for number, result in zip(IDS, results, strict=True) if result == {}] == BLIND
    assert [label(result) for result in results if result] == ["positive"] * len(SEEN)
    assert [number for number in IDS if f"No {number}." in sent_to(scripted_llm)] == SEEN


def test_a_batch_of_blind_tasks_alone_is_answered(client: FlaskClient) -> None:
    rows = [task(number, LOVED) for number in BLIND]
    assert client.post("/predict", json=predict_body(rows)).json["results"] == [{}] * len(BLIND)


def test_an_annotated_task_is_blind_no_more_and_a_skipped_one_is(client: FlaskClient) -> None:
    annotated = task(BLIND[0], LOVED, annotations=[{"was_cancelled": False}])
    skipped = task(BLIND[1], LOVED, annotations=[{"was_cancelled": True}])
    results = client.post("/predict", json=predict_body([annotated, skipped])).json["results"]
    assert (label(results[0]), results[1]) == ("positive", {})


def test_a_second_annotator_is_shown_nothing_either(client: FlaskClient) -> None:
    first_of_two = task(BLIND[0], LOVED, annotations=[{"was_cancelled": False}], is_labeled=False)
    assert client.post("/predict", json=predict_body([first_of_two])).json["results"] == [{}]


def test_bulk_labeling_leaves_blind_tasks_out_and_does_not_count_them(
    client: FlaskClient, label_studio: LabelStudioStub, label_all: Callable[[], None]
) -> None:
    label_studio.add(*tasks([LOVED] * len(IDS)))
    label_all()
    assert sorted(label_studio.predictions) == SEEN
    version = service_of(client).store.active(PROJECT)
    assert version
    progress = service_of(client).store.bulk(PROJECT, version.name)
    assert progress == BulkProgress(total=len(SEEN), done=len(SEEN), failed=0)
    assert label_studio.title == version.name


def test_an_annotated_task_gets_its_prediction_with_the_next_bulk_labeling(
    label_studio: LabelStudioStub, label_all: Callable[[], None]
) -> None:
    label_studio.add(*tasks([LOVED] * len(IDS)))
    label_studio.annotate(BLIND[0], "positive")
    label_studio.annotate(BLIND[1], was_cancelled=True)
    label_all()
    assert sorted(label_studio.predictions) == sorted([*SEEN, BLIND[0]])


def test_imported_blind_tasks_wait_too(client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis) -> None:
    label_studio.add(*tasks([LOVED] * len(IDS)))
    service_of(client).queue_tasks(PROJECT, list(IDS))
    work(redis_client)
    assert sorted(label_studio.predictions) == SEEN
    assert service_of(client).dispatch.failed() == []


def test_what_is_lacking_is_what_could_be_labelled(client: FlaskClient, label_studio: LabelStudioStub) -> None:
    """`whetstone label` says "all tasks have a prediction" though the blind ones have none."""
    label_studio.add(*tasks([LOVED] * len(IDS)))
    service = service_of(client)
    to_label = pushing.make_client(service.settings)
    to = pushing.target(service, to_label, 1)
    assert pushing.lacking(to_label, to) == SEEN
    pushing.push(service, to_label, to, list(IDS))
    assert pushing.lacking(to_label, to) == []
