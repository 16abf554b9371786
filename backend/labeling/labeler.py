"""A task becomes a prediction: render, ask, read the label distribution, calibrate, build Label Studio's result."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.labeling import fields
from backend.labeling.answers import ControlPrediction, TaskAnswers, TaskPrediction
from backend.labeling.asking import Asker
from backend.labeling.asking import Limits as Limits
from backend.labeling.engines.base import Engine
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt, PromptVersion
from backend.labeling.schema import LabelingSchema


@dataclass(frozen=True, slots=True)
class Labeler:
    """Knows no Label Studio, queue or cache. Thread-safe when its engine is."""

    engine: Engine
    limits: Limits = field(default_factory=Limits)

    def label(self, version: PromptVersion, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskPrediction:
        """Raises `TaskError` for data that cannot be labelled, `AnswerError` for an answer outside the label set, and
        the engine's errors."""
        answers = self.ask(version.prompt, schema, data)
        answered = list(zip(schema.controls, predict(version.prompt, schema, data, answers), strict=True))
        data_hash = schema.data_hash(data)
        items = [
            _item(control.to_result(answer), answer, version, data_hash, cut=answers.cut)
            for control, answer in answered
        ]
        return TaskPrediction(
            result=tuple(item for item in items if item),
            score=math.prod(answer.score for _, answer in answered),
            version=version.name,
            cut=answers.cut,
            usage=answers.usage,
            calls=answers.calls,
            rationale=answers.rationale,
        )

    def ask(self, prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskAnswers:
        """What the LLM says, uncalibrated: nothing here depends on `prompt.calibration`. Raises as `label` does."""
        values, cut = self._values(schema, data)
        asker = Asker(self.engine, self.limits, prompt, values)
        questions = [question for control in schema.controls for question in control.questions(data)]
        found = {question.key: asker.distribution(question) for question in questions}
        return TaskAnswers(found, cut, asker.usage, asker.calls, asker.told)

    def _values(self, schema: LabelingSchema, data: Mapping[str, Any]) -> tuple[tuple[Value, ...], bool]:
        """Long texts share the token budget evenly."""
        values = schema.values(data)
        shortened = [fields.cut(value.text, self.limits.max_task_tokens // len(values)) for value in values]
        kept = tuple(replace(value, text=text) for value, (text, _) in zip(values, shortened, strict=True))
        return kept, any(was_cut for _, was_cut in shortened)


def predict(
    prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any], answers: TaskAnswers
) -> tuple[ControlPrediction, ...]:
    """The answers calibrated and read, one prediction a control, in the schema's order."""
    predictions = []
    for control in schema.controls:
        questions = control.questions(data)
        found = [prompt.calibration.apply(each.key, answers.distributions[each.key]) for each in questions]
        predictions.append(control.read(questions, found))
    return tuple(predictions)


def _item(
    item: Mapping[str, Any] | None,
    answer: ControlPrediction,
    version: PromptVersion,
    data_hash: str,
    *,
    cut: bool,
) -> dict[str, Any] | None:
    """The id follows from the content, so that asking again gives the same item. Label Studio keeps what stands under
    `whetstone` with the prediction."""
    if item is None:
        return None
    digest = hashlib.sha256(f"{version.name}\0{answer.control}\0{data_hash}".encode())
    return {
        "id": digest.hexdigest()[:10],
        **item,
        "score": answer.score,
        "whetstone": {
            "score_kind": answer.score_kind,
            "probabilities": {value: round(p, 6) for value, p in answer.probabilities.items()},
            "margin": round(answer.margin, 6),
            "entropy": round(answer.entropy, 6),
            "label_mass": round(answer.label_mass, 6),
            "censored": list(answer.censored),
            "text_cut": cut,
        },
    }
