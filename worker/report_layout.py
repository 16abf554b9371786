"""Headings, paragraphs and tables of plain text: what the report is laid out as."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_IDS = 12


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


def named_ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
    return f"{', '.join(ids[:MOST_IDS])}{more}"
