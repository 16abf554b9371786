import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from backend.labeling import schema as schemas
from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Prompt, PromptVersion
from backend.storage.alarms import Alarm, Raised
from backend.storage.runs import Estimate, RunRecord, Spend
from backend.storage.versions import Activation
from worker.acceptance.acceptable import Scored
from worker.labels.examples import Example, Shown, split_of
from worker.optimizer.outcomes import FAILED, Graded
from worker.report import report
from worker.report import text as report_text
from worker.report.document import Report
from worker.report.report import Judged, Material

START = datetime(2026, 1, 2, tzinfo=UTC)
CONTROL = '<Choices name="{}" toName="text" {}><Choice value="happy"/><Choice value="angry"/></Choices>'


def schema(*controls: str) -> schemas.LabelingSchema:
    return schemas.parse(f'<View><Text name="text" value="$text"/>{"".join(controls)}</View>')


MOOD = schema(CONTROL.format("mood", ""))
HELD_OUT = [str(i) for i in range(400) if split_of(str(i)) == "holdout"]


def minutes(n: float) -> datetime:
    return START + timedelta(minutes=n)


def example(name: str, *, at: datetime = START, true: str = "happy", shown: str | None = None) -> Example:
    seen = Shown("p0001-aaaa", {"mood": (shown,)}, 0.7) if shown else None
    return Example(name, {"text": f"secret {name}"}, {"mood": (true,)}, at, seen)


def graded(right: bool = True, *, score: float = 0.8, **values: tuple[str, ...]) -> Graded:
    return Graded(right, 1.0 if right else -1.0, score, values or {"mood": ("happy" if right else "angry",)})


def version(number: int, origin: str = "seed", at: datetime = START, **prompt: Any) -> PromptVersion:
    made = Prompt(f"Label {number}.", **prompt)
    return PromptVersion.of(number, made, config_hash=MOOD.config_hash, model="m", origin=origin, created_at=at)


SEED, LEARNED = version(1), version(2, "error reflection", minutes(100))
GAIN = Estimate("cross-fitted", 60, 0.7, 0.8, 0.1, 0.02, 0.18, 0.97, 9, 3)
RUN = RunRecord("r1", "7.1", "done", minutes(90), 60, SEED.name, "labels", "published", ("Published.",), LEARNED.name)


def material(examples: Sequence[Example], grades: Mapping[str, Graded] | None = None, **other: Any) -> Material:
    found = {each.id: graded(each.truth == {"mood": ("happy",)}) for each in examples} if grades is None else grades
    given = {"schema": MOOD, "active": Judged(SEED, found), "made_at": minutes(999), **other}
    return Material("7.1", "Mood", examples=examples, **given)


def build(*args: Any, **other: Any) -> Report:
    """As it comes back from where it is kept."""
    found: Report = json.loads(json.dumps(report.build(material(*args, **other)), allow_nan=False))
    return found


def shown_in_terminal(document: Report) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(report_text.text(document))
    return console.file.getvalue()  # type: ignore[attr-defined] # a StringIO


# -- degenerate input


@pytest.mark.parametrize(
    ("examples", "grades"),
    [
        ([], {}),
        ([example("1")], {}),  # labelled, not yet predicted
        ([example("1")], {"1": graded()}),
        ([example("1")], {"1": FAILED}),
        ([example(str(i)) for i in range(30)], None),  # one class only, all right
        ([example(str(i), true="angry") for i in range(30)], None),  # all wrong
        ([example("1", true="a label no longer in the set")], None),
        ([Example("1", {}, {}, START)], {"1": graded()}),  # no control has a truth
        ([Example("1", {}, {"mood": ()}, START)], {"1": graded(right=False)}),  # no label applies
    ],
)
def test_any_labels_make_a_report(examples: list[Example], grades: dict[str, Graded] | None) -> None:
    document = build(examples, grades)
    assert document["labels"] == len(examples)
    assert all(sentence.endswith((".", ").")) for sentence in document["words"])
    assert "## In short" in report_text.markdown(document)
    assert "In short" in shown_in_terminal(document)


def test_without_labels_nothing_is_claimed() -> None:
    document = build([])
    assert document["words"] == [
        f"No labels yet: {SEED.name} labels tasks, and how well is not known until people annotate some."
    ]
    assert document["versions"][0]["all"]["accuracy"]["value"] is None
    assert document["curve"] == []


