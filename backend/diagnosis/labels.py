"""A labeling configuration tried on one task: can the endpoint tell its labels apart, and with how many calls?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backend.calls.embedding import make_embedder
from backend.diagnosis import abilities
from backend.diagnosis.abilities import Found
from backend.diagnosis.check import Check, Section
from backend.diagnosis.faults import WOULD_SAY_SOMETHING_ELSE, way_out
from backend.labeling import many_labels, templates, verbalizer
from backend.labeling import schema as schemas
from backend.labeling.answers import Question, TaskPrediction
from backend.labeling.controls import Control
from backend.labeling.engines.openai import Memory, OpenAIEngine
from backend.labeling.errors import EngineError, SchemaError, SettingsError, TaskError
from backend.labeling.fields import DataField, plain
from backend.labeling.labeler import Labeler, Limits
from backend.labeling.prompt import Prompt, PromptVersion
from backend.labeling.schema import LabelingSchema
from backend.projects import rationale_area
from backend.prompts import fixed_demonstrations
from backend.prompts.fixed_demonstrations import FixedDemonstrations
from backend.settings import Settings

SUBJECT = "labels"
_SAMPLE = "The parcel came a day late, but all of it works, and the support was kind."
_OPTIONS = ["first", "second", "third"]
# Less than this on all labels together, and the model would rather answer something else.
_LOW_MASS = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A labeling configuration; `data` of a task to try it on and the active `version` where they are known."""

    config: str
    data: Mapping[str, Any] | None = None
    expert_instruction: str = ""
    version: PromptVersion | None = None


@dataclass(frozen=True, slots=True)
class _Trial:
    settings: Settings
    found: Found
    schema: LabelingSchema
    version: PromptVersion
    data: Mapping[str, Any]

    def label(self, control: Control) -> TaskPrediction:
        """That control alone."""
        able = self.found.able
        engine = OpenAIEngine(self.found.wire, self.found.model, Memory(load=lambda: able))
        labeler = Labeler(engine, _limits(self.settings), embedder=make_embedder(self.settings))
        return labeler.label(self.version, replace(self.schema, controls=(control,)), self.data)


def examine(wanted: Wanted, found: Found | None, settings: Settings) -> Section:
    try:
        schema = schemas.parse(wanted.config)
    except SchemaError as error:
        return Section(SUBJECT, (Check("configuration", "failed", str(error), error.hint, needed=True),))
    area = schema.text_area(settings.rationale_control)
    notes = tuple(Check("note", "warning", note) for note in schema.notes_but(area))
    shown = f"{_count(len(schema.controls), 'control')} to label, {_count(len(schema.fields), 'data field')} to read"
    told = (*notes, *_reasons(schema, settings), *_demonstrations(schema, settings))
    checks = (Check("configuration", "ok", shown, needed=True), *told)
    if found is None:
        missing = "the endpoint cannot label"
        return Section(SUBJECT, (*checks, *(Check(control.name, "skipped", missing) for control in schema.controls)))
    data = wanted.data if wanted.data is not None else _sample(schema)
    try:
        trial = _Trial(settings, found, schema, _version(wanted, schema, found, settings), data)
    except SettingsError:  # told above
        return Section(SUBJECT, checks)
    return Section(SUBJECT, (*checks, *(_try(trial, control) for control in schema.controls)))


def _reasons(schema: LabelingSchema, settings: Settings) -> tuple[Check, ...]:
    """Nothing where there is no TextArea and nobody has asked for reasons."""
    if schema.text_area(settings.rationale_control):
        return (Check(rationale_area.NAME, "ok", f'reasons go into TextArea "{settings.rationale_control}"'),)
    found = rationale_area.missing(schema, settings)
    hint = "Name one that is there by RATIONALE_CONTROL, or add it: `whetstone connect PROJECT --with-rationale`."
    return (Check(rationale_area.NAME, "warning", found, hint),) if found else ()


def _demonstrations(schema: LabelingSchema, settings: Settings) -> tuple[Check, ...]:
    """Nothing where none are fixed."""
    try:
        found = fixed_demonstrations.read(settings.demonstrations, schema)
    except SettingsError as error:
        return (Check("demonstrations", "warning", str(error), error.hint),)
    return (Check("demonstrations", "ok", f"{_count(len(found), 'row')} to show"),) if found else ()


