from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.schema import LabelingSchema
from backend.labeling.schema import parse as parse_schema
from tests.annotating import annotation, answer, at, task
from worker.labels import ground_truth
from worker.labels.annotations import AnnotatedTask, Annotation, ShownPrediction, fingerprint
from worker.labels.examples import Shown
from worker.labels.ground_truth import DUPLICATE, OTHER_DATA, REASONS, SKIPPED, UNREADABLE, UNSEEN
from worker.labels.votes import CONTESTED, NO_ANSWER, SEVERAL_LABELS, UNKNOWN_LABEL
from worker.optimizer.outcomes import truths
from worker.statistics.consensus import Vote

CHOICE = '<Choice value="a"/><Choice value="b"/><Choice value="c"/>'
TEXT = '<Text name="text" value="$text"/>'


def config(*controls: str) -> LabelingSchema:
    return parse_schema(f"<View>{TEXT}{''.join(controls)}</View>")


def choices(name: str = "kind", attributes: str = "", inside: str = CHOICE) -> str:
    return f'<Choices name="{name}" toName="text" {attributes}>{inside}</Choices>'


SINGLE = config(choices())
MULTIPLE = config(choices(attributes='choice="multiple"'))
REQUIRED = config(choices(attributes='choice="multiple" required="true"'))
DYNAMIC = config(choices(attributes='value="$options"', inside=""))
BOTH = config(choices("kind"), choices("topics", 'choice="multiple"'))


def truth_of(schema: LabelingSchema, *annotations: Annotation, **data: Any) -> dict[str, tuple[str, ...]] | str:
    """Of one task; or why it is left out."""
    found = ground_truth.examples([task(1, *annotations, **data)], schema)
    if found.examples:
        assert found.left_out == {}
        return dict(found.examples[0].truth)
    (reason,) = found.left_out
    return reason


def test_one_annotation_is_the_truth() -> None:
    found = ground_truth.examples([task(5, annotation("b", minute=3), text="Hello")], SINGLE)
    (example,) = found.examples
    assert (example.id, example.data, example.truth) == ("5", {"text": "Hello"}, {"kind": ("b",)})
    assert (example.annotated_at, example.shown, example.unanimous) == (at(3), None, True)
    assert (found.left_out, found.contested) == ({}, ())


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([annotation("a", was_cancelled=True)], SKIPPED),
        ([annotation("a", was_cancelled=True), annotation("b", by=2)], "b"),
        ([annotation("b"), annotation("a", was_cancelled=True, minute=1)], "b"),
        ([annotation("a", parent_prediction=3, lead_time=None)], UNSEEN),
        ([annotation("a", parent_prediction=3, lead_time=None), annotation("b", by=2)], "b"),
        ([annotation("a", parent_prediction=3, lead_time=None, updated_at=at(1))], "a"),
        ([annotation()], NO_ANSWER),
        ([annotation("gone")], UNKNOWN_LABEL),
        ([annotation("gone"), annotation("a", by=2)], "a"),
        ([annotation("a", "b")], SEVERAL_LABELS),
        ([annotation("a", "a")], "a"),
        ([annotation(result=(answer("a", control="renamed"),))], NO_ANSWER),
        ([annotation("a"), annotation("b", by=2)], CONTESTED),
        ([annotation("a"), annotation("b", by=2), annotation("a", by=3)], "a"),
        ([annotation("a"), annotation("b", by=2), annotation("c", by=3)], CONTESTED),
        ([annotation("a", by=n) for n in (1, 2)] + [annotation("b", by=n) for n in (3, 4)], CONTESTED),
        ([annotation("a", by=n) for n in (1, 2)] + [annotation("b", by=3), annotation("c", by=4)], "a"),
        ([annotation("a", minute=1), annotation("b", minute=2)], "b"),
        ([annotation("b", minute=2), annotation("a", minute=1)], "b"),
        ([annotation("a", by=None), annotation("a", by=None, minute=1), annotation("b", by=2)], "a"),
        ([annotation("a", ground_truth=True), annotation("b", by=2), annotation("b", by=3)], "a"),
        ([annotation("a", ground_truth=True), annotation("b", minute=1)], "a"),
        ([annotation("a", ground_truth=True), annotation("b", by=2, minute=1, ground_truth=True)], "b"),
        ([annotation("a", ground_truth=True, was_cancelled=True), annotation("b", by=2)], "b"),
        ([annotation("gone", ground_truth=True), annotation("b", by=2)], UNKNOWN_LABEL),
    ],
)
def test_what_annotations_of_one_task_amount_to(annotations: list[Annotation], expected: str) -> None:
    assert truth_of(SINGLE, *annotations) == (expected if expected in REASONS else {"kind": (expected,)})


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([annotation("c", "a")], ("a", "c")),
        ([annotation()], ()),
        ([annotation(result=(answer(),))], ()),
        ([annotation("a", "gone")], UNKNOWN_LABEL),
        # a has 3 of 3 votes, b and c one each.
        ([annotation("a", "b"), annotation("a", by=2), annotation("a", "c", by=3)], ("a",)),
        ([annotation("a", "b"), annotation("a", by=2)], CONTESTED),
        ([annotation(), annotation("a", by=2), annotation(by=3)], ()),
    ],
)
def test_what_annotations_with_several_choices_amount_to(
    annotations: list[Annotation], expected: tuple[str, ...] | str
) -> None:
    assert truth_of(MULTIPLE, *annotations) == (expected if isinstance(expected, str) else {"kind": expected})