def test_thirteen_labels_say_in_words_how_little_is_sure() -> None:
    document = build([example(str(i), true="happy" if i < 11 else "angry") for i in range(13)])
    said = " ".join(document["words"])
    assert f"{SEED.name} is right on 11 of 13 labels, 85 % (very rough with so few labels: 63 to 95 %)" in said
    assert "Too few to tell whether people follow what they are shown." in said
    assert "A range in brackets holds the true value in about nine of ten cases." in said


def test_nine_labels_are_too_few_to_tell() -> None:
    accuracy = build([example(str(i)) for i in range(9)])["versions"][0]["all"]["accuracy"]
    assert accuracy["words"] == "9 of 9 labels, 100 % (too few labels to tell: 77 to 100 %)"


# -- which labels tell


def test_a_prompt_from_the_configuration_alone_has_seen_no_label() -> None:
    found = build([example("1"), example("2")])["versions"][0]
    assert found["unseen"]["labels"] == 2
    assert "none of these labels had a part in making it" in found["words"]


def test_a_learned_prompt_is_judged_by_labels_that_came_after_it() -> None:
    examples = [example("1"), example("2", at=minutes(200)), example("3", at=minutes(100))]
    found = build(examples, active=Judged(LEARNED, {each.id: graded() for each in examples}))["versions"][0]
    assert (found["unseen"]["labels"], found["all"]["labels"], found["basis"]) == (1, 3, "all")
    assert "on all labels, which flatter it" in found["words"]


@pytest.mark.parametrize(("kind", "unseen"), [("holdout", 3), ("cross-fitted", 0)])
def test_the_holdout_counts_only_for_a_prompt_that_it_decided_on(kind: Any, unseen: int) -> None:
    examples = [example(name) for name in [*HELD_OUT[:3], "0", "1"] if name in HELD_OUT[:3] or name not in HELD_OUT]
    run = replace(RUN, estimate=replace(GAIN, kind=kind))
    judged = Judged(LEARNED, {each.id: graded() for each in examples})
    assert build(examples, active=judged, runs=[run])["versions"][0]["unseen"]["labels"] == unseen


def test_a_calibrated_seed_has_seen_what_it_was_fitted_on() -> None:
    fitted = version(1, calibration=Calibration({}, 1.4, 20))
    judged = Judged(fitted, {"1": graded()})
    assert build([example("1")], active=judged)["versions"][0]["unseen"]["labels"] == 0


def test_versions_are_compared_on_labels_that_neither_has_seen() -> None:
    late = [example(str(i), at=minutes(200 + i)) for i in range(12)]
    now = {each.id: graded(int(each.id) < 10) for each in late} | {"99": graded()}
    before = {each.id: graded(int(each.id) >= 5) for each in late} | {"99": graded()}
    document = build([*late, example("99")], active=Judged(LEARNED, now), others=[Judged(SEED, before)], runs=[RUN])
    paired = document["versions"][1]["against_active"]
    assert document["versions"][0]["against_active"] is None
    assert paired is not None
    # Learned: right on 0 to 9; seed: on 5 to 11. Of 99 the learned one was made.
    assert (paired["labels"], paired["right"], paired["active_right"]) == (12, 7, 10)
    assert (paired["only_this"], paired["only_active"]) == (2, 5)
    assert paired["words"] in document["words"]


# -- what the figures are of


def test_blind_and_prefilled_labels_stand_apart() -> None:
    examples = [example("1"), example("2", true="angry"), example("3", shown="happy")]
    found = build(examples)["versions"][0]["all"]
    assert (found["accuracy"]["right"], found["accuracy"]["n"]) == (2, 3)
    assert (found["blind"]["right"], found["blind"]["n"]) == (1, 2)
    assert (found["prefilled"]["right"], found["prefilled"]["n"]) == (1, 1)


@pytest.mark.parametrize(("blind_right", "words"), [(5, "People seem to follow what they are shown"), (19, "no sign")])
def test_people_who_follow_what_they_are_shown_are_noticed(blind_right: int, words: str) -> None:
    blind = [example(f"b{i}", true="happy" if i < blind_right else "angry") for i in range(20)]
    shown = [example(f"s{i}", shown="happy") for i in range(20)]
    assert words in " ".join(build([*blind, *shown])["words"])


