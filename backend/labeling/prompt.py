"""The prompt: instruction, label definitions, demonstrations, the task last. Static parts come first, so that a
server's prefix cache holds them for all tasks."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from backend.labeling import templates
from backend.labeling.answers import Label, Question
from backend.labeling.calibration import Calibration
from backend.labeling.engines.base import Message
from backend.labeling.fields import Value
from backend.labeling.verbalizer import CodeKind

Style = Literal["chat", "text"]

OPEN = "\u2039"  # looks like the bracket that it stands for


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A task with its right answer: `labels` maps a control's name to the values chosen, `reason` says why in a line,
    "" where nobody did."""

    values: tuple[Value, ...]
    labels: dict[str, tuple[str, ...]]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is optimized. `definitions` maps a label's value to its meaning and goes before the configuration's hint;
    `rules` are for doubtful cases, one line each.

    `demonstrations` are all shown, unless `shown` is above 0: then each task sees as many, those most similar to it; or
    `packs` (places in `demonstrations`) are there: then each task sees the pack that it is nearest to.

    Formats: `described` shows what labels mean, `backwards` names them in reverse order, `turns` shows demonstrations
    as chat turns and not inside the first message.

    Answers less confident than `escalate_below` are asked of the stronger LLM (see `cascade`).

    With `rationale` the LLM reasons before it answers; `samples` are how many rationales are drawn, of whose label
    distributions the mean counts.
    """

    instruction: str
    definitions: dict[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    style: Style = "chat"
    codes: CodeKind = "auto"
    fenced: bool = True
    calibration: Calibration = field(default_factory=Calibration)
    shown: int = 0
    packs: tuple[tuple[int, ...], ...] = ()
    rationale: bool = False
    samples: int = 1
    described: bool = True
    backwards: bool = False
    turns: bool = True
    escalate_below: float = 0.0


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A prompt under its name. `name` ends in the first four hex digits of `content_hash`, so that it sorts by number
    and tells by content. `origin` says where it came from: "seed" for the initial instruction."""

    name: str
    prompt: Prompt
    config_hash: str
    model: str
    origin: str
    created_at: datetime
    parent: str | None = None

    @classmethod
    def of(
        cls, number: int, prompt: Prompt, *, config_hash: str, model: str, origin: str, created_at: datetime
    ) -> Self:
        name = f"p{number:04d}-{content_hash(prompt, config_hash, model)[:4]}"
        return cls(name, prompt, config_hash, model, origin, created_at)

    def to_json(self) -> str:
        return _VERSION.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "PromptVersion":
        return _VERSION.validate_json(text)


_VERSION = TypeAdapter(PromptVersion)
_PROMPT = TypeAdapter(Prompt)
# What prompts had from the first version on.
_FIRST = {"instruction", "definitions", "rules", "demonstrations", "style", "codes", "fenced", "calibration"}
_LATER = {each.name: each.default for each in fields(Prompt) if each.name not in _FIRST}


