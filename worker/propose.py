"""Candidates that need no teacher: instructions in several styles, formats, demonstrations."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backend.labeling import fields, reasons
from backend.labeling.calibration import Calibration
from backend.labeling.errors import TaskError
from backend.labeling.prompt import Demonstration, Prompt, Style
from backend.labeling.schema import LabelingSchema
from worker import templates
from worker.examples import Example

# A demonstration's text takes no more of the prompt than this.
_DEMONSTRATION_TOKENS = 120
_REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """An uncalibrated prompt on trial; `origin` says in words where it came from."""

    prompt: Prompt
    origin: str


@dataclass(frozen=True, slots=True)
class DemonstrationSet:
    """Fixed before any race, so that folds and parents share what was paid for."""

    demonstrations: tuple[Demonstration, ...]
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
    bare = replace(uncalibrated(prompt), demonstrations=())
    own = [Candidate(replace(bare, style=style), f"the instruction at hand, as {style}") for style in styles]
    worded = [
        Candidate(replace(bare, style=styles[0], instruction=text), f'the template "{name}"')
        for name, text in _worded(schema, prompt.instruction)
    ]
    lettered = Candidate(replace(bare, style=styles[0], codes="letters"), "letters for the labels")
    return distinct([*own, *worded, lettered])


def demonstration_sets(
    schema: LabelingSchema, pool: Sequence[Example], errors: Sequence[Example], count: int, rng: random.Random
) -> list[DemonstrationSet]:
    """`count` sets from `pool`, of two sizes in turn: balanced over the labels; every third half from `errors`.

    Sizes are one and two a label, between 4 and 8 and at most 12. Empty without examples to show.
    """
    labels = len({_label(example) for example in pool})
    small = max(4, min(12, labels))
    sizes = (small, max(small, min(12, 2 * labels, len(pool)), min(8, len(pool))))
    found = []
    for number in range(count):
        size = min(sizes[(number + 1) % 2], len(pool))
        wrong = rng.sample(list(errors), min(size // 2, len(errors))) if number % 3 == 2 else []  # noqa: PLR2004
        rest = [example for example in pool if example not in wrong]
        chosen = [*wrong, *_balanced(rest, size - len(wrong), rng)]
        rng.shuffle(chosen)
        shown = tuple(made for example in chosen if (made := demonstration(schema, example)))
        if shown:
            kind = "random, with errors" if wrong else "random, balanced"
            found.append(DemonstrationSet(shown, f"{len(shown)} demonstrations ({kind})"))
    return found


def with_demonstrations(parent: Candidate, chosen: DemonstrationSet) -> Candidate:
    return Candidate(
        replace(parent.prompt, demonstrations=chosen.demonstrations), f"{parent.origin}, with {chosen.origin}"
    )


def demonstration(schema: LabelingSchema, example: Example) -> Demonstration | None:
    """None for an example whose data cannot be shown."""
    try:
        values = schema.values(example.data)
    except TaskError:
        return None
    room = _DEMONSTRATION_TOKENS // len(values)
    short = tuple(replace(value, text=fields.cut(value.text, room)[0]) for value in values)
    return Demonstration(short, dict(example.truth), reasons.shorten(example.reason, _REASON_CHARACTERS))


def without_own(schema: LabelingSchema, prompt: Prompt, example: Example) -> Prompt:
    """A demonstration is left out where it would be scored on itself; the very same prompt where none is."""
    own = demonstration(schema, example) if prompt.demonstrations else None
    if own is None or all(other.values != own.values for other in prompt.demonstrations):
        return prompt
    kept = tuple(other for other in prompt.demonstrations if other.values != own.values)
    return replace(prompt, demonstrations=kept)


def _worded(schema: LabelingSchema, ask: str) -> list[tuple[str, str]]:
    names = " and ".join(control.name for control in schema.controls)
    texts = [label.text for label in schema.controls[0].labels]
    listed = len(schema.controls) == 1 and 1 < len(texts) <= templates.MOST_LISTED
    either = f"{', '.join(texts[:-1])} or {texts[-1]}" if listed else templates.UNLISTED
    every = ", ".join(texts) if listed else templates.UNLISTED
    fill: Callable[[str], str] = lambda text: text.format(ask=ask.strip(), control=names, any=either, all=every)  # noqa: E731
    return [(name, fill(text)) for name, text in templates.INSTRUCTIONS.items()]


def _balanced(pool: Sequence[Example], size: int, rng: random.Random) -> list[Example]:
    """Label by label in turn, each label's examples in random order; of many labels a random choice begins."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        by_label[_label(example)].append(example)
    stacks = [rng.sample(stack, len(stack)) for _, stack in sorted(by_label.items())]
    rng.shuffle(stacks)
    chosen: list[Example] = []
    while len(chosen) < size and any(stacks):
        for stack in stacks:
            if stack and len(chosen) < size:
                chosen.append(stack.pop())
    return chosen


def _label(example: Example) -> str:
    return repr(sorted(example.truth.items()))
