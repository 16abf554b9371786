import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.labeling.schema import parse as parse_schema
from tests.flows.payloads import CONFIG
from worker.labels.annotations import AnnotatedTask, Annotation, ShownPrediction, Wanted, fingerprint, parse, scope

Captured = Callable[[str], Any]
CREATED = "2026-11-22T11:20:00.000000Z"
NEUTRAL = ({"from_name": "sentiment", "type": "choices", "value": {"choices": ["neutral"]}},)


def item(label: str = "neutral", **fields: Any) -> dict[str, Any]:
    return {"from_name": "sentiment", "type": "choices", "value": {"choices": [label]}, **fields}


def row(**fields: Any) -> dict[str, Any]:
    plain = {"id": 7, "task": 1, "result": [item()], "created_at": CREATED, "updated_at": CREATED, "lead_time": 3.0}
    return {**plain, **fields}


def prediction(number: int, at: str, label: str = "positive", version: str = "p0001-aaaa") -> dict[str, Any]:
    return {"id": number, "created_at": at, "result": [item(label)], "model_version": version, "score": 0.7}


BEFORE, AFTER = "2026-11-22T11:19:00Z", "2026-11-22T11:21:00Z"
SHOWN = ShownPrediction("p0001-aaaa", (item("positive"),), 0.7)


def test_the_recorded_export_is_read(captured: Captured) -> None:
    tasks = captured("api_export_json")["response"]["body"]
    flagged, skipped, *bulk, submitted = [parse(each["annotations"][0], each["predictions"]) for each in tasks]
    assert flagged.unique_id == "a2c89ea7-740f-428d-92b0-9ae69f001b09"
    assert (flagged.task_id, flagged.completed_by, flagged.lead_time, flagged.result) == (1, 1, 4.2, NEUTRAL)
    assert flagged.ground_truth
    assert flagged.updated_at == datetime(2026, 11, 22, 11, 19, 47, 63075, tzinfo=UTC)
    assert skipped.was_cancelled
    assert [each.unseen for each in (flagged, *bulk, submitted)] == [False, True, True, False]
    assert submitted.shown is not None
    assert (submitted.shown.version, submitted.shown.score) == ("prompt-2", 0.9)


def test_the_recorded_task_list_is_read_under_a_key_of_its_own(captured: Captured) -> None:
    tasks = captured("api_tasks_page")["response"]["body"]["tasks"]
    flagged, skipped = [parse(each["annotations"][0], each["predictions"]) for each in tasks]
    assert flagged.unique_id == "1/1@2026-11-22T11:19:45.888189Z"
    assert (flagged.result, flagged.ground_truth, flagged.completed_by) == (NEUTRAL, True, 1)
    assert flagged.shown is not None
    assert flagged.shown.version == "prompt-1"
    assert skipped.was_cancelled


@pytest.mark.parametrize(
    ("name", "cancelled", "label", "origin"),
    [
        ("webhook_annotation_created", False, "positive", None),
        ("webhook_annotation_updated", False, "neutral", None),
        ("webhook_annotation_created_ui_accepted_prediction", False, "neutral", "prediction"),
        ("webhook_annotation_created_ui_changed_prediction", False, "negative", "prediction-changed"),
        ("webhook_annotation_created_ui_skip", True, "negative", "prediction"),
    ],
)
def test_every_recorded_webhook_is_read(
    captured: Captured, name: str, cancelled: bool, label: str, origin: str | None
) -> None:
    annotation = parse(captured(name)["body"]["annotation"])
    assert (annotation.was_cancelled, annotation.origins.get("sentiment")) == (cancelled, origin)
    assert annotation.result == (item(label),)
    assert not annotation.unseen


def test_neither_scores_nor_rationales_nor_ids_are_kept(captured: Captured) -> None:
    annotation = parse(captured("webhook_annotation_created_ui_changed_prediction")["body"]["annotation"])
    assert annotation.result[0].keys() == {"from_name", "type", "value"}
    assert annotation.shown is not None
    assert annotation.shown.result == (item("positive"),)


def test_the_annotator_may_come_as_an_object() -> None:
    assert parse(row(completed_by={"id": 4, "email": "a@example.com"})).completed_by == 4
    assert parse(row(completed_by=None)).completed_by is None


def test_an_id_that_is_given_again_is_another_annotation() -> None:
    assert parse(row()).unique_id != parse(row(created_at=AFTER)).unique_id


