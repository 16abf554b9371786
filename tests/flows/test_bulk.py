"""Events become jobs, jobs become predictions in Label Studio: a real RQ worker, and Label Studio's API in memory."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.storage.store import BulkProgress
from tests.flows.conftest import Logs, Web, queued, queued_tasks, retry_now, service_of, work
from tests.flows.label_studio_stub import KEY, LabelStudioStub
from tests.flows.payloads import (
    CONFIG,
    HATED,
    LOVED,
    OTHER_CONFIG,
    PROJECT,
    complaints,
    event,
    label,
    predict_body,
    setup_body,
    task,
    tasks,
)
from tests.scripted_llm import Fault, ScriptedLLM

Arrive = Callable[..., None]
CHUNK = 4


@pytest.fixture
def client(shared_web: Web) -> FlaskClient:
    """Of a service whose settings the worker finds in its environment."""
    return shared_web(chunk_tasks=str(CHUNK))


@pytest.fixture
def arrive(client: FlaskClient, label_studio: LabelStudioStub, captured: Callable[[str], Any]) -> Arrive:
    """Tasks with these texts are imported, of which Label Studio sends word."""

    def make(*texts: str) -> None:
        rows = [task(len(label_studio.tasks) + number, text) for number, text in enumerate(texts, start=1)]
        label_studio.add(*rows)
        body = event(
            "TASKS_CREATED",
            captured("webhook_tasks_created"),
            config=label_studio.config,
            instruction=label_studio.expert_instruction,
            tasks=rows,
        )
        assert client.post("/webhook", json=body).status_code == 201

    return make


def begin(client: FlaskClient) -> None:
    service_of(client).dispatch.label_project(PROJECT)


def active(client: FlaskClient) -> str:
    version = service_of(client).store.active(PROJECT)
    assert version
    return version.name


def progress(client: FlaskClient) -> BulkProgress | None:
    return service_of(client).store.bulk(PROJECT, active(client))


def labels(label_studio: LabelStudioStub) -> dict[int, list[str]]:
    return {task_id: [label(row) for row in rows] for task_id, rows in label_studio.predictions.items()}


def test_imported_tasks_are_annotated_in_chunks_and_the_title_is_the_version(
    client: FlaskClient, arrive: Arrive, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    arrive(*[LOVED, HATED] * 5)
    assert [args[1] for _, args in queued(redis_client)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    work(redis_client)
    assert labels(label_studio) == {number: [["negative", "positive"][number % 2]] for number in range(1, 11)}
    stored = [row for rows in label_studio.predictions.values() for row in rows]
    assert complaints(CONFIG, stored, active(client)) == []
    assert label_studio.title == label_studio.model_version == active(client)


def test_the_version_pushed_is_the_one_that_setup_names(
    client: FlaskClient, arrive: Arrive, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.expert_instruction = "<p>Label how the customer feels <b>now</b>.</p>"
    arrive(LOVED)
    work(redis_client)
    assert label_studio.versions(1) == [client.post("/setup", json=setup_body()).json["model_version"]]


def test_a_task_that_has_a_prediction_is_not_given_a_second(
    arrive: Arrive, client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, scripted_llm: ScriptedLLM
) -> None:
    arrive(LOVED, HATED)
    work(redis_client)
    calls = scripted_llm.calls
    service_of(client).queue_tasks(PROJECT, [1, 2])
    begin(client)
    work(redis_client)
    assert [len(rows) for rows in label_studio.predictions.values()] == [1, 1]
    assert scripted_llm.calls == calls


def test_what_was_predicted_live_is_pushed_without_another_call(
    arrive: Arrive, client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, scripted_llm: ScriptedLLM
) -> None:
    live = client.post("/predict", json=predict_body(tasks([LOVED]))).json["results"][0]
    calls = scripted_llm.calls
    arrive(LOVED)
    work(redis_client)
    assert scripted_llm.calls == calls
    (stored,) = label_studio.predictions[1]
    assert stored.items() >= {"task": 1, **live}.items()


def test_a_swap_labels_the_whole_project_anew(
    arrive: Arrive, client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    arrive(LOVED, HATED, LOVED)
    work(redis_client)
    before = active(client)
    label_studio.config = OTHER_CONFIG
    client.post("/setup", json=setup_body(config=OTHER_CONFIG))
    work(redis_client)
    assert active(client) != before
    assert [label_studio.versions(number) for number in (1, 2, 3)] == [[before, active(client)]] * 3
    assert label_studio.title == active(client)


def test_an_instruction_changed_in_label_studio_is_a_swap_too(
    arrive: Arrive, client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    arrive(LOVED)
    work(redis_client)
    before = active(client)
    label_studio.expert_instruction = "Sarcasm is negative."
    begin(client)
    work(redis_client)
    assert label_studio.versions(1) == [before, active(client)]
    assert label_studio.title == active(client)


def test_progress_counts_tasks_done_and_failed(
    arrive: Arrive, client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, logged: Logs
) -> None:
    label_studio.add(*tasks([LOVED, "", HATED, LOVED, "\x00", HATED]))
    begin(client)
    work(redis_client)
    assert progress(client) == BulkProgress(total=6, done=4, failed=2)
    assert [line["failed"] for line in logged() if line["event"] == "bulk labeling finished"] == [2]
    assert sorted(label_studio.predictions) == [1, 3, 4, 6]


def test_a_prediction_that_label_studio_drops_is_noticed(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, logged: Logs
) -> None:
    """It validates against the configuration it has by then, which another may have changed meanwhile."""
    label_studio.add(*tasks([LOVED, HATED]))
    begin(client)
    label_studio.config_for_import = OTHER_CONFIG.replace("negative", "unhappy")
    work(redis_client)
    assert labels(label_studio) == {1: ["positive"]}
    (line,) = [line for line in logged() if line["event"].startswith("Label Studio dropped")]
    assert (line["sent"], line["created"]) == (2, 1)
    assert progress(client) == BulkProgress(total=2, done=1, failed=1)


def test_where_label_studio_validates_strictly_one_bad_prediction_costs_no_other(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, logged: Logs
) -> None:
    label_studio.strict = True
    label_studio.config_for_import = OTHER_CONFIG.replace("negative", "unhappy")
    label_studio.add(*tasks([LOVED, LOVED + "!", HATED, LOVED + "?"]))
    begin(client)
    work(redis_client)
    assert sorted(label_studio.predictions) == [1, 2, 4]
    assert [line["task"] for line in logged() if line["event"] == "Label Studio refused a prediction"] == [3]
    assert progress(client) == BulkProgress(total=4, done=3, failed=1)


def test_a_task_deleted_meanwhile_is_no_failure(
    arrive: Arrive, label_studio: LabelStudioStub, redis_client: Redis, client: FlaskClient
) -> None:
    arrive(LOVED, HATED)
    del label_studio.tasks[2]
    work(redis_client)
    assert labels(label_studio) == {1: ["positive"]}
    assert service_of(client).dispatch.failed() == []


def test_tasks_that_the_llm_fails_are_tried_again_until_done(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, scripted_llm: ScriptedLLM
) -> None:
    label_studio.add(*tasks([LOVED, HATED, f"{LOVED} twice"]))
    begin(client)
    scripted_llm.change(faults=lambda _number, _path, body: Fault(500) if "twice" in str(body) else None)
    work(redis_client)
    assert (sorted(label_studio.predictions), progress(client)) == ([1, 2], BulkProgress(total=3, done=2, failed=0))
    scripted_llm.change(faults=())
    assert retry_now(redis_client) == 1
    work(redis_client)
    assert (sorted(label_studio.predictions), progress(client)) == ([1, 2, 3], BulkProgress(total=3, done=3, failed=0))
    assert service_of(client).dispatch.failed() == []


@pytest.mark.parametrize("outage", ["LLM", "Label Studio refuses its key"])
def test_an_outage_that_outlasts_all_tries_ends_as_failed_and_can_be_asked_for_again(
    outage: str,
    client: FlaskClient,
    label_studio: LabelStudioStub,
    redis_client: Redis,
    scripted_llm: ScriptedLLM,
) -> None:
    label_studio.add(*tasks([LOVED, HATED]))
    begin(client)
    work(redis_client, jobs=1)
    if outage == "LLM":
        scripted_llm.stop()
    else:
        label_studio.outages = [401] * 100
    for _ in range(4):
        work(redis_client)
        retry_now(redis_client)
    assert progress(client) == BulkProgress(total=2, done=0, failed=2)
    (failed,) = service_of(client).dispatch.failed()
    assert f"label_chunk of project {PROJECT}" in failed.description
    label_studio.outages = []
    scripted_llm.stop()
    scripted_llm.start()
    begin(client)
    work(redis_client)
    assert sorted(label_studio.predictions) == [1, 2]
    assert progress(client) == BulkProgress(total=2, done=2, failed=0)


def test_an_import_that_arrived_though_its_answer_was_lost_is_not_sent_twice(
    arrive: Arrive, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    arrive(LOVED, HATED)
    label_studio.loses_answer_of_import = True
    work(redis_client)
    label_studio.loses_answer_of_import = False
    retry_now(redis_client)
    work(redis_client)
    assert [len(rows) for rows in label_studio.predictions.values()] == [1, 1]


def test_the_title_is_set_even_when_the_first_try_could_not(
    arrive: Arrive, client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    arrive(LOVED)
    label_studio.outages = [200, 200, 200, 503, 503, 503]
    work(redis_client)
    assert sorted(label_studio.predictions) == [1]
    assert label_studio.title != active(client)
    label_studio.outages = []
    retry_now(redis_client)
    work(redis_client)
    assert label_studio.title == active(client)


def test_tasks_left_out_by_predict_are_pushed_when_the_llm_is_back(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis, scripted_llm: ScriptedLLM
) -> None:
    rows = tasks([LOVED, HATED])
    label_studio.add(*rows)
    scripted_llm.stop()
    assert client.post("/predict", json=predict_body(rows)).json["results"] == [{}, {}]
    assert queued_tasks(redis_client) == [1, 2]
    scripted_llm.start()
    work(redis_client)
    assert labels(label_studio) == {1: ["positive"], 2: ["negative"]}


def test_a_task_asked_for_many_times_is_queued_once(client: FlaskClient, arrive: Arrive, redis_client: Redis) -> None:
    arrive(LOVED, HATED)
    service_of(client).queue_tasks(PROJECT, [2, 1])
    begin(client)
    begin(client)
    assert sorted(queued_tasks(redis_client)) == [1, 2]
    assert [name for name, _ in queued(redis_client)].count("label_project") == 1


def test_the_project_of_another_label_studio_is_not_touched(
    client: FlaskClient, label_studio: LabelStudioStub, redis_client: Redis
) -> None:
    label_studio.add(task(1, LOVED))
    service_of(client).queue_tasks("1.1795000000", [1])
    work(redis_client)
    assert label_studio.predictions == {}
    assert retry_now(redis_client) == 1


def test_a_project_that_is_not_connected_gets_its_predictions_and_a_word_about_it(
    arrive: Arrive, label_studio: LabelStudioStub, redis_client: Redis, logged: Logs
) -> None:
    label_studio.connected = False
    arrive(LOVED)
    work(redis_client)
    assert sorted(label_studio.predictions) == [1]
    assert any("whetstone connect" in line["event"] for line in logged())


def test_only_the_configured_key_is_used(arrive: Arrive, label_studio: LabelStudioStub, redis_client: Redis) -> None:
    """The token that `/setup` hands over is refused by Label Studio itself."""
    arrive(LOVED)
    work(redis_client)
    assert label_studio.tokens == {f"Token {KEY}"}


def test_without_a_key_nothing_is_queued_and_the_log_says_why(
    web: Web, redis_client: Redis, captured: Callable[[str], Any], logged: Logs
) -> None:
    assert web().post("/webhook", json=captured("webhook_tasks_created")["body"]).status_code == 201
    assert queued(redis_client) == []
    assert any("LABEL_STUDIO_API_KEY" in line["event"] for line in logged())
