"""What people do in Label Studio, over its API in memory, arrives in Redis and becomes examples."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from backend.label_studio import LabelStudioClient, LabelStudioDownError, LabelStudioRefusedError
from backend.labeling.schema import LabelingSchema, parse
from tests.flows.conftest import Logs
from tests.flows.label_studio_stub import KEY, LabelStudioStub
from tests.flows.payloads import CONFIG, PROJECT, task
from worker.labels import ground_truth
from worker.labels.annotation_store import AnnotationStore
from worker.labels.annotations import AnnotatedTask
from worker.labels.examples import Shown
from worker.labels.ground_truth import OTHER_DATA, UNSEEN
from worker.labels.pull import PullReport, pull

SCHEMA = parse(CONFIG)
OTHER_FIELD = parse(CONFIG.replace("$text", "$ticket"))
NOW = datetime(2026, 11, 24, tzinfo=UTC)
Pull = Callable[..., PullReport]


@pytest.fixture
def store(redis_client: Redis) -> AnnotationStore:
    return AnnotationStore(redis_client)


@pytest.fixture
def pulled(label_studio: LabelStudioStub, store: AnnotationStore) -> Pull:
    """Pulls; `whole` and `schema` may be given."""
    client = LabelStudioClient(label_studio.url, KEY, retries=0)

    def run(*, whole: bool = False, schema: LabelingSchema = SCHEMA, now: datetime = NOW) -> PullReport:
        return pull(client, store, 1, PROJECT, schema, whole=whole, clock=now.timestamp)

    return run


def truths(store: AnnotationStore) -> dict[str, tuple[str, ...]]:
    examples = ground_truth.examples(store.tasks(PROJECT), SCHEMA).examples
    return {example.id: example.truth["sentiment"] for example in examples}


def stored(store: AnnotationStore, task_id: int) -> AnnotatedTask:
    return store.known(PROJECT, [task_id])[task_id]


def add(label_studio: LabelStudioStub, *ids: int) -> None:
    label_studio.add(*(task(task_id, f"text {task_id}") for task_id in ids))


def requests(label_studio: LabelStudioStub) -> int:
    calls, label_studio.calls = len(label_studio.calls), []
    return calls


def test_what_was_annotated_becomes_ground_truth(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1, 2, 3, 4)
    label_studio.annotate(1, "positive")
    label_studio.annotate(2, "negative", was_cancelled=True)
    label_studio.annotate(3, "neutral", by=1)
    label_studio.annotate(3, "negative", by=2)
    assert pulled() == PullReport(listed=3, read=3, dropped=0, whole=True)
    assert truths(store) == {"1": ("positive",)}
    assert ground_truth.examples(store.tasks(PROJECT), SCHEMA).contested == ("3",)
    assert stored(store, 1).data == {"text": "text 1"}


def test_nothing_is_read_twice(pulled: Pull, label_studio: LabelStudioStub) -> None:
    add(label_studio, 1, 2)
    label_studio.annotate(1, "positive")
    pulled()
    requests(label_studio)
    assert pulled().read == pulled(whole=True).read == 0
    assert requests(label_studio) == 1 + 2


def test_new_annotations_and_edits_are_found_without_comparing_all(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, *range(1, 6))
    first = label_studio.annotate(1, "positive")
    label_studio.annotate(2, "positive")
    pulled()
    label_studio.now += timedelta(hours=1)
    label_studio.annotate(3, "positive")
    pulled()
    label_studio.now += timedelta(hours=1)
    label_studio.annotate(4, "neutral")
    label_studio.edit(first, "negative")
    assert pulled() == PullReport(listed=3, read=2, dropped=0, whole=False)  # of the last one only what may be late
    assert truths(store) == {"1": ("negative",), "2": ("positive",), "3": ("positive",), "4": ("neutral",)}


def test_a_flag_and_a_skip_taken_back_are_edits(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1, 2)
    label_studio.annotate(1, "positive", by=1)
    second = label_studio.annotate(1, "negative", by=2)
    skipped = label_studio.annotate(2, "neutral", was_cancelled=True)
    pulled()
    assert truths(store) == {}
    label_studio.edit(second, ground_truth=True)
    label_studio.edit(skipped, was_cancelled=False)
    pulled()
    assert truths(store) == {"1": ("negative",), "2": ("neutral",)}


def test_a_deleted_annotation_is_no_truth_any_more(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1, 2)
    gone = label_studio.annotate(1, "positive")
    label_studio.annotate(2, "negative")
    pulled()
    label_studio.delete_annotation(gone)
    assert pulled().dropped == 1
    assert truths(store) == {"2": ("negative",)}


def test_a_deleted_task_is_found_by_comparing_all(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1, 2)
    for task_id in (1, 2):
        label_studio.annotate(task_id, "positive")
    pulled()
    label_studio.delete_task(1)
    assert pulled().dropped == 0
    assert pulled(whole=True) == PullReport(listed=1, read=0, dropped=1, whole=True)
    assert truths(store) == {"2": ("positive",)}


def test_imported_annotations_raise_no_event_and_are_found(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1)
    label_studio.annotate(1, "positive")
    pulled()
    add(label_studio, 2)
    label_studio.annotate(2, "negative", lead_time=None, ground_truth=True)
    pulled()
    assert truths(store) == {"1": ("positive",), "2": ("negative",)}


def test_a_transaction_that_ends_late_is_not_missed(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1, 2)
    begun = (label_studio.now + timedelta(seconds=1)).isoformat()
    label_studio.now += timedelta(minutes=4)
    label_studio.annotate(1, "positive")
    pulled()
    label_studio.annotate(2, "negative", created_at=begun, updated_at=begun)
    pulled()
    assert truths(store) == {"1": ("positive",), "2": ("negative",)}


def test_a_time_ahead_of_ours_hides_nothing_that_comes_after(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    """Label Studio deletes annotations in bulk under its local time, taken for UTC."""
    add(label_studio, 1, 2)
    label_studio.annotate(1, "positive")
    ahead = label_studio.now + timedelta(hours=9)
    label_studio.updated_at[1] = ahead.isoformat()
    pulled(now=label_studio.now)
    label_studio.annotate(2, "negative")
    pulled(now=label_studio.now)
    assert truths(store) == {"1": ("positive",), "2": ("negative",)}


def test_an_id_that_another_task_had_is_another_task(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1)
    label_studio.predict(1, "neutral", version="p0001-aaaa")
    label_studio.annotate(1, "positive")
    pulled()
    label_studio.delete_task(1)
    label_studio.add(task(1, "quite another text"))
    label_studio.annotate(1, "negative")
    pulled()
    (example,) = ground_truth.examples(store.tasks(PROJECT), SCHEMA).examples
    assert example.data == {"text": "quite another text"}
    assert (example.truth, example.shown) == ({"sentiment": ("negative",)}, None)


def test_a_truth_does_not_pass_to_the_data_that_took_the_place_of_its_own(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1)
    annotation = label_studio.annotate(1, "positive")
    pulled()
    label_studio.add(task(1, "edited"))
    pulled()
    assert ground_truth.examples(store.tasks(PROJECT), SCHEMA).left_out == {OTHER_DATA: 1}
    label_studio.edit(annotation, "negative")
    pulled()
    assert truths(store) == {"1": ("negative",)}


def test_the_prediction_shown_is_kept_when_its_version_is_deleted(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1)
    shown = label_studio.predict(1, "neutral", version="p0001-aaaa", score=0.6)
    annotation = label_studio.annotate(1, "positive", parent_prediction=shown["id"])
    pulled()
    label_studio.delete_predictions(1)
    label_studio.edit(annotation, "negative")
    pulled()
    (example,) = ground_truth.examples(store.tasks(PROJECT), SCHEMA).examples
    assert example.shown == Shown("p0001-aaaa", {"sentiment": ("neutral",)}, 0.6)
    assert example.truth == {"sentiment": ("negative",)}


def test_bulk_accepted_predictions_stay_out_when_their_predictions_are_gone(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1)
    made_from = label_studio.predict(1, "neutral", version="p0001-aaaa")
    annotation = label_studio.annotate(1, "neutral", parent_prediction=made_from["id"], lead_time=None)
    pulled()
    label_studio.delete_predictions(1)
    label_studio.updated_at[1] = (label_studio.now + timedelta(seconds=9)).isoformat()
    assert annotation["parent_prediction"] is None
    assert pulled().read == 1
    assert ground_truth.examples(store.tasks(PROJECT), SCHEMA).left_out == {UNSEEN: 1}


def test_a_configuration_with_another_field_reads_all_tasks_again(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, 1, 2)
    for task_id in (1, 2):
        label_studio.annotate(task_id, "positive")
    pulled()
    assert pulled(schema=OTHER_FIELD) == PullReport(listed=2, read=2, dropped=0, whole=True)
    assert stored(store, 2).data == {"ticket": 2}


def test_a_large_project_is_read_page_by_page_and_goes_on_where_it_was_cut_off(
    pulled: Pull, label_studio: LabelStudioStub, store: AnnotationStore
) -> None:
    add(label_studio, *range(1, 451))
    for task_id in range(1, 451):
        label_studio.annotate(task_id, "positive")
    label_studio.outages = [200, 200, 200, 200, 503]  # two lists, two pages of 100 tasks, then an outage
    with pytest.raises(LabelStudioDownError):
        pulled()
    assert len(store.tasks(PROJECT)) == 200
    requests(label_studio)
    assert pulled() == PullReport(listed=450, read=250, dropped=0, whole=True)
    assert requests(label_studio) == 2 + 3
    assert len(truths(store)) == 450


def test_a_project_that_is_gone_is_named(pulled: Pull, label_studio: LabelStudioStub) -> None:
    label_studio.outages = [404]
    with pytest.raises(LabelStudioRefusedError, match="has no project 1"):
        pulled()


def test_an_empty_project_is_no_error(pulled: Pull, store: AnnotationStore) -> None:
    assert pulled() == PullReport(listed=0, read=0, dropped=0, whole=True)
    assert store.cursor(PROJECT) is None


def test_neither_texts_nor_labels_are_logged(
    pulled: Pull, label_studio: LabelStudioStub, web: Any, logged: Logs
) -> None:
    web()  # logging as the service has it
    add(label_studio, 1)
    label_studio.annotate(1, "positive")
    pulled()
    lines = [line for line in logged() if line["event"] == "annotations pulled"]
    assert [line["read"] for line in lines] == [1]
    assert "text 1" not in str(lines)
    assert "positive" not in str(lines)
