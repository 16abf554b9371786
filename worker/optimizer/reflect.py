"""What the teacher is asked about errors, and what is learned from its answers: candidates, each a small edit."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backend.labeling.controls import Control
from backend.labeling.errors import BudgetError, EngineError
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer import edits, templates
from worker.optimizer.edits import Edit, quotes
from worker.optimizer.outcomes import Graded
from worker.optimizer.propose import Candidate

Ask = Callable[[str], str]

_MOST_ERRORS, _MOST_CORRECT, _MOST_CELLS = 6, 4, 3
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Seen:
    """An example that the teacher may be shown: its text as the student reads it, and what the prompt made of it."""

    example: Example
    text: str
    graded: Graded

    @property
    def truth(self) -> str:
        return named(self.example.truth.values())

    @property
    def said(self) -> str:
        return named(self.graded.values.values()) or "nothing usable"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One request to the teacher, and how its answer edits the parent; None for an answer that cannot be used."""

    request: str
    origin: str
    parent: Prompt
    edit: Edit


@dataclass(frozen=True, slots=True)
class Views:
    """What the teacher gets to see. Without `texts` no task's text: how often which label was taken for which."""

    guideline: str = ""
    texts: bool = True

    def errors(self, seen: Sequence[Seen]) -> str:
        """The most confident first: they tell the most."""
        if not self.texts:
            return _counted(seen)
        ordered = sorted(seen, key=lambda each: each.graded.margin)[:_MOST_ERRORS]
        return "\n".join(
            templates.ERROR_LINE.format(text=_shown(each.text), truth=each.truth, said=each.said) for each in ordered
        )

    def correct(self, seen: Sequence[Seen], most: int, rng: random.Random) -> str:
        """At random; of what is only counted all."""
        if not self.texts:
            return _counted(seen)
        chosen = _sample(seen, most, rng)
        return "\n".join(templates.EXAMPLE_LINE.format(text=_shown(each.text), truth=each.truth) for each in chosen)


def named(values: Iterable[tuple[str, ...]]) -> str:
    """A control's values in alphabetical order: the same whatever order annotators chose them in."""
    return "; ".join(", ".join(sorted(chosen)) or "none" for chosen in values)


def lessons(
    schema: LabelingSchema, prompt: Prompt, seen: Sequence[Seen], views: Views, rng: random.Random
) -> Iterator[Lesson]:
    """Confusion by confusion, the commonest first, then the label that is missed most, then the instruction anew."""
    head = _head(schema, prompt, views.guideline)
    if not views.texts:
        seen = [_without_data(schema, each) for each in seen]
    wrong = [each for each in seen if is_error(each.example, each.graded)]
    right = [each for each in seen if each.graded.right]
    for (truth, said), errors in _cells(wrong):
        correct = views.correct([each for each in right if each.truth in (truth, said)], _MOST_CORRECT, rng)
        request = head + templates.TEACHER_CONFUSION.format(
            truth=truth, said=said, errors=views.errors(errors), correct=correct
        )
        yield Lesson(request, f'rules for "{truth}" taken for "{said}"', prompt, edits.rules(prompt))
    label = _most_missed(schema, wrong)
    if label:
        errors = [each for each in wrong if label in _missed(schema, each)]
        request = head + templates.TEACHER_DEFINITION.format(label=label, errors=views.errors(errors))
        yield Lesson(request, f'a definition of "{label}"', prompt, edits.definition(prompt, label))
    for style in templates.REWRITE_STYLES:
        request = head + templates.TEACHER_REWRITE.format(
            correct=views.correct(right, _MOST_ERRORS, rng),
            errors=views.errors(_sample(wrong, _MOST_ERRORS if views.texts else len(wrong), rng)),
            style=style,
        )
        yield Lesson(request, f"the instruction rewritten {style}", prompt, edits.rewrite(prompt))


def _counted(seen: Sequence[Seen]) -> str:
    cells = Counter((each.truth, each.said) for each in seen)
    lines = (templates.COUNT_LINE.format(count=n, truth=truth, said=said) for (truth, said), n in cells.most_common())
    return "\n".join(lines)


