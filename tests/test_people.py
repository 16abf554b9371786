"""Several people on the same tasks, and what the report says of them."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from backend.labeling import schema as schemas
from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Prompt, PromptVersion
from tests.annotating import annotation, at, task
from tests.voting import LABELS, simulated
from worker.labels import ground_truth
from worker.labels.annotations import AnnotatedTask, ShownPrediction
from worker.labels.examples import Example
from worker.labels.ground_truth import GroundTruth
from worker.labels.polls import Poll
from worker.optimizer.outcomes import Graded
from worker.report import annotators as people
from worker.report import report
from worker.report import text as report_text
from worker.report.annotators import Gap, Slip
from worker.report.people_document import PeopleJson
from worker.report.report import Judged, Material
from worker.statistics.consensus import Vote, consensus

CHOICES = '<Choices name="kind" toName="text" {}><Choice value="a"/><Choice value="b"/><Choice value="c"/></Choices>'
SINGLE, MULTIPLE = (
    schemas.parse(f'<View><Text name="text" value="$text"/>{CHOICES.format(attributes)}</View>')
    for attributes in ("", 'choice="multiple"')
)


def poll(*items: str, settled: Sequence[str] = ()) -> Poll:
    """Each item is a text of labels: the first person's, the second's..."""
    cast = tuple(
        Vote(str(i), f"p{j}", label) for i, said in enumerate(items) for j, label in enumerate(said) if label != "-"
    )
    return Poll("kind", "kind", None, cast, consensus(cast, LABELS), frozenset(settled))


def answered(*labels: str, score: float = 0.95) -> dict[str, Graded]:
    return {str(i): Graded(True, 1.0, score, {"kind": (label,)}) for i, label in enumerate(labels)}


# -- figures


def test_a_person_and_the_llm_are_held_against_the_same_others_on_the_same_tasks() -> None:
    # Of aab the third is against (a, a), the others have no consensus; of aaa and bbb all three agree.
    # The LLM says a, a, a: right against the others of 0 and 1, wrong against those of 2.
    found = people.ceiling([poll("aab", "aaa", "bbb")], answered("a", "a", "a"))
    assert (found.tasks, found.people.value, found.llm.value) == (3, pytest.approx(6 / 7), pytest.approx(4 / 7))
    assert found.ahead.value == pytest.approx(-2 / 7)


def test_a_task_that_the_llm_was_not_asked_does_not_count_for_people_either() -> None:
    found = people.ceiling([poll("aab", "aaa")], {"1": Graded(True, 1.0, 0.9, {"kind": ("a",)})})
    assert (found.tasks, found.people.value, found.llm.value) == (1, 1.0, 1.0)


def test_without_a_second_person_there_is_no_ceiling() -> None:
    found = people.ceiling([poll("a", "b")], answered("a", "b"))
    assert (found.tasks, found.people.value, found.llm.value, found.ahead.low) == (0, None, None, -1.0)


def test_people_as_good_as_they_are_made_have_such_a_ceiling_and_interval() -> None:
    """Each right with .8, else one of two others: a pair agrees with .64 + 2 * .01 = .66."""
    inside = 0
    for seed in range(40):
        cast, truth = simulated([0.8, 0.8], 100, each=2, seed=seed)
        made = Poll("kind", "kind", None, tuple(cast), consensus(cast, LABELS))
        graded = {item: Graded(True, 1.0, 0.9, {"kind": (true,)}) for item, true in truth.items()}
        found = people.ceiling([made], graded, seed=seed)
        inside += found.people.low <= 0.66 <= found.people.high and found.llm.low <= 0.8 <= found.llm.high
    assert inside >= 30


def test_each_person_stands_by_agreement_with_the_others() -> None:
    first, second, third = people.standings([poll("aab", "aaa", "bbb", "a--")])
    assert [(each.annotator, each.labelled, each.agreed.count, each.agreed.n) for each in (first, second, third)] == [
        ("p0", 4, 2, 2), ("p1", 3, 2, 2), ("p2", 3, 2, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "pairs"),
    [
        ("aa", []),
        ("a", []),
        ("ba", [("a", "b")]),
        ("aab", [("a", "b")]),
        ("aaab", []),  # one of four dissents
        ("abc", [("a", "b"), ("a", "c"), ("b", "c")]),
        ("ccaab", [("a", "c")]),
        ("cccab", [("a", "c"), ("b", "c")]),
    ],
)
def test_a_split_stands_under_the_labels_it_is_between(said: str, pairs: list[tuple[str, str]]) -> None:
    assert {gap.labels for gap in people.gaps([poll(said)])} == set(pairs)


def test_gaps_are_grouped_the_largest_first_and_what_is_settled_is_none() -> None:
    assert people.gaps([poll("ac", "ab", "ba", "bc", "aa", settled="3")]) == [
        Gap("kind", ("a", "b"), ("1", "2")),
        Gap("kind", ("a", "c"), ("0",)),
    ]


# -- through ground truth into the report


def labelled(*said: str) -> list[AnnotatedTask]:
    """Each text is a task's labels, the first by person 1, the second by person 2..."""
    return [
        task(n, *(annotation(label, by=by) for by, label in enumerate(labels, start=1) if label != "-"))
        for n, labels in enumerate(said, start=1)
    ]


