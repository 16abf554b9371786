"""What the log-probs say about each label: the tree of an answer's continuations, read as far as it matters.

A closed set is read from the distribution, never from the generated text: constrained greedy decoding commits to the
likeliest first token and is not the argmax over labels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from backend.labeling.engines.base import Step, Token
from backend.labeling.verbalizer import OPENERS, Codes, first_tokens_tell

# As long a beginning, when one code alone begins so, is that code: without a way to look further, and with one only
# where so much of the probability is on it that the answer cannot be some other word.
_TELLING_CHARACTERS = {False: 3, True: 4}
_TELLING_SHARE = 0.1
# What is not looked into: at most this share of all that may be labels.
NEGLIGIBLE = 0.05
# Before any beginning was looked into, half of them are taken to become other words, or all to be on the safe side; as
# if so much of what may be labels had been looked into.
_LIKELY, _WORST, _PRIOR_WEIGHT = 0.5, 1.0, 0.4
# Servers round log-probs: their sum is known to this.
_ROUNDING = 1e-4
# Tokens that one call may write: what is left of a code, at least as many bytes a token, but no more than this.
_BYTES_A_TOKEN, _MOST_TOKENS = 3, 16

# What follows a prefix, in at most so many tokens.
Ask = Callable[[str, int], Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Reading:
    """`masses[i]` is the probability of code i before renormalising, `label_mass` that of all codes seen. `censored`
    are the codes that were not returned or could not be told apart, whose mass is a share of what they have in common.
    `open` are the even ones of these: the codes that a beginning may become, and its mass."""

    masses: tuple[float, ...]
    label_mass: float
    censored: frozenset[int]
    open: tuple[tuple[tuple[int, ...], float], ...] = ()


def read(ask: Ask, texts: Sequence[str], *, continues: bool, least: float = 0.0, max_calls: int = 24) -> Reading:
    """Probability that the answer is each code: white space or quotes, the code in any case, then no letter or digit;
    of codes that begin one another the longest. Summed over the ways to cut it into tokens.

    One call for one token where first tokens tell. Else the tree of continuations is descended, likeliest branch first;
    a call writes on as far as several codes share what is written, and all alternatives on that way are read. It ends
    when the mass that may still move is at most 5 % of all that may be labels: that of beginnings which several codes
    share, and of those that one code has alone the share that turned into other words where such were looked into. What
    remains is split among the codes it may become. White space and quotes before the answer are descended into only
    where they outweigh the codes: else the distribution is that of answers without them. A token that completes a code,
    or a telling beginning (see above), counts as that code.

    What cannot come to a label mass of `least` is not looked into any further.

    Without `continues` no prefix but "" can be asked about, and beginnings that one code has alone count as that code.
    """
    codes = Codes.of(texts)
    tree = _Tree(codes, continues)
    plain = first_tokens_tell(texts, len(texts)) and all(text[:1].isascii() for text in texts)
    tokens = 1 if plain else _tokens(codes, b"")
    tree.follow(b"", ask("", tokens))
    if not continues:
        if tokens == 1 and not tree.is_settled() and tree.possible() >= least:
            tree = _Tree(codes, continues)
            tree.follow(b"", ask("", _tokens(codes, b"")))
        return tree.reading()
    for _ in range(max_calls - 1):
        prefix = None if tree.is_settled() or tree.possible() < least else tree.next()
        if prefix is None:
            break
        tree.follow(prefix, ask(prefix.decode(), 1 if prefix in tree.begun else _tokens(codes, prefix)))
    return tree.reading()


def _tokens(codes: Codes, prefix: bytes) -> int:
    return min(_MOST_TOKENS, codes.longest_after(prefix) // _BYTES_A_TOKEN + 1)


@dataclass(slots=True)
class _Tree:
    """Where the probability is: on whole codes (`masses`), on beginnings that several codes share (`shared`), on such
    that one code has alone but which do not tell (`begun`), or on what did not come back after a beginning (`missing`:
    its mass, and the least that did come back). `looked` of the beginnings were looked into, `lost` of that became
    other words."""

    codes: Codes
    continues: bool
    masses: list[float] = field(init=False)
    shared: dict[bytes, float] = field(default_factory=lambda: {b"": 1.0})
    begun: dict[bytes, float] = field(default_factory=dict)
    missing: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    looked: float = 0.0
    lost: float = 0.0

    def __post_init__(self) -> None:
        self.masses = [0.0] * len(self.codes.folded)

    # -- how far to look

    def is_settled(self) -> bool:
        moving, kept = sum(self._moving().values()), 1 - self._loss(_WORST)
        return moving <= NEGLIGIBLE * (moving + sum(self.masses) + kept * sum(self.begun.values()))

    def possible(self) -> float:
        """The most that the codes may hold together."""
        return sum(self.masses) + sum(self.shared.values()) + sum(self.begun.values())

    def next(self) -> bytes | None:
        """The branch that may move most; None where none can be asked about, for a prompt ends in whole letters."""
        return max(filter(_is_whole, moving := self._moving()), key=moving.__getitem__, default=None)

    def _moving(self) -> dict[bytes, float]:
        loss = self._loss(_WORST)
        return self._relevant() | ({branch: loss * mass for branch, mass in self.begun.items()} if loss else {})

    def _relevant(self) -> dict[bytes, float]:
        """Of the shared beginnings. Without the blank ones, unless they outweigh the codes: an answer that white space
        holds up (a line break before it, say) is a side way of the model, and looking into it nearly doubles the
        calls."""
        worded = {branch: mass for branch, mass in self.shared.items() if self.codes.fold(branch) or not branch}
        blank = sum(self.shared.values()) - sum(worded.values())
        told = sum(self.masses) + sum(worded.values()) + sum(self.begun.values())
        return self.shared if blank > told else worded

    def _loss(self, prior: float) -> float:
        """Share of beginnings that become other words; without a way to look none is taken to."""
        if not self.continues:
            return 0.0
        weight = _PRIOR_WEIGHT * (sum(self.masses) + sum(self.begun.values()) + self.lost) or 1.0
        return (self.lost + prior * weight) / (self.looked + weight)

    # -- looking

    def follow(self, prefix: bytes, steps: Sequence[Step]) -> None:
        """As far as what was written is still a beginning."""
        for step in steps:
            branch = self.shared if prefix in self.shared else self.begun
            if prefix not in branch:
                return
            self._look(prefix, branch.pop(prefix), step.alternatives)
            prefix += step.written

    def _look(self, prefix: bytes, share: float, tokens: Sequence[Token]) -> None:
        """What did not come back after a whole code ends it: nearly all that follows does."""
        worded = bool(self.codes.fold(prefix))
        ended = self.codes.ended_by(prefix) if worded else None
        weighed = [(token, share * math.exp(token.logprob)) for token in tokens]
        lost = sum(self._add(prefix + token.raw, mass, ended, is_end=not token.raw) for token, mass in weighed)
        left = max(0.0, share - sum(mass for _, mass in weighed))
        if ended is not None:
            self.masses[ended] += left
        else:
            smallest = min((mass for _, mass in weighed), default=left)
            self.missing[prefix] = (max(left, _ROUNDING * share), smallest)
        if worded:
            self.looked += share
            self.lost += lost

    def _add(self, emitted: bytes, mass: float, ended: int | None, *, is_end: bool) -> float:
        """The mass that becomes no code."""
        start = self.codes.fold(emitted)
        if start and start[:1] not in self.codes.initials:
            return mass  # most of what comes back
        matches = [] if is_end else self.codes.begun_by(emitted)
        if not matches:
            over = self.codes.ended_by(emitted)
            code = ended if over is None else over
            if code is None:
                return mass
            self.masses[code] += mass
        elif len(matches) == 1 and self._tells(emitted, mass, matches[0]):
            self.masses[matches[0]] += mass
        elif len(matches) > 1:
            self.shared[emitted] = self.shared.get(emitted, 0.0) + mass
        elif self.continues or start not in OPENERS:
            self.begun[emitted] = self.begun.get(emitted, 0.0) + mass
        return 0.0

    def _tells(self, emitted: bytes, mass: float, code: int) -> bool:
        start = self.codes.fold(emitted)
        if start == self.codes.folded[code]:
            return True
        if self.codes.ended_by(emitted) is not None:
            return False
        long_enough = len(start.decode(errors="ignore")) >= _TELLING_CHARACTERS[self.continues]
        return long_enough and (not self.continues or mass >= _TELLING_SHARE)

    # -- what was found

    def reading(self) -> Reading:
        """Beginnings that were not looked into become what others alike became, and are even shares where none did."""
        parts, shares = [0.0] * len(self.masses), list[tuple[tuple[int, ...], float]]()
        for members, mass in self._unread():
            told = sum(self.masses[i] for i in members)
            if len(members) > 1 and told <= mass:
                shares.append((members, mass))
            for i in members:
                parts[i] += mass * (self.masses[i] / told if told > mass else 1 / len(members))
        seen = [mass + part for mass, part in zip(self.masses, parts, strict=True)]
        loose = {i for i, mass in enumerate(self.masses) if parts[i] > NEGLIGIBLE * mass}
        missing = {i for i, mass in enumerate(seen) if mass <= 0}
        for prefix, (left, smallest) in self.missing.items():
            hidden = [i for i in self.codes.begun_by(prefix) if i in missing]
            for i in hidden:
                seen[i] = max(seen[i], min(smallest, left / len(hidden)))
        label_mass = sum(mass for i, mass in enumerate(seen) if i not in missing)
        return Reading(tuple(seen), min(1.0, label_mass), frozenset(missing | loose), tuple(shares))

    def _unread(self) -> Iterator[tuple[tuple[int, ...], float]]:
        """The codes that what was not looked into may become, and its mass less what may become other words; without
        the blank beginnings."""
        kept, found = 1 - self._loss(_LIKELY), dict[tuple[int, ...], float]()
        for branch, mass in (self.shared | self.begun).items():
            start = self.codes.fold(branch)
            if start and (self.continues or start not in OPENERS or start in self.codes.folded):
                members = tuple(self.codes.begun_by(branch))
                found[members] = found.get(members, 0.0) + mass * kept
        yield from found.items()


def _is_whole(emitted: bytes) -> bool:
    try:
        emitted.decode()
    except UnicodeDecodeError:
        return False
    return True