def test_an_empty_result_is_no_answer_where_one_is_required() -> None:
    assert truth_of(REQUIRED, annotation()) == NO_ANSWER


def test_a_choice_that_the_task_itself_brings_is_a_label() -> None:
    assert truth_of(DYNAMIC, annotation("x"), options=["x", {"value": "Why", "alias": "y"}]) == {"kind": ("x",)}
    assert truth_of(DYNAMIC, annotation("Why"), options=["x", {"value": "Why", "alias": "y"}]) == UNKNOWN_LABEL


@pytest.mark.parametrize("data", [{"text": ""}, {"text": None}, {"text": ["a"]}])
def test_a_task_that_cannot_be_labelled_is_no_example(data: dict[str, Any]) -> None:
    assert truth_of(SINGLE, annotation("a"), **data) == UNREADABLE


def test_a_task_without_its_options_is_no_example() -> None:
    assert truth_of(DYNAMIC, annotation("a")) == UNREADABLE


def test_a_control_that_is_undecided_does_not_take_the_others_with_it() -> None:
    one = annotation(result=(answer("a"), answer("b", control="topics")))
    other = annotation(by=2, result=(answer("b"), answer("b", control="topics")))
    found = ground_truth.examples([task(1, one, other)], BOTH)
    assert [example.truth for example in found.examples] == [{"topics": ("b",)}]
    assert (found.contested, found.left_out) == (("1",), {})


def test_what_was_not_asked_yet_is_not_taken_for_no_label() -> None:
    """The control "topics" came into the configuration when the first task had its annotation already."""
    old, first = annotation("a", minute=0), annotation(result=(answer("b", control="topics"), answer("a")), minute=5)
    found = ground_truth.examples([task(1, old), task(2, first), task(3, annotation("b", minute=9))], BOTH)
    assert [example.truth for example in found.examples] == [
        {"kind": ("a",)},
        {"kind": ("a",), "topics": ("b",)},
        {"kind": ("b",), "topics": ()},
    ]


def test_an_annotation_of_a_renamed_control_says_nothing_about_the_new_one() -> None:
    assert truth_of(MULTIPLE, annotation(result=(answer("a", control="before"),))) == NO_ANSWER


