"""A file of what people labelled, in the formats that they have it in: one JSON object a line, a JSON list, CSV or TSV
with a header, or a list of tasks with their annotations, as Label Studio exports it."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.labeling import labelled_row
from backend.labeling.labelled_row import RowError

_DELIMITERS = ",;\t"
_TABLES = {".csv", ".tsv"}


@dataclass(frozen=True, slots=True)
class FileRow:
    """`place` is where it stands, as people count: "line 3". What is no row is the error that says so."""

    place: str
    given: Mapping[str, Any] | RowError = field(repr=False)


def read(path: Path, content: bytes) -> tuple[list[FileRow], list[Mapping[str, Any]]]:
    """The file's rows, or the tasks of an export. Raises `RowError` for a file that is neither."""
    if path.suffix.lower() in _TABLES:
        return list(_table(_text(content))), []
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return list(_lines(content)), []
    listed = _listed(content)
    if listed and all(_is_task(each) for each in listed):
        return [], listed
    return [FileRow(f"row {number}", _object(each)) for number, each in enumerate(listed, start=1)], []


def _lines(content: bytes) -> Iterator[FileRow]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield FileRow(f"line {number}", _parsed(line))


def _parsed(line: bytes) -> Mapping[str, Any] | RowError:
    try:
        return labelled_row.parse(line)
    except RowError as error:
        return error


def _listed(content: bytes) -> list[Any]:
    try:
        found: list[Any] = json.loads(_text(content))
    except json.JSONDecodeError as error:
        raise RowError(f"not JSON ({error.msg} at line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise RowError("not JSON that can be read: it is nested too deeply") from None
    return found


def _object(each: Any) -> Mapping[str, Any] | RowError:
    return each if isinstance(each, dict) else RowError(f"a {type(each).__name__}, not an object: write {{...}}")


def _is_task(each: Any) -> bool:
    return isinstance(each, dict) and isinstance(each.get("annotations"), list) and isinstance(each.get("data"), dict)


def _table(text: str) -> Iterator[FileRow]:
    """By commas, semicolons or tabs, whichever the header has most of. Rows without an "id" go by their number; those
    without anything in them are none."""
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count), strict=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    numbered = "id" not in reader.fieldnames
    try:
        for number, cells in enumerate(reader, start=1):
            place = f"line {reader.line_num}"
            if None in cells:
                yield FileRow(place, RowError("more cells than the header has: put texts that hold a comma in quotes"))
                continue
            row = {name: cell for name, cell in cells.items() if cell is not None}
            if any(cell.strip() for cell in row.values()):
                yield FileRow(place, {"id": number, **row} if numbered else row)
    except csv.Error as error:
        yield FileRow(f"line {reader.line_num}", RowError(f"not CSV ({error})"))


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8 (byte {error.start + 1}): save the file as UTF-8") from None
