"""Long texts are cut to a number of tokens, which is estimated: no tokenizer is at hand for most LLMs."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from backend.labeling.fields import Value

# Latin letters, spaces and marks of prose in a token.
_A_TOKEN = 3.5
# What takes a token of its own nearly everywhere.
_DEAR = frozenset("0123456789#$%&*+/<=>@[\\]^_`{|}~")
# By first code point: as many Latin letters take as many tokens as one character does.
_WEIGHTS = (
    (0x0000, 1.0),
    (0x0080, 9.0),  # Latin letters with marks: words that hold them fall apart
    (0x0370, 3.5),  # Greek, Cyrillic
    (0x0530, 4.5),  # Armenian, Hebrew, Arabic
    (0x0900, 4.25),  # Devanagari
    (0x0980, 7.0),  # the other Indic scripts, Thai
    (0x1E00, 9.0),  # Latin letters with more marks
    (0x1F00, 7.0),
    (0x2000, 3.5),  # dashes, quotes
    (0x2070, 7.0),  # Chinese, Japanese
    (0xAC00, 10.5),  # Korean
    (0xD7B0, 7.0),
    (0x10000, 10.5),  # emoji
)
_FIRST = [first for first, _ in _WEIGHTS]
_WITHOUT_DEAR = dict.fromkeys(map(ord, _DEAR))


def shorten(values: Sequence[Value], max_tokens: int) -> tuple[tuple[Value, ...], bool]:
    """The texts within about `max_tokens` together, and whether any was cut: short ones are kept whole, and the others
    share evenly what these leave."""
    needs = [min(tokens(value.text[: _longest(max_tokens)]), max_tokens + 1) for value in values]
    cuts = [cut(value.text, share) for value, share in zip(values, _filled(needs, max_tokens), strict=True)]
    kept = tuple(replace(value, text=text) for value, (text, _) in zip(values, cuts, strict=True))
    return kept, any(was_cut for _, was_cut in cuts)


def _filled(needs: Sequence[int], room: int) -> list[int]:
    """What each gets of `room`, no more than it needs, the least needy first."""
    shares = [0] * len(needs)
    for place, i in enumerate(sorted(range(len(needs)), key=lambda i: needs[i])):
        shares[i] = min(needs[i], room // (len(needs) - place))
        room -= shares[i]
    return shares


def cut(text: str, max_tokens: int) -> tuple[str, bool]:
    """The text within about `max_tokens`, and whether anything was left out.

    Beginning and end are kept (seven tenths and three), since a text's verdict often stands in its last lines.
    """
    letters = max_tokens * _A_TOKEN
    if len(text) < _longest(max_tokens) and _letters(text) <= letters:
        return text, False
    head = text[: _within(text, letters * 7 // 10)]
    tail = text[len(text) - _within(text[::-1], letters * 3 // 10) :]
    return f"{head.rstrip()}\n[… cut …]\n{tail.lstrip()}", True


def tokens(text: str) -> int:
    """An estimate by script, rounded up, based on the vocabulary of SmolLM2 (49,152 tokens, mostly English), which the
    shipped LLM has.

    Counted on a sentence of prose in each of 19 languages it gives .8 to 1.3 times what that takes; of capitals, code
    and numbers .75 to .95 times; of hashes and keys, which no character tells from words, half. Vocabularies made for
    more languages take fewer tokens in them: there the estimate errs on the short side.
    """
    return math.ceil(_letters(text) / _A_TOKEN)


def most_tokens(text: str) -> int:
    """For budgets, rather too many: a third more than `tokens`, which falls a quarter short of code and numbers."""
    return math.ceil(tokens(text) * 4 / 3)


def _longest(max_tokens: int) -> int:
    """No text of more characters fits."""
    return int(max_tokens * _A_TOKEN) + 1


def _within(text: str, letters: float) -> int:
    """How many characters, from the first on, weigh no more."""
    most = min(len(text), int(letters) + 1)
    return bisect_right(range(most + 1), letters, key=lambda count: _letters(text[:count])) - 1


def _letters(text: str) -> float:
    """As many Latin letters take as many tokens."""
    if text.isascii():
        return len(text) + (_A_TOKEN - 1) * (len(text) - len(text.translate(_WITHOUT_DEAR)))
    return sum(_weight(character) * count for character, count in Counter(text).items())


def _weight(character: str) -> float:
    return _A_TOKEN if character in _DEAR else _WEIGHTS[bisect_right(_FIRST, ord(character)) - 1][1]