def test_acceptance_is_the_share_of_shown_predictions_that_people_kept() -> None:
    other = replace(example("4"), shown=Shown("p0002-bbbb", {"mood": ("angry",)}))
    examples = [example("1", shown="happy"), example("2", shown="angry"), example("3"), other]
    found = build(examples)["acceptance"]
    assert (found["shown"]["right"], found["shown"]["n"]) == (1, 3)
    assert {name: (each["right"], each["n"]) for name, each in found["by_version"].items()} == {
        "p0002-bbbb": (0, 1),
        "p0001-aaaa": (1, 2),
    }


def test_the_confusion_names_tasks_and_failures_count_as_wrong() -> None:
    grades = {"1": graded(), "2": graded(right=False), "3": FAILED}
    (found,) = build([example("1"), example("2"), example("3")], grades)["versions"][0]["all"]["controls"]
    assert found["failed"] == ["3"]
    assert (found["accuracy"]["right"], found["accuracy"]["n"]) == (1, 3)
    assert {(cell["true"], cell["predicted"]): cell["tasks"] for cell in found["confusion"]} == {
        ("happy", "happy"): ["1"],
        ("happy", "angry"): ["2"],
        ("happy", None): ["3"],
    }


def test_each_control_has_its_own_figures() -> None:
    both = schema(CONTROL.format("mood", ""), CONTROL.format("tags", 'choice="multiple"'))
    examples = [
        Example("1", {}, {"mood": ("happy",), "tags": ("happy", "angry")}, START),
        Example("2", {}, {"mood": ("happy",)}, START),
    ]
    said = graded(right=False, mood=("happy",), tags=("angry",))
    mood, tags = build(examples, {"1": said, "2": said}, schema=both)["versions"][0]["all"]["controls"]
    assert (mood["accuracy"]["right"], mood["accuracy"]["n"]) == (2, 2)
    assert (tags["accuracy"]["right"], tags["accuracy"]["n"]) == (0, 1)
    assert [(cell["true"], cell["predicted"]) for cell in tags["confusion"]] == [("angry", "angry"), ("happy", None)]


def test_ratings_tell_how_far_they_are_from_peoples() -> None:
    """Off by 0, 1, 1 and 3, and one that failed."""
    stars = schema('<Rating name="stars" toName="text"/>')
    said = {"0": ("4",), "1": ("3",), "2": ("5",), "3": ("1",)}
    examples = [Example(name, {"text": name}, {"stars": ("4",)}, START) for name in (*said, "4")]
    grades = {name: Graded(value == ("4",), 0.0, 0.5, {"stars": value}) for name, value in said.items()}
    found = build(examples, grades | {"4": FAILED}, schema=stars)
    distance = found["versions"][0]["unseen"]["controls"][0]["distance"]
    assert distance["mean"] == pytest.approx(5 / 4)
    assert (distance["within_one"]["right"], distance["within_one"]["n"]) == (3, 4)
    assert "Ratings are 1.25 apart on average; at most 1 apart on 3 of 4" in report_text.markdown(found)


def test_of_labels_without_an_order_no_distance_is_told() -> None:
    found = build([example("1")])
    assert "distance" not in found["versions"][0]["unseen"]["controls"][0]


def test_calibration_leaves_out_what_has_no_score() -> None:
    """A failed answer, and a task with a control nobody answered."""
    both = schema(CONTROL.format("mood", ""), CONTROL.format("other", ""))
    whole = [Example(str(i), {}, {"mood": ("happy",), "other": ("happy",)}, START) for i in range(2)]
    grades = {"0": graded(), "1": FAILED, "2": graded()}
    found = build([*whole, example("2")], grades, schema=both)["versions"][0]["all"]["calibration"]
    assert found["n"] == 1
    assert found["words"] == "Too few labels with a score (1) to tell whether scores keep their word."


@pytest.mark.parametrize(
    ("score", "right", "words"),
    [
        (0.99, 30, "they promise too much"),
        (0.3, 50, "they promise too little"),
        (0.75, 45, "they may well be exact"),
    ],
)
def test_scores_are_held_against_what_was_right(score: float, right: int, words: str) -> None:
    examples = [example(str(i)) for i in range(60)]
    grades = {str(i): graded(i < right, score=score) for i in range(60)}
    assert words in build(examples, grades)["versions"][0]["all"]["calibration"]["words"]


