"""A reason after the label: the LLM is told the labels that were chosen, and says in a sentence or two why they fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.labeling import grammar, reasons, templates
from backend.labeling.answers import Label
from backend.labeling.asking import Limits
from backend.labeling.engines.base import Capabilities, Message, Request
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt, fence
from backend.labeling.schema import LabelingSchema

_TOKENS = 96
_MOST_SENTENCES = 2
# Demonstrations that have a reason show how people reason here; more of them only cost.
_MOST_SHOWN = 4
_SPEAKS_GRAMMARS = {"llguidance", "structured_outputs"}

Labels = Mapping[str, tuple[Label, ...]]


def chosen(schema: LabelingSchema, data: Mapping[str, Any], result: Sequence[Mapping[str, Any]]) -> Labels:
    """By control, of those that have an answer; a value outside the label set is none."""
    found = {}
    for control in schema.controls:
        values = control.from_result(result) or ()
        labels = tuple(label for label in control.labels_for(data) if label.value in values)
        if labels:
            found[control.name] = labels
    return found


def request(
    prompt: Prompt,
    schema: LabelingSchema,
    values: Sequence[Value],
    labels: Labels,
    *,
    able: Capabilities,
    limits: Limits,
) -> Request:
    """In the prompt's own style; a base model goes on after "Reason:" to the line's end."""
    head = "\n\n".join(part for part in _head(prompt, labels) if part)
    task = _labelled(prompt, values, {name: [label.text for label in some] for name, some in labels.items()})
    shots = [(_shown(prompt, schema, each), each.reason) for each in prompt.demonstrations if each.reason][:_MOST_SHOWN]
    if prompt.style == "text":
        text = "\n\n".join([head, *(f"{shown} {reason}" for shown, reason in shots), task])
        asked = Request(text=text, max_tokens=_TOKENS, stop="\n")
    else:
        turns = [turn for shown, reason in shots for turn in (Message("user", shown), Message("assistant", reason))]
        messages = (Message("system", head), *turns, Message("user", task))
        thinking = limits.thinking_tokens if able.thinking == "always" else 0
        asked = Request(messages=messages, max_tokens=_TOKENS + thinking)
    return replace(asked, grammar=grammar.a_line() if able.constraint in _SPEAKS_GRAMMARS else "")


def read(text: str) -> str:
    """The first line that says something, without the word that asked for it; two sentences of it at most."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    said = line.strip().removeprefix(templates.REASON).strip().strip('"')
    return reasons.shorten(reasons.sentences(said, _MOST_SENTENCES))


def _head(prompt: Prompt, labels: Labels) -> Iterator[str]:
    """What was asked, and what the chosen labels mean: other labels are named nowhere but in the instruction."""
    yield prompt.instruction.strip()
    named = [label for some in labels.values() for label in some]
    meanings = [(label.text, prompt.definitions.get(label.value) or label.hint) for label in named]
    yield "\n".join(f"{text}: {meaning}" for text, meaning in meanings if meaning)
    yield templates.WHY_IT_FITS
    if prompt.fenced and prompt.style == "chat":
        yield templates.TEXT_IS_DATA


def _shown(prompt: Prompt, schema: LabelingSchema, demonstration: Demonstration) -> str:
    texts = {control.name: {label.value: label.text for label in control.labels} for control in schema.controls}
    labels = {
        name: [texts.get(name, {}).get(value, value) for value in values]
        for name, values in demonstration.labels.items()
    }
    return _labelled(prompt, demonstration.values, labels)


def _labelled(prompt: Prompt, values: Sequence[Value], labels: Mapping[str, Sequence[str]]) -> str:
    """A task, its labels, and what is to come."""
    given = [f"{control}: {', '.join(texts) or 'none'}" for control, texts in labels.items()]
    return "\n".join([fence(values, fenced=prompt.fenced), *given, templates.REASON])