def is_error(example: Example, graded: Graded) -> bool:
    """Where people split themselves, the guideline is at fault, not the prompt."""
    return not example.disputed and not graded.right


def learn(lessons: Iterable[Lesson], seen: Sequence[Seen], ask: Ask) -> Iterator[Candidate]:
    """What comes of them, each asked when it is wanted. An unusable answer is dropped; so is what quotes a text, says
    too much or says nothing new.

    A lesson that is refused for its own text, moderated or too long, is passed over; a budget or a teacher that gives
    out ends it.
    """
    known: list[str] = []
    texts = [each.text for each in seen]
    for lesson in lessons:
        try:
            answer = _parsed(ask(lesson.request))
        except (BudgetError, EngineError) as error:
            if error.of_task:
                continue
            break
        edited = lesson.edit(answer) if answer else None
        written = edits.news(edited, lesson.parent) if edited else ""
        if edited and not quotes(written, texts) and not any(edits.alike(written, other) for other in known):
            known.append(written)
            yield Candidate(edited, lesson.origin)


def _parsed(answer: str) -> dict[str, object]:
    """The outermost JSON object in it; nothing where there is none."""
    try:
        document = json.loads(answer[answer.find("{") : answer.rfind("}") + 1])
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _head(schema: LabelingSchema, prompt: Prompt, guideline: str) -> str:
    instruction = "\n".join([prompt.instruction, *(f"- {rule}" for rule in prompt.rules)])
    labels = [
        templates.TEACHER_LABELS.format(control=control.name, labels=_listed(prompt, control))
        for control in schema.controls
    ]
    return templates.TEACHER_HEAD.format(
        guideline=guideline or prompt.instruction, instruction=instruction, labels="\n".join(labels)
    )


def _listed(prompt: Prompt, control: Control) -> str:
    own = [templates.OWN_OPTIONS] if control.options_key else []
    return "; ".join([*(_described(prompt, label.value, label.hint) for label in control.labels), *own])


def _described(prompt: Prompt, label: str, hint: str) -> str:
    meaning = prompt.definitions.get(label) or hint
    return f"{label} ({meaning})" if meaning else label


def _cells(wrong: Sequence[Seen]) -> list[tuple[tuple[str, str], list[Seen]]]:
    counts = Counter((each.truth, each.said) for each in wrong)
    return [
        (cell, [each for each in wrong if (each.truth, each.said) == cell])
        for cell, _ in counts.most_common(_MOST_CELLS)
    ]


def _most_missed(schema: LabelingSchema, wrong: Sequence[Seen]) -> str:
    counts = Counter(label for each in wrong for label in _missed(schema, each))
    return counts.most_common(1)[0][0] if counts else ""


def _missed(schema: LabelingSchema, seen: Seen) -> list[str]:
    """Labels that the truth has and the model did not say, or the reverse; of those that can be defined for all tasks:
    the first control's own."""
    control = schema.controls[0]
    differing = set(seen.example.truth.get(control.name, ())) ^ set(seen.graded.values.get(control.name, ()))
    return [label.value for label in control.labels if label.value in differing]


def _without_data(schema: LabelingSchema, seen: Seen) -> Seen:
    """Options that a task brought with it are its data too."""
    own = {control.name: {label.value for label in control.labels} for control in schema.controls}

    def known(values: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(value if value in own.get(name, ()) else templates.OTHER_OPTION for value in chosen)
            for name, chosen in values.items()
        }

    example = replace(seen.example, data={}, truth=known(seen.example.truth))
    return Seen(example, "", replace(seen.graded, values=known(seen.graded.values)))


def _shown(text: str) -> str:
    return edits.line(text)[:_SHOWN_CHARACTERS]


def _sample(seen: Sequence[Seen], most: int, rng: random.Random) -> list[Seen]:
    return rng.sample(list(seen), min(most, len(seen)))