# -- what may be accepted unseen


def pooled(right: int, n: int, **other: Any) -> Report:
    """`n` labels of the same score, `right` of them right, beside a hundred open tasks of that score."""
    examples = [example(str(i)) for i in range(n)]
    grades = {each.id: graded(int(each.id) < right, score=0.9) for each in examples}
    given = {"audited": frozenset(grades), "open": [Scored(0.9, "logprob")] * 100, **other}
    return build(examples, grades, **given)


def test_labels_of_the_audit_slice_certify_what_may_be_accepted() -> None:
    found = pooled(60, 60)["acceptable"]
    ninety, strict, strictest = found["certificates"]
    assert (found["checked"], found["open"], found["version"], found["calibrated_on"]) == (60, 100, SEED.name, 0)
    assert (ninety["threshold"], strict["threshold"], strictest["threshold"]) == (0.9, 0.9, None)
    assert strict["words"].startswith(
        "95 % right, 90 % sure: 100 open tasks, 100 % of all, with a score of 0.9000 or more. 60 labels with such a "
        "score were checked, none of them wrong."
    )
    assert "96 % right can be promised now." in strictest["words"]  # .96^60 = .086, .97^60 = .161


@pytest.mark.parametrize("kept", [frozenset(), frozenset({"0", "1"})])
def test_labels_that_were_not_drawn_by_lot_certify_nothing(kept: frozenset[str]) -> None:
    found = pooled(60, 60, audited=kept)["acceptable"]
    assert (found["checked"], found["certificates"][0]["threshold"]) == (len(kept), None)
    assert "That is too few to promise much" in " ".join(found["words"])


def test_labels_that_had_a_part_in_making_the_version_certify_nothing() -> None:
    examples = [example(str(i)) for i in range(60)]
    judged = Judged(LEARNED, {each.id: graded(score=0.9) for each in examples})
    found = build(examples, active=judged, audited=frozenset(judged.graded))["acceptable"]
    assert found["checked"] == 0


def test_scores_of_two_kinds_are_never_pooled() -> None:
    found = pooled(60, 60, open=[Scored(0.9, "votes")] * 70 + [Scored(0.9, "logprob")] * 30)["acceptable"]
    assert (found["score_kind"], found["checked"], found["open"]) == ("logprob", 60, 30)
    assert "70 predictions with scores of another kind than logprob are left out." in found["words"]


def test_a_target_that_is_out_of_reach_says_what_is_missing() -> None:
    (_, strict, _) = pooled(40, 50)["acceptable"]["certificates"]
    assert "from no score on, so far. 50 labels drawn by lot were checked, 10 of them wrong." in strict["words"]
    assert "right can be promised now." in strict["words"]


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (Calibration(), "scores are uncalibrated: the LLM's own"),
        (Calibration({}, 1.4, 12), "calibrated on 12 labels, so few that they stay near what is usual"),
        (Calibration({}, 1.4, 40), "scores are calibrated on 40 labels."),
    ],
)
def test_uncalibrated_scores_are_called_so(calibration: Calibration, words: str) -> None:
    version_of_it = version(2, at=minutes(-1), calibration=calibration)
    examples = [example(str(i)) for i in range(20)]
    document = build(examples, active=Judged(version_of_it, {each.id: graded() for each in examples}))
    assert document["versions"][0]["calibrated_on"] == calibration.fitted_on
    assert words in report_text.markdown(document)


def test_the_reliability_diagram_marks_what_was_promised() -> None:
    examples = [example(str(i)) for i in range(20)]
    grades = {str(i): graded(i < 10, score=0.75) for i in range(20)}
    # Right half the time: ten of twenty; promised at three quarters: the fifteenth.
    assert "==========.....+....." in report_text.markdown(build(examples, grades))