@pytest.mark.parametrize("result", [None, {}, "neutral", [None, 3, "x"], [{"value": {}}], [item() | {"value": None}]])
def test_a_result_that_is_none_is_empty(result: Any) -> None:
    assert parse(row(result=result)).result == ()


def test_values_of_other_controls_are_let_go_but_not_that_they_are_there() -> None:
    rationale = {"from_name": "why", "type": "textarea", "value": {"text": ["A long story."]}}
    kept = parse(row(result=[item(), rationale]), wanted=Wanted(frozenset({"sentiment"}))).result
    assert kept == (item(), {"from_name": "why", "type": "textarea", "value": {}})


REASONED = Wanted(frozenset({"sentiment"}), "why")


def why(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"from_name": "why", "type": "textarea", "value": {"text": list(texts)}, **fields}


def reasoned(number: int, text: str) -> dict[str, Any]:
    made = prediction(number, BEFORE)
    return {**made, "result": [*made["result"], why(text)]}


@pytest.mark.parametrize(
    ("told", "predictions", "reason"),
    [
        ([why("It is dull.")], [], "It is dull."),
        ([why("It is", "so dull.")], [], "It is so dull."),
        ([why("It is dull.", origin="manual")], [prediction(1, BEFORE)], "It is dull."),
        ([why("It is dull.", origin="prediction-changed")], [reasoned(1, "It is glad.")], "It is dull."),
        ([why("It is glad.", origin="prediction")], [reasoned(1, "It is glad.")], ""),
        ([why(" It is\nglad. ")], [reasoned(1, "It is glad.")], ""),
        ([why("It is glad.", origin="prediction")], [], ""),
        ([why("It is dull.", origin="prediction")], [reasoned(1, "It is glad.")], "It is dull."),
        ([], [reasoned(1, "It is glad.")], ""),
        ([why()], [reasoned(1, "It is glad.")], ""),
    ],
)
def test_a_rationale_is_the_annotators_where_they_wrote_or_corrected_it(
    told: list[Any], predictions: list[Any], reason: str
) -> None:
    assert parse(row(result=[item(), *told]), predictions, REASONED).reason == reason


def test_a_rationale_is_no_answer() -> None:
    parsed = parse(row(result=[item(), why("Long.", origin="manual")]), [reasoned(1, "Short.")], REASONED)
    assert parsed.result == (item(),)
    assert parsed.origins == {}
    assert parsed.shown is not None
    assert parsed.shown.result == (item("positive"),)
    assert parse(row(result=[why("Long.")]), (), REASONED).result == ()


def test_other_text_areas_are_let_go() -> None:
    note = {**why("Private."), "from_name": "note"}
    assert "Private" not in json.dumps(parse(row(result=[item(), note]), (), REASONED).result)


def test_a_bulk_accepted_prediction_with_a_rationale_is_unseen_though_the_rationale_has_no_score() -> None:
    assert parse(row(lead_time=None, result=[item(score=0.8), why("It is glad.")]), (), REASONED).unseen
    assert not parse(row(lead_time=None, result=[item(score=0.8), why("No.", origin="manual")]), (), REASONED).unseen


def test_that_a_rationale_was_shown_is_remembered_when_its_prediction_is_deleted() -> None:
    given = row(result=[item(), why("It is glad.")])
    before = parse(given, [reasoned(1, "It is glad.")], REASONED)
    assert parse(given, (), REASONED).remembering(before).reason == ""


@pytest.mark.parametrize(
    ("fields", "unseen"),
    [
        ({"parent_prediction": 3, "lead_time": None}, True),
        ({"parent_prediction": 3}, False),
        ({"parent_prediction": 3, "lead_time": None, "updated_at": AFTER}, False),
        ({"parent_prediction": 3, "lead_time": None, "ground_truth": True}, False),
        ({"lead_time": None}, False),
        # Its prediction was deleted, with which Label Studio forgets where it came from.
        ({"lead_time": None, "result": [item(score=0.8)]}, True),
        ({"lead_time": None, "result": [item(score=0.8, origin="prediction")]}, False),
        ({"lead_time": None, "result": []}, False),
    ],
)
def test_a_prediction_accepted_in_bulk_is_unseen_until_somebody_touches_it(
    fields: dict[str, Any], unseen: bool
) -> None:
    assert parse(row(**fields)).unseen is unseen


