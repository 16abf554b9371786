"""A task becomes a prediction: render, ask, read the label distribution, calibrate, build Label Studio's result."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backend.labeling import fields, grammar, verbalizer
from backend.labeling.answers import ControlPrediction, Distribution, Label, Question, TaskAnswers, TaskPrediction
from backend.labeling.engines.base import Completion, Engine, Request, Token, Usage
from backend.labeling.errors import AnswerError, EngineAnswerError
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt, PromptVersion, Rendered, render
from backend.labeling.schema import LabelingSchema

# More labels than this in one chat question are asked in groups.
_GROUP = 20
# Groups are opened until less than this share is left in the others.
_LEFT_OUT = 0.02
# Alternatives to ask of servers that return any number of them.
_ALTERNATIVES = 200
_VOTE_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True)
class Limits:
    """`min_label_mass`: less probability than this on all labels together, and the answer is no answer."""

    max_task_tokens: int = 1500
    min_label_mass: float = 0.01
    votes: int = 5
    thinking_tokens: int = 2048


@dataclass(slots=True)
class _Tally:
    """What one task cost."""

    usage: Usage = field(default_factory=Usage)
    calls: int = 0


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
        )

    def ask(self, prompt: Prompt, schema: LabelingSchema, data: Mapping[str, Any]) -> TaskAnswers:
        """What the LLM says, uncalibrated: nothing here depends on `prompt.calibration`. Raises as `label` does."""
        values, cut = self._values(schema, data)
        tally = _Tally()
        questions = [question for control in schema.controls for question in control.questions(data)]
        found = {question.key: self._distribution(prompt, question, values, tally) for question in questions}
        return TaskAnswers(found, cut, tally.usage, tally.calls)

    def _values(self, schema: LabelingSchema, data: Mapping[str, Any]) -> tuple[tuple[Value, ...], bool]:
        """Long texts share the token budget evenly."""
        values = schema.values(data)
        shortened = [fields.cut(value.text, self.limits.max_task_tokens // len(values)) for value in values]
        kept = tuple(replace(value, text=text) for value, (text, _) in zip(values, shortened, strict=True))
        return kept, any(was_cut for _, was_cut in shortened)

    def _distribution(self, prompt: Prompt, question: Question, values: Sequence[Value], tally: _Tally) -> Distribution:
        found = self._uncalibrated(prompt, question, values, tally)
        if found.label_mass < self.limits.min_label_mass:
            raise AnswerError(
                f'the labels of "{question.control}" hold {found.label_mass:.2%} of the probability, less than '
                f"LLM_MIN_LABEL_MASS ({self.limits.min_label_mass:.2%}): the model answers something else"
            )
        return found

    def _uncalibrated(self, prompt: Prompt, question: Question, values: Sequence[Value], tally: _Tally) -> Distribution:
        if len(question.labels) == 1:
            return Distribution((question.labels[0].value,), (1.0,))
        able = self.engine.capabilities
        if able.logprobs_for(prompt.style) and (able.thinking != "always" or prompt.style == "text"):
            return self._from_logprobs(prompt, question, values, tally)
        return self._from_votes(prompt, question, values, tally)

    def _from_logprobs(
        self, prompt: Prompt, question: Question, values: Sequence[Value], tally: _Tally
    ) -> Distribution:
        continues = prompt.style == "text"
        texts = [label.text for label in question.labels]
        width = min(self.engine.capabilities.logprobs_for(prompt.style), _ALTERNATIVES)
        kind = prompt.codes if question.about is None else "words"
        descends = continues and verbalizer.kind_of(kind, texts, continues=continues, width=width) == "words"
        if not descends and len(texts) > _most(width):
            return self._in_groups(prompt, question, values, tally)
        codes = verbalizer.codes(kind, texts, continues=continues, width=width)
        rendered = render(prompt, question, values, codes)
        reading = verbalizer.read(
            lambda prefix: self._alternatives(rendered, prefix, width, tally), codes, continues=continues
        )
        return _distribution(question.labels, reading)

    def _alternatives(self, rendered: Rendered, prefix: str, width: int, tally: _Tally) -> Sequence[Token]:
        completion = self._complete(
            Request(_continued(rendered.text, prefix), rendered.messages, top_logprobs=width), tally
        )
        if not completion.alternatives:
            raise EngineAnswerError("the answer came without log-probs, which this endpoint gave before")
        return completion.alternatives[0]

    def _in_groups(self, prompt: Prompt, question: Question, values: Sequence[Value], tally: _Tally) -> Distribution:
        """p(label) = p(group) p(label | group): a tree of letters, two levels for up to 400 labels.

        Definitions and demonstrations are the labels' own and stay out of the question for the group.
        """
        most = _most(min(self.engine.capabilities.logprobs_for(prompt.style), _ALTERNATIVES))
        groups = _groups(question.labels, most)
        names = tuple(Label(str(i), "; ".join(label.text for label in group)) for i, group in enumerate(groups))
        lettered = replace(prompt, codes="letters", definitions={}, demonstrations=())
        outer = self._uncalibrated(lettered, replace(question, labels=names), values, tally)
        left, mass, censored = 1.0, 0.0, set[str]()
        chances = dict.fromkeys((label.value for label in question.labels), 0.0)
        for index in sorted(range(len(groups)), key=lambda i: -outer.probabilities[i]):
            share, members = outer.probabilities[index], groups[index]
            if left < _LEFT_OUT:
                inner = _even(members)
            else:
                inner = self._uncalibrated(prompt, replace(question, labels=members), values, tally)
            left -= share
            mass += share * inner.label_mass
            chances.update({value: share * p for value, p in zip(inner.labels, inner.probabilities, strict=True)})
            censored.update(inner.labels if str(index) in outer.censored else inner.censored)
        flagged = tuple(value for value in chances if value in censored)
        return Distribution(tuple(chances), tuple(chances.values()), outer.label_mass * mass, flagged)

    def _from_votes(self, prompt: Prompt, question: Question, values: Sequence[Value], tally: _Tally) -> Distribution:
        """Shares of sampled answers, smoothed by one vote spread evenly over the labels (Perks 1947).

        Answers outside the set count as no vote; with half of them or more outside, the task fails.
        """
        texts = tuple(label.text for label in question.labels)
        counts = dict.fromkeys(texts, 0)
        rendered = render(prompt, question, values, texts)
        for seed in range(self.limits.votes):
            answer = self._complete(self._vote(rendered, texts, seed), tally)
            code = grammar.read(answer.text, texts)
            if code is not None:
                counts[code] += 1
        valid = sum(counts.values())
        if 2 * valid <= self.limits.votes:
            raise AnswerError(
                f'{self.limits.votes - valid} of {self.limits.votes} answers for "{question.control}" '
                "are outside the label set"
            )
        shares = tuple((count + 1 / len(texts)) / (valid + 1) for count in counts.values())
        return Distribution(
            tuple(label.value for label in question.labels), shares, valid / self.limits.votes, score_kind="votes"
        )

    def _vote(self, rendered: Rendered, texts: tuple[str, ...], seed: int) -> Request:
        thinks = rendered.messages and self.engine.capabilities.thinking == "always"
        thinking = self.limits.thinking_tokens if thinks else 0
        longest = max(len(text.encode()) for text in texts)
        return Request(
            rendered.text,
            rendered.messages,
            max_tokens=thinking + longest + 16,
            temperature=_VOTE_TEMPERATURE,
            seed=seed,
            grammar=grammar.llguidance(texts),
            json_schema=grammar.json_schema(texts),
        )

    def _complete(self, request: Request, tally: _Tally) -> Completion:
        completion = self.engine.complete(request)
        tally.usage += completion.usage
        tally.calls += 1
        return completion


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


def _continued(text: str, prefix: str) -> str:
    return f"{text}{prefix}" if text else ""


def _most(width: int) -> int:
    """As many labels are told apart in one chat question."""
    return min(_GROUP, max(2, width))


def _groups(labels: tuple[Label, ...], most: int) -> list[tuple[Label, ...]]:
    """As few groups as `most` letters allow, evenly filled."""
    size = max(2, math.ceil(len(labels) / min(most, math.ceil(math.sqrt(len(labels))))))
    return [labels[i : i + size] for i in range(0, len(labels), size)]


def _even(labels: Sequence[Label]) -> Distribution:
    """Of labels that were not asked for: each has at most the share of all."""
    values = tuple(label.value for label in labels)
    return Distribution(values, (1 / len(values),) * len(values), censored=values)


def _distribution(labels: Sequence[Label], reading: verbalizer.Reading) -> Distribution:
    """Even where nothing was seen: its label mass is then 0."""
    total = sum(reading.masses)
    return Distribution(
        labels=tuple(label.value for label in labels),
        probabilities=tuple(mass / total if total else 1 / len(labels) for mass in reading.masses),
        label_mass=reading.label_mass,
        censored=tuple(labels[i].value for i in sorted(reading.censored)),
    )


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