def test_risk_and_coverage_are_told_as_counted() -> None:
    examples = [example(str(i)) for i in range(20)]
    grades = {str(i): graded(i < 15, score=0.9 if i < 10 else 0.6) for i in range(20)}
    document = build(examples, grades)
    found = document["versions"][0]["all"]["calibration"]["risk_coverage"]
    assert [(each["coverage"], each["threshold"]) for each in found["coverage_at"]] == [(0.5, 0.9)] * 4
    assert [(each["coverage"], each["risk"]) for each in found["points"]] == [(0.5, 0.0), (1.0, 0.25)]
    assert "| 95 % | 50 % | 0.900 |" in report_text.markdown(document)


# -- runs


def test_the_curve_has_what_served_after_each_run_and_what_serves_now() -> None:
    first = replace(RUN, estimate=GAIN)
    kept = replace(
        RUN, id="r2", started_at=minutes(300), labels=80, active=LEARNED.name, decision="kept", estimate=GAIN
    )
    none = replace(RUN, id="r3", started_at=minutes(400), decision="no_headroom", challenger=None)
    late = [example(str(i), at=minutes(500)) for i in range(20)]
    document = build(late, active=Judged(LEARNED, {each.id: graded() for each in late}), runs=[kept, none, first])
    points = [(p["labels"], p["run"], p["version"], p["accuracy"]["right"], p["kind"]) for p in document["curve"]]
    assert points == [
        (60, "r1", LEARNED.name, 48, "cross-fitted"),
        (80, "r2", LEARNED.name, 42, "cross-fitted"),
        (20, None, LEARNED.name, 20, "unseen"),
    ]


def test_a_new_prompt_is_described_by_the_run_that_chose_it() -> None:
    examples = [example(str(i)) for i in range(40)]
    judged = Judged(LEARNED, {each.id: graded() for each in examples})
    said = " ".join(build(examples, active=judged, runs=[replace(RUN, estimate=GAIN)])["words"])
    assert "The run that chose it, with 60 labels, expected it to be right on 48 of 60 labels, 80 %" in said


def test_spend_adds_up_and_an_unknown_price_is_said_to_be_unknown() -> None:
    spends = [Spend(student_calls=10, usd=0.5), Spend(teacher_calls=2), Spend(from_cache=5)]
    runs = [replace(RUN, id=str(i), spend=spend) for i, spend in enumerate(spends)]
    found = build([example("1")], runs=runs)["spend"]
    assert (found["runs"], found["student_calls"], found["teacher_calls"], found["from_cache"]) == (3, 10, 2, 5)
    assert (found["usd"], found["unpriced_runs"]) == (0.5, 1)
    assert "The price of 1 run is unknown and not in it." in found["words"]


@pytest.mark.parametrize(
    ("spends", "usd"),
    [([], 0.0), ([Spend()], 0.0), ([Spend(student_calls=1)], None), ([Spend(student_calls=1, usd=0.0)], 0.0)],
)
def test_no_call_costs_nothing_and_no_price_is_null(spends: list[Spend], usd: float | None) -> None:
    runs = [replace(RUN, id=str(i), spend=spend) for i, spend in enumerate(spends)]
    assert build([example("1")], runs=runs)["spend"]["usd"] == usd


def test_the_latest_run_and_activations_stand_first() -> None:
    runs = [RUN, replace(RUN, id="r2", started_at=minutes(300), words=("Kept.",), fixes=("5",))]
    activations = [Activation(SEED.name, "seed", START), Activation(LEARNED.name, "run r1", minutes(100))]
    document = build([example("1")], runs=runs, activations=activations)
    assert document["last_run"] is not None
    assert (document["last_run"]["id"], document["last_run"]["fixes"]) == ("r2", ["5"])
    assert [each["version"] for each in document["activations"]] == [LEARNED.name, SEED.name]
    assert document["versions"][0]["activated"] == [START.isoformat()]


def test_what_is_no_ground_truth_is_counted_by_reason() -> None:
    document = build([example("1")], left_out={"skipped": 2, "the annotators split evenly": 1}, contested=["8"])
    assert document["words"][-2:] == [
        "Left out: 3 annotated tasks (skipped: 2; the annotators split evenly: 1).",
        "On 1 task people split evenly: the guideline may need a word on such cases.",
    ]


def test_the_splits_add_up_to_all_labels() -> None:
    examples = [replace(example(str(i), shown="happy" if i % 3 else None), unanimous=i != 4) for i in range(50)]
    document = build(examples)
    assert [each["split"] for each in document["splits"]] == ["train", "dev", "holdout"]
    assert sum(each["labels"] for each in document["splits"]) == 50
    assert sum(each["blind"] for each in document["splits"]) == 17
    assert sum(each["divided"] for each in document["splits"]) == 1


