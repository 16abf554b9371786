"""Choices: one label of a set, or any number of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labeling.answers import Label
from backend.labeling.controls.closed_set import ClosedSet, distinct, line
from backend.labeling.controls.tags import Declared, LeftAloneError


@dataclass(frozen=True, slots=True)
class ChoicesForm:
    type = "choices"

    def encode(self, values: Sequence[str]) -> dict[str, Any]:
        return {"choices": list(values)}

    def decode(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(map(str, value.get("choices") or ()))


def parse(declared: Declared) -> tuple[ClosedSet, list[str]]:
    """With remarks on choices that cannot be asked for. Raises `LeftAloneError`."""
    tag, attributes = declared.tag, declared.attributes
    if attributes.get("allownested") == "true" or declared.element.find(".//Choice//Choice") is not None:
        raise LeftAloneError("its choices are nested, which a Taxonomy may be")
    source = attributes.get("value", "")
    shown = {value: tag.labels_attrs[value].attr for value in tag.labels}
    labels = distinct(
        Label(value, line(attr.get("value", value)), line(attr.get("hint", ""))) for value, attr in shown.items()
    )
    remarks = [] if len(labels) == len(shown) else [f'Choices "{tag.name}" has a choice with no name: it is left out']
    remarks += _duplicates(declared)
    if not labels and not source.startswith("$"):
        remarks.append(f'Choices "{tag.name}" has no choice')
    control = ClosedSet(
        name=declared.name,
        to_names=declared.to_names,
        labels=labels,
        form=ChoicesForm(),
        multiple=attributes.get("choice") == "multiple",
        options_key=source[1:] if source.startswith("$") else "",
        required=declared.required,
    )
    return control, remarks


def _duplicates(declared: Declared) -> Iterator[str]:
    stored = Counter(choice.get("alias") or choice.get("value") for choice in declared.element.iter("Choice"))
    for value, times in stored.items():
        if times > 1 and value:
            yield f'Choices "{declared.name}" has the choice "{value}" {times} times: it counts as one'