def test_a_task_whose_data_changed_is_another_task() -> None:
    made_on = fingerprint(SINGLE, {"text": "before"})
    assert truth_of(SINGLE, annotation("a", seen=made_on), text="before") == {"kind": ("a",)}
    assert truth_of(SINGLE, annotation("a", seen=made_on), text="after") == OTHER_DATA


def test_a_configuration_that_shows_other_fields_does_not_make_all_tasks_others() -> None:
    before = parse_schema(f'<View><Text name="text" value="$title"/>{choices()}</View>')
    made_on = fingerprint(before, {"title": "x"})
    assert truth_of(SINGLE, annotation("a", seen=made_on)) == {"kind": ("a",)}


def test_people_are_asked_for_the_places_of_a_tree_that_are_labels() -> None:
    tree = '<Choice value="A"><Choice value="B"/><Choice value="C"/></Choice><Choice value="D"/>'
    schema = config(f'<Taxonomy name="kind" toName="text" leafsOnly="true">{tree}</Taxonomy>')
    item = {"from_name": "kind", "to_name": "text", "type": "taxonomy", "value": {"taxonomy": [["A", "B"]]}}
    found = ground_truth.examples([task(1, replace(annotation("a"), result=(item,)))], schema)
    assert found.examples[0].truth == {"kind": ("A / B",)}
    assert [poll.key for poll in found.polls] == ["kind: A / B", "kind: A / C", "kind: D"]


def test_a_majority_is_told_from_unanimity() -> None:
    def unanimous(*annotations: Annotation) -> bool:
        return ground_truth.examples([task(1, *annotations)], SINGLE).examples[0].unanimous

    assert unanimous(annotation("a"), annotation("a", by=2))
    assert not unanimous(annotation("a"), annotation("b", by=2), annotation("a", by=3))
    assert unanimous(annotation("a", ground_truth=True), annotation("b", by=2))


def test_the_same_text_is_one_example_wherever_it_stands() -> None:
    tasks = [task(n, annotation(label, minute=-n), text="same") for n, label in ((3, "a"), (1, "b"), (2, "a"))]
    found = ground_truth.examples(tasks, SINGLE)
    (example,) = found.examples
    assert (example.id, example.truth, example.unanimous) == ("3", {"kind": ("a",)}, False)
    assert found.left_out == {DUPLICATE: 2}


def test_an_example_keeps_its_id_when_another_task_with_its_text_is_annotated() -> None:
    early = task(9, annotation("a", minute=1), text="same")
    late = task(2, annotation("a", by=2, minute=7, ground_truth=True), text="same")
    assert [example.id for example in ground_truth.examples([early], SINGLE).examples] == ["9"]
    assert [example.id for example in ground_truth.examples([early, late], SINGLE).examples] == ["9"]


def test_an_annotator_who_contradicts_himself_on_the_same_text_is_contested() -> None:
    tasks = [task(n, annotation(label), text="same") for n, label in ((1, "a"), (2, "b"))]
    found = ground_truth.examples(tasks, SINGLE)
    assert (found.examples, found.left_out, found.contested) == ((), {CONTESTED: 2}, ("1", "2"))


def test_examples_come_in_the_order_in_which_they_were_decided() -> None:
    tasks = [task(1, annotation("a", minute=5)), task(2, annotation("b", minute=1))]
    assert [example.id for example in ground_truth.examples(tasks, SINGLE).examples] == ["2", "1"]


def test_one_class_alone_is_a_truth_like_any_other() -> None:
    found = ground_truth.examples([task(n, annotation("a")) for n in range(1, 31)], SINGLE)
    assert {example.truth["kind"] for example in found.examples} == {("a",)}
    assert len(found.examples) == 30


def test_no_annotations_are_no_ground_truth() -> None:
    for tasks in ([], [task(1)]):
        found = ground_truth.examples(tasks, SINGLE)
        assert (found.examples, found.left_out, found.contested) == ((), {}, ())


