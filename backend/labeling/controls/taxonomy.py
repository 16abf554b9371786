"""Taxonomy: one place in a tree of labels, or any number of them. A label is stored as its path from the root."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from backend.labeling.answers import Label, Question
from backend.labeling.controls.closed_set import NO, YES, ClosedSet, distinct, line
from backend.labeling.controls.tags import Declared, LeftAloneError

_SEPARATOR = " / "

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaxonomyForm:
    """A value is the path in one text; `paths` tells where it was put together."""

    paths: Mapping[str, Path] = field(hash=False)
    type = "taxonomy"

    def encode(self, values: Sequence[str]) -> dict[str, Any]:
        return {"taxonomy": [list(self.paths[value]) for value in values]}

    def decode(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        found = value.get("taxonomy") or ()
        return tuple(_joined([path] if isinstance(path, str) else path) for path in found)


@dataclass(frozen=True, slots=True)
class _Node:
    """`stored` is the path as Label Studio stores it, `shown` as people read it."""

    stored: Path
    shown: Path
    hint: str
    is_leaf: bool


def parse(declared: Declared) -> tuple[ClosedSet, list[str]]:
    """With remarks on places that cannot be asked for. Raises `LeftAloneError`."""
    attributes = declared.attributes
    if attributes.get("apiurl") or attributes.get("value"):
        raise LeftAloneError("its labels come from elsewhere, not from the configuration")
    nodes = list(_nodes(declared.element, (), ()))
    leaves_only = attributes.get("leafsonly", "").lower() == "true"
    places = [node for node in nodes if node.is_leaf or not leaves_only]
    multiple = attributes.get("maxusages") != "1"
    own = Counter(node.shown[-1].casefold() for node in (nodes if multiple else places))
    labels = distinct(_label(node, unique=own[node.shown[-1].casefold()] == 1) for node in places)
    remarks = [] if len(labels) == len(places) else [f'Taxonomy "{declared.name}" has places alike: they count as one']
    if not labels:
        remarks.append(f'Taxonomy "{declared.name}" has no choice')
    control = ClosedSet(
        name=declared.name,
        to_names=declared.to_names,
        labels=labels,
        form=TaxonomyForm({_joined(node.stored): node.stored for node in places}),
        multiple=multiple,
        required=declared.required,
        tree=_tree(declared.name, nodes, labels) if multiple and any(len(node.stored) > 1 for node in nodes) else (),
    )
    return control, remarks


def _nodes(element: etree._Element, stored: Path, shown: Path) -> Iterator[_Node]:
    """Each with those below it. A place without a name is left out with all below it."""
    for child in element.iterchildren("Choice"):
        name = child.get("value") or ""
        if not name.strip():
            continue
        here, read = (*stored, child.get("alias") or name), (*shown, line(name))
        yield _Node(here, read, line(child.get("hint") or ""), is_leaf=child.find("Choice") is None)
        yield from _nodes(child, here, read)


def _tree(control: str, nodes: Sequence[_Node], labels: Sequence[Label]) -> tuple[Question, ...]:
    """A yes-or-no question a place, those above before those below. What is no label, an inner place where only leaves
    are, is read by its path."""
    own = {label.value: label for label in labels}
    places: dict[str, _Node] = {}
    for node in nodes:
        places.setdefault(_joined(node.stored), node)
    below: dict[str, set[str]] = {value: set() for value in places}
    for value, node in places.items():
        for depth in range(1, len(node.stored)):
            below[_joined(node.stored[:depth])].add(value)
    return tuple(
        Question(
            control,
            (YES, NO),
            about=own.get(value) or _label(node, unique=False),
            among=len(places) > 1,
            above=f"{control}: {_joined(node.stored[:-1])}" if len(node.stored) > 1 else "",
            below=frozenset(below[value]),
            is_answer=value in own,
        )
        for value, node in places.items()
        if value in own or below[value]
    )


def _label(node: _Node, *, unique: bool) -> Label:
    """Read by its own name where no other place has it, with the place above as its meaning; else by its path."""
    if not unique or len(node.shown) == 1:
        return Label(_joined(node.stored), _joined(node.shown), node.hint)
    above = f"in {_joined(node.shown[:-1])}"
    return Label(_joined(node.stored), node.shown[-1], f"{above}: {node.hint}" if node.hint else above)


def _joined(path: Sequence[Any]) -> str:
    return _SEPARATOR.join(map(str, path))