def version(fitted_on: int = 60) -> PromptVersion:
    prompt = Prompt("Which?", calibration=Calibration({}, 1.5, fitted_on))
    return PromptVersion.of(1, prompt, config_hash=SINGLE.config_hash, model="m", origin="seed", created_at=at(-9))


def says(truth: GroundTruth, label: str = "a", score: float = 0.95) -> dict[str, Graded]:
    return {
        each.id: Graded(each.truth.get("kind") == (label,), 1.0, score, {"kind": (label,)})
        for each in (*truth.examples, *truth.undecided)
    }


def document(truth: GroundTruth, graded: Mapping[str, Graded] | None = None, **other: Any) -> report.Report:
    active = Judged(other.pop("version", version()), says(truth) if graded is None else graded)
    found: report.Report = json.loads(
        json.dumps(
            report.build(
                Material(
                    "7.1",
                    "Kinds",
                    other.get("schema", SINGLE),
                    truth.examples,
                    active,
                    at(99),
                    left_out=truth.left_out,
                    contested=truth.contested,
                    polls=truth.polls,
                    undecided=truth.undecided,
                )
            ),
            allow_nan=False,
        )
    )
    return found


def told(*said: str, **other: Any) -> PeopleJson:
    return document(ground_truth.examples(labelled(*said), SINGLE), **other)["people"]


def test_one_annotator_alone_is_told_what_to_do_to_see_agreement() -> None:
    found = told("a", "b", "a")
    assert (found["annotators"], found["shared"], found["ceiling"], found["gaps"]) == (1, 0, [], [])
    assert found["agreement"][0]["alpha"]["value"] is None
    assert found["words"][0] == (
        "One person alone labelled: give some tasks to a second one to see how far people agree."
    )


def test_annotators_who_never_overlap_are_told_so() -> None:
    found = told("a", "-b", "a", "-b")
    assert found["annotators"] == 2
    assert found["words"] == [
        "No task was labelled by two people: give some tasks to several to see how far they agree."
    ]


def test_without_labels_nothing_is_said_of_people() -> None:
    assert told()["words"] == []


def test_what_two_leave_undecided_counts_for_their_agreement_and_the_llms() -> None:
    """Of 20 tasks they agree on ten; the LLM says what the first does on all."""
    found = told(*["aa"] * 10, *["ab"] * 10)
    (ceiling,) = found["ceiling"]
    assert (ceiling["tasks"], ceiling["people"]["value"], ceiling["llm"]["value"]) == (20, 0.5, 0.75)


def test_an_llm_that_agrees_with_people_as_they_do_has_come_to_the_ceiling() -> None:
    rows = [f"{label * 2}{'b' if i % 5 == 0 else label}" for i, label in enumerate("aacc" * 25)]
    truth = ground_truth.examples(labelled(*rows), SINGLE)
    exact = {each.id: Graded(True, 1.0, 0.8, {"kind": each.truth["kind"]}) for each in truth.examples}
    found = document(truth, exact)
    (ceiling,) = found["people"]["ceiling"]
    assert "what is left is for the guideline to say" in ceiling["words"]
    assert ceiling["words"] in found["words"]
    poor = document(truth, says(truth, "a"))["people"]["ceiling"][0]
    assert "there is room for a better prompt" in poor["words"]