@pytest.mark.parametrize(
    ("schema", "shown", "expected"),
    [
        (SINGLE, None, None),
        (SINGLE, ShownPrediction("p1", (answer("b"),), 0.7), Shown("p1", {"kind": ("b",)}, 0.7)),
        (SINGLE, ShownPrediction("p1", (), 0.7), Shown("p1", {}, 0.7)),
        (MULTIPLE, ShownPrediction("p1", (), 0.7), Shown("p1", {"kind": ()}, 0.7)),
        (MULTIPLE, ShownPrediction("", ()), Shown("", {})),
    ],
)
def test_what_was_shown_is_kept_beside_the_answer(
    schema: LabelingSchema, shown: ShownPrediction | None, expected: Shown | None
) -> None:
    (example,) = ground_truth.examples([task(1, annotation("a", shown=shown))], schema).examples
    assert example.shown == expected


def test_a_label_is_blind_only_if_none_of_its_annotators_saw_a_prediction() -> None:
    shown = ShownPrediction("p1", (answer("a"),), 0.7)
    annotations = annotation("a", shown=shown), annotation("a", by=2, minute=1)
    (example,) = ground_truth.examples([task(1, *annotations)], SINGLE).examples
    assert example.shown == Shown("p1", {"kind": ("a",)}, 0.7)


def people(*labels: str) -> list[Annotation]:
    """Each label is another person's: 1, 2, 3..."""
    return [annotation(label, by=n) for n, label in enumerate(labels, start=1)]


def test_a_split_vote_is_kept_as_how_likely_each_label_is() -> None:
    (example,) = ground_truth.examples([task(1, *people("a", "b", "a"))], SINGLE).examples
    assert (example.disputed, example.soft) == (True, {"kind": {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}})
    for agreed in ([annotation("a")], people("a", "a", "a")):
        (example,) = ground_truth.examples([task(1, *agreed)], SINGLE).examples
        assert (example.disputed, example.soft) == (False, {})


def test_one_of_four_who_dissents_splits_nobody() -> None:
    (example,) = ground_truth.examples([task(1, *people("a", "b", "a", "a"))], SINGLE).examples
    assert (example.disputed, example.unanimous, example.soft) == (False, False, {"kind": {"a": 0.75, "b": 0.25}})


def test_a_split_vote_on_several_labels_says_of_each_how_likely_it_applies() -> None:
    cast = annotation("a", "b"), annotation("a", by=2), annotation("a", "c", by=3)
    (example,) = ground_truth.examples([task(1, *cast)], MULTIPLE).examples
    assert example.soft == {"kind": {"a": 1.0, "b": pytest.approx(1 / 3), "c": pytest.approx(1 / 3)}}


def test_a_flagged_annotation_leaves_nothing_soft() -> None:
    flagged = annotation("c", by=3, ground_truth=True)
    (example,) = ground_truth.examples([task(1, *people("a", "b"), flagged)], SINGLE).examples
    assert (example.truth, example.soft, example.unanimous) == ({"kind": ("c",)}, {}, True)


def test_each_persons_votes_are_kept_by_question() -> None:
    found = ground_truth.examples([task(1, *people("a", "b")), task(2, annotation("c", by=None))], SINGLE)
    (poll,) = found.polls
    assert (poll.key, poll.about) == ("kind", None)
    assert set(poll.votes) == {Vote("1", "1", "a"), Vote("1", "2", "b"), Vote("2", "", "c")}
    assert [poll.key for poll in ground_truth.examples([], MULTIPLE).polls] == ["kind: a", "kind: b", "kind: c"]


def test_what_stays_undecided_is_no_example_but_kept_to_be_looked_at() -> None:
    found = ground_truth.examples([task(1, *people("a", "b")), task(2, annotation("a", was_cancelled=True))], SINGLE)
    assert found.examples == ()
    assert [(each.id, each.truth, each.data) for each in found.undecided] == [("1", {}, {"text": "text 1"})]


