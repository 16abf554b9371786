"""A labeling configuration becomes a labeling schema: the controls we label, the data fields they read."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from label_studio_sdk.label_interface import LabelInterface
from lxml import etree

from backend.labeling import references
from backend.labeling.controls import CONTROLS, Control, Declared, LeftAloneError
from backend.labeling.errors import SchemaError, TaskError
from backend.labeling.fields import TEXT_OBJECTS, DataField, Value

_TEXT_AREA = "TextArea"
# An attribute for controls that are for people alone, which needs no note. Label Studio knows it not, and keeps it.
_SWITCH = "whetstone"


@dataclass(frozen=True, slots=True)
class TextArea:
    """Free text about the whole task: nothing that we label, but a place for a rationale. `note` says that it is left
    alone, which holds unless it is the rationale's."""

    name: str
    to_name: str
    note: str


@dataclass(frozen=True, slots=True)
class LabelingSchema:
    """`notes` name, one line each, what is left alone and why: controls and objects we do not label or read."""

    controls: tuple[Control, ...]
    fields: tuple[DataField, ...]
    notes: tuple[str, ...]
    config_hash: str
    text_areas: tuple[TextArea, ...] = ()

    def text_area(self, name: str) -> TextArea | None:
        return next((area for area in self.text_areas if area.name == name), None)

    def notes_but(self, area: TextArea | None) -> tuple[str, ...]:
        """`notes` where `area` is in use."""
        return tuple(note for note in self.notes if area is None or note != area.note)

    def values(self, data: Mapping[str, Any]) -> tuple[Value, ...]:
        """The task's texts, in the configuration's order.

        Fields that a control points at must be there (`TaskError`); the others are context and may be absent.
        """
        needed = {name for control in self.controls for name in control.to_names}
        found = [self._value(field, data, needed=field.name in needed) for field in self.fields]
        return tuple(value for value in found if value is not None)

    @staticmethod
    def _value(field: DataField, data: Mapping[str, Any], *, needed: bool) -> Value | None:
        try:
            return field.read(data)
        except TaskError:
            if needed:
                raise
            return None

    @property
    def asks_each_label(self) -> bool:
        """Whether a control is asked yes or no label by label."""
        return any(control.multiple for control in self.controls)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of a task's data, under which lies what a prediction can depend on: the data fields and dynamic options."""
        return tuple(key for path in self._paths for key in references.keys(path))

    @property
    def _paths(self) -> tuple[str, ...]:
        options = (control.options_key for control in self.controls if control.options_key)
        return (*(path for field in self.fields for path in field.paths), *options)

    def data_hash(self, data: Mapping[str, Any]) -> str:
        """SHA-256 over what a prediction can depend on in the task's data, nothing else."""
        used = {path: references.get(data, path) for path in self._paths}
        return hashlib.sha256(json.dumps(used, sort_keys=True, default=repr).encode()).hexdigest()[:32]


@lru_cache(maxsize=256)
def parse(config: str) -> LabelingSchema:
    """Raises `SchemaError` for XML that cannot be read and for a configuration with no control that we label."""
    tree = _tree(config)
    canonical = etree.tostring(tree, encoding="unicode")
    try:
        interface = LabelInterface(canonical)
    except Exception as error:
        raise SchemaError(f"the labeling configuration cannot be read: {error}") from error
    fields, notes = _fields(interface)
    notes += _unnamed(tree)
    controls, text_areas, off = [], [], []
    for tag in interface.controls:
        if tag.attr.get(_SWITCH, "").lower() == "off":
            off.append(f'{tag.tag} "{tag.name}" is left alone: the configuration says {_SWITCH}="off"')
            continue
        try:
            control, remarks = _parsed(tag, tree, fields)
        except LeftAloneError as reason:
            notes.append(f'{tag.tag} "{tag.name}" is left alone: {reason}')
            if tag.tag == _TEXT_AREA and tag.attr.get("perRegion") != "true":
                text_areas.append(TextArea(tag.name, tag.to_name[0], notes[-1]))
            continue
        notes += remarks
        if control.labels or control.options_key:
            controls.append(control)
    if not controls:
        raise SchemaError("; ".join(["the labeling configuration has no control that Whetstone labels", *notes, *off]))
    return LabelingSchema(tuple(controls), tuple(fields.values()), tuple(notes), _hash(canonical), tuple(text_areas))


def _tree(config: str) -> etree._Element:
    """Without a document type: Label Studio needs none, and its entities can grow without end."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        tree = etree.fromstring(config.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        raise SchemaError(f"the labeling configuration is not well-formed XML: {error}") from error
    if tree.getroottree().docinfo.internalDTD is not None:
        raise SchemaError("the labeling configuration has a DOCTYPE, which Label Studio does not know: leave it out")
    return tree


def _unnamed(tree: etree._Element) -> list[str]:
    return [
        f"{element.tag} is left alone: it has no {attribute}"
        for tag in CONTROLS
        for element in tree.iter(tag)
        for attribute in ("name", "toName")
        if not element.get(attribute)
    ]


def _fields(interface: LabelInterface) -> tuple[dict[str, DataField], list[str]]:
    fields: dict[str, DataField] = {}
    notes = []
    for tag in interface.objects:
        if tag.tag not in TEXT_OBJECTS:
            notes.append(f'{tag.tag} "{tag.name}" is not read: only {", ".join(sorted(TEXT_OBJECTS))} are')
        elif not references.paths(str(tag.value)):
            notes.append(f'{tag.tag} "{tag.name}" is not read: its value names no data field (no $name)')
        elif tag.attr.get("valueType") == "url" or tag.attr.get("valuetype") == "url":
            notes.append(f'{tag.tag} "{tag.name}" is not read: it loads its text from an address')
        else:
            fields[tag.name] = DataField.of(tag)
    return fields, notes


def _parsed(tag: Any, tree: etree._Element, fields: Mapping[str, DataField]) -> tuple[Control, list[str]]:
    """Raises `LeftAloneError`."""
    if tag.tag not in CONTROLS:
        raise LeftAloneError(f"controls of type {tag.tag} are not labelled yet")
    if not any(name in fields for name in tag.to_name):
        raise LeftAloneError(f"it points at {', '.join(tag.to_name) or 'nothing'}, which is not text that can be read")
    if tag.attr.get("perRegion") == "true":
        raise LeftAloneError("it is answered once a region")
    element = _control(tree, tag.name)
    if any(node.get("visibleWhen") for node in (element, *element.iterancestors())):
        raise LeftAloneError("it is shown only when another control has a certain answer")
    return CONTROLS[tag.tag](Declared(tag, element, fields))


def _control(tree: etree._Element, name: str) -> etree._Element:
    return next(element for element in tree.iter() if element.get("name") == name and element.get("toName"))


def _hash(canonical: str) -> str:
    """Over the canonical XML, so that white space between attributes does not begin a new lineage; nor does a TextArea
    that comes or goes, since no label depends on it."""
    tree = etree.fromstring(canonical)
    for area in list(tree.iter(_TEXT_AREA)):
        around = area.getparent()
        if around is not None and not len(area):
            around.remove(area)
    text = etree.canonicalize(etree.tostring(tree, encoding="unicode"), strip_text=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