def test_few_shared_tasks_compare_nothing() -> None:
    assert told("aa", "ab")["ceiling"][0]["words"] == (
        "kind: 2 tasks with labels of several people are too few to compare the LLM with a person."
    )


def test_agreement_after_a_shown_prediction_is_said_to_be_flattered() -> None:
    shown = ShownPrediction("p1", (), 0.7)
    tasks = [
        replace(each, annotations=tuple(replace(one, shown=shown) for one in each.annotations))
        for each in labelled("aa", "bb")
    ]
    found = document(ground_truth.examples(tasks, SINGLE))["people"]
    assert found["prefilled"] == 2
    assert "In 2 of them a prediction was in sight, which makes people agree more." in found["words"][0]


def test_who_answers_at_random_is_named() -> None:
    rows = [3 * "abc"[n // 3 % 3] + "abc"[n % 3] for n in range(60)]
    found = told(*rows)
    assert [each["annotator"] for each in found["standings"] if each["at_random"]] == ["4"]
    assert found["gaps"] == []
    assert any("Annotator 4 seems to answer at random" in each for each in found["words"])


def test_gaps_name_the_labels_and_the_tasks() -> None:
    found = told("ab", "ba", "aa", "bc")
    assert [(each["labels"], each["tasks"]) for each in found["gaps"]] == [
        (["a", "b"], ["1", "2"]),
        (["b", "c"], ["4"]),
    ]
    assert any("On 3 tasks people split" in each and '"a" and "b"' in each for each in found["words"])


def test_a_confident_llm_calls_a_label_of_one_person_into_question() -> None:
    found = told(*["a"] * 50, "b", "bb")
    assert found["slips"] == [{"task": "51", "control": "kind", "said": ["b"], "predicted": ["a"], "score": 0.95}]
    assert "on 1 task that one person labelled, the LLM is confident of another label" in found["words"][-1]


@pytest.mark.parametrize(
    ("other", "rows"),
    [
        ({"version": version(fitted_on=29)}, ["a"] * 50),  # its scores are hardly calibrated
        ({}, ["b"] * 50),  # its confident answers are wrong: it has no say
        ({}, []),
    ],
)
def test_an_llm_whose_scores_are_not_to_be_trusted_questions_nobody(other: dict[str, Any], rows: list[str]) -> None:
    assert told(*rows, "b", **other)["slips"] == []


def test_an_unsure_llm_and_a_flagged_label_are_no_slips() -> None:
    truth = ground_truth.examples(labelled(*["a"] * 50, "b"), SINGLE)
    assert document(truth, says(truth, score=0.89))["people"]["slips"] == []
    flagged = [*labelled(*["a"] * 50), task(51, annotation("b", ground_truth=True))]
    assert document(ground_truth.examples(flagged, SINGLE))["people"]["slips"] == []


def test_twenty_slips_are_named_the_most_confident_first() -> None:
    polls = [poll(*["b"] * 30)]
    examples = [Example(str(i), {}, {"kind": ("b",)}, at(0)) for i in range(30)]
    graded = {str(i): Graded(False, -1.0, 0.9 + i / 1000, {"kind": ("a",)}) for i in range(30)}
    found = people.slips(polls, examples, graded)
    assert len(found) == 20
    assert found[0] == Slip("29", "kind", ("b",), ("a",), 0.929)


def test_of_a_multiple_choice_each_label_has_its_agreement() -> None:
    tasks = [
        task(n, annotation("a", *(["b"] if n % 2 else []), by=1), annotation(*(["a"] if n < 19 else ["c"]), by=2))
        for n in range(1, 21)
    ]
    truth = ground_truth.examples(tasks, MULTIPLE)
    found = document(truth, schema=MULTIPLE)["people"]
    assert [each["question"] for each in found["agreement"]] == ["kind: a", "kind: b", "kind: c"]
    assert found["gaps"][0]["labels"] == ["b", None]
    assert len(found["ceiling"]) == 1


def test_both_layouts_show_what_people_do() -> None:
    found = document(ground_truth.examples(labelled(*["aa"] * 50, "ab", "b"), SINGLE))
    console = Console(file=io.StringIO(), width=160)
    console.print(report_text.text(found))
    for shown in (console.file.getvalue(), report_text.markdown(found)):  # type: ignore[attr-defined] # a StringIO
        for title in ("How far people agree", "Annotators", "Gaps of the guideline", "Labels to look at again"):
            assert title in shown
