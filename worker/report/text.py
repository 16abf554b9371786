"""The report for a terminal, and as Markdown."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from worker.report.document import Report
from worker.report.layout import Section, Table
from worker.report.sections import sections

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
# What Markdown or the HTML in it would read as more than text.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def text(document: Mapping[str, Any]) -> RenderableType:
    """What `report.build` made, for `rich.print`. Labels and other people's text cannot style or move the terminal."""
    report = cast(Report, document)
    parts: list[RenderableType] = [Text(_plain(_title(report)), style="bold")]
    for section in sections(report):
        parts += [Text(), Text(_plain(section.title), style="bold cyan"), *_laid_out(section)]
    return Group(*parts)


def _laid_out(section: Section) -> Iterator[RenderableType]:
    for paragraph in section.paragraphs:
        yield Padding(Text(_plain(paragraph)), (0, 0, 0, 2), expand=False)
    if section.table and section.table.rows:
        yield Padding(_grid(section.table), (0, 0, 0, 2), expand=False)


def _grid(table: Table) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in table.columns:
        grid.add_column(column, overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(_plain(cell)) for cell in row))
    return grid


def markdown(document: Mapping[str, Any]) -> str:
    """What `report.build` made, in GitHub's Markdown; labels and other people's text are escaped."""
    report = cast(Report, document)
    blocks = [f"# {_escaped(_title(report))}"]
    for section in sections(report):
        blocks.append(f"## {_escaped(section.title)}")
        blocks += [_escaped(paragraph) for paragraph in section.paragraphs]
        if section.table and section.table.rows:
            blocks.append("\n".join(_lines(section.table)))
    return "\n\n".join(blocks) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield _line(map(_escaped, table.columns))
    yield _line("---" for _ in table.columns)
    for row in table.rows:
        yield _line(map(_escaped, row))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _title(report: Report) -> str:
    name = f"{report['title']} (project {report['project']})" if report["title"] else f"Project {report['project']}"
    return f"{name}: {report['active']}, {report['made_at'][:16].replace('T', ' ')} UTC"


def _plain(raw: str) -> str:
    """On one line."""
    return _UNPRINTABLE.sub(" ", raw)


def _escaped(raw: str) -> str:
    return _MARKUP.sub(r"\\\1", _plain(raw))
