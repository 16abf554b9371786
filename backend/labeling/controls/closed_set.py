"""A control whose answer is one label of a closed set, or any number of them, whatever tag it is."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from backend.labeling import references
from backend.labeling.answers import ControlPrediction, Distribution, Label, Question
from backend.labeling.descent import is_bound
from backend.labeling.errors import TaskError

YES, NO = Label("yes", "yes"), Label("no", "no")


class Form(Protocol):
    """How an answer stands in an item of Label Studio's result: its `type`, and what its `value` holds."""

    @property
    def type(self) -> str: ...

    def encode(self, values: Sequence[str]) -> dict[str, Any]: ...

    def decode(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        """Empty where nothing is chosen. What is not in the set comes out as it is, for the caller to refuse."""
        ...


@dataclass(frozen=True, slots=True)
class ClosedSet:
    """Each task may bring more options after the fixed `labels`, where the path `options_key` leads in its data
    (`value="$key"`).

    `required`: Label Studio takes no annotation without an answer. `ordered`: the labels are whole numbers, one step
    apart. `form` tells the tags apart. `tree`: where labels lie below others, all yes-or-no questions, those above
    first.
    """

    name: str
    to_names: tuple[str, ...]
    labels: tuple[Label, ...]
    form: Form
    multiple: bool = False
    options_key: str = ""
    required: bool = False
    ordered: bool = False
    tree: tuple[Question, ...] = ()

    def questions(self, data: Mapping[str, Any]) -> tuple[Question, ...]:
        """Single: one question over all labels. Multiple: a yes-or-no question for each label, and of a tree for what
        only holds labels."""
        if self.tree:
            return self.tree
        labels = self.labels_for(data)
        if not self.multiple:
            return (Question(self.name, labels),)
        return tuple(Question(self.name, (YES, NO), about=label, among=len(labels) > 1) for label in labels)

    def labels_for(self, data: Mapping[str, Any]) -> tuple[Label, ...]:
        """Raises `TaskError` when the task brings no usable options."""
        if not self.options_key:
            return self.labels
        options = references.get(data, self.options_key)
        if not isinstance(options, list) or not options:
            raise TaskError(f'the field "{self.options_key}" must list the options of Choices "{self.name}"')
        labels = distinct([*self.labels, *map(_option, options)])
        if not labels:
            raise TaskError(f'the field "{self.options_key}" has no option with a value')
        return labels

    def read(self, questions: Sequence[Question], answers: Sequence[Distribution]) -> ControlPrediction:
        """Multiple: the labels with p(yes) >= 1/2; the score is the probability that all of them are right,
        the product over labels of max(p, 1 - p), which takes the labels as independent.

        In a tree p(yes) supposes that the label above applies. So below a no all is no, and only answers below a yes
        count in score, margin and entropy; a label's probability is the product of p(yes) from the top to it, which of
        one that was not asked for is at most that of the one above. Of labels with a yes only the lowest are chosen.
        """
        if not self.multiple:
            return _single(self.name, answers[0])
        return _multiple(self.name, list(zip(questions, answers, strict=True)))

    def to_result(self, prediction: ControlPrediction) -> dict[str, Any] | None:
        """Label Studio's result item, without its id; None when nothing is chosen."""
        if not prediction.values:
            return None
        return {
            "from_name": self.name,
            "to_name": self.to_names[0],
            "type": self.form.type,
            "value": self.form.encode(prediction.values),
        }

    def from_result(self, result: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
        """The values in an annotation or prediction; None when this control has no answer there."""
        for item in result:
            if item.get("from_name") == self.name and item.get("type") == self.form.type:
                return self.form.decode(item.get("value") or {})
        return None


def _option(option: Any) -> Label:
    """Options are strings, or objects with `value` and perhaps `alias` (what is stored) and `hint`."""
    if not isinstance(option, Mapping):
        text = "" if option is None else str(option)
        return Label(text.strip(), line(text))
    text = str(option.get("value") or "").strip()
    return Label(str(option.get("alias") or text), line(text), line(option.get("hint") or ""))


def line(raw: Any) -> str:
    """For the prompt: on one line, and fit to be sent."""
    return " ".join(str(raw).encode(errors="replace").decode().split())


def distinct(labels: Iterable[Label]) -> tuple[Label, ...]:
    """One label a value; texts that several share give way to their values, then to numbers."""
    kept = list({label.value: label for label in labels if label.value.strip()}.values())
    texts = Counter(label.text or line(label.value) for label in kept)
    taken: set[str] = set()
    found = []
    for label in kept:
        text = label.text if texts[label.text] == 1 else line(label.value)
        names = (text, *(f"{text} ({number})" for number in range(2, len(kept) + 2)))
        taken.add(free := next(name for name in names if name not in taken))
        found.append(replace(label, text=free))
    return tuple(found)


def _single(name: str, answer: Distribution) -> ControlPrediction:
    return ControlPrediction(
        control=name,
        values=(answer.best,),
        score=answer.probability(answer.best),
        score_kind=answer.score_kind,
        probabilities=dict(zip(answer.labels, answer.probabilities, strict=True)),
        margin=answer.margin,
        entropy=answer.entropy,
        label_mass=answer.label_mass,
        censored=answer.censored,
    )


def _multiple(name: str, asked: Sequence[tuple[Question, Distribution]]) -> ControlPrediction:
    chances = _chances(asked)
    yes: set[str] = set()
    counted = []
    for question, answer in asked:
        if question.above in {"", *yes}:
            counted.append(answer)
            if answer.probability("yes") >= 0.5 and not is_bound(question, answer):  # noqa: PLR2004 - likelier than not
                yes.add(question.key)
    applying = {question.about.value for question, _ in asked if question.about and question.key in yes}
    own = [
        (question.about.value, question, answer) for question, answer in asked if question.about and question.is_answer
    ]
    sides = [max(answer.probabilities) for answer in counted]
    return ControlPrediction(
        control=name,
        values=tuple(value for value, each, _ in own if value in applying and each.below.isdisjoint(applying)),
        score=math.prod(sides),
        score_kind=asked[0][1].score_kind,
        probabilities={value: chances[each.key] for value, each, _ in own},
        margin=min(2 * side - 1 for side in sides),
        entropy=sum(answer.entropy for answer in counted),
        label_mass=min(answer.label_mass for _, answer in asked),
        censored=tuple(value for value, _, answer in own if answer.censored),
        unasked=tuple(value for value, each, answer in own if is_bound(each, answer)),
    )


def _chances(asked: Sequence[tuple[Question, Distribution]]) -> dict[str, float]:
    """How likely each question's label, or one below it, applies, by key; of one that was not asked, at most."""
    chances = {"": 1.0}
    for question, answer in asked:
        own = 1.0 if is_bound(question, answer) else answer.probability("yes")
        chances[question.key] = chances[question.above] * own
    return chances
