"""What the teacher is asked about errors, and what its answers may become: small edits of a prompt."""

import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from backend.labeling.errors import BudgetError, EngineError
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker import templates
from worker.examples import Example
from worker.outcomes import Graded
from worker.propose import Candidate

Ask = Callable[[str], str]

_MOST_ERRORS, _MOST_CORRECT, _MOST_CELLS = 6, 4, 3
_SHOWN_CHARACTERS = 300
_QUOTE_WORDS = 8
_MOST_RULE, _MOST_DEFINITION, _MOST_INSTRUCTION, _MOST_RULES = 300, 400, 1500, 12
_ALIKE = 0.92
_JSON = re.compile(r"\{.*\}", re.DOTALL)


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
    """One request to the teacher, and how its answer edits the prompt; None for an answer that cannot be used."""

    request: str
    origin: str
    edit: Callable[[dict[str, object]], Prompt | None]


@dataclass(frozen=True, slots=True)
class Views:
    """What the teacher gets to see. Without `texts` no task's text: how often which label was taken for which."""

    guideline: str = ""
    texts: bool = True

    def errors(self, seen: Sequence[Seen]) -> str:
        """The most confident first: they tell the most."""
        if not self.texts:
            return _counted(Counter((each.truth, each.said) for each in seen))
        ordered = sorted(seen, key=lambda each: each.graded.margin)[:_MOST_ERRORS]
        return "\n".join(
            templates.ERROR_LINE.format(text=_shown(each.text), truth=each.truth, said=each.said) for each in ordered
        )

    def correct(self, seen: Sequence[Seen]) -> str:
        if not self.texts:
            return _counted(Counter((each.truth, each.truth) for each in seen))
        return "\n".join(templates.EXAMPLE_LINE.format(text=_shown(each.text), truth=each.truth) for each in seen)


def named(values: Iterable[tuple[str, ...]]) -> str:
    return "; ".join(", ".join(chosen) or "none" for chosen in values)


def lessons(
    schema: LabelingSchema, prompt: Prompt, seen: Sequence[Seen], views: Views, rng: random.Random
) -> Iterator[Lesson]:
    """Confusion by confusion, the commonest first, then the label that is missed most, then the instruction anew."""
    head = _head(schema, prompt, views.guideline)
    wrong = [each for each in seen if not each.graded.right]
    right = [each for each in seen if each.graded.right]
    for (truth, said), errors in _cells(wrong):
        correct = _sample([each for each in right if each.truth in (truth, said)], _MOST_CORRECT, rng)
        request = head + templates.TEACHER_CONFUSION.format(
            truth=truth, said=said, errors=views.errors(errors), correct=views.correct(correct)
        )
        yield Lesson(request, f'rules for "{truth}" taken for "{said}"', _rules(prompt))
    label = _most_missed(schema, wrong)
    if label:
        errors = [each for each in wrong if label in (each.truth, each.said)]
        request = head + templates.TEACHER_DEFINITION.format(label=label, errors=views.errors(errors))
        yield Lesson(request, f'a definition of "{label}"', _definition(prompt, label))
    for style in templates.REWRITE_STYLES:
        request = head + templates.TEACHER_REWRITE.format(
            correct=views.correct(_sample(right, _MOST_ERRORS, rng)),
            errors=views.errors(_sample(wrong, _MOST_ERRORS, rng)),
            style=style,
        )
        yield Lesson(request, f"the instruction rewritten {style}", _rewrite(prompt))


def _counted(cells: "Counter[tuple[str, str]]") -> str:
    lines = (templates.COUNT_LINE.format(count=n, truth=truth, said=said) for (truth, said), n in cells.most_common())
    return "\n".join(lines)


