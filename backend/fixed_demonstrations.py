"""Demonstrations that people fixed by hand, in a file of labelled rows."""

from pathlib import Path

from backend.labeling import labelled_row, selection
from backend.labeling.errors import SettingsError, TaskError
from backend.labeling.labelled_row import RowError
from backend.labeling.prompt import Demonstration
from backend.labeling.schema import LabelingSchema

_SHOWN = 10
_HINT = 'DEMONSTRATIONS holds one JSON object a line: {"text": "...", "label": "positive"}.'


def read(path: Path | None, schema: LabelingSchema) -> tuple[Demonstration, ...]:
    """In the file's order, texts shortened as all demonstrations are; none without a file.

    Raises `SettingsError` with a line a mistake: for a file that cannot be read, and for rows that are no labelled task
    of this configuration.
    """
    if path is None:
        return ()
    found: list[Demonstration] = []
    mistakes: list[str] = []
    for number, line in enumerate(_content(path).split(b"\n"), start=1):
        try:
            found += [_demonstration(line, schema)] if line.strip() else []
        except (RowError, TaskError) as error:
            mistakes.append(f"line {number}: {error}")
    if mistakes:
        shown = [*mistakes[:_SHOWN], *([f"and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else [])]
        raise SettingsError("\n".join([f"DEMONSTRATIONS: {path} has rows that cannot be shown:", *shown]), hint=_HINT)
    return tuple(found)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"DEMONSTRATIONS: {path} cannot be read: {error.strerror}", hint=_HINT) from None


def _demonstration(line: bytes, schema: LabelingSchema) -> Demonstration:
    row = labelled_row.parse(line)
    data = labelled_row.data(row, schema)
    labels = labelled_row.labels(row, data, schema)
    if strange := labelled_row.unknown(labels, data, schema):
        raise RowError(f"the labeling configuration has no label {strange[0]!r}")
    reason = row.get("reason", "")
    if not isinstance(reason, str):
        raise RowError('the field "reason" must be a text')
    return Demonstration(selection.shortened(schema.values(data)), labels, " ".join(reason.split()))
