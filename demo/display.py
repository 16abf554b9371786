"""What the viewer sees of the predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

_ROWS = 6
_PARTS = 4
_OTHER_COLUMNS = 46
_LEAST_TEXT = 20


@dataclass(frozen=True, slots=True)
class Labelled:
    """One task with the LLM's label and the people's."""

    task: int
    text: str
    label: str
    human: str
    score: float

    @property
    def right(self) -> bool:
        return self.label == self.human


def print_tasks(console: Console, rows: Sequence[Labelled]) -> None:
    """The least and the most certain tasks."""
    ordered = sorted(rows, key=lambda row: row.score)
    table = Table(title="Least and most certain predictions")
    room = max(_LEAST_TEXT, console.width - _OTHER_COLUMNS)
    for column in ("score", "label", "people say", "task", "text"):
        table.add_column(column, no_wrap=True)
    for row in ordered[:_ROWS]:
        table.add_row(*_cells(row, room))
    table.add_section()
    for row in ordered[max(_ROWS, len(ordered) - _ROWS) :]:
        table.add_row(*_cells(row, room))
    console.print(table)


def print_accuracy(console: Console, rows: Sequence[Labelled]) -> None:
    """Against the human labels, over all and by how certain the LLM was: what a score is worth."""
    ordered = sorted(rows, key=lambda row: row.score)
    table = Table(title="Right, against the human labels")
    for column in ("tasks", "scores", "right", "accuracy"):
        table.add_column(column, justify="right")
    size = -(-len(ordered) // _PARTS)
    for part in (ordered[start : start + size] for start in range(0, len(ordered), size)):
        table.add_row(*_accuracy(part))
    table.add_section()
    table.add_row(*_accuracy(ordered), style="bold")
    console.print(table)


def print_change(console: Console, before: Sequence[Labelled], after: Sequence[Labelled], version: str) -> None:
    """On the same tasks, which no annotator has labelled: neither prompt has seen their labels."""
    fixed = len(_right(after) - _right(before))
    broken = len(_right(before) - _right(after))
    table = Table(title=f"The {len(before)} tasks that nobody annotated, before and after learning")
    for column in ("", "right", "accuracy"):
        table.add_column(column, justify="right")
    for name, rows in (("first prompt", before), (version, after)):
        table.add_row(name, str(len(_right(rows))), f"{len(_right(rows)) / len(rows):.0%}")
    console.print(table)
    console.print(f"{fixed} that were wrong are right now, {broken} that were right are wrong.")


def _right(rows: Sequence[Labelled]) -> set[int]:
    return {row.task for row in rows if row.right}


def _cells(row: Labelled, room: int) -> tuple[str, Text, str, str, str]:
    colour = "green" if row.right else "red"
    text = row.text if len(row.text) <= room else f"{row.text[: room - 1]}…"
    return f"{row.score:.2f}", Text(row.label, style=colour), row.human, str(row.task), text


def _accuracy(part: Sequence[Labelled]) -> tuple[str, str, str, str]:
    right = sum(row.right for row in part)
    return str(len(part)), f"{part[0].score:.2f} to {part[-1].score:.2f}", str(right), f"{right / len(part):.0%}"
