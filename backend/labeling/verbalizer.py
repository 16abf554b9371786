"""The strings that an LLM emits for labels: which to use, and which labels an answer may still become.

Compared as bytes, since tokens may end inside a letter.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

CodeKind = Literal["auto", "words", "letters"]

# Without "I", which begins the sentences that a chat model says instead of an answer.
LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
# Beginnings of such sentences: on their own they begin no label, and a label that begins so gets a letter.
OPENERS = (b"the", b"this", b"it", b"a", b"i")
_SENTENCES = ("the", "this", "it")
# First tokens are told apart by so many characters.
_BEGINNING = 3
_END_OF_LATIN = 0x250
# What an answer may be wrapped in. A label that begins so keeps it.
_WRAPPERS = "\"'`*\u201c\u201e\u2018\u00ab"
_BLANKS = string.whitespace + "\u00a0\u3000"


def codes(kind: CodeKind, texts: Sequence[str], *, continues: bool, width: int) -> tuple[str, ...]:
    """The strings that stand for the labels: their texts or letters, as `kind_of` says.

    Raises `ValueError` for more labels than letters; `asking` asks in another way before it comes to that.
    """
    if kind_of(kind, texts, continues=continues, width=width) == "words":
        return tuple(texts)
    if len(texts) > len(LETTERS):
        raise ValueError(f"{len(texts)} labels, {len(LETTERS)} letters")
    return tuple(LETTERS[: len(texts)])


def kind_of(kind: CodeKind, texts: Sequence[str], *, continues: bool, width: int) -> Literal["words", "letters"]:
    """Unless told: words where one call, or a descent, can tell them apart. `width` is how many alternatives come back.

    Letters beyond Latin are cut into so many tokens that few of them come back.
    """
    if kind != "auto":
        return kind
    if not is_latin(texts):
        return "letters"
    return "words" if continues or first_tokens_tell(texts, width) else "letters"


def is_latin(texts: Sequence[str]) -> bool:
    return not any(ord(character) >= _END_OF_LATIN for text in texts for character in text)


def first_tokens_tell(texts: Sequence[str], width: int) -> bool:
    """Whether they differ in their first characters, and none begins as a sentence does."""
    folded = {text.casefold() for text in texts}
    starts = {text[:_BEGINNING] for text in folded}
    inside = any(text[:end] in folded for text in folded for end in range(1, min(_BEGINNING + 1, len(text))))
    return len(starts) == len(texts) <= width and not inside and not any(t.startswith(_SENTENCES) for t in folded)


@dataclass(frozen=True, slots=True)
class Codes:
    """Compared without case, unless two codes differ in nothing else, or all are letters ("a" is also a word)."""

    folded: tuple[bytes, ...]
    initials: frozenset[bytes]
    lead: str
    ascii_lead: bytes
    case: bool

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        case = len({text.lower() for text in texts}) < len(texts) or all(len(text) == 1 for text in texts)
        folded = tuple((text if case else text.lower()).encode() for text in texts)
        lead = _BLANKS + "".join(mark for mark in _WRAPPERS if not any(text.startswith(mark) for text in texts))
        return cls(folded, frozenset(text[:1] for text in folded), lead, lead.encode("ascii", "ignore"), case)

    def fold(self, emitted: bytes) -> bytes:
        """Without what it is wrapped in; empty where nothing else was said yet."""
        if emitted.isascii():  # nearly all that comes back
            said = emitted.lstrip(self.ascii_lead)
            return said if self.case else said.lower()
        text = _text(emitted).lstrip(self.lead)
        return (text if self.case else text.lower()).encode(errors="surrogateescape")

    def begun_by(self, emitted: bytes) -> list[int]:
        start = self.fold(emitted)
        return [i for i, code in enumerate(self.folded) if code.startswith(start)]

    def ended_by(self, emitted: bytes) -> int | None:
        """The longest code that `emitted` holds whole, followed by something that is not part of a word."""
        said = self.fold(emitted)
        whole = [i for i, code in enumerate(self.folded) if said.startswith(code) and _ends_word(said[len(code) :])]
        return max(whole, key=lambda i: len(self.folded[i]), default=None)

    def longest_after(self, emitted: bytes) -> int:
        """Most bytes that may follow until a code is finished."""
        return max((len(self.folded[i]) for i in self.begun_by(emitted)), default=0) - len(self.fold(emitted))


def _text(emitted: bytes) -> str:
    """Bytes of an unfinished letter become lone surrogates."""
    return emitted.decode(errors="surrogateescape")


def _ends_word(rest: bytes) -> bool:
    following = _text(rest[:4])[:1]
    return not following.isalnum() and not "\udc80" <= following <= "\udcff"
