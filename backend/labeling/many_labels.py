"""More labels than one question has letters for: as words that begin alike, or in groups of letters."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from backend.labeling.answers import Distribution, Label, Question
from backend.labeling.prompt import Prompt
from backend.labeling.reading import NEGLIGIBLE, Reading
from backend.labeling.verbalizer import is_latin

_MOST = 20
# Groups are opened until less than this share is left in the others.
_LEFT_OUT = 0.02

Ask = Callable[[Question], Distribution]


def most(width: int) -> int:
    """As many labels one question tells apart by letters, of which `width` come back."""
    return min(_MOST, max(2, width))


def go_as_words(prompt: Prompt, texts: Sequence[str]) -> bool:
    """Whether so many labels are asked for as words first. In plain text words are descended, or too many to be told
    apart at all."""
    return prompt.codes != "letters" and prompt.style == "chat" and is_latin(texts)


def told_apart(question: Question, found: Reading, ask: Ask) -> Distribution:
    """Of labels read as words those that begin alike are asked for by themselves, the heaviest beginnings first, until
    what is left is negligible."""
    masses, censored = list(found.masses), set(found.censored)
    left = sum(mass for _, mass in found.open)
    for members, mass in sorted(found.open, key=lambda each: -each[1]):
        if left <= NEGLIGIBLE * found.label_mass:
            break
        inner = ask(replace(question, labels=tuple(question.labels[i] for i in members)))
        for i, p in zip(members, inner.probabilities, strict=True):
            masses[i] = max(0.0, masses[i] + mass * (p - 1 / len(members)))
        censored -= {i for i in members if question.labels[i].value not in inner.censored}
        left -= mass
    return distribution(question.labels, replace(found, masses=tuple(masses), censored=frozenset(censored)))


def in_groups(question: Question, width: int, ask_group: Ask, ask: Ask) -> Distribution:
    """p(label) = p(group) p(label | group): a tree of letters, two levels for up to 400 labels."""
    groups = _groups(question.labels, most(width))
    names = tuple(Label(str(i), "; ".join(label.text for label in group)) for i, group in enumerate(groups))
    outer = ask_group(replace(question, labels=names))
    left, mass, censored = 1.0, 0.0, set[str]()
    chances = dict.fromkeys((label.value for label in question.labels), 0.0)
    for index in sorted(range(len(groups)), key=lambda i: -outer.probabilities[i]):
        share, members = outer.probabilities[index], groups[index]
        inner = _even(members) if left < _LEFT_OUT else ask(replace(question, labels=members))
        left -= share
        mass += share * inner.label_mass
        chances.update({value: share * p for value, p in zip(inner.labels, inner.probabilities, strict=True)})
        censored.update(inner.labels if str(index) in outer.censored else inner.censored)
    flagged = tuple(value for value in chances if value in censored)
    return Distribution(tuple(chances), tuple(chances.values()), outer.label_mass * mass, flagged)


def distribution(labels: Sequence[Label], found: Reading) -> Distribution:
    """Even where nothing was seen: its label mass is then 0."""
    total = sum(found.masses)
    return Distribution(
        labels=tuple(label.value for label in labels),
        probabilities=tuple(mass / total if total else 1 / len(labels) for mass in found.masses),
        label_mass=found.label_mass,
        censored=tuple(labels[i].value for i in sorted(found.censored)),
    )


def _groups(labels: tuple[Label, ...], letters: int) -> list[tuple[Label, ...]]:
    """As few groups as there are letters, evenly filled."""
    size = max(2, math.ceil(len(labels) / min(letters, math.ceil(math.sqrt(len(labels))))))
    return [labels[i : i + size] for i in range(0, len(labels), size)]


def _even(labels: Sequence[Label]) -> Distribution:
    """Of labels that were not asked for: each has at most the share of all."""
    values = tuple(label.value for label in labels)
    return Distribution(values, (1 / len(values),) * len(values), censored=values)
