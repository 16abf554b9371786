from dataclasses import replace
from typing import Any, get_args

import pytest

from backend.labeling.calibration import Calibration
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt
from backend.storage.runs import Decision, Effort, Estimate, Spend
from worker.optimizer.rollback import watch
from worker.runs import verdict

GAIN = Estimate("holdout", 60, 44 / 60, 51 / 60, 7 / 60, 0.03, 0.20, 0.97, 10, 3)
SPEND = Spend(480, 12, 61_000, 52_000, 600, None, 190.0, 1200)
PROMPT = Prompt("Say which mood fits. Look at the last sentence.", {"happy": "content"}, ("Irony is angry.",))


def say(decision: Decision, estimate: Estimate | None = GAIN, **other: Any) -> str:
    given = {"changes": ("New rule: x.",), "origin": "error reflection", "spend": SPEND, "labels": 74, **other}
    return "\n".join(verdict.words(decision, estimate, **given))


def demonstration(label: str, text: str = "a secret text") -> Demonstration:
    return Demonstration((Value("text", text),), {"mood": (label,)})


def changed(**fields: Any) -> str:
    return " ".join(verdict.changes(PROMPT, replace(PROMPT, **fields)))


def test_a_published_prompt_says_what_was_counted_and_how_sure_the_gain_is() -> None:
    assert verdict.words("published", GAIN, ("New rule: x.",), "error reflection", SPEND, 74) == (
        "Published: the new prompt labels from now on.",
        "On 60 labels that it had not seen, the new prompt was right on 51, the old on 44; "
        "the gain is 12 points (90 % interval 3 to 20). It is very likely better (chance of being better: 97 %).",
        "It mends 10 wrong answers and spoils 3 right ones.",
        "What changes: New rule: x. It came from: error reflection.",
        "The run saw 74 labels. It took 480 calls of the labelling model and 12 calls of the writing model, "
        "61,000 prompt tokens (52,000 of them from the server's cache), 600 generated ones, 3 minutes; price unknown. "
        "1,200 answers were remembered from before and cost nothing.",
    )


@pytest.mark.parametrize(
    ("effort", "words"),
    [
        (Effort(1, 354.4, 12, 1), "1 call and 355 tokens (343 of them not from the server's cache) with the new"),
        (Effort(3.72, 200, 0, 4), "3.7 calls and 204 tokens with the new"),
    ],
)
def test_what_a_task_takes_stands_beside_what_it_took(effort: Effort, words: str) -> None:
    found = say("published", replace(GAIN, active_effort=Effort(1, 56, 26, 1), challenger_effort=effort))
    old = "1 call and 57 tokens (31 of them not from the server's cache) with the old."
    assert f"A task takes {words} prompt, {old}" in found


@pytest.mark.parametrize("decision", get_args(Decision))
@pytest.mark.parametrize("estimate", [GAIN, None])
def test_every_decision_has_its_words(decision: Decision, estimate: Estimate | None) -> None:
    found = verdict.words(decision, estimate, (), "", Spend(), 0)
    assert all(paragraph and "{" not in paragraph for paragraph in found)
    assert found[0].endswith(".")
    assert found[-1] == "The run saw 0 labels. It called no model."


def test_why_a_prompt_was_not_published_stands_first() -> None:
    found = say("kept", objections=("the gain is only 80 % sure", 'it may lose "angry"'))
    assert found.startswith('Not published: the gain is only 80 % sure; it may lose "angry". The active prompt stays')
    assert "The best prompt that was tried would have changed this: New rule: x." in found