def test_the_same_material_makes_the_same_report() -> None:
    examples = [example(str(i), true="happy" if i % 4 else "angry") for i in range(40)]
    assert build(examples) == build(examples)


def test_no_task_text_enters_the_report() -> None:
    assert "secret" not in json.dumps(build([example(str(i)) for i in range(20)]))


# -- layouts


def filled() -> Report:
    examples = [example(str(i), at=minutes(200), true="happy" if i % 4 else "angry", shown="happy") for i in range(40)]
    grades = {each.id: graded(int(each.id) % 4 > 0, score=0.5 + int(each.id) / 100) for each in examples}
    run = replace(RUN, estimate=GAIN, fixes=("5", "6"), spend=Spend(student_calls=3))
    return build(
        examples,
        active=Judged(LEARNED, grades),
        others=[Judged(SEED, grades)],
        runs=[run],
        activations=[Activation(LEARNED.name, "run r1", minutes(100))],
    )


@pytest.mark.parametrize(
    "part",
    [
        "Published.",
        "Tasks it mends: 5, 6.",
        "30/40 75 % (62 to 84 %)",
        "Precision and recall of mood",
        "0, 4, 8, 12, 16, 20, 24, 28, 32, 36",
        "By number of labels",
        "calibration error 0.",
        "Acceptance: predictions that people kept",
        "What it cost",
        "run r1",
    ],
)
def test_both_layouts_show_every_part(part: str) -> None:
    assert part in shown_in_terminal(filled())
    assert part in report_text.markdown(filled())


def test_labels_can_neither_style_a_terminal_nor_break_a_table() -> None:
    hostile = "[red]a|b\x1b[31m\n<img src=x>"
    document = build([example("1", true=hostile)])
    assert "[red]a|b [31m <img src=x>" in shown_in_terminal(document)
    marked = report_text.markdown(document)
    assert "\\[red\\]a\\|b \\[31m \\<img src=x\\>" in marked
    assert "\x1b" not in marked


def test_every_row_of_a_markdown_table_has_its_columns() -> None:
    lines = report_text.markdown(filled()).splitlines()
    for above, below in pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|")


def test_many_cells_give_way_to_the_document_and_mistakes_stand_first() -> None:
    true = {str(i): f"label {i}" for i in range(40)}
    examples = [example(name, true=label) for name, label in true.items()] + [example("right")]
    grades = {name: graded(right=False) for name in true} | {"right": graded()}
    marked = report_text.markdown(build(examples, grades))
    assert "11 rarer pairs are in the JSON document." in marked
    assert "| happy | happy | 1 | right |" not in marked


# -- drift

DRIFTED = [
    Raised(
        Alarm("model", f"The model changed, {number}.", 2.0), LEARNED.name if number > 5 else SEED.name, minutes(number)
    )
    for number in range(7, 0, -1)
]


def test_the_last_alarms_stand_in_a_section_of_their_own() -> None:
    text = report_text.markdown(build([example("1")], alarms=DRIFTED))
    assert "## Drift" in text
    assert f"2026-01-02, {LEARNED.name}: The model changed, 7." in text
    assert "The model changed, 2." not in text
    assert "2 earlier ones are in the JSON document." in text


def test_alarms_under_the_active_version_are_counted_in_short() -> None:
    document = build([example("1")], alarms=DRIFTED)
    assert (
        f"5 drift alarms since {SEED.name} is the active prompt, the last on 2026-01-02: see Drift."
        in document["words"]
    )


def test_without_an_alarm_nothing_is_said_of_drift() -> None:
    document = build([example("1")])
    assert document["drift"] == []
    assert "rift" not in report_text.markdown(document)


def test_an_alarm_enters_a_report_that_was_made_before() -> None:
    before = build([example("1")])
    assert report.with_alarms(before, DRIFTED) == build([example("1")], alarms=DRIFTED)


def test_a_report_from_before_there_were_alarms_is_laid_out_too() -> None:
    old: Any = {name: value for name, value in build([example("1")]).items() if name != "drift"}
    assert "## In short" in report_text.markdown(old)