@pytest.mark.parametrize(
    ("fields", "predictions", "shown"),
    [
        ({}, [], None),
        ({}, [prediction(1, BEFORE)], SHOWN),
        ({}, [prediction(1, AFTER)], None),
        ({}, [prediction(2, BEFORE, "negative", "p0000-old"), prediction(1, "2026-11-22T11:19:30Z")], SHOWN),
        ({"parent_prediction": 1}, [prediction(1, BEFORE), prediction(2, "2026-11-22T11:19:30Z", "negative")], SHOWN),
        ({"prediction": prediction(1, BEFORE)}, [1], SHOWN),
        ({"prediction": {}}, [1], None),
        ({"parent_prediction": 9}, [], ShownPrediction("", ())),
        ({"result": [item(origin="prediction")]}, [], ShownPrediction("", NEUTRAL)),
        ({"result": [item(origin="prediction-changed")]}, [], ShownPrediction("", ())),
        ({"result": [item(origin="manual")]}, [], None),
    ],
)
def test_what_the_annotator_saw_is_found_again(
    fields: dict[str, Any], predictions: list[Any], shown: ShownPrediction | None
) -> None:
    assert parse(row(**fields), predictions).shown == shown


def test_what_label_studio_forgets_with_a_deleted_prediction_is_remembered() -> None:
    before = parse(row(parent_prediction=1, lead_time=None), [prediction(1, BEFORE)])
    after = parse(row(lead_time=None)).remembering(before)
    assert (after.shown, after.unseen) == (SHOWN, True)


def test_a_label_that_was_blind_stays_blind() -> None:
    after = parse(row(), [prediction(1, BEFORE)])
    assert after.remembering(parse(row())).shown is None


def test_a_shown_prediction_that_was_lost_may_still_be_found() -> None:
    before = parse(row(result=[item(origin="prediction")]))
    assert parse(row(), [prediction(1, BEFORE)]).remembering(before).shown == SHOWN
    assert parse(row()).remembering(before).shown == before.shown


def test_an_annotation_keeps_the_data_that_it_was_made_on_until_it_is_edited() -> None:
    before = replace(parse(row()), seen="keys-old")
    assert replace(parse(row()), seen="keys-new").remembering(before).seen == "keys-old"
    assert replace(parse(row(updated_at=AFTER)), seen="keys-new").remembering(before).seen == "keys-new"


def test_a_task_that_got_the_id_of_another_remembers_nothing_of_it() -> None:
    def task(annotation: Annotation) -> AnnotatedTask:
        return AnnotatedTask(1, {}, "", (annotation,))

    before = task(replace(parse(row(), [prediction(1, BEFORE)]), seen="keys-old"))
    now = task(replace(parse(row(created_at=AFTER, updated_at=AFTER)), seen="keys-new"))
    assert now.remembering(before) == now


def test_another_field_or_control_is_another_scope_and_another_label_is_not() -> None:
    schema = parse_schema(CONFIG)
    assert scope(schema) == scope(parse_schema(CONFIG.replace('"neutral"', '"mixed"')))
    assert scope(schema) != scope(parse_schema(CONFIG.replace("$text", "$body")))
    assert scope(schema) != scope(parse_schema(CONFIG.replace('"sentiment"', '"mood"')))


def test_a_text_area_for_rationales_is_another_scope() -> None:
    schema = parse_schema(CONFIG.replace("</View>", '<TextArea name="why" toName="text"/></View>'))
    assert scope(schema) == scope(parse_schema(CONFIG))
    assert scope(schema, schema.text_area("why")) != scope(schema)


def test_the_fingerprint_is_of_the_shown_data_alone() -> None:
    schema = parse_schema(CONFIG)
    assert fingerprint(schema, {"text": "a", "ticket": 1}) == fingerprint(schema, {"text": "a", "ticket": 2})
    assert fingerprint(schema, {"text": "a"}) != fingerprint(schema, {"text": "b"})


def test_no_text_of_a_task_or_a_result_is_in_a_repr() -> None:
    predicted = {**prediction(1, BEFORE), "result": [item("SECRET"), why("SECRET")]}
    annotation = parse(row(result=[item("SECRET"), why("SECRET too")]), [predicted], REASONED)
    assert "SECRET" not in repr(AnnotatedTask(1, {"text": "SECRET"}, "", (annotation,)))
    assert "SECRET" in json.dumps(annotation.result)
