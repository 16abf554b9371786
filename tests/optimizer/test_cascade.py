from collections.abc import Sequence
from dataclasses import replace

import pytest

from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.cascade import ALWAYS, confidence
from backend.labeling.engines.base import Spent, Usage
from backend.labeling.prompt import Prompt
from tests.optimizer.world import PAIR, examples
from worker.labels.examples import Example
from worker.optimizer import cascade, fitting, techniques
from worker.optimizer.outcomes import Outcome
from worker.optimizer.propose import Candidate

ITEMS = examples(PAIR, 40)


def sure(confidence: float, *, escalated: bool = False) -> Outcome:
    found = Distribution(("yes", "no"), (confidence, 1 - confidence))
    return Outcome(TaskAnswers({"relevant": found}, calls=1, escalated=escalated))


class Models:
    """The student's confidence rises from item to item; the stronger LLM is always sure."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, int]] = []

    def label(self, prompt: Prompt, items: Sequence[Example]) -> list[Outcome]:
        self.asked.append((prompt.escalate_below, len(items)))
        if prompt.escalate_below == ALWAYS:
            return [sure(0.99, escalated=True) for _ in items]
        return [sure(0.5 + 0.49 * ITEMS.index(item) / len(ITEMS)) for item in items]


def test_each_model_is_asked_as_if_alone_and_only_of_what_it_is_to_answer() -> None:
    models = Models()
    found = cascade.composed(models.label)(Prompt("i", escalate_below=0.6), ITEMS)
    doubtful = sum(o.answers is not None and o.answers.escalated for o in found)
    assert models.asked == [(0.0, 40), (ALWAYS, doubtful)]
    assert 0 < doubtful < 40
    assert [o.answers.calls for o in found if o.answers] == [2] * doubtful + [1] * (40 - doubtful)


@pytest.mark.parametrize("below", [0.0, ALWAYS])
def test_prompts_for_one_model_are_asked_as_they_are(below: float) -> None:
    models = Models()
    cascade.composed(models.label)(Prompt("i", escalate_below=below), ITEMS)
    assert models.asked == [(below, 40)]


def test_what_the_student_could_not_answer_is_handed_on() -> None:
    def label(prompt: Prompt, items: Sequence[Example]) -> list[Outcome]:
        return [sure(0.9, escalated=True) if prompt.escalate_below else Outcome(None, "off") for _ in items]

    found = cascade.composed(label)(Prompt("i", escalate_below=0.6), ITEMS[:2])
    assert all(o.answers is not None and o.answers.escalated for o in found)


@pytest.mark.parametrize("strong", [sure(0.9, escalated=True), Outcome(None, "off", Spent(1))], ids=["usable", "not"])
def test_a_student_that_could_not_answer_is_paid_all_the_same(strong: Outcome) -> None:
    """Five votes of the student, none of them a label, then one call of the stronger LLM."""
    votes = Outcome(None, "off", Spent(5, Usage(50, 0, 5)))

    def label(prompt: Prompt, _items: Sequence[Example]) -> list[Outcome]:
        return [strong if prompt.escalate_below else votes]

    (found,) = cascade.composed(label)(Prompt("i", escalate_below=0.6), ITEMS[:1])
    assert found.spent == Spent(6, Usage(50, 0, 5))


def test_thresholds_keep_what_is_right_often_enough() -> None:
    """The surest 30 of 40 are right, the others in one of two cases."""
    outcomes = [sure(0.99 - 0.01 * i) for i in range(40)]
    right = [i < 30 or i % 2 == 0 for i in range(40)]
    found = cascade.thresholds(outcomes, right)
    assert found
    for each in found:
        kept = [r for o, r in zip(outcomes, right, strict=True) if o.answers and confidence(o.answers) >= each]
        assert sum(kept) / len(kept) >= 0.9
        assert len(kept) >= 16


def test_a_student_that_is_right_needs_no_stronger_llm_and_one_that_never_is_gets_no_threshold() -> None:
    outcomes = [sure(0.99 - 0.01 * i) for i in range(40)]
    assert cascade.thresholds(outcomes, [True] * 40) == ()
    assert cascade.thresholds(outcomes, [False] * 40) == ()
    assert cascade.thresholds([Outcome(None, "off")] * 3, [False] * 3) == ()


def test_cascades_are_candidates_that_say_how_much_they_hand_on() -> None:
    outcomes = [sure(0.99 - 0.01 * i) for i in range(40)]
    right = [i < 30 for i in range(40)]
    found = techniques.cascades(Candidate(Prompt("i"), "it"), outcomes, right)
    assert all(0 < each.prompt.escalate_below <= 1 for each in found)
    assert found[0].origin == "it, 18% by the stronger LLM"
    cascaded = Candidate(Prompt("i", escalate_below=0.7), "it")
    assert techniques.cascades(cascaded, outcomes, right) == []


def test_both_models_are_calibrated_on_their_own_answers() -> None:
    outcomes = [sure(0.6), sure(0.99, escalated=True)] * 20
    found = fitting.fit(PAIR, ITEMS, outcomes)
    assert set(found.bias) == {"relevant", "relevant (by the stronger LLM)"}
    assert found.fitted_on == 40
    alone = fitting.fit(PAIR, ITEMS[::2], outcomes[::2])
    assert (found.bias["relevant"], found.temperature) == (alone.bias["relevant"], alone.temperature)
    assert found.temperatures["relevant (by the stronger LLM)"] != found.temperature


def test_a_calibration_of_one_model_is_as_it_was() -> None:
    outcomes = [sure(0.6), sure(0.7)] * 20
    assert replace(fitting.fit(PAIR, ITEMS, outcomes)).temperatures == {}
