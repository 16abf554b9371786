"""A task becomes a prediction: render, ask, read the label distribution, calibrate, build Label Studio's result."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.labeling import cascade, descent, explanation, selection, shortening
from backend.labeling.answers import ControlPrediction, Distribution, Question, TaskAnswers, TaskPrediction
from backend.labeling.asking import Asker
from backend.labeling.asking import Limits as Limits
from backend.labeling.embedding import Embedder
from backend.labeling.engines.base import Engine, Spent
from backend.labeling.errors import EngineError, EngineRefusedError
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt, PromptVersion
from backend.labeling.schema import LabelingSchema


@dataclass(frozen=True, slots=True)
class Labeler:
    """Knows no Label Studio, queue or cache. Thread-safe when its engines are. `strong` is the LLM that prompts with a
    cascade hand uncertain tasks to; prompts that show each task demonstrations of its own need the `embedder`."""

    engine: Engine
    limits: Limits = field(default_factory=Limits)
    strong: Engine | None = None
    embedder: Embedder | None = None

    def label(self, version: PromptVersion, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskPrediction:
        """Raises `TaskError` for data that cannot be labelled, `AnswerError` for an answer outside the label set, and
        the engine's errors."""
        answers = self.ask(version.prompt, schema, data)
        answered = list(zip(schema.controls, predict(version.prompt, schema, data, answers), strict=True))
        data_hash = schema.data_hash(data)
        items = [_item(control.to_result(answer), answer, version, data_hash, answers) for control, answer in answered]
        return TaskPrediction(
            result=tuple(item for item in items if item),
            score=math.prod(answer.score for _, answer in answered),
            version=version.name,
            cut=answers.cut,
            usage=answers.usage,
            calls=answers.calls,
            rationale=answers.rationale,
            controls=tuple(answer for _, answer in answered),
        )

    def ask(self, prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskAnswers:
        """What the LLM says, uncalibrated: nothing here depends on `prompt.calibration`. Raises as `label` does."""
        if prompt.escalate_below <= 0:
            return self._asked(self.engine, prompt, schema, data)
        strong = self._stronger()
        own = None if cascade.is_strong(prompt) else self._tried(prompt, schema, data)
        if own and cascade.confidence(own) >= prompt.escalate_below:
            return own
        return cascade.escalated(self._asked(strong, _speakable(strong, prompt), schema, data), own)

    def _tried(self, prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskAnswers:
        """Only what it took where the student answers something else, or refuses this task alone."""
        try:
            return self._asked(self.engine, prompt, schema, data)
        except EngineError as error:
            if not error.of_task:
                raise
            return TaskAnswers({}, usage=error.spent.usage, calls=error.spent.calls)

    def _stronger(self) -> Engine:
        if self.strong is None:
            raise EngineRefusedError("the prompt hands uncertain tasks to a stronger LLM: set STRONG_MODEL again")
        return self.strong

    def _asked(self, engine: Engine, prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskAnswers:
        values, cut = self._values(schema, data)
        asker = Asker(engine, self.limits, self._shown(prompt, schema, data), values)
        try:
            return _answers(asker, schema, data, cut=cut)
        except EngineError as error:
            error.spent = Spent(asker.calls, asker.usage)
            raise

    def _shown(self, prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any]) -> Prompt:
        """The prompt as this task sees it."""
        return selection.for_task(prompt, schema.values(data), self.embedder) if prompt.demonstrations else prompt

    def explain(
        self, version: PromptVersion, schema: LabelingSchema, data: Mapping[str, Any], prediction: Mapping[str, Any]
    ) -> str:
        """Why the labels of a prediction of that version fit the task, in a sentence or two; "" where none applies, or
        nothing is said. `prediction` is as `TaskPrediction.to_json` or Label Studio has it. One call, of the LLM that
        gave the labels; raises as `label` does."""
        labels = explanation.chosen(schema, data, prediction["result"])
        if not labels:
            return ""
        values, _ = self._values(schema, data)
        engine, prompt = self.engine, self._shown(version.prompt, schema, data)
        if any(item.get("whetstone", {}).get("escalated") for item in prediction["result"]):
            engine = self._stronger()
            prompt = _speakable(engine, prompt)
        asked = explanation.request(prompt, schema, values, labels, able=engine.capabilities, limits=self.limits)
        return explanation.read(engine.complete(asked).text)

    def _values(self, schema: LabelingSchema, data: Mapping[str, Any]) -> tuple[tuple[Value, ...], bool]:
        return shortening.shorten(schema.values(data), self.limits.max_task_tokens)


def predict(
    prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any], answers: TaskAnswers
) -> tuple[ControlPrediction, ...]:
    """The answers calibrated and read, one prediction a control, in the schema's order."""
    predictions = []
    for control in schema.controls:
        questions = control.questions(data)
        predictions.append(control.read(questions, [calibrated(prompt, each, answers) for each in questions]))
    return tuple(predictions)


def calibrated(prompt: Prompt, question: Question, answers: TaskAnswers) -> Distribution:
    """What was not asked stays the bound that it is."""
    found = answers.distributions[question.key]
    if descent.is_bound(question, found):
        return found
    return prompt.calibration.apply(cascade.key(question.key, answers), found)


def _answers(asker: Asker, schema: LabelingSchema, data: Mapping[str, Any], *, cut: bool) -> TaskAnswers:
    found: dict[str, Distribution] = {}
    for question in (question for control in schema.controls for question in control.questions(data)):
        found[question.key] = descent.bound(question, found) or asker.distribution(question)
    return TaskAnswers(found, cut, asker.usage, asker.calls, asker.told)


def _speakable(engine: Engine, prompt: Prompt) -> Prompt:
    """In the style that the stronger LLM can be scored in; its own where it can."""
    able = engine.capabilities
    if able.logprobs_for(prompt.style) or not able.logprobs_for("chat"):
        return prompt if prompt.style == "chat" or able.continues else replace(prompt, style="chat")
    return replace(prompt, style="chat")


def _item(
    item: Mapping[str, Any] | None,
    answer: ControlPrediction,
    version: PromptVersion,
    data_hash: str,
    answers: TaskAnswers,
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
            "text_cut": answers.cut,
            "calibrated_on": version.prompt.calibration.fitted_on,
            **({"escalated": True} if answers.escalated else {}),
        },
    }
