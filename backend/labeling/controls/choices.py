"""Choices: one label of a set, or any number of them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.labeling.answers import ControlPrediction, Distribution, Label, Question
from backend.labeling.errors import TaskError

YES, NO = Label("yes", "yes"), Label("no", "no")


@dataclass(frozen=True, slots=True)
class Choices:
    """Each task may bring more options, under `options_key` of its data (`value="$key"`), after the fixed `labels`.

    `required`: Label Studio takes no annotation without an answer.
    """

    name: str
    to_names: tuple[str, ...]
    labels: tuple[Label, ...]
    multiple: bool = False
    options_key: str = ""
    required: bool = False

    def questions(self, data: Mapping[str, Any]) -> tuple[Question, ...]:
        """Single choice: one question over all labels. Multiple: a yes-or-no question for each label."""
        labels = self.labels_for(data)
        if not self.multiple:
            return (Question(self.name, labels),)
        return tuple(Question(self.name, (YES, NO), about=label) for label in labels)

    def labels_for(self, data: Mapping[str, Any]) -> tuple[Label, ...]:
        """Raises `TaskError` when the task brings no usable options."""
        if not self.options_key:
            return self.labels
        options = data.get(self.options_key)
        if not isinstance(options, list) or not options:
            raise TaskError(f'the field "{self.options_key}" must list the options of Choices "{self.name}"')
        labels = _distinct([*self.labels, *map(_option, options)])
        if not labels:
            raise TaskError(f'the field "{self.options_key}" has no option with a value')
        return labels

    def read(self, questions: Sequence[Question], answers: Sequence[Distribution]) -> ControlPrediction:
        """Multiple choice: the labels with p(yes) >= 1/2; the score is the probability that all of them are right,
        the product over labels of max(p, 1 - p), which takes the labels as independent."""
        if not self.multiple:
            return _single(self.name, answers[0])
        chances = {
            question.about.value: answer.probability("yes")
            for question, answer in zip(questions, answers, strict=True)
            if question.about
        }
        sides = [max(p, 1 - p) for p in chances.values()]
        return ControlPrediction(
            control=self.name,
            values=tuple(value for value, p in chances.items() if p >= 0.5),  # noqa: PLR2004 - more likely than not
            score=math.prod(sides),
            score_kind=answers[0].score_kind,
            probabilities=chances,
            margin=min(2 * side - 1 for side in sides),
            entropy=sum(answer.entropy for answer in answers),
            label_mass=min(answer.label_mass for answer in answers),
            censored=tuple(value for value, answer in zip(chances, answers, strict=True) if answer.censored),
        )

    def to_result(self, prediction: ControlPrediction) -> dict[str, Any] | None:
        """Label Studio's result item, without its id; None when nothing is chosen."""
        if not prediction.values:
            return None
        return {
            "from_name": self.name,
            "to_name": self.to_names[0],
            "type": "choices",
            "value": {"choices": list(prediction.values)},
        }

    def from_result(self, result: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
        """The values in an annotation or prediction; None when this control has no answer there."""
        for item in result:
            if item.get("from_name") == self.name and item.get("type") == "choices":
                return tuple(map(str, item.get("value", {}).get("choices", ())))
        return None


def parse_choices(tag: Any) -> tuple[Choices, list[str]]:
    """From a `Choices` tag of the SDK's LabelInterface, with remarks on choices that cannot be asked for."""
    attributes = {key.lower(): value for key, value in tag.attr.items()}
    source = attributes.get("value", "")
    shown = {value: tag.labels_attrs[value].attr for value in tag.labels}
    labels = _distinct(
        Label(value, _line(attr.get("value", value)), _line(attr.get("hint", ""))) for value, attr in shown.items()
    )
    remarks = [] if len(labels) == len(shown) else [f'Choices "{tag.name}" has a choice with no name: it is left out']
    if not labels and not source.startswith("$"):
        remarks.append(f'Choices "{tag.name}" has no choice')
    control = Choices(
        name=tag.name,
        to_names=tuple(tag.to_name),
        labels=labels,
        multiple=attributes.get("choice") == "multiple",
        options_key=source[1:] if source.startswith("$") else "",
        required=attributes.get("required", "").lower() == "true",
    )
    return control, remarks


def _option(option: Any) -> Label:
    """Options are strings, or objects with `value` and perhaps `alias` (what is stored) and `hint`."""
    if not isinstance(option, Mapping):
        text = "" if option is None else str(option)
        return Label(text.strip(), _line(text))
    text = str(option.get("value") or "").strip()
    return Label(str(option.get("alias") or text), _line(text), _line(option.get("hint") or ""))


def _line(raw: Any) -> str:
    """For the prompt: on one line, and fit to be sent."""
    return " ".join(str(raw).encode(errors="replace").decode().split())


def _distinct(labels: Iterable[Label]) -> tuple[Label, ...]:
    """One label a value; texts that several share give way to their values, then to numbers."""
    kept = list({label.value: label for label in labels if label.value.strip()}.values())
    texts = Counter(label.text or _line(label.value) for label in kept)
    taken: set[str] = set()
    found = []
    for label in kept:
        text = label.text if texts[label.text] == 1 else _line(label.value)
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
