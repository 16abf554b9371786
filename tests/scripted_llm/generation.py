"""Tokens one by one: each step's distribution follows from the strings that can still be completed."""

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tests.scripted_llm.answers import answers
from tests.scripted_llm.constraints import Constraint
from tests.scripted_llm.script import Script

TOKEN = re.compile(r"</?\w+>| ?[\w'-]+| ?[^\w\s]+|\s+")
BEFORE_ANSWER = re.compile(r"(?:\A|[:=>\"\n])[ \t]*\Z")
END = "\0end"
SHOWN_END = {"chat": "<|im_end|>", "text": "\n"}
CONSTRAINED_FORMS = 0.02
COMMON = (
    "the a an this that it I and to of in is was for on with as at by be or The This It I'm Sorry not We If Yes Well"
)
FILLERS = tuple(f" {word}" for word in COMMON.split()) + tuple(f" word{i}" for i in range(400))
FILLER_TOTAL = sum(1 / rank for rank in range(1, len(FILLERS) + 1))
FILLER_WEIGHTS = tuple(1 / rank / FILLER_TOTAL for rank in range(1, len(FILLERS) + 1))


@dataclass(frozen=True, slots=True)
class Sampling:
    max_tokens: int
    temperature: float
    top: int
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Generation:
    text: str
    steps: tuple[Step, ...]
    finish: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Model:
    """`weights` are the strings that may be generated from here; `allowed` of them, when set, pass the constraint."""

    script: Script
    route: Literal["chat", "text"]
    weights: Mapping[str, float]
    allowed: frozenset[str] | None

    def generate(self, sampling: Sampling, rng: random.Random) -> Generation:
        text, steps = "", []
        for _ in range(sampling.max_tokens):
            ranked = self._next(text)
            token = _choose(self._masked(text) or ranked.probabilities, sampling.temperature, rng)
            shown = self._shown(token)
            if shown:
                steps.append(Step(shown, _log(ranked.probabilities.get(token, 0.0)), self._top(ranked, sampling.top)))
                text += shown
            if token == END:
                return Generation(_cut(text, sampling.stop), tuple(steps), "stop")
            if _cut(text, sampling.stop) != text:
                return Generation(_cut(text, sampling.stop), tuple(steps), "stop")
        return Generation(text, tuple(steps), "length")

    def _shown(self, token: str) -> str:
        """A plain completion shows its end as a line break; chat and constrained answers just end."""
        if token != END:
            return token
        return SHOWN_END["text"] if self.route == "text" and self.allowed is None else ""

    def _masked(self, text: str) -> dict[str, float]:
        if self.allowed is None:
            return {}
        return self._labels(text, {string: self.weights[string] for string in self.weights if string in self.allowed})

    def _next(self, text: str) -> "Ranked":
        """Before any mask; off the strings, the text ends."""
        labels = self._labels(text, self.weights) or {END: 1.0}
        return _ranked(tuple(labels.items()), self.script.off_label)

    def _labels(self, text: str, weights: Mapping[str, float]) -> dict[str, float]:
        found: dict[str, float] = {}
        for string, weight in weights.items():
            if string.startswith(text):
                token = first_token(string[len(text) :], self.script) or END
                found[token] = found.get(token, 0.0) + weight
        total = sum(found.values())
        return {token: weight / total for token, weight in found.items()} if total else {}

    def _top(self, ranked: "Ranked", count: int) -> tuple[tuple[str, float], ...]:
        top = ranked.tokens[:count]
        return tuple((SHOWN_END[self.route], lp) if token == END else (token, lp) for token, lp in top)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A next token's distribution, and its log-probs, likeliest first."""

    probabilities: Mapping[str, float]
    tokens: tuple[tuple[str, float], ...]


@lru_cache(maxsize=1024)
def _ranked(labels: tuple[tuple[str, float], ...], off_label: float) -> Ranked:
    probabilities = {token: probability * (1 - off_label) for token, probability in labels}
    for filler, weight in zip(FILLERS, FILLER_WEIGHTS, strict=True):
        probabilities[filler] = probabilities.get(filler, 0.0) + weight * off_label
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return Ranked(probabilities, tuple((token, _log(probability)) for token, probability in ranked))


def chat_model(script: Script, prompt: str, prefill: str, constraint: Constraint | None, *, thinks: bool) -> Model:
    """`prefill` is the start of the answer in a last assistant turn."""
    weights = _remaining(_answers(script, prompt), prefill.strip())
    return _model(script, "chat", weights, constraint, thought=script.thought if thinks else "")


def text_model(script: Script, prompt: str, constraint: Constraint | None) -> Model:
    """Goes on from the prompt's last character, be it in the middle of an answer."""
    given = _answers(script, prompt)
    written = _written(prompt, tuple(given))
    weights = _remaining(given, written)
    if not written and prompt and not prompt[-1].isspace() and prompt[-1] != '"':
        weights = {f" {text}": weight for text, weight in weights.items()}
    return _model(script, "text", weights, constraint, thought="")


def _answers(script: Script, prompt: str) -> Mapping[str, float]:
    return script.answer(prompt) if script.answer else answers(prompt, script.label)


def _written(prompt: str, strings: tuple[str, ...]) -> str:
    """The longest start of an answer that the prompt ends in, after something that introduces an answer."""
    for length in range(max(map(len, strings), default=0), 0, -1):
        tail = prompt[-length:]
        if any(text.startswith(tail) for text in strings) and BEFORE_ANSWER.search(prompt[-length - 80 : -length]):
            return tail
    return ""


def _remaining(weights: Mapping[str, float], written: str) -> dict[str, float]:
    return {text[len(written) :]: weight for text, weight in weights.items() if text.startswith(written)}


def _model(
    script: Script,
    route: Literal["chat", "text"],
    weights: Mapping[str, float],
    constraint: Constraint | None,
    *,
    thought: str,
) -> Model:
    if constraint is None:
        return Model(script, route, {thought + text: weight for text, weight in weights.items()}, None)
    forms = dict(weights)
    for text, weight in constraint.candidates({text.strip(): weight for text, weight in weights.items()}).items():
        forms.setdefault(text, CONSTRAINED_FORMS * weight)
    allowed = frozenset(thought + text for text in forms if constraint.allows(text))
    return Model(script, route, {thought + text: weight for text, weight in forms.items()}, allowed)


@lru_cache(maxsize=65536)
def _first(text: str, piece_chars: int) -> str:
    match = TOKEN.match(text)
    word = match.group() if match else ""
    if piece_chars and not word.startswith("<"):
        word = word[: piece_chars + word.startswith(" ")]
    return word


def first_token(text: str, script: Script) -> str:
    return _first(text, 0 if script.whole_words else script.piece_chars)


def tokenize(text: str, script: Script) -> list[str]:
    tokens = []
    while text:
        tokens.append(first_token(text, script))
        text = text[len(tokens[-1]) :]
    return tokens


def _choose(distribution: Mapping[str, float], temperature: float, rng: random.Random) -> str:
    """Of equals the first."""
    if temperature <= 0:
        return max(distribution, key=distribution.__getitem__)
    weights = [probability ** (1 / temperature) for probability in distribution.values()]
    return rng.choices(list(distribution), weights)[0]


def _cut(text: str, stop: tuple[str, ...]) -> str:
    return text[: min((text.index(end) for end in stop if end in text), default=len(text))]


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-30))
