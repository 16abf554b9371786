"""Data fields: what a task holds becomes text for the prompt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lxml import html

from backend.labeling import references
from backend.labeling.errors import TaskError

TEXT_OBJECTS = frozenset({"Text", "HyperText", "Paragraphs"})

# More than this share of control and replacement characters, and it is no text.
_BINARY_SHARE = 0.1
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ufffe\uffff]")
# White space to the eye, not to `str.strip`.
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_MISSING = object()
_CELLS = {"td", "th"}
_BLOCKS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "section", "article"}


@dataclass(frozen=True, slots=True)
class Value:
    """One data field of one task, as text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class DataField:
    """`name` is the object's name in the configuration. `value` says what it shows of a task's data: "$path", or a text
    with paths in it ("Title: $title")."""

    name: str
    tag: str
    value: str
    name_key: str = "author"
    text_key: str = "text"

    @classmethod
    def of(cls, tag: Any) -> Self:
        """From an object tag of the SDK's `LabelInterface`."""
        keys = {key.lower(): value for key, value in tag.attr.items()}
        return cls(tag.name, tag.tag, tag.value, keys.get("namekey", "author"), keys.get("textkey", "text"))

    @property
    def paths(self) -> tuple[str, ...]:
        return references.paths(self.value)

    @property
    def shown(self) -> str:
        """As messages name it."""
        return self.value[1:] if self._is_one else self.value

    @property
    def _is_one(self) -> bool:
        return self.value == f"${self.paths[0]}"

    def found(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What each of its paths stands for, as it is; those that lead nowhere are left out."""
        found = {path: references.get(data, path, _MISSING) for path in self.paths}
        return {path: raw for path, raw in found.items() if raw is not _MISSING}

    def read(self, data: Mapping[str, Any]) -> Value:
        """Raises `TaskError` when the field is absent, empty, of the wrong kind, or not text."""
        found = self.found(data)
        if missing := [path for path in self.paths if path not in found]:
            there = ", ".join(sorted(map(str, data))) or "none"
            raise TaskError(
                f'the task has no field "{missing[0]}", which {self.tag} "{self.name}" shows (it has: {there})'
            )
        raw = found[self.paths[0]] if self._is_one else self._composed(found)
        text = _UNPRINTABLE.sub("", _readable(self._text(raw), self.shown)).strip()
        if not text.strip(_INVISIBLE + " \t\n"):
            raise TaskError(f'the field "{self.shown}" is empty')
        return Value(self.name, text)

    def _composed(self, found: Mapping[str, Any]) -> str:
        """ "" where there is nothing around which the rest stands."""
        texts = {path: "" if raw is None else str(self._scalar(raw, path)) for path, raw in found.items()}
        return references.filled(self.value, texts) if any(text.strip() for text in texts.values()) else ""

    def _text(self, raw: Any) -> str:
        if raw is None:
            return ""
        if self.tag == "Paragraphs":
            return self._dialogue(raw)
        text = str(self._scalar(raw, self.shown))
        return plain(text) if self.tag == "HyperText" else text

    def _scalar(self, raw: Any, field: str) -> Any:
        if isinstance(raw, (dict, list)):
            raise TaskError(f'the field "{field}" holds a {type(raw).__name__}, {self.tag} "{self.name}" needs text')
        return raw

    def _dialogue(self, raw: Any) -> str:
        if isinstance(raw, str):
            return raw
        if not isinstance(raw, list) or not all(isinstance(turn, dict) for turn in raw):
            raise TaskError(f'the field "{self.shown}" must hold a list of paragraphs (objects with "{self.text_key}")')
        turns = [(str(turn.get(self.name_key) or ""), str(turn.get(self.text_key) or "")) for turn in raw]
        return "\n".join(f"{name}: {text}" if name else text for name, text in turns if text)


def plain(markup: str) -> str:
    """The text of an HTML fragment, a line a block; scripts, styles and comments left out. Raises `TaskError`."""
    if "<" not in markup and "&" not in markup:
        return markup
    parser = html.HTMLParser(huge_tree=True)
    try:
        root = html.fragment_fromstring(_markup(markup), create_parent="div", parser=parser)
    except (ValueError, html.etree.ParserError):
        return markup
    if any("depth" in entry.message for entry in parser.error_log):
        raise TaskError("HTML that is nested thousands of times cannot be read")
    for node in root.xpath("//script|//style|//comment()|//head"):
        node.drop_tree()
    for node in root.iter():
        if node.tag in _BLOCKS:
            node.tail = "\n" + (node.tail or "")
        elif node.tag in _CELLS:
            node.tail = " " + (node.tail or "")
    lines = (" ".join(line.split()) for line in str(root.text_content()).splitlines())
    return "\n".join(line for line in lines if line)


def _markup(raw: str) -> str:
    """Without what the parser takes for the end of the text."""
    return _UNPRINTABLE.sub("", raw).encode(errors="replace").decode()


def _readable(text: str, key: str) -> str:
    if len(_UNPRINTABLE.findall(text)) > _BINARY_SHARE * len(text):
        raise TaskError(f'the field "{key}" holds binary data, not text')
    return text.encode(errors="replace").decode()
