"""What served predictions said, counted by day: label shares, margins, label masses. Drift is found by comparing days.

A count is never worth a request: with Redis down it is dropped.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import structlog
from redis import Redis

from backend.labeling.answers import ControlPrediction, TaskPrediction
from backend.labeling.controls import Control
from backend.labeling.errors import StoreError
from backend.labeling.schema import LabelingSchema
from backend.storage.redis_client import as_text, project_key, translated

KEPT_DAYS = 40
OTHER = "(another)"  # a value outside the configuration's own: options that tasks bring would be without number

_log = structlog.get_logger(__name__)
_MUTE_S = 5.0
_MOST_MARGIN = 30.0  # nats: as sure as a float can say
_LEAST_OFF = 1e-6
_STEPS = 10  # cells a nat of margin
_OFF_STEPS = 25  # cells a power of ten of off-label mass

_Cell = TypeVar("_Cell", str, int)
Counts = Mapping[str, Mapping[str, int]]
Cells = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Window:
    """`n` predictions from the day `since` to the day `until`, both included.

    `labels`: counts by `Question.key`, then label: of a single choice the label chosen, of a multiple one "yes" or "no"
    for each label. `margins` and `off_label`: counts by control, then cell (`margin_cell`, `off_label_cell`).
    """

    n: int
    since: date
    until: date
    labels: Counts = field(default_factory=dict)
    margins: Cells = field(default_factory=dict)
    off_label: Cells = field(default_factory=dict)


def margin_cell(margin: float) -> int:
    """In tenths of a nat, log((1 + m) / (1 - m)), which between two labels is log p1 - log p2; at most 300."""
    sure = max(1.0 - margin, 2 * math.exp(-_MOST_MARGIN))
    return min(int(_STEPS * math.log((1.0 + margin) / sure)), int(_STEPS * _MOST_MARGIN))


def margin_of(cell: int) -> float:
    """In nats, the middle of a cell."""
    return (cell + 0.5) / _STEPS


def off_label_cell(label_mass: float) -> int:
    """25 cells for each power of ten, from -150 (all mass is on the labels) to 0 (none is)."""
    return math.floor(_OFF_STEPS * math.log10(min(max(1.0 - label_mass, _LEAST_OFF), 1.0)))


def off_label_mass(cell: int) -> float:
    """The middle of a cell."""
    return float(min(10 ** ((cell + 0.5) / _OFF_STEPS), 1.0))


def merged(windows: Sequence[Window]) -> Window:
    """All of them as one. Raises `ValueError` when there is none."""
    return Window(
        n=sum(window.n for window in windows),
        since=min(window.since for window in windows),
        until=max(window.until for window in windows),
        labels=_added(window.labels for window in windows),
        margins=_added(window.margins for window in windows),
        off_label=_added(window.off_label for window in windows),
    )


class Windows:
    """A project's counts by version and day (UTC), each day kept for `KEPT_DAYS`."""

    def __init__(self, client: Redis, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._client = client
        self._now = now
        self._muted_until = 0.0

    def note(self, project: str, version: str, schema: LabelingSchema, predictions: Iterable[TaskPrediction]) -> None:
        """One round trip for all; never raises."""
        made = list(predictions)
        if not made or time.monotonic() < self._muted_until:
            return
        cells = Counter(cell for each in made for cell in _cells(schema.controls, each.controls))
        try:
            self._add(_key(project, version, self._now().astimezone(UTC).date()), len(made), cells)
        except StoreError as error:
            _log.warning("what was predicted is not counted: drift may go unseen", reason=str(error))
            self._muted_until = time.monotonic() + _MUTE_S

    @translated()
    def days(self, project: str, version: str, since: date, until: date) -> list[Window]:
        """Those days, both included, on which anything was predicted, the earliest first. One round trip."""
        days = [since + timedelta(days=number) for number in range((until - since).days + 1)]
        with self._client.pipeline(transaction=False) as pipe:
            for day in days:
                pipe.hgetall(_key(project, version, day))
            stored = pipe.execute()
        return [_window(day, found) for day, found in zip(days, stored, strict=True) if found]

    @translated()
    def _add(self, key: str, n: int, cells: Mapping[tuple[str, str, str | int], int]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hincrby(key, "n", n)
            for cell, count in cells.items():
                pipe.hincrby(key, json.dumps(cell), count)
            pipe.expire(key, KEPT_DAYS * 24 * 3600)
            pipe.execute()


def _cells(
    controls: Sequence[Control], predictions: Iterable[ControlPrediction]
) -> Iterator[tuple[str, str, str | int]]:
    """A prediction's fields: what is counted, of which question or control, in which cell."""
    by_name = {control.name: control for control in controls}
    for each in predictions:
        for question, label in _labels(by_name[each.control], each.values):
            yield "label", question, label
        yield "margin", each.control, margin_cell(each.margin)
        yield "off_label", each.control, off_label_cell(each.label_mass)


def _labels(control: Control, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    own = [label.value for label in control.labels]
    if control.multiple:
        yield from ((f"{control.name}: {label}", "yes" if label in values else "no") for label in own)
    else:
        yield from ((control.name, value if value in own else OTHER) for value in values)


def _window(day: date, stored: Mapping[bytes, bytes]) -> Window:
    labels: dict[str, dict[str, int]] = {}
    numbered: dict[str, dict[str, dict[int, int]]] = {"margin": {}, "off_label": {}}
    counts = {as_text(name): int(count) for name, count in stored.items()}
    n = counts.pop("n", 0)
    for name, count in counts.items():
        kind, key, cell = json.loads(name)
        if kind == "label":
            labels.setdefault(key, {})[cell] = count
        else:
            numbered[kind].setdefault(key, {})[cell] = count
    return Window(n, day, day, labels, numbered["margin"], numbered["off_label"])


def _added(tables: Iterable[Mapping[str, Mapping[_Cell, int]]]) -> dict[str, dict[_Cell, int]]:
    sums: dict[str, Counter[_Cell]] = {}
    for table in tables:
        for name, counts in table.items():
            sums.setdefault(name, Counter()).update(counts)
    return {name: dict(counts) for name, counts in sums.items()}


def _key(project: str, version: str, day: date) -> str:
    return project_key(project, f"window:{version}:{day.isoformat()}")
