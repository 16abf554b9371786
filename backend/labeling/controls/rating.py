"""Rating: one of the whole numbers from 1 on, as stars. Each is a label: the likeliest is the answer, not the mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labeling.answers import Label
from backend.labeling.controls.closed_set import ClosedSet
from backend.labeling.controls.tags import Declared, LeftAloneError

_MOST, _USUAL = 100, 5


@dataclass(frozen=True, slots=True)
class RatingForm:
    type = "rating"

    def encode(self, values: Sequence[str]) -> dict[str, Any]:
        return {"rating": int(values[0])}

    def decode(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        """0 is how Label Studio stores stars that were taken back."""
        given = str(value.get("rating") or "").removesuffix(".0")
        return () if given in {"", "0"} else (given,)


def parse(declared: Declared) -> tuple[ClosedSet, list[str]]:
    """Raises `LeftAloneError`."""
    given = declared.attributes.get("maxrating", str(_USUAL))
    if not (given.isascii() and given.isdigit() and 1 < int(given) <= _MOST):
        raise LeftAloneError(f'its maxRating is "{given}", not a whole number from 2 to {_MOST}')
    ends = {1: "lowest", int(given): "highest"}
    labels = tuple(Label(str(number), str(number), ends.get(number, "")) for number in range(1, int(given) + 1))
    control = ClosedSet(
        declared.name, declared.to_names, labels, RatingForm(), required=declared.required, ordered=True
    )
    return control, []
