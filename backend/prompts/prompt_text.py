"""A prompt as people read it, and how two of them differ."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Demonstration, Prompt, PromptVersion

_SENTENCE_END = re.compile(r"(?<=[.!?]) +")


def render(version: PromptVersion) -> str:
    """Nothing that two versions of the same content would differ in; a sentence a line, so that a diff shows little."""
    blocks = [block for block in _blocks(version.prompt) if block]
    return "\n\n".join([*blocks, _format(version)]) + "\n"


def diff(before: PromptVersion, after: PromptVersion) -> list[str]:
    """The lines of a unified diff of the readable forms; none where the content is the same."""
    old, new = render(before).splitlines(), render(after).splitlines()
    return list(difflib.unified_diff(old, new, before.name, after.name, lineterm=""))


def summary(prompt: Prompt) -> str:
    """What it is made of, in a line: "8 demonstrations; reasons before it answers"."""
    return "; ".join([*_parts(prompt), *_techniques(prompt), *_fitted(prompt.calibration)]) or "the instruction alone"


def _parts(prompt: Prompt) -> Iterator[str]:
    """What is counted: what `_techniques` says of demonstrations tells their number too."""
    counts = {
        "demonstration": 0 if prompt.packs or prompt.shown else len(prompt.demonstrations),
        "rule": len(prompt.rules),
        "definition": len(prompt.definitions),
    }
    yield from (f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in counts.items() if count)


def _fitted(calibration: Calibration) -> Iterator[str]:
    if calibration.fitted_on:
        yield f"scores fitted on {calibration.fitted_on} labels"


def _blocks(prompt: Prompt) -> Iterator[str]:
    yield _block("Instruction", _sentences(prompt.instruction))
    yield _block("Definitions", (f"{label}: {meaning}" for label, meaning in prompt.definitions.items()))
    yield _block("Rules", (f"- {rule}" for rule in prompt.rules))
    shown = [line for number, one in enumerate(prompt.demonstrations, start=1) for line in _demonstration(number, one)]
    yield _block("Demonstrations", shown)
    yield _block("Calibration", _calibration(prompt.calibration))


def _block(title: str, lines: Iterable[str]) -> str:
    """Empty without lines."""
    body = [f"  {line}" if line else "" for line in lines]
    return "\n".join([title, *body]) if body else ""


def _sentences(text: str) -> list[str]:
    return [sentence for line in text.strip().splitlines() for sentence in _SENTENCE_END.split(line)]


def _demonstration(number: int, demonstration: Demonstration) -> Iterator[str]:
    labels = "; ".join(f"{control}: {', '.join(values)}" for control, values in demonstration.labels.items())
    yield f"{number}. {labels}"
    for value in demonstration.values:
        first, *others = value.text.splitlines() or [""]
        yield f"   {value.name}: {first}"
        yield from (f"     {line}" for line in others)
    if demonstration.reason:
        yield f"   because: {demonstration.reason}"


def _calibration(calibration: Calibration) -> Iterator[str]:
    """None where the score is the model's own."""
    if not calibration.bias and calibration.temperature == 1:
        return
    yield f"fitted on {calibration.fitted_on} labels; temperature {calibration.temperature:.2f}"
    for question, bias in calibration.bias.items():
        yield f"bias removed from {question}: {_nats(bias)}"


def _nats(bias: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {nats:+.2f}" for label, nats in bias.items())


def _format(version: PromptVersion) -> str:
    prompt = version.prompt
    style = "chat turns" if prompt.style == "chat" else "one plain text"
    fence = "the task's text between tags" if prompt.fenced else "the task's text bare"
    codes = {"auto": "labels as words where the model can tell them apart"}.get(
        prompt.codes, f"labels as {prompt.codes}"
    )
    return _block("Format", [f"{style}; {codes}; {fence}", *_techniques(prompt), f"for the model {version.model}"])


def _techniques(prompt: Prompt) -> Iterator[str]:
    if prompt.backwards:
        yield "labels are named in reverse order"
    if not prompt.described:
        yield "labels without their definitions"
    if not prompt.turns:
        yield "demonstrations inside the first message"
    if prompt.rationale:
        several = f", up to {prompt.samples} times, and the distributions are averaged" if prompt.samples > 1 else ""
        yield f"reasons before it answers{several}"
    if prompt.escalate_below:
        yield f"answers less confident than {prompt.escalate_below:.2f} are asked of the stronger LLM"
    if prompt.packs:
        yield f"each task sees the nearest of {len(prompt.packs)} packs of demonstrations"
    elif prompt.shown:
        yield f"each task sees the {prompt.shown} most similar of {len(prompt.demonstrations)} demonstrations"