def _version(wanted: Wanted, schema: LabelingSchema, found: Found, settings: Settings) -> PromptVersion:
    """The active one where it was made for this configuration, else what would be the first."""
    if wanted.version and wanted.version.config_hash == schema.config_hash:
        return wanted.version
    instruction = settings.instruction or plain(wanted.expert_instruction).strip()
    prompt = Prompt(
        instruction or templates.initial_instruction(schema),
        demonstrations=FixedDemonstrations(settings.demonstrations).of(schema),
        style=settings.prompt_style,
    )
    return PromptVersion.of(
        1, prompt, config_hash=schema.config_hash, model=found.model, origin="doctor", created_at=datetime.now(UTC)
    )


def _try(trial: _Trial, control: Control) -> Check:
    try:
        prediction = trial.label(control)
        how = _how(trial, control.questions(trial.data), prediction.calls)
    except TaskError as error:
        return Check(control.name, "warning", f"the task cannot be labelled: {error}", error.hint)
    except EngineError as error:
        return Check(control.name, "failed", str(error), way_out(error, trial.settings), needed=True)
    if not prediction.result:
        return Check(control.name, "ok", f"{how}; no label applies to the sample", needed=True)
    (answer,) = prediction.controls
    missing = [value for value in answer.censored if value not in answer.unasked]
    return _judged(control.name, how, mass=answer.label_mass, kind=answer.score_kind, missing=missing)


def _judged(name: str, how: str, *, mass: float, kind: str, missing: list[str]) -> Check:
    share = "of the answers" if kind == "votes" else "of the probability"
    found = f"{how}; the labels hold {mass:.0%} {share}"
    if mass < _LOW_MASS:
        return Check(name, "warning", found, WOULD_SAY_SOMETHING_ELSE)
    if missing:
        found += f"; {_count(len(missing), 'label')} did not come back, so that their share is a bound"
        return Check(name, "warning", found, "An endpoint with more alternatives a token, or shorter labels.")
    return Check(name, "ok", found, needed=True)


def _how(trial: _Trial, questions: tuple[Question, ...], calls: int) -> str:
    labels = _count(len(questions[0].labels), "label")
    if questions[0].about is not None:
        labels = _count(len(questions), "yes-or-no question")
    spent = _count(calls, "call")
    if not calls:
        return f"{labels}, nothing to ask"
    a_task = "for this task" if any(question.above for question in questions) else "a task"
    if abilities.votes(trial.found.able, trial.version.prompt.style):
        return f"{labels} by votes, {spent} {a_task}"
    codes = _codes(trial, questions[0])
    if calls <= len(questions):
        return f"{labels} as {codes}, {spent} {a_task}"
    token_by_token = codes == "words" and trial.version.prompt.style == "text"
    return f"{labels} {'as words, token by token' if token_by_token else 'in several questions'}, {spent} for this task"


def _codes(trial: _Trial, question: Question) -> str:
    """As the labeler chooses them."""
    prompt, texts = trial.version.prompt, [label.text for label in question.labels]
    kind = prompt.codes if question.about is None else "words"
    width = trial.found.able.logprobs_for(prompt.style)
    if len(texts) > many_labels.most(width) and many_labels.go_as_words(prompt, texts):
        return "words"
    return verbalizer.kind_of(kind, texts, continues=prompt.style == "text", width=width)


def _sample(schema: LabelingSchema) -> dict[str, Any]:
    data: dict[str, Any] = {path: _text(field) for field in schema.fields for path in field.paths}
    return data | {control.options_key: _OPTIONS for control in schema.controls if control.options_key}


def _text(field: DataField) -> Any:
    return [{field.name_key: "A", field.text_key: _SAMPLE}] if field.tag == "Paragraphs" else _SAMPLE


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_task_tokens=settings.llm_max_task_tokens,
        min_label_mass=settings.llm_min_label_mass,
        votes=settings.llm_votes,
        thinking_tokens=settings.llm_thinking_tokens,
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