def test_without_headroom_the_way_on_is_labels_or_a_clearer_guideline() -> None:
    assert "Nothing that was tried beats" in say("no_headroom")
    assert "Collect labels, or clarify the guideline." in say("no_headroom")


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (
            replace(GAIN, gain=-0.05, low=-0.11, high=0.01, p_better=0.08),
            "the loss is 5 points (90 % interval -11 to 1)",
        ),
        (replace(GAIN, gain=0.0, low=-0.04, high=0.04, p_better=0.5), "no gain (90 % interval -4 to 4 points)"),
        (replace(GAIN, gain=1 / 300), "the gain is 0.3 points"),
        (replace(GAIN, p_better=0.5), "as likely worse as better"),
        (replace(GAIN, p_better=0.0), "probably worse"),
        (replace(GAIN, wins=0, losses=0), "right and wrong on the same labels"),
        (replace(GAIN, wins=1, losses=1), "It mends 1 wrong answer and spoils 1 right one."),
        (
            replace(GAIN, kind="cross-fitted"),
            "On 60 labels, each answered by a prompt chosen without it, the new prompt",
        ),
        (replace(GAIN, n=1, challenger_accuracy=1.0), "On 1 label that it had not seen, the new prompt was right on 1"),
        (replace(GAIN, n=0), "No label was left to compare the two prompts on."),
    ],
)
def test_the_evidence_reads_as_counted(estimate: Estimate, words: str) -> None:
    assert words in say("kept", estimate)


@pytest.mark.parametrize(
    ("spend", "words"),
    [
        (
            Spend(student_calls=1, usd=0.0),
            "It took 1 call of the labelling model, 0 prompt tokens, 0 generated ones, 0 sec",
        ),
        (Spend(student_calls=1, usd=0.0), "no money."),
        (Spend(teacher_calls=2, usd=0.004), "2 calls of the writing model"),
        (Spend(teacher_calls=2, usd=0.004), "less than a cent"),
        (Spend(student_calls=5, usd=1234.5), "1,234.50 US dollars"),
        (Spend(student_calls=5, seconds=9000), "2.5 hours; price unknown"),
        (Spend(from_cache=1), "It called no model. 1 answer was remembered from before and cost nothing."),
    ],
)
def test_the_cost_names_calls_tokens_time_and_price(spend: Spend, words: str) -> None:
    assert words in say("published", spend=spend)


# -- what changed


def test_the_same_prompt_has_no_change() -> None:
    assert verdict.changes(PROMPT, PROMPT) == ("Nothing in the prompt changed.",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"instruction": "Say which mood fits. Look at the verbs."},
            'The instruction says in addition: "Look at the verbs." '
            'The instruction no longer says: "Look at the last sentence."',
        ),
        ({"instruction": "Name the mood."}, 'The instruction is new: "Name the mood."'),
        (
            {"instruction": "Look at the last sentence. Say which mood fits."},
            "The instruction's sentences stand in another order.",
        ),
        ({"instruction": "Say which mood fits.\nLook at  the last sentence."}, "Nothing in the prompt changed."),
        ({"definitions": {"happy": "glad"}}, '"happy" is defined anew: "glad", before "content".'),
        ({"definitions": {}}, 'No longer defined: "happy".'),
        (
            {"definitions": {"happy": "content", "angry": "cross"}},
            '"angry" is now defined: "cross".',
        ),
        ({"rules": ("Irony is angry.", "Thanks are happy.")}, 'New rule: "Thanks are happy."'),
        ({"rules": ()}, 'Dropped rule: "Irony is angry."'),
        ({"style": "text"}, "It is sent as one plain text."),
        ({"codes": "letters"}, "The model answers with letters that stand for the labels."),
        ({"fenced": False}, "A task's text stands bare, without tags."),
        (
            {"calibration": Calibration({"mood": {"happy": -0.1, "angry": -2.0}}, 1.4, 55)},
            'Its scores are calibrated on 55 labels: its leaning to "happy" is taken away.',
        ),
        ({"calibration": Calibration({}, 1.4, 55)}, "Its scores are calibrated on 55 labels."),
        (
            {"calibration": Calibration({"t: a": {"yes": 1.0, "no": 0.0}, "t: b": {"yes": 0.0, "no": 0.0}}, 1.0, 55)},
            'Its scores are calibrated on 55 labels: its leaning to "t: a = yes" is taken away.',
        ),
    ],
)  # fmt: skip
def test_each_change_is_a_sentence(fields: dict[str, Any], words: str) -> None:
    assert changed(**fields) == words


