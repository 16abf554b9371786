"""The report's figures for the whole project, beside those on the labels alone, and what prefill does."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from backend.storage.versions import Activation
from tests.test_report import LEARNED, MOOD, SEED, START, example, graded, material, minutes, shown_in_terminal
from worker.labels.examples import Example
from worker.labels.used import Used
from worker.optimizer.outcomes import Graded
from worker.predictions.frame import ProjectScores
from worker.report import report
from worker.report import text as report_text
from worker.report.document import Report
from worker.report.report import Judged
from worker.report.whole_document import PrefillJson, WholeJson

TASKS = 1000
SECTION = "## For the whole project"


def task_score(number: int) -> float:
    return 0.5 + number / (2 * TASKS)


def scores(chosen: Sequence[int] = (), **other: object) -> ProjectScores:
    """Of 1,000 tasks, the surer the higher their number."""
    by_data = {MOOD.data_hash({"text": f"secret {n}"}): task_score(n) for n in range(TASKS)}
    return replace(ProjectScores(SEED.name, by_data, TASKS, chosen=frozenset(map(str, chosen))), **other)  # type: ignore[arg-type]


def judged(right: dict[int, bool]) -> tuple[list[Example], dict[str, Graded]]:
    found = {str(n): graded(so, score=task_score(n)) for n, so in right.items()}
    return [example(name, true="happy") for name in found], found


# The 60 least certain tasks, a third of them right, and 24 audit tasks among the other 940, three quarters right.
CHOSEN, AUDIT = range(60), range(60 + 19, TASKS, 39)
AUDITED = frozenset(map(str, range(500, 1000)))
LABELLED = {**{n: n % 3 == 0 for n in CHOSEN}, **{n: place % 4 != 0 for place, n in enumerate(AUDIT)}}


def build(right: dict[int, bool], known: ProjectScores, **other: object) -> Report:
    examples, found = judged(right)
    document = report.build(material(examples, found, scores=known, **other))
    loaded: Report = json.loads(json.dumps(document, allow_nan=False))
    return loaded


def whole(document: Report) -> WholeJson:
    assert document["whole"]
    return document["whole"]


def prefill(document: Report) -> PrefillJson:
    assert document["prefill"]
    return document["prefill"]


def test_the_figure_for_all_tasks_stands_beside_that_on_the_labels() -> None:
    """20 of 60 and 18 of 24 right: 38 of 84; weighted (20 + 940 x .75) / 1000 = .725, moved a little by the scores.

    The 24 are of 94 % of the tasks, and what is labelled is known: variance .94² (1 - 24/940) (19/26) (7/26) / 24 =
    .00706, against .206 for the whole: 29 labels."""
    found = whole(build(LABELLED, scores(CHOSEN)))
    assert (found["labels"], found["chosen"], len(AUDIT)) == (84, 60, 25 - 1)
    assert found["plain"]["right"] == 38
    assert found["accuracy"]["value"] == pytest.approx(0.725, abs=0.02)
    assert found["accuracy"]["effective"] == pytest.approx(29.1, abs=0.5)
    assert found["speaks_for"] == 1.0


def test_the_words_say_what_people_picked_and_what_the_labels_are_worth() -> None:
    document = build(LABELLED, scores(CHOSEN))
    said = " ".join(whole(document)["words"])
    assert "Weighted to hold for all tasks" in said
    assert "people labelled tasks that are harder than most" in said
    assert "It speaks for the whole project, 1,000 tasks." in said
    assert set(whole(document)["words"]) <= set(document["words"])


def test_both_figures_are_in_the_text_and_in_markdown() -> None:
    document = build(LABELLED, scores(CHOSEN))
    assert "For the whole project" in shown_in_terminal(document)
    part = report_text.markdown(document).partition(SECTION)[2].partition("##")[0]
    assert "on the labels | on all tasks" in part
    assert "precision of happy" in part


def test_scores_that_nobody_labelled_are_named() -> None:
    document = build(dict.fromkeys(CHOSEN, True), scores())
    found = whole(document)
    assert found["speaks_for"] == pytest.approx(0.06)
    assert [gap["tasks"] for gap in found["gaps"]] == [940]
    assert "speaks for 6 % of the project's 1,000 tasks: nobody has labelled a task with a score from 0.53" in " ".join(
        found["words"]
    )


def test_labels_in_plain_order_say_the_same_of_all_tasks() -> None:
    right = {n: n % 5 != 0 for n in np.random.default_rng(1).permutation(TASKS)[:150].tolist()}
    document = build(right, scores())
    found = whole(document)
    assert found["accuracy"]["value"] == pytest.approx(found["plain"]["value"], abs=0.03)
    assert "much the same" in " ".join(found["words"])
    assert not set(found["words"]) & set(document["words"])


def test_tasks_without_a_prediction_are_not_spoken_for_unless_they_are_blind() -> None:
    assert whole(build(LABELLED, scores(CHOSEN, tasks=2000)))["speaks_for"] == pytest.approx(0.5)
    assert whole(build(LABELLED, scores(CHOSEN, tasks=2000, blind_share=0.5)))["speaks_for"] == 1.0


def test_precision_and_recall_are_weighted_too() -> None:
    """All are truly happy. Recall of "happy" is the weighted accuracy without the slope: (20 + 705) / 1000."""
    (control,) = whole(build(LABELLED, scores(CHOSEN)))["controls"]
    happy = next(each for each in control["labels"] if each["label"] == "happy")
    assert happy["recall"]["value"] == pytest.approx(0.725)
    assert happy["precision"]["value"] == 1.0


def test_versions_are_weighted_side_by_side() -> None:
    examples, found = judged(LABELLED)
    all_right = {name: graded(True) for name in found}
    known = scores(CHOSEN)
    document = report.build(material(examples, found, scores=known, others=[Judged(LEARNED, all_right)]))
    values = {each["version"]: each["accuracy"]["value"] for each in whole(document)["versions"]}
    assert values[LEARNED.name] == pytest.approx(1.0, abs=0.05)
    assert values[SEED.name] == pytest.approx(0.725, abs=0.02)


def test_labels_that_made_a_version_do_not_count_for_it() -> None:
    """A learned version, with 12 audit labels that came after it: the other 72 are what it was made from."""
    examples, found = judged(LABELLED)
    later = {str(n) for n in list(AUDIT)[::2]}
    dated = [replace(each, annotated_at=minutes(200)) if each.id in later else each for each in examples]
    document = report.build(material(dated, found, scores=scores(CHOSEN), active=Judged(LEARNED, found)))
    assert whole(document)["labels"] == 12
    assert whole(document)["chosen"] == 0


def test_labels_that_were_saved_again_after_they_made_a_version_do_not_count_for_it_either() -> None:
    """All were decided anew after it was made; by their ids 12 are those that no run had read."""
    examples, found = judged(LABELLED)
    later = {str(n) for n in list(AUDIT)[::2]}
    dated = [replace(each, annotated_at=minutes(200)) for each in examples]
    used = Used.of({each.id: minutes(90) for each in examples if each.id not in later})
    document = report.build(material(dated, found, scores=scores(CHOSEN), active=Judged(LEARNED, found), used=used))
    assert whole(document)["labels"] == 12


def test_without_scores_nothing_is_said_of_the_whole_project() -> None:
    examples, found = judged(LABELLED)
    document = report.build(material(examples, found))
    assert (document["whole"], document["prefill"]) == (None, None)
    assert SECTION not in report_text.markdown(document)


@pytest.mark.parametrize("right", [{}, {3: True}, {3: False, 999: True}])
def test_hardly_any_label_makes_a_report(right: dict[int, bool]) -> None:
    document = build(right, scores())
    assert all(sentence.endswith((".", ").")) for sentence in whole(document)["words"])
    assert prefill(document)["difference"] is None
    assert SECTION in report_text.markdown(document)


# -- prefill


def answered(kept: int, of_shown: int, agreed: int, of_hidden: int) -> Report:
    """Shown predictions that people kept, and blind labels that agree with what the version then active would say."""
    shown = [example(str(n), true="happy", shown="happy" if n < kept else "angry") for n in range(of_shown)]
    blind = [example(str(500 + n), true="happy", at=minutes(5)) for n in range(of_hidden)]
    found = {e.id: graded(True, score=0.8) for e in shown}
    found |= {e.id: graded(n < agreed, score=0.8) for n, e in enumerate(blind)}
    same = replace(scores(), by_data=dict.fromkeys(scores().by_data, 0.8))
    return report.build(
        material(
            [*shown, *blind], found, scores=same, audited=AUDITED, activations=[Activation(SEED.name, "seed", START)]
        )
    )


def test_agreement_with_shown_and_with_hidden_predictions_is_compared() -> None:
    found = prefill(answered(95, 100, 60, 80))
    assert found["shown"]["value"] == pytest.approx(0.95)
    assert found["hidden"]["value"] == pytest.approx(0.75)
    assert found["difference"] == pytest.approx(0.2)
    assert found["low"] > 0
    assert found["words"].startswith("People agree with a shown prediction 20 points more often than with a hidden one")
    assert "They follow what they are shown" in found["words"]


def test_a_difference_that_chance_explains_is_said_to_be_that() -> None:
    assert "That may well be chance." in prefill(answered(42, 50, 24, 30))["words"]


def test_few_blind_labels_tell_nothing_of_prefill() -> None:
    assert "4 blind labels of the audit slice, too few" in prefill(answered(42, 50, 4, 4))["words"]


def test_a_hidden_prediction_is_that_of_the_version_active_when_the_label_was_given() -> None:
    """The learned version, active from minute 100 on, is wrong on everything; the blind labels are older."""
    blind = [example(str(500 + n), true="happy", at=minutes(5)) for n in range(30)]
    shown = [example(str(n), true="happy", shown="happy") for n in range(30)]
    before = {each.id: graded(True) for each in [*blind, *shown]}
    after = {each.id: graded(False) for each in [*blind, *shown]}
    document = report.build(
        material(
            [*blind, *shown],
            scores=scores(),
            audited=AUDITED,
            active=Judged(LEARNED, after),
            others=[Judged(SEED, before)],
            activations=[Activation(SEED.name, "seed", START), Activation(LEARNED.name, "run r1", minutes(100))],
        )
    )
    assert prefill(document)["hidden"]["value"] == 1.0
