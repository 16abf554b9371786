"""An embedder whose vectors are written down, and prompts on it."""

import math
import random
from collections.abc import Sequence
from typing import Any

from backend.labeling.embedding import Vector, unit
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt

COLOURS = ("red", "blue")


class Angles:
    """A text is a point of the unit circle: the first number in it, in degrees. `asked` holds each call's texts."""

    fingerprint = "angles 2"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        self.asked.append(list(texts))
        return [at(float(text.split()[0])) for text in texts]


def far_apart(texts: Sequence[str]) -> list[Vector]:
    """Each text in a direction of its own: no two are near copies."""
    return [unit([random.Random(f"{text} {i}").gauss(0, 1) for i in range(64)]) for text in texts]


def at(degrees: float) -> Vector:
    return (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def values(text: str) -> tuple[Value, ...]:
    return (Value("text", text),)


def shown(text: str, label: str = "red") -> Demonstration:
    return Demonstration(values(text), {"colour": (label,)})


def selecting(*demonstrations: Demonstration, **fields: Any) -> Prompt:
    return Prompt("Which colour?", demonstrations=demonstrations, **fields)


def texts(prompt: Prompt) -> list[str]:
    return [each.values[0].text for each in prompt.demonstrations]
