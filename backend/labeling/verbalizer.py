"""Labels and the strings an LLM emits for them: which codes to use, and what the log-probs say about each label.

A closed set is read from the distribution, never from the generated text: constrained greedy decoding commits to the
likeliest first token and is not the argmax over labels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.labeling.engines.base import Token

CodeKind = Literal["auto", "words", "letters"]

# Without "I", which begins the sentences that a chat model says instead of an answer.
LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
# Beginnings of such sentences: on their own they begin no label, and a label that begins so gets a letter.
_OPENERS = ("the", "this", "it", "a", "i")
# As long a beginning, when one code alone begins so, is that code: without a way to look further, and with one only
# where so much of the probability is on it that the answer cannot be some other word.
_TELLING_CHARACTERS = {False: 3, True: 4}
_TELLING_SHARE = 0.1
# What is not looked into: at most this share of all that may be labels.
_NEGLIGIBLE = 0.05
# Servers round log-probs: their sum is known to this.
_ROUNDING = 1e-4
_END_OF_LATIN = 0x250

# What follows a prefix: the alternatives at the next position.
Ask = Callable[[str], Sequence[Token]]


@dataclass(frozen=True, slots=True)
class Reading:
    """`masses[i]` is the probability of code i before renormalising, `label_mass` that of all codes seen. `censored`
    are the codes that were not returned or could not be told apart, whose mass is a bound."""

    masses: tuple[float, ...]
    label_mass: float
    censored: frozenset[int]


def codes(kind: CodeKind, texts: Sequence[str], *, continues: bool, width: int) -> tuple[str, ...]:
    """The strings that stand for the labels: their texts or letters, as `kind_of` says.

    Raises `ValueError` for more labels than letters; `labeler` asks in groups before it comes to that.
    """
    if kind_of(kind, texts, continues=continues, width=width) == "words":
        return tuple(texts)
    if len(texts) > len(LETTERS):
        raise ValueError(f"{len(texts)} labels, {len(LETTERS)} letters")
    return tuple(LETTERS[: len(texts)])


def kind_of(kind: CodeKind, texts: Sequence[str], *, continues: bool, width: int) -> Literal["words", "letters"]:
    """Unless told: words where one call, or a descent, can tell them apart. `width` is how many alternatives come back.

    Letters beyond Latin may arrive as parts of bytes.
    """
    if kind != "auto":
        return kind
    if any(ord(character) >= _END_OF_LATIN for text in texts for character in text):
        return "letters"
    return "words" if continues or _first_tokens_tell(texts, width) else "letters"


def _first_tokens_tell(texts: Sequence[str], width: int) -> bool:
    folded = [text.casefold() for text in texts]
    starts = {text[: _TELLING_CHARACTERS[False]] for text in folded}
    inside = any(text != start and text.startswith(start) and start in folded for text in folded for start in starts)
    return len(starts) == len(texts) <= width and not inside and not any(t.startswith(_OPENERS[:3]) for t in folded)


def read(ask: Ask, texts: Sequence[str], *, continues: bool, max_calls: int = 24) -> Reading:
    """Probability that the answer is each code: white space, the code in any case, then no letter or digit; of codes
    that begin one another the longest. Summed over the ways to cut it into tokens.

    One call where whole codes come back. Else the tree of continuations is descended, likeliest branch first, until
    the mass u of what is not looked into is at most 5 % of u + the codes' own; renormalised, the result is then within
    0.05 total variation of the full descent, for u/(u + s) bounds what u could move. White space before the answer is
    descended into only where it outweighs the codes: else the distribution is that of answers without it. The bound
    holds as far as a code that is begun is finished: a token that completes a code, or a telling beginning (see above),
    counts as that code. Without `continues` beginnings are split evenly among the codes that begin so.
    """
    tree = _Tree(_Codes.of(texts), continues)
    for _ in range(max_calls if continues else 1):
        if tree.is_settled():
            break
        unseen = tree.relevant()
        prefix = max(unseen, key=unseen.__getitem__)
        share = tree.unseen.pop(prefix)
        tree.look(prefix, share, ask(prefix))
    return tree.reading()


@dataclass(frozen=True, slots=True)
class _Codes:
    """Compared without case, unless two codes differ in nothing else, or all are letters ("a" is also a word)."""

    folded: tuple[str, ...]
    initials: frozenset[str]
    case: bool

    @classmethod
    def of(cls, texts: Sequence[str]) -> "_Codes":
        case = len({text.casefold() for text in texts}) < len(texts) or all(len(text) == 1 for text in texts)
        folded = tuple(text if case else text.casefold() for text in texts)
        return cls(folded, frozenset(text[:1] for text in folded), case)

    def fold(self, emitted: str) -> str:
        return emitted.lstrip() if self.case else emitted.lstrip().casefold()

    def begun_by(self, emitted: str) -> list[int]:
        start = self.fold(emitted)
        return [i for i, code in enumerate(self.folded) if code.startswith(start)]

    def ended_by(self, emitted: str) -> int | None:
        """The longest code that `emitted` holds whole, followed by something that is not part of a word."""
        text = self.fold(emitted)
        whole = [
            i for i, code in enumerate(self.folded) if text.startswith(code) and not text[len(code) :][:1].isalnum()
        ]
        return max(whole, key=lambda i: len(self.folded[i]), default=None)


@dataclass(slots=True)
class _Tree:
    """`unseen` maps beginnings that were not looked into to their mass; `floors` bound the codes that never came."""

    codes: _Codes
    continues: bool
    unseen: dict[str, float] = field(default_factory=lambda: {"": 1.0})
    masses: list[float] = field(init=False)
    floors: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.masses = [0.0] * len(self.codes.folded)
        self.floors = [0.0] * len(self.codes.folded)

    def relevant(self) -> dict[str, float]:
        """Without the blank beginnings, unless they outweigh the codes: an answer that white space holds up (a line
        break before it, say) is a side way of the model, and looking into it nearly doubles the calls."""
        worded = {branch: mass for branch, mass in self.unseen.items() if branch.strip() or not branch}
        blank = sum(self.unseen.values()) - sum(worded.values())
        return self.unseen if blank > sum(self.masses) + sum(worded.values()) else worded

    def is_settled(self) -> bool:
        unseen = sum(self.relevant().values())
        return unseen <= _NEGLIGIBLE * (unseen + sum(self.masses))

    def look(self, prefix: str, share: float, tokens: Sequence[Token]) -> None:
        """What did not come back after a whole code ends it: nearly all that follows does."""
        ended = self.codes.ended_by(prefix) if prefix.strip() else None
        weighed = [(token.text, share * math.exp(token.logprob)) for token in tokens]
        for text, mass in weighed:
            self._add(prefix + text, mass, ended, is_end=not text)
        left = max(0.0, share - sum(mass for _, mass in weighed))
        if ended is not None:
            self.masses[ended] += left
        for i in self.codes.begun_by(prefix):
            self.floors[i] = max(self.floors[i], min([max(left, _ROUNDING * share), *(mass for _, mass in weighed)]))

    def _add(self, emitted: str, mass: float, ended: int | None, *, is_end: bool) -> None:
        start = self.codes.fold(emitted)
        if start and start[0] not in self.codes.initials:
            return  # most of what comes back
        matches = [] if is_end else self.codes.begun_by(emitted)
        if len(matches) == 1 and self._tells(emitted, mass, matches[0]):
            self.masses[matches[0]] += mass
        elif matches:
            self.unseen[emitted] = self.unseen.get(emitted, 0.0) + mass
        else:
            over = self.codes.ended_by(emitted)
            if (code := ended if over is None else over) is not None:
                self.masses[code] += mass

    def _tells(self, emitted: str, mass: float, code: int) -> bool:
        start = self.codes.fold(emitted)
        if start == self.codes.folded[code]:
            return True
        if self.codes.ended_by(emitted) is not None:
            return False
        long_enough = len(start) >= _TELLING_CHARACTERS[self.continues]
        return long_enough and (not self.continues or mass >= _TELLING_SHARE)

    def reading(self) -> Reading:
        parts = self._parts()
        seen = list(self.masses) if self.continues else [m + p for m, p in zip(self.masses, parts, strict=True)]
        missing = {i for i, mass in enumerate(seen) if mass <= 0}
        loose = {i for i, mass in enumerate(self.masses) if parts[i] > _NEGLIGIBLE * mass}
        bounds = [max(parts[i], self.floors[i]) if i in missing else mass for i, mass in enumerate(seen)]
        return Reading(tuple(bounds), min(1.0, sum(seen)), frozenset(missing | loose))

    def _parts(self) -> list[float]:
        """The unseen, split evenly among the codes it may become."""
        parts = [0.0] * len(self.masses)
        for branch, mass in self.unseen.items():
            start = self.codes.fold(branch)
            matches = self.codes.begun_by(branch)
            if not start or (not self.continues and start in _OPENERS and start not in self.codes.folded):
                continue
            for i in matches:
                parts[i] += mass / len(matches)
        return parts