def unreliable_fourth() -> list[AnnotatedTask]:
    """60 tasks, three good people on each and a fourth who says a, b, c in turn; task 100 is between one of them and
    him."""
    sure = [task(n, *people(*3 * ["abc"[n // 3 % 3]], "abc"[n % 3])) for n in range(1, 61)]
    return [*sure, task(100, annotation("a", by=1), annotation("b", by=4))]


def test_who_answers_at_random_splits_no_vote_and_decides_no_tie() -> None:
    found = ground_truth.examples(unreliable_fourth(), SINGLE)
    assert found.polls[0].consensus.at_random == {"4"}
    assert all(example.unanimous and not example.soft for example in found.examples)
    assert {example.id: example.truth for example in found.examples}["100"] == {"kind": ("a",)}


def test_by_majority_a_tie_with_who_answers_at_random_stays_a_tie() -> None:
    found = ground_truth.examples(unreliable_fourth(), SINGLE, method="majority")
    assert found.contested == ("100",)


made = st.builds(
    lambda labels, by, minute, skipped, flagged: annotation(
        *labels, by=by, minute=minute, was_cancelled=skipped, ground_truth=flagged
    ),
    st.lists(st.sampled_from(["a", "b", "c", "gone"]), max_size=2),
    st.sampled_from([1, 2, 3, None]),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
)
tasks_made = st.lists(st.tuples(st.lists(made, max_size=4), st.sampled_from(["x", "y", "z", "", "w"])), max_size=6)


@pytest.mark.parametrize("schema", [SINGLE, MULTIPLE, REQUIRED])
@given(tasks_made, st.randoms())
def test_each_annotated_task_is_an_example_or_has_a_reason_and_order_does_not_matter(
    schema: LabelingSchema, drawn: list[tuple[list[Annotation], str]], random: Any
) -> None:
    tasks = [task(n, *annotations, text=text) for n, (annotations, text) in enumerate(drawn, start=1)]
    found = ground_truth.examples(tasks, schema)
    annotated = [each for each in tasks if each.annotations]
    assert len(found.examples) + sum(found.left_out.values()) == len(annotated)
    assert len({example.data["text"] for example in found.examples}) == len(found.examples)
    assert all(truths(schema, example) for example in found.examples)
    random.shuffle(tasks)
    assert ground_truth.examples(tasks, schema) == found


def reason_of(schema: LabelingSchema, *annotations: Annotation) -> str:
    (example,) = ground_truth.examples([task(1, *annotations)], schema).examples
    return example.reason


GLAD = ShownPrediction("p0001-aaaa", (answer("a"),), 0.7, rationale="It is glad.")


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ([annotation("a")], ""),
        ([annotation("a", rationale="It is dull.")], "It is dull."),
        ([annotation("a", rationale="It is glad.", shown=GLAD)], ""),
        ([annotation("b", rationale="It is dull.", shown=GLAD)], "It is dull."),
        ([annotation("a", rationale="First."), annotation("a", by=2, minute=1, rationale="Later.")], "Later."),
        ([annotation("a"), annotation("a", by=2), annotation("b", by=3, minute=1, rationale="Outvoted.")], ""),
        ([annotation("a", rationale="Skipped.", was_cancelled=True), annotation("a", by=2)], ""),
    ],
)
def test_the_reason_is_one_that_a_person_gave_for_what_was_decided(annotations: list[Annotation], reason: str) -> None:
    assert reason_of(SINGLE, *annotations) == reason


def test_a_rationale_decides_nothing() -> None:
    one, other = annotation("a", rationale="It is b."), annotation("a", by=2, rationale="It is c.")
    (example,) = ground_truth.examples([task(1, one, other)], SINGLE).examples
    assert (example.truth, example.unanimous) == ({"kind": ("a",)}, True)


def test_a_rationale_alone_says_that_no_label_applies() -> None:
    assert truth_of(MULTIPLE, annotation(rationale="None of them fits.")) == {"kind": ()}
