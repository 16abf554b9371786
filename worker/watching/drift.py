"""Have predictions drifted? Windows of what they said are compared, and the accuracy on labels that arrive. Pure.

Of windows in which nothing changed at most 1 % alarm, over all tests together; a change alarms only if it is also large
enough to matter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from backend.storage.alarms import Alarm as Alarm
from backend.storage.alarms import Kind
from backend.storage.windows import Window as Window
from backend.storage.windows import margin_of, merged, off_label_mass
from worker import wording
from worker.statistics import permutation
from worker.statistics.intervals import Share
from worker.statistics.permutation import Statistic
from worker.watching import promise

LEAST = 200  # predictions in a window for it to be compared
FALSE_ALARMS = 0.01
_DAY = timedelta(days=1)

Table = Mapping[Any, int]  # counts by cell


@dataclass(frozen=True, slots=True)
class _Test:
    """`statistic` is made of the cells in their order. A change by less than `least` does not matter, however sure."""

    kind: Kind
    tables: Callable[[Window], Mapping[str, Table]]
    statistic: Callable[[list[Any]], Statistic]
    least: float
    words: Callable[[str, Table, Table], str]


@dataclass(frozen=True, slots=True)
class Reference:
    """What later predictions of a version are compared with. Days up to `compared_until` are done with, and so are
    labels decided before `labels_since`."""

    window: Window | None = None
    compared_until: date | None = None
    labels_since: datetime | None = None


def look(
    reference: Reference, days: Sequence[Window], today: date, *, is_bulk_under_way: bool = False
) -> tuple[tuple[Alarm, ...], Reference]:
    """The alarms of the `days` that are over, and the reference to compare with from now on. Each day counts once, with
    those after it until there are `LEAST` predictions.

    The first reference is made of at least two days, and not while a bulk labeling is under way: that begins with the
    least certain tasks. What alarmed is the next reference, so that it alarms once.
    """
    done = reference.compared_until or date.min
    fresh = [day for day in days if done < day.since < today]
    if sum(day.n for day in fresh) < LEAST:
        return (), reference
    window, looked = merged(fresh), replace(reference, compared_until=today - _DAY)
    if reference.window is not None:
        found = alarms(reference.window, window)
        return found, replace(looked, window=window) if found else looked
    if is_bulk_under_way or today - window.since < 2 * _DAY:
        return (), reference
    return (), replace(looked, window=window)


def alarms(before: Window, now: Window) -> tuple[Alarm, ...]:
    """At most one of each kind, of the question or control that changed most. None where a window has fewer than
    `LEAST` predictions.

    Each kind of test has an equal part of `FALSE_ALARMS`, shared evenly by the questions or controls that it tests.
    """
    if min(before.n, now.n) < LEAST:
        return ()
    found = (_alarm(test, before, now) for test in _TESTS)
    return tuple(alarm for alarm in found if alarm)


def accuracy(found: promise.Watch, promised: Share, version: str) -> Alarm | None:
    """None while the promise may well be kept."""
    if not found.is_broken or promised.value is None:
        return None
    words = (
        f"Accuracy: predictions of {version} are right on {found.right} of the {wording.counted(found.labels, 'label')}"
        f" that came since, on tasks drawn by lot ({wording.percent(found.right / found.labels)}). The estimate that it"
        f" was published with says {wording.percent(promised.value)} ({wording.between(promised.low, promised.high)})."
    )
    return Alarm("accuracy", words, math.log(found.peak) / math.log(promise.THRESHOLD))


def _alarm(test: _Test, before: Window, now: Window) -> Alarm | None:
    then, today = test.tables(before), test.tables(now)
    names = sorted(then.keys() & today.keys())
    changes = [(size, name) for name in names if (size := _change(test, then[name], today[name], of=len(names)))]
    if not changes:
        return None
    size, name = max(changes)
    words = f"{test.words(name, then[name], today[name])} {_span(before, now)}"
    return Alarm(test.kind, words, size / test.least)


def _change(test: _Test, before: Table, now: Table, *, of: int) -> float | None:
    """Its size, where it is large and sure."""
    cells = sorted({*before, *now})
    statistic = test.statistic(cells)
    first, second = (np.array([table.get(cell, 0) for cell in cells], dtype=np.int64) for table in (before, now))
    size = float(statistic(first[None], second[None])[0])
    level = FALSE_ALARMS / len(_TESTS) / of
    sure = size >= test.least and permutation.differs(first, second, statistic, level=level)
    return size if sure else None


def _label_words(question: str, before: Table, now: Table) -> str:
    """Names the label whose share changed most; of two the one that rose."""
    then, today = _shares(before), _shares(now)
    changes = {name: today.get(name, 0.0) - then.get(name, 0.0) for name in sorted({*then, *today})}
    label = max(changes, key=lambda name: (round(abs(changes[name]), 6), changes[name]))
    went = f"{wording.percent(then.get(label, 0.0))} to {wording.percent(today.get(label, 0.0))}"
    return f'Label shares of "{question}": "{label}" went from {went} of the predictions'


def _margin_words(control: str, before: Table, now: Table) -> str:
    then, today = _median(before), _median(now)
    word = "less sure" if today < then else "surer"
    return (
        f'Margins of "{control}": the model is {word}, the median log-odds between its two likeliest labels went '
        f"from {then:.1f} to {today:.1f} nats"
    )


def _mass_words(control: str, before: Table, now: Table) -> str:
    then, today = (sum(off_label_mass(cell) * p for cell, p in _shares(table).items()) for table in (before, now))
    return (
        f'Label mass of "{control}": the probability outside the labels went from {wording.percent(then)} to '
        f"{wording.percent(today)} on average"
    )


def _span(before: Window, now: Window) -> str:
    return (
        f"({wording.counted(before.n, 'prediction')} from {before.since} to {before.until} against "
        f"{now.n:,} from {now.since} to {now.until})."
    )


def _shares(table: Table) -> dict[Any, float]:
    total = sum(table.values())
    return {cell: count / total for cell, count in table.items()}


def _median(table: Table) -> float:
    left = sum(table.values()) / 2
    for cell in sorted(table):
        left -= table[cell]
        if left <= 0:
            return margin_of(cell)
    return 0.0


def _mean_off_label(cells: list[int]) -> Statistic:
    return permutation.mean_change(np.array([off_label_mass(cell) for cell in cells]))


# The sizes: a population stability index (by custom .1 is some change, .25 much), a distance in [0, 1], a share of
# probability.
_TESTS = (
    _Test("labels", lambda window: window.labels, lambda _: permutation.psi, 0.1, _label_words),
    _Test("margins", lambda window: window.margins, lambda _: permutation.ks, 0.1, _margin_words),
    _Test("label_mass", lambda window: window.off_label, _mean_off_label, 0.02, _mass_words),
)
