"""Pairwise: which of two texts, "left" or "right". A leaning to either side is removed with the other class bias."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labeling.answers import Label
from backend.labeling.controls.closed_set import ClosedSet
from backend.labeling.controls.tags import Declared, LeftAloneError

_SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class PairwiseForm:
    type = "pairwise"

    def encode(self, values: Sequence[str]) -> dict[str, Any]:
        return {"selected": values[0]}

    def decode(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        selected = value.get("selected")
        return (str(selected),) if selected else ()


def parse(declared: Declared) -> tuple[ClosedSet, list[str]]:
    """Raises `LeftAloneError`."""
    if len(declared.to_names) != len(_SIDES) or not set(declared.to_names) <= set(declared.readable):
        raise LeftAloneError(f"it compares {' and '.join(declared.to_names)}, which are not two texts that can be read")
    sides = zip(_SIDES, declared.to_names, strict=True)
    labels = tuple(Label(side, side, f'"{name}" rather than the other') for side, name in sides)
    control = ClosedSet(declared.name, declared.to_names, labels, PairwiseForm(), required=declared.required)
    return control, []
