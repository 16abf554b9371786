"""What a benchmark found: tables for people, the same figures as JSON, and bars that are met or missed by so much."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

Row = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Bar:
    """`limit` is the most that is allowed, or the least where `at_least`."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def verdict(self) -> str:
        if self.met:
            return "met"
        by = abs(self.value - self.limit)
        return f"missed by {by / abs(self.limit):.0%}" if self.limit else f"missed by {_number(by)}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Section:
    """One table, whose rows have the same columns, with the bars that follow from it."""

    title: str
    rows: Sequence[Row]
    bars: Sequence[Bar] = ()
    notes: Sequence[str] = ()

    def show(self, console: Console) -> None:
        if self.rows:
            console.print(_table(self.title, list(self.rows[0]), [list(row.values()) for row in self.rows]))
        if self.bars:
            lines = [[bar.name, _value(bar.value, bar.unit), _limit(bar), bar.verdict] for bar in self.bars]
            console.print(_table(f"{self.title}: bars", ["bar", "measured", "wanted", ""], lines))
        for note in self.notes:
            console.print(note, style="dim")

    def to_json(self) -> dict[str, Any]:
        bars = [bar.to_json() for bar in self.bars]
        return {"title": self.title, "rows": [dict(row) for row in self.rows], "bars": bars, "notes": list(self.notes)}


def machine() -> dict[str, Any]:
    """What the figures depend on; `load` is how many processes wanted to run in the minute before."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _table(title: str, columns: Sequence[str], lines: Sequence[Sequence[float | str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if lines and isinstance(lines[0][index], float | int) else "left")
    for line in lines:
        table.add_row(*map(_cell, line))
    return table


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _value(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "%" else f"{_number(value)} {unit}".strip()


def _limit(bar: Bar) -> str:
    return f"{'≥' if bar.at_least else '≤'} {_value(bar.limit, bar.unit)}"