def content_hash(prompt: Prompt, config_hash: str, model: str) -> str:
    """SHA-256 over all that an answer can depend on.

    What prompts have got since the first version is left out while it is at its default, so that prompts from before
    keep their names, and what was paid for under them is found.
    """
    later: dict[str, Any] = {name: True for name, value in _LATER.items() if getattr(prompt, name) == value}
    if not any(demonstration.reason for demonstration in prompt.demonstrations):
        later["demonstrations"] = {"__all__": {"reason"}}
    if not prompt.calibration.temperatures:
        later["calibration"] = {"temperatures"}
    digest = hashlib.sha256(_PROMPT.dump_json(prompt, exclude=later))
    digest.update(f"\0{config_hash}\0{model}".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Rendered:
    """`text` for a plain completion, to which a partial answer may be appended; `messages` for chat turns."""

    text: str = ""
    messages: tuple[Message, ...] = ()


def render(
    prompt: Prompt, question: Question, values: Sequence[Value], codes: Sequence[str], reason: str | None = ""
) -> Rendered:
    """`codes` stand for `question.labels`, in their order. With a `reason`, the label is asked for after it; without
    one (None) the reason is what is asked for."""
    cue = _cue(question, codes)
    own_cue = _aside(prompt, question) + cue
    head = _head(prompt, question, codes)
    shown = [shot for one in prompt.demonstrations if (shot := _demonstration(prompt, question, codes, one))]
    task = _Shot(fence(values, fenced=prompt.fenced), reason)
    if prompt.style == "text":
        return Rendered(text="\n\n".join([head, *(_plain(shot, cue) for shot in shown), _plain(task, own_cue)]))
    asked = templates.REASON_THEN_ANSWER if prompt.rationale else templates.ANSWER_WITH_A_CODE
    inside = [] if prompt.turns else [_plain(shot, cue) for shot in shown]
    before = [turn for shot in shown for turn in _turns(shot, cue)] if prompt.turns else []
    system = Message("system", "\n\n".join([head, asked, *inside]))
    return Rendered(messages=(system, *before, *_turns(task, own_cue)))


@dataclass(frozen=True, slots=True)
class _Shot:
    """A fenced task. `reason` None: to be given; `answer` None: to be given after it."""

    task: str
    reason: str | None = ""
    answer: str | None = None


def _plain(shot: _Shot, cue: str) -> str:
    if shot.reason is None:
        return f"{shot.task}\n{templates.REASON}"
    lines = [shot.task, *([f"{templates.REASON} {shot.reason}"] if shot.reason else []), cue]
    return "\n".join(lines) + ("" if shot.answer is None else f" {shot.answer}")


def _turns(shot: _Shot, cue: str) -> Iterator[Message]:
    """The reason in a turn of its own, so that the answer's first token is the label's."""
    if shot.reason == "":
        yield Message("user", f"{shot.task}\n\n{cue}")
    else:
        yield Message("user", f"{shot.task}\n\n{templates.REASON}")
    if shot.reason:
        yield Message("assistant", shot.reason)
        yield Message("user", cue)
    if shot.answer is not None:
        yield Message("assistant", shot.answer)


def _head(prompt: Prompt, question: Question, codes: Sequence[str]) -> str:
    """Yes-or-no questions name their label after the task, and say there what it means where there are several, so that
    all of a task's questions share this head."""
    parts = [prompt.instruction.strip()]
    if question.about is None:
        parts.append(_legend(prompt, question, codes))
    elif not question.among:
        parts.append(_glossed(prompt, question.about))
    if prompt.rules:
        parts.append("\n".join(f"- {rule}" for rule in prompt.rules))
    if prompt.fenced and prompt.style == "chat":
        parts.append(templates.TEXT_IS_DATA)
    return "\n\n".join(part for part in parts if part)


def _legend(prompt: Prompt, question: Question, codes: Sequence[str]) -> str:
    """One line of labels where they say all and none holds a comma, else a line for each code."""
    meanings = [_meaning(prompt, label) for label in question.labels]
    spelled = all(code == label.text for code, label in zip(codes, question.labels, strict=True))
    if spelled and not any(meanings) and not any("," in code for code in codes):
        return f"{question.control} is one of: {', '.join(codes)}"
    lines = [_line(code, label, meaning) for code, label, meaning in zip(codes, question.labels, meanings, strict=True)]
    return "\n".join([f"{question.control} is one of:", *lines])


def _meaning(prompt: Prompt, label: Label) -> str:
    return (prompt.definitions.get(label.value) or label.hint) if prompt.described else ""


def _line(code: str, label: Label, meaning: str) -> str:
    shown = code if code == label.text else f"{code}: {label.text}"
    return f"{shown} ({meaning})" if meaning and code != label.text else f"{shown}: {meaning}" if meaning else shown


def _aside(prompt: Prompt, question: Question) -> str:
    """A line before the task's own cue; demonstrations do without it."""
    glossed = _glossed(prompt, question.about) if question.about and question.among else ""
    return f"{glossed}\n" if glossed else ""


def _glossed(prompt: Prompt, label: Label) -> str:
    """ "" for a label without a meaning."""
    meaning = _meaning(prompt, label)
    return f"{label.text}: {meaning}" if meaning else ""


def _cue(question: Question, codes: Sequence[str]) -> str:
    if question.about is None:
        return f"{question.control}:"
    return f'{question.control}: does "{question.about.text}" apply? ({" or ".join(codes)}):'


def _demonstration(
    prompt: Prompt, question: Question, codes: Sequence[str], demonstration: Demonstration
) -> _Shot | None:
    """With the code of its right answer, and its reason in prompts that ask for one; None where it answers another
    question."""
    chosen = demonstration.labels.get(question.control)
    if chosen is None:
        return None
    if question.about is not None:
        answer = codes[0] if question.applies(chosen) else codes[1]
    else:
        right = (code for code, label in zip(codes, question.labels, strict=True) if label.value in chosen)
        answer = next(right, "")
    reason = demonstration.reason if prompt.rationale else ""
    return _Shot(fence(demonstration.values, fenced=prompt.fenced), reason, answer) if answer else None


def fence(values: Sequence[Value], *, fenced: bool) -> str:
    """Each field between `<name>` and `</name>`. Inside a text these tags lose their bracket, so that it cannot leave
    its fence, nor open another field's."""
    if not fenced:
        return "\n".join(value.text for value in values)
    tags = _tags(values)
    bracket = re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(map(re.escape, tags))})\b)", re.IGNORECASE)
    return "\n".join(
        f"<{tag}>\n{bracket.sub(OPEN, value.text)}\n</{tag}>" for tag, value in zip(tags, values, strict=True)
    )


def _tags(values: Sequence[Value]) -> list[str]:
    """The fields' names as tags, numbered where they would be the same."""
    tags: list[str] = []
    for value in values:
        tag = re.sub(r"\W+", "_", value.name).strip("_") or "text"
        tags.append(tag if tag not in tags else f"{tag}_{len(tags) + 1}")
    return tags
