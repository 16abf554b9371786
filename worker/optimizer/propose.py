"""Candidates that need no teacher: instructions in several styles, formats, demonstrations."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backend.labeling import selection
from backend.labeling.calibration import Calibration
from backend.labeling.errors import TaskError
from backend.labeling.prompt import Prompt, Style
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer import templates
from worker.optimizer.demonstrations import DemonstrationSet


@dataclass(frozen=True, slots=True)
class Candidate:
    """An uncalibrated prompt on trial; `origin` says in words where it came from."""

    prompt: Prompt
    origin: str


def uncalibrated(prompt: Prompt) -> Prompt:
    return replace(prompt, calibration=Calibration())


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first of each prompt."""
    found: list[Candidate] = []
    for candidate in candidates:
        if all(candidate.prompt != other.prompt for other in found):
            found.append(candidate)
    return found


def instructions(schema: LabelingSchema, prompt: Prompt, styles: Sequence[Style]) -> list[Candidate]:
    """The prompt's own instruction in each style that the engine can score, then the templates in the first style,
    then letters for labels."""
    bare = replace(uncalibrated(prompt), demonstrations=(), shown=0, packs=())
    own = [Candidate(replace(bare, style=style), f"the instruction at hand, as {style}") for style in styles]
    worded = [
        Candidate(replace(bare, style=styles[0], instruction=text), f'the template "{name}"')
        for name, text in _worded(schema, prompt.instruction)
    ]
    lettered = Candidate(replace(bare, style=styles[0], codes="letters"), "letters for the labels")
    return distinct([*own, *worded, lettered])


def with_demonstrations(parent: Candidate, chosen: DemonstrationSet) -> Candidate:
    prompt = replace(parent.prompt, demonstrations=chosen.demonstrations, shown=chosen.shown, packs=chosen.packs)
    return Candidate(prompt, f"{parent.origin}, with {chosen.origin}")


def without_own(schema: LabelingSchema, prompt: Prompt, example: Example) -> Prompt:
    """A demonstration is left out where it, or one in the same words, would be scored on itself; the very same prompt
    where none is, or where each task's are selected: they never hold the task."""
    if selection.selects(prompt) or not prompt.demonstrations:
        return prompt
    try:
        return selection.without_copies(prompt, schema.values(example.data))
    except TaskError:  # it cannot be shown
        return prompt


def _worded(schema: LabelingSchema, ask: str) -> list[tuple[str, str]]:
    names = " and ".join(control.name for control in schema.controls)
    texts = [label.text for label in schema.controls[0].labels]
    listed = len(schema.controls) == 1 and 1 < len(texts) <= templates.MOST_LISTED
    either = f"{', '.join(texts[:-1])} or {texts[-1]}" if listed else templates.UNLISTED
    every = ", ".join(texts) if listed else templates.UNLISTED
    fill: Callable[[str], str] = lambda text: text.format(ask=ask.strip(), control=names, any=either, all=every)  # noqa: E731
    return [(name, fill(text)) for name, text in templates.INSTRUCTIONS.items()]
