"""A language model over a few whole answers, cut into tokens at random."""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backend.labeling.engines.base import Step, Token


@dataclass(frozen=True, slots=True)
class ToyModel:
    """`answers` maps every answer to its probability; an answer's end is a token without text. `seed` decides how
    often a token ends after which text, `width` is how many tokens come back. It writes the likeliest."""

    answers: Mapping[str, float]
    seed: int = 0
    width: int = 10_000

    def ask(self, prefix: str, tokens: int) -> list[Step]:
        steps: list[Step] = []
        while len(steps) < tokens and (alternatives := self._next(prefix)):
            steps.append(Step(alternatives[0].raw, alternatives))
            prefix += alternatives[0].text
            if not alternatives[0].text:
                break
        return steps

    def _next(self, prefix: str) -> tuple[Token, ...]:
        # A token ends where its answer does; where it may also go on, only sometimes.
        weights = {
            answer: p * (1.0 if answer == prefix else self._ends_after(prefix))
            for answer, p in self.answers.items()
            if answer.startswith(prefix)
        }
        found: dict[str, float] = {}
        for answer, weight in weights.items():
            for token, share in self._tokens(prefix, answer):
                found[token] = found.get(token, 0.0) + share * weight / sum(weights.values())
        ranked = sorted(found.items(), key=lambda item: -item[1])[: self.width]
        return tuple(Token(text, min(0.0, math.log(p))) for text, p in ranked if p > 0)

    def _tokens(self, prefix: str, answer: str) -> Iterator[tuple[str, float]]:
        left = 1.0
        for end in range(len(prefix) + 1, len(answer)):
            share = self._ends_after(answer[:end])
            yield answer[len(prefix) : end], left * share
            left *= 1 - share
        yield answer[len(prefix) :], left

    def _ends_after(self, text: str) -> float:
        """1 after nothing, where every answer begins."""
        return random.Random(f"{self.seed} {text}").choice([0.02, 0.1, 0.5, 1.0]) if text else 1.0