def test_a_change_undone_reads_the_other_way() -> None:
    calibrated = replace(PROMPT, calibration=Calibration({}, 2.0, 30), style="text", rules=("a", "b"))
    assert verdict.changes(calibrated, replace(PROMPT, rules=("b", "a"))) == (
        "The rules stand in another order.",
        "It is sent as chat turns.",
        "Its scores are no longer calibrated.",
    )


def test_examples_are_counted_by_label_and_never_quoted() -> None:
    four = tuple(demonstration(label) for label in ("happy", "happy", "angry", "happy"))
    found = changed(demonstrations=four)
    assert found == "It shows 4 examples with the right answer (3 happy, 1 angry)."
    assert "secret" not in found


SHOWN = tuple(demonstration(("happy", "angry")[i % 2], f"text {i}") for i in range(8))
OTHERS = (*SHOWN[:7], demonstration("angry", "another text"))
ALL = "all tasks the same 8 examples with the right answer (4 happy, 4 angry)"
SIMILAR = "each task the 3 most similar of 8 examples with the right answer (4 happy, 4 angry)"
PACKED = "each task the nearest of 2 packs of 4, from 8 examples with the right answer (4 happy, 4 angry)"
PACKS = ((0, 1, 2, 3), (4, 5, 6))
CACHE = "As the prompt differs from task to task, a server's cache holds less of it."


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"shown": 3}, f"It shows {SIMILAR}; before it showed {ALL}. {CACHE}"),
        ({"shown": 3}, {}, f"It shows {ALL}; before it showed {SIMILAR}."),
        ({}, {"packs": PACKS}, f"It shows {PACKED}; before it showed {ALL}."),
        ({"demonstrations": ()}, {"packs": PACKS}, f"It shows {PACKED}; before it showed no examples."),
        ({"shown": 3}, {"shown": 3, "demonstrations": OTHERS}, f"It shows {SIMILAR}, some of them new."),
        ({"packs": PACKS}, {"packs": PACKS[::-1]}, "Its examples stand in another order."),
        ({"shown": 3}, {"shown": 3}, "Nothing in the prompt changed."),
    ],
)
def test_examples_that_each_task_has_of_its_own_are_told_as_such(
    before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    bare = replace(PROMPT, demonstrations=SHOWN)
    assert " ".join(verdict.changes(replace(bare, **before), replace(bare, **after))) == told


def test_examples_that_come_and_go_are_told_apart() -> None:
    one, two, three = (demonstration("happy", text) for text in ("1", "2", "3"))
    before = replace(PROMPT, demonstrations=(one, two))
    after = replace(PROMPT, demonstrations=(two, three, demonstration("angry")))
    assert verdict.changes(before, after) == (
        "It shows 3 examples with the right answer (2 happy, 1 angry), 2 of them new; before it showed 2.",
    )
    assert verdict.changes(before, PROMPT) == ("It shows no examples any more, before 2.",)
    assert verdict.changes(before, replace(PROMPT, demonstrations=(two, one))) == (
        "Its examples stand in another order.",
    )


def test_a_long_instruction_is_cut() -> None:
    assert len(changed(instruction="word " * 1000)) < 450


def test_a_roll_back_says_what_was_lost() -> None:
    found = verdict.rolled_back(watch([(False, True)] * 9 + [(True, True)] * 11), "p0002-bbbb", "p0001-aaaa")
    assert found.startswith(
        "On 20 labels of tasks drawn by lot that arrived after p0002-bbbb was published, "
        "it alone was right on 0, p0001-aaaa alone on 9."
    )
