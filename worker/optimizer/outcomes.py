"""One candidate on one example: does it agree with the truth, and by how much."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.labeling.answers import ControlPrediction, Distribution, Question, ScoreKind, TaskAnswers
from backend.labeling.calibration import LEAST
from backend.labeling.engines.base import Spent
from backend.labeling.labeler import calibrated, predict
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the LLM said, uncalibrated, or why it said nothing usable: then `answers` is None and the example counts as
    wrong, and `wasted` is what it took. A failed call that may succeed later is no outcome: it raises."""

    answers: TaskAnswers | None
    failure: str = ""
    wasted: Spent = field(default_factory=Spent)

    @property
    def spent(self) -> Spent:
        """Usable or not."""
        return Spent(self.answers.calls, self.answers.usage) if self.answers else self.wasted


# One outcome an example, in order.
Label = Callable[[Prompt, Sequence[Example]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class Graded:
    """`margin` in nats: the least over all questions of log p(true label) - log p(likeliest other), calibrated; above 0
    exactly when `right`, but where people differed: there it is the mean over the labels that may be true, each by how
    likely it is (`Example.soft`). `score` is the calibrated probability that the prediction is right; `score_kind` is
    "votes" where any control's is."""

    right: bool
    margin: float
    score: float
    values: Mapping[str, tuple[str, ...]]
    score_kind: ScoreKind = "logprob"


# A failed answer's margin: as far off as a label that was all but excluded.
FAILED = Graded(right=False, margin=math.log(LEAST), score=0.0, values={})


def grade(schema: LabelingSchema, prompt: Prompt, example: Example, outcome: Outcome) -> Graded:
    """With `prompt.calibration` applied."""
    if outcome.answers is None:
        return FAILED
    predictions = predict(prompt, schema, example.data, outcome.answers)
    margins = [
        _expected_margin(calibrated(prompt, question, outcome.answers), _chances(question, gold, example))
        for question, gold in truths(schema, example)
    ]
    values = {each.control: each.values for each in predictions}
    right, score = _agrees(predictions, example.truth), math.prod(p.score for p in predictions)
    kind: ScoreKind = "votes" if any(each.score_kind == "votes" for each in predictions) else "logprob"
    return Graded(right, min(margins, default=FAILED.margin), score, values, kind)


def truths(schema: LabelingSchema, example: Example) -> Sequence[tuple[Question, str]]:
    """Each question with its true label; questions of controls without a truth are left out.

    For a single choice with several true values (annotators may add them) the first counts. In a tree what lies below
    a no is no question: it supposes a yes.
    """
    found: list[tuple[Question, str]] = []
    for control in schema.controls:
        true = example.truth.get(control.name)
        if true is None:
            continue
        holding = {""}
        for question in control.questions(example.data):
            if question.about is not None and question.above in holding:
                applies = question.applies(true)
                holding |= {question.key} if applies else set()
                found.append((question, "yes" if applies else "no"))
            elif question.about is None and true:
                found.append((question, true[0]))
    return found


def _agrees(predictions: Sequence[ControlPrediction], truth: Mapping[str, tuple[str, ...]]) -> bool:
    """All controls that have a truth, each with the very same values in any order."""
    return all(set(each.values) == set(truth[each.control]) for each in predictions if each.control in truth)


def _chances(question: Question, gold: str, example: Example) -> Mapping[str, float]:
    """How likely each of the question's labels is the true one."""
    soft = example.soft.get(question.control)
    if not soft:
        return {gold: 1.0}
    if question.about is None:
        return soft
    yes = min(1.0, math.fsum(soft.get(value, 0.0) for value in {question.about.value, *question.below}))
    return {"yes": yes, "no": 1 - yes}


def _expected_margin(distribution: Distribution, chances: Mapping[str, float]) -> float:
    return sum(chance * _margin(distribution, label) for label, chance in chances.items() if chance)


def _margin(distribution: Distribution, gold: str) -> float:
    """A true label that was not among the options (a dynamic one, say) can not have been chosen."""
    if gold not in distribution.labels:
        return math.log(LEAST)
    others = [p for label, p in zip(distribution.labels, distribution.probabilities, strict=True) if label != gold]
    if not others:
        return -math.log(LEAST)
    return math.log(max(distribution.probability(gold), LEAST)) - math.log(max(*others, LEAST))
