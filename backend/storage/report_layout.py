"""The report as headings, paragraphs and tables of plain text: what the worker lays out and a page shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

# Which labels a version's figures are over, by the report's `basis`.
BASIS = {"unseen": "labels it had not seen", "all": "all labels, which flatter it"}


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The paragraphs stand before the table."""

    title: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None


def to_json(sections: Sequence[Section]) -> str:
    return _SECTIONS.dump_json(tuple(sections)).decode()


def from_json(text: str | bytes) -> tuple[Section, ...]:
    return _SECTIONS.validate_json(text)


_SECTIONS = TypeAdapter(tuple[Section, ...])
