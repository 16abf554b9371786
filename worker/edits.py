"""What a teacher's answer may become: small edits of a prompt, none that quotes a text or says what is known."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from backend.labeling.prompt import Prompt

# The teacher's answer, parsed, to an edited prompt; None where it cannot be used.
Edit = Callable[[dict[str, object]], Prompt | None]

_QUOTE_WORDS = 8
_MOST_RULE, _MOST_DEFINITION, _MOST_INSTRUCTION, _MOST_RULES = 300, 400, 1500, 12
_ALIKE = 0.92
# In scripts that put no space between words each character counts as one.
_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff]|[^\\W\u3040-\u30ff\u3400-\u9fff]+")


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
    """Whether eight words in a row stand in one of the texts too."""
    grams = _grams(written)
    return any(grams & _grams(text) for text in texts)


def line(text: str) -> str:
    return " ".join(_clean(text).split())


def _clean(text: str) -> str:
    """Without control characters and halves of characters, which no prompt can be stored or sent with."""
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in {"Cc", "Cs"})


def _grams(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + _QUOTE_WORDS]) for i in range(len(words) - _QUOTE_WORDS + 1)}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
