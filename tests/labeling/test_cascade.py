"""What the student is not sure of goes to the stronger LLM."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from backend.labeling import cascade
from backend.labeling import schema as schemas
from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.calibration import Calibration
from backend.labeling.engines.base import Usage
from backend.labeling.errors import EngineRefusedError, EngineUnreachableError
from backend.labeling.labeler import Labeler, predict
from backend.labeling.prompt import Prompt
from tests.labeling.building import HOSTED, LIKED, LOCAL, SENTIMENT, connected, says
from tests.scripted_llm import ScriptedLLM

SCHEMA = schemas.parse(SENTIMENT)


@dataclass
class Pair:
    small: ScriptedLLM
    large: ScriptedLLM
    labeler: Labeler

    def ask(self, below: float) -> TaskAnswers:
        return self.labeler.ask(Prompt("Tell.", style="text", escalate_below=below), SCHEMA, LIKED)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The student is 60 % sure of positive; the stronger LLM, which is asked in chat, 90 % of negative."""
    with ScriptedLLM() as small, ScriptedLLM() as large:
        says(small, {"positive": 0.6, "negative": 0.4}, off_label=0)
        says(large, {"negative": 0.9, "positive": 0.1}, off_label=0)
        with connected(small, LOCAL) as student, connected(large, HOSTED) as strong:
            yield Pair(small, large, Labeler(student, strong=strong))


def best(answers: TaskAnswers) -> str:
    return answers.distributions["sentiment"].best


def test_a_sure_answer_is_kept_and_costs_one_call(pair: Pair) -> None:
    answers = pair.ask(0.55)
    assert (best(answers), answers.escalated, answers.calls) == ("positive", False, 1)
    assert pair.large.requests == []


def test_a_doubtful_answer_is_asked_anew_and_both_are_paid(pair: Pair) -> None:
    answers = pair.ask(0.7)
    assert (best(answers), answers.escalated, answers.calls) == ("negative", True, 2)
    assert answers.usage.prompt_tokens > pair.ask(0.0).usage.prompt_tokens


def test_the_stronger_llm_may_label_alone(pair: Pair) -> None:
    answers = pair.ask(cascade.ALWAYS)
    assert (best(answers), answers.escalated, answers.calls) == ("negative", True, 1)
    assert pair.small.requests == []


def test_it_is_asked_in_the_style_that_it_can_be_scored_in(pair: Pair) -> None:
    pair.ask(cascade.ALWAYS)
    assert pair.large.requests[-1].path.endswith("/chat/completions")


def test_an_answer_outside_the_label_set_is_asked_anew(pair: Pair) -> None:
    says(pair.small, {"no idea": 1.0})
    answers = pair.ask(0.1)
    assert (best(answers), answers.escalated) == ("negative", True)


def test_an_answer_outside_the_label_set_is_paid_too(pair: Pair) -> None:
    alone = pair.ask(cascade.ALWAYS)
    says(pair.small, {"no idea": 1.0})
    answers = pair.ask(0.1)
    assert (len(pair.small.requests), answers.calls) == (1, 2)
    assert answers.usage.completion_tokens == alone.usage.completion_tokens + 1
    assert answers.usage.prompt_tokens > alone.usage.prompt_tokens


@pytest.mark.parametrize("refusal", [{"moderated": "love"}, {"context_tokens": 8}], ids=str)
def test_a_task_that_the_student_s_endpoint_refuses_is_asked_anew(pair: Pair, refusal: dict[str, Any]) -> None:
    pair.small.change(**refusal)
    answers = pair.ask(0.1)
    assert (best(answers), answers.escalated, answers.calls) == ("negative", True, 2)


def test_a_student_that_is_down_is_not_replaced_by_the_stronger_llm(pair: Pair) -> None:
    pair.small.stop()
    with pytest.raises(EngineUnreachableError):
        pair.ask(0.1)
    assert pair.large.requests == []


def test_without_a_stronger_llm_the_error_names_the_setting(pair: Pair) -> None:
    alone = Labeler(pair.labeler.engine)
    with pytest.raises(EngineRefusedError, match="set STRONG_MODEL again"):
        alone.ask(Prompt("Tell.", style="text", escalate_below=0.7), SCHEMA, LIKED)


def test_each_model_has_a_calibration_of_its_own() -> None:
    even = Distribution(("positive", "negative", "neutral"), (0.5, 0.3, 0.2))
    calibration = Calibration(
        bias={"sentiment (by the stronger LLM)": {"positive": 2.0}},
        temperatures={"sentiment (by the stronger LLM)": 0.5},
    )
    prompt = Prompt("Tell.", calibration=calibration)
    own, theirs = (
        predict(prompt, SCHEMA, LIKED, TaskAnswers({"sentiment": even}, escalated=escalated))[0]
        for escalated in (False, True)
    )
    assert own.values == ("positive",)
    assert own.score == pytest.approx(0.5)
    assert theirs.values == ("negative",)
    assert theirs.score > 0.6


def test_confidence_is_that_of_the_least_sure_question() -> None:
    sure, unsure = Distribution(("a", "b"), (0.9, 0.1)), Distribution(("a", "b"), (0.45, 0.55))
    assert cascade.confidence(TaskAnswers({"one": sure, "two": unsure})) == 0.55


def test_the_price_of_both_is_summed() -> None:
    first, second = TaskAnswers({}, usage=Usage(10, 0, 1), calls=1), TaskAnswers({}, usage=Usage(20, 5, 1), calls=2)
    both = cascade.escalated(second, first)
    assert (both.usage, both.calls) == (Usage(30, 5, 2), 3)
