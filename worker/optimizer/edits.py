"""What a teacher's answer may become: small edits of a prompt, none that quotes a text or says what is known."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import accumulate

from backend.labeling.prompt import Prompt

# The teacher's answer, parsed, to an edited prompt; None where it cannot be used.
Edit = Callable[[dict[str, object]], Prompt | None]

_QUOTE = 8  # words
_MOST_RULE, _MOST_DEFINITION, _MOST_INSTRUCTION, _MOST_RULES = 300, 400, 1500, 12
_ALIKE = 0.92
# Scripts that put no space between words, of which each character is a part: of a word of two in kana and Han, of three
# or more, tone and vowel signs among them, in Thai, Lao, Burmese and Khmer.
_HALVES = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_THIRDS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORD = re.compile(f"(?P<half>[{_HALVES}])|(?P<third>[{_THIRDS}])|[^\\W{_HALVES}{_THIRDS}]+")
_SIXTHS = {"half": 3, "third": 2, None: 6}


def rules(prompt: Prompt) -> Edit:
    """Two more at most; of all the latest twelve are kept."""

    def edit(answer: dict[str, object]) -> Prompt | None:
        given = answer.get("rules")
        written = [line(rule) for rule in given[:2] if isinstance(rule, str)] if isinstance(given, list) else []
        fresh = [rule for rule in written if 0 < len(rule) <= _MOST_RULE and rule not in prompt.rules]
        return replace(prompt, rules=(*prompt.rules, *fresh)[-_MOST_RULES:]) if fresh else None

    return edit


def definition(prompt: Prompt, label: str) -> Edit:
    def edit(answer: dict[str, object]) -> Prompt | None:
        text = answer.get("definition")
        written = line(text) if isinstance(text, str) else ""
        usable = 0 < len(written) <= _MOST_DEFINITION
        return replace(prompt, definitions={**prompt.definitions, label: written}) if usable else None

    return edit


def rewrite(prompt: Prompt) -> Edit:
    """Rules go with the instruction that they were made for."""

    def edit(answer: dict[str, object]) -> Prompt | None:
        text = answer.get("instruction")
        written = _clean(text).strip() if isinstance(text, str) else ""
        usable = 0 < len(written) <= _MOST_INSTRUCTION and not alike(written, prompt.instruction)
        return replace(prompt, instruction=written, rules=()) if usable else None

    return edit


def news(edited: Prompt, parent: Prompt) -> str:
    """What the teacher wrote of it."""
    instruction = [edited.instruction] if edited.instruction != parent.instruction else []
    definitions = [text for label, text in edited.definitions.items() if text != parent.definitions.get(label)]
    return "\n".join([*instruction, *definitions, *(rule for rule in edited.rules if rule not in parent.rules)])


def alike(one: str, other: str) -> bool:
    """Word by word, but for one in twelve or so."""
    return SequenceMatcher(None, _words(one), _words(other), autojunk=False).ratio() > _ALIKE


def quotes(written: str, texts: Sequence[str]) -> bool:
    """Whether eight words in a row stand in one of the texts too; where no space parts words, 16 kana or Han
    characters, or 24 of Thai, Lao, Burmese or Khmer."""
    grams = _grams(written)
    return any(grams & _grams(text) for text in texts)


def line(text: str) -> str:
    return " ".join(_clean(text).split())


def _clean(text: str) -> str:
    """Without control characters and halves of characters, which no prompt can be stored or sent with."""
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in {"Cc", "Cs"})


def _grams(text: str) -> set[tuple[str, ...]]:
    """From each word on, as many as make eight."""
    found = list(_WORD.finditer(text.lower()))
    words = [match.group() for match in found]
    ends = [0, *accumulate(_SIXTHS[match.lastgroup] for match in found)]
    grams = set()
    for start, before in enumerate(ends):
        end = bisect_left(ends, before + 6 * _QUOTE)
        if end < len(ends):
            grams.add(tuple(words[start:end]))
    return grams


def _words(text: str) -> list[str]:
    return [match.group() for match in _WORD.finditer(text.lower())]