def learn(lessons: Iterable[Lesson], seen: Sequence[Seen], ask: Ask) -> list[Candidate]:
    """What came of them. An unusable answer is dropped; so is what quotes a text, says too much or says nothing new.

    A budget or a teacher that gives out ends it with what there is.
    """
    found: list[Candidate] = []
    texts = [each.text for each in seen]
    for lesson in lessons:
        try:
            answer = _parsed(ask(lesson.request))
        except (BudgetError, EngineError):
            break
        edited = lesson.edit(answer) if answer else None
        if edited and not quotes(_written(edited), texts) and not _is_known(edited, found):
            found.append(Candidate(edited, lesson.origin))
    return found


def quotes(written: str, texts: Sequence[str]) -> bool:
    """Whether eight words in a row stand in one of the texts too."""
    grams = _grams(written)
    return any(grams & _grams(text) for text in texts)


def _grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + _QUOTE_WORDS]) for i in range(len(words) - _QUOTE_WORDS + 1)}


def _parsed(answer: str) -> dict[str, object]:
    """The outermost JSON object in it; nothing where there is none."""
    found = _JSON.search(answer)
    try:
        document = json.loads(found.group()) if found else {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _rules(prompt: Prompt) -> Callable[[dict[str, object]], Prompt | None]:
    def edit(answer: dict[str, object]) -> Prompt | None:
        rules = answer.get("rules")
        written = [_line(rule) for rule in rules[:2] if isinstance(rule, str)] if isinstance(rules, list) else []
        fresh = [rule for rule in written if 0 < len(rule) <= _MOST_RULE and rule not in prompt.rules]
        return replace(prompt, rules=(*prompt.rules, *fresh)[-_MOST_RULES:]) if fresh else None

    return edit


def _definition(prompt: Prompt, label: str) -> Callable[[dict[str, object]], Prompt | None]:
    def edit(answer: dict[str, object]) -> Prompt | None:
        text = answer.get("definition")
        written = _line(text) if isinstance(text, str) else ""
        usable = 0 < len(written) <= _MOST_DEFINITION
        return replace(prompt, definitions={**prompt.definitions, label: written}) if usable else None

    return edit


def _rewrite(prompt: Prompt) -> Callable[[dict[str, object]], Prompt | None]:
    def edit(answer: dict[str, object]) -> Prompt | None:
        text = answer.get("instruction")
        written = _clean(text).strip() if isinstance(text, str) else ""
        usable = 0 < len(written) <= _MOST_INSTRUCTION and written != prompt.instruction
        return replace(prompt, instruction=written, rules=()) if usable else None

    return edit


def _is_known(edited: Prompt, found: Sequence[Candidate]) -> bool:
    written = _written(edited)
    return any(SequenceMatcher(None, written, _written(other.prompt)).ratio() > _ALIKE for other in found)


def _written(prompt: Prompt) -> str:
    return "\n".join([prompt.instruction, *prompt.definitions.values(), *prompt.rules])


def _head(schema: LabelingSchema, prompt: Prompt, guideline: str) -> str:
    control = schema.controls[0]
    instruction = "\n".join([prompt.instruction, *(f"- {rule}" for rule in prompt.rules)])
    labels = "; ".join(_described(prompt, label.value, label.hint) for label in control.labels)
    return templates.TEACHER_HEAD.format(
        guideline=guideline or prompt.instruction, instruction=instruction, control=control.name, labels=labels
    )


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
    """Of labels that people can be told about: those of the first control."""
    labels = {label.value for label in schema.controls[0].labels}
    counts = Counter(name for each in wrong for name in (each.truth, each.said) if name in labels)
    return counts.most_common(1)[0][0] if counts else ""


def _shown(text: str) -> str:
    return _line(text)[:_SHOWN_CHARACTERS]


def _line(text: str) -> str:
    return " ".join(_clean(text).split())


def _clean(text: str) -> str:
    """Without control characters and halves of characters, which no prompt can be stored or sent with."""
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in {"Cc", "Cs"})


def _sample(seen: Sequence[Seen], most: int, rng: random.Random) -> list[Seen]:
    return rng.sample(list(seen), min(most, len(seen)))
