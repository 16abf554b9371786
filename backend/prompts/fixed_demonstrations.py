"""Demonstrations that people fixed by hand, in a file of labelled rows."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from backend.labeling import labelled_row, selection
from backend.labeling.errors import SettingsError, TaskError
from backend.labeling.labelled_row import RowError
from backend.labeling.prompt import Demonstration
from backend.labeling.schema import LabelingSchema

_SHOWN = 10
_MOST_CONFIGURATIONS = 100
_HINT = 'DEMONSTRATIONS holds one JSON object a line: {"text": "...", "label": "positive"}.'

_log = structlog.get_logger(__name__)


class FixedDemonstrations:
    """Those of the file that fit a labeling configuration. It is read again when it has changed; once it was read, one
    that goes away stays as it was."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._text = b""
        self._fitting: dict[str, tuple[Demonstration, ...]] = {}

    def of(self, schema: LabelingSchema) -> tuple[Demonstration, ...]:
        """In the file's order, texts shortened as all demonstrations are; none without a file. Rows that are no
        labelled task of this configuration are left out, and told in the log once. Raises `SettingsError` for a file
        that cannot be read."""
        if self._path is None:
            return ()
        with self._lock:
            self._refresh(self._path)
            found = self._fitting.get(schema.config_hash)
            if found is None:
                if len(self._fitting) >= _MOST_CONFIGURATIONS:
                    self._fitting.clear()
                found = self._fitting[schema.config_hash] = _fitting(self._path, self._text, schema)
            return found

    def stamp(self) -> tuple[str, float]:
        """The file's digest, and when it was written, in seconds since 1970; "" and 0 without one."""
        if self._path is None:
            return "", 0.0
        with self._lock:
            self._refresh(self._path)
            return hashlib.sha256(self._text).hexdigest()[:16], self._stamp[0] / 1e9 if self._stamp else 0.0

    def _refresh(self, path: Path) -> None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._text, self._stamp = path.read_bytes(), stamp
                self._fitting.clear()
        except OSError as error:
            if self._stamp is None:
                raise _unreadable(path, error) from None


def read(path: Path | None, schema: LabelingSchema) -> tuple[Demonstration, ...]:
    """`FixedDemonstrations.of` for who wants to know of mistakes.

    Raises `SettingsError` with a line a mistake: for a file that cannot be read, and for rows that are no labelled task
    of this configuration.
    """
    if path is None:
        return ()
    found, mistakes = _rows(_content(path), schema)
    if mistakes:
        told = "\n".join([f"DEMONSTRATIONS: {path} has rows that cannot be shown:", *_shown(mistakes)])
        raise SettingsError(told, hint=_HINT)
    return found


def _fitting(path: Path, text: bytes, schema: LabelingSchema) -> tuple[Demonstration, ...]:
    found, mistakes = _rows(text, schema)
    if mistakes:
        _log.warning(
            "DEMONSTRATIONS has rows that a labeling configuration cannot show: they are left out",
            file=str(path),
            rows=[mistake.partition(":")[0] for mistake in mistakes[:_SHOWN]],
            left_out=len(mistakes),
            shown=len(found),
        )
    return found


def _rows(text: bytes, schema: LabelingSchema) -> tuple[tuple[Demonstration, ...], list[str]]:
    """What can be shown, and a line for each row that cannot."""
    found: list[Demonstration] = []
    mistakes: list[str] = []
    for number, line in enumerate(text.split(b"\n"), start=1):
        try:
            found += [_demonstration(line, schema)] if line.strip() else []
        except (RowError, TaskError) as error:
            mistakes.append(f"line {number}: {error}")
    return tuple(found), mistakes


def _shown(mistakes: Sequence[str]) -> list[str]:
    more = len(mistakes) - _SHOWN
    return [*mistakes[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"DEMONSTRATIONS: {path} cannot be read: {error.strerror}", hint=_HINT)


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
