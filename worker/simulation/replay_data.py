"""What people labelled, in a file, becomes examples, as annotators would have produced them."""

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
from worker.labels import exported
from worker.labels.examples import Example
from worker.simulation import row_files
from worker.simulation.row_files import FileRow
from worker.statistics.consensus import Method

# No row tells when it was labelled: the first one now counts as of then, each further one a second later.
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_SHOWN = 10
_TEST = 1 / 3


class ReplayDataError(WhetstoneError):
    """One line a mistake, each with its place in the file."""

    exit_code = 2
    hint = (
        'A row is one JSON object a line: {"id": "1", "text": "...", "label": "positive"}, '
        "with the configuration's data fields in place of text; or a line of a CSV with such a header. "
        "Label Studio's exports as JSON and CSV are read too."
    )


@dataclass(frozen=True, slots=True)
class ReplayData:
    """`rows` in the file's order, without those that the file itself keeps for the `test` (their "split" says so).

    `unknown` counts rows left out by the labels of theirs that the configuration does not have, `left_out` the tasks of
    an export by why they are no ground truth. `content` is what was read, for the digest.
    """

    rows: tuple[Example, ...]
    test: tuple[Example, ...]
    unknown: Mapping[str, int]
    content: bytes = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)


def read(path: Path, schema: LabelingSchema, *, method: Method = "auto") -> ReplayData:
    """`method` is how several annotators of an export agree. Raises `ReplayDataError`: for a row that cannot be used,
    and when no row is left."""
    content = _content(path)
    try:
        rows, tasks = row_files.read(path, content)
        found = _of_export(tasks, schema, method, content) if tasks else _of_rows(rows, schema, path, content)
    except RowError as error:
        raise ReplayDataError(f"{path} cannot be used: {error}") from None
    if not found.rows and not found.test:
        raise ReplayDataError(_nothing_left(path, schema, found))
    return found


def _of_rows(rows: Sequence[FileRow], schema: LabelingSchema, path: Path, content: bytes) -> ReplayData:
    reader = _Reader(schema)
    read = [found for number, row in enumerate(rows, start=1) if (found := reader.read(number, row))]
    reader.check(path)
    replayed = tuple(example for example, is_test in read if not is_test)
    return ReplayData(replayed, tuple(example for example, is_test in read if is_test), dict(reader.unknown), content)


def _of_export(
    tasks: Sequence[Mapping[str, Any]], schema: LabelingSchema, method: Method, content: bytes
) -> ReplayData:
    """Nobody labelled what has no annotation."""
    found = exported.truth([task for task in tasks if task["annotations"]], schema, method=method)
    return ReplayData(found.examples, (), {}, content, found.left_out)


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
        self._places: dict[str, str] = {}

    def read(self, number: int, row: FileRow) -> tuple[Example, bool] | None:
        """The example and whether it is for the test; None for a row that is left out."""
        try:
            given = _given(row)
            example_id = self._id(given, row.place)
            data = labelled_row.data(given, self._schema)
            truth = labelled_row.labels(given, data, self._schema)
        except (TaskError, RowError) as error:
            self._mistakes.append(f"{row.place}: {error}")
            return None
        strange = labelled_row.unknown(truth, data, self._schema)
        self.unknown.update(strange)
        if strange:
            return None
        return Example(example_id, data, truth, _BEGINNING + timedelta(seconds=number)), given.get("split") == "test"

    def _id(self, row: Mapping[str, Any], place: str) -> str:
        value = row.get("id")
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise RowError('the field "id" must be a text or a number that no other row has')
        first = self._places.setdefault(str(value), place)
        if first != place and "annotation_id" in row:  # a table that Label Studio exported
            raise RowError(f"task {value} was annotated twice, here and on {first}: export as JSON")
        if first != place:
            raise RowError(f'the field "id" is {value!r}, as on {first}: give each row its own')
        return str(value)

    def check(self, path: Path) -> None:
        if self._mistakes:
            more = len(self._mistakes) - _SHOWN
            lines = [*self._mistakes[:_SHOWN], *([f"and {more} more rows"] if more > 0 else [])]
            raise ReplayDataError("\n".join([f"{path} has rows that cannot be used:", *lines]))


def _given(row: FileRow) -> Mapping[str, Any]:
    if isinstance(row.given, RowError):
        raise row.given
    return row.given


def _nothing_left(path: Path, schema: LabelingSchema, found: ReplayData) -> str:
    if found.left_out:
        why = ", ".join(f"{count} tasks: {reason}" for reason, count in found.left_out.items())
        return f"no task of {path} can be used ({why})"
    if not found.unknown:
        return f"{path} has no labelled row"
    theirs = ", ".join(f"{label} ({count} rows)" for label, count in found.unknown.items())
    ours = ", ".join(label.value for control in schema.controls for label in control.labels)
    return f"no row of {path} has a label of the configuration ({ours}), but: {theirs}"
