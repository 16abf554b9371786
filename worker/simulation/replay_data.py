"""Labelled rows in a file become examples, as annotators would have produced them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backend.labeling import labelled_row
from backend.labeling.errors import TaskError, WhetstoneError
from backend.labeling.labelled_row import RowError
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example

# No row tells when it was labelled: the first one now counts as of then, each further one a second later.
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_SHOWN = 10
_TEST = 1 / 3


class ReplayDataError(WhetstoneError):
    """One line a mistake, each with the line's number in the file."""

    exit_code = 2
    hint = (
        'A row is one JSON object a line: {"id": "1", "text": "...", "label": "positive"}, '
        "with the configuration's data fields in place of text."
    )


@dataclass(frozen=True, slots=True)
class ReplayData:
    """`rows` in the file's order, without those that the file itself keeps for the `test` (their "split" says so).

    `unknown` counts rows left out by the labels of theirs that the configuration does not have. `content` is what was
    read, for the digest.
    """

    rows: tuple[Example, ...]
    test: tuple[Example, ...]
    unknown: Mapping[str, int]
    content: bytes = field(repr=False)


def read(path: Path, schema: LabelingSchema) -> ReplayData:
    """Raises `ReplayDataError`: for a row that cannot be used, and when no row is left."""
    content = _content(path)
    reader = _Reader(schema)
    rows: list[Example] = []
    test: list[Example] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip() and (found := reader.read(number, line)):
            example, is_test = found
            (test if is_test else rows).append(example)
    reader.check(path)
    if not rows and not test:
        raise ReplayDataError(_nothing_left(path, schema, reader.unknown))
    return ReplayData(tuple(rows), tuple(test), dict(reader.unknown), content)


def sha256(*parts: ReplayData) -> str:
    """Over the files' bytes, one after the other, as `cat DATA TEST | sha256sum` prints it."""
    return hashlib.sha256(b"".join(part.content for part in parts)).hexdigest()


def part_for_test(rows: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Rows to replay and, by a hash of their ids, about a third to test on, for a file that keeps none itself."""
    chances = [int.from_bytes(hashlib.sha256(f"test\0{row.id}".encode()).digest()[:8], "big") / 2**64 for row in rows]
    replayed = tuple(row for row, chance in zip(rows, chances, strict=True) if chance >= _TEST)
    return replayed, tuple(row for row, chance in zip(rows, chances, strict=True) if chance < _TEST)


def apart(rows: Sequence[Example], test: Sequence[Example], schema: LabelingSchema) -> tuple[Example, ...]:
    """The rows that are not test rows too, neither by their id nor by their text: nothing may be chosen on those."""
    ids, texts = {row.id for row in test}, {schema.data_hash(row.data) for row in test}
    return tuple(row for row in rows if row.id not in ids and schema.data_hash(row.data) not in texts)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReplayDataError(f"{path} cannot be read: {error.strerror}", hint="Is it a file of yours?") from None


class _Reader:
    """Reads rows and remembers what is wrong with them, so that all of it is told at once."""

    def __init__(self, schema: LabelingSchema) -> None:
        self.unknown: Counter[str] = Counter()
        self._schema = schema
        self._mistakes: list[str] = []
        self._lines: dict[str, int] = {}

    def read(self, number: int, line: bytes) -> tuple[Example, bool] | None:
        """The example and whether it is for the test; None for a row that is left out."""
        try:
            row = labelled_row.parse(line)
            example_id = self._id(row, number)
            data = labelled_row.data(row, self._schema)
            truth = labelled_row.labels(row, data, self._schema)
        except (TaskError, RowError) as error:
            self._mistakes.append(f"line {number}: {error}")
            return None
        strange = labelled_row.unknown(truth, data, self._schema)
        self.unknown.update(strange)
        if strange:
            return None
        return Example(example_id, data, truth, _BEGINNING + timedelta(seconds=number)), row.get("split") == "test"

    def _id(self, row: Mapping[str, Any], number: int) -> str:
        value = row.get("id")
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise RowError('the field "id" must be a text or a number that no other row has')
        first = self._lines.setdefault(str(value), number)
        if first != number:
            raise RowError(f'the field "id" is {value!r}, as on line {first}: give each row its own')
        return str(value)

    def check(self, path: Path) -> None:
        if self._mistakes:
            more = len(self._mistakes) - _SHOWN
            lines = [*self._mistakes[:_SHOWN], *([f"and {more} more rows"] if more > 0 else [])]
            raise ReplayDataError("\n".join([f"{path} has rows that cannot be used:", *lines]))


def _nothing_left(path: Path, schema: LabelingSchema, unknown: Mapping[str, int]) -> str:
    if not unknown:
        return f"{path} has no row"
    theirs = ", ".join(f"{label} ({count} rows)" for label, count in unknown.items())
    ours = ", ".join(label.value for control in schema.controls for label in control.labels)
    return f"no row of {path} has a label of the configuration ({ours}), but: {theirs}"
