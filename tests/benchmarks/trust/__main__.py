"""`python -m tests.benchmarks.trust`: calibration, what may be accepted unseen, weights, disagreements, techniques."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console

from tests.benchmarks.figures import Section, machine
from tests.benchmarks.optimizer.asking import NotRecordedError
from tests.benchmarks.optimizer.cells import Cell
from tests.benchmarks.trust import accepting, calibrating, deciding, people, techniques, weighed
from tests.benchmarks.trust.pools import AMAZON, DEFAULT_MODEL, INTENTS, SUBJECTIVE, Pool, answering, cell_of, pools

WIDTH = 200  # of tables in a file
CELLS = (
    cell_of(AMAZON, DEFAULT_MODEL),
    cell_of(AMAZON, "gemma3-270m"),
    cell_of(SUBJECTIVE, DEFAULT_MODEL),
    cell_of(INTENTS, DEFAULT_MODEL),
)
NAMES = tuple(dict.fromkeys(cell.key for cell in CELLS))
PARTS = ("scores", "people", "techniques")
_DRAWS = 11  # of annotators


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--cell", "chosen", multiple=True, type=click.Choice(NAMES), help="These data sets alone.")
@click.option("--replay", is_flag=True, help="Never ask the model: what is not recorded is an error.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there too.")
def main(parts: tuple[str, ...], *, chosen: tuple[str, ...], replay: bool, json_path: Path | None) -> None:
    """Measure PARTS (all of them without any) on the data sets that are there. What the models say is recorded, and
    replayed the next time. A missed bar is no error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was asked is kept, and the server stopped
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(machine())
    found: list[Section] = []
    cells = [cell for cell in CELLS if cell.key in (chosen or NAMES)]
    makers: dict[str, Callable[[], Iterator[Section]]] = {
        "scores": lambda: _scores(cells, console, replay),
        "people": lambda: people.run(_DRAWS),
        "techniques": lambda: _techniques(cells, replay),
    }
    for part in parts or PARTS:
        for section in makers[part]():
            section.show(console)
            found.append(section)
    if json_path:
        json_path.write_text(json.dumps({"machine": machine(), "sections": [s.to_json() for s in found]}, indent=1))


def _scores(cells: Sequence[Cell], console: Console, replay: bool) -> Iterator[Section]:
    """What needs nothing but the answers to whole data sets."""
    answered = [each for cell in cells if (each := _pools(cell, console, replay))]
    every = [pool for both in answered for pool in both]
    yield calibrating.section(every)
    yield accepting.section(every)
    yield weighed.section(every)
    yield deciding.section([(both[0], both[1]) for both in answered])


def _techniques(cells: Sequence[Cell], replay: bool) -> Iterator[Section]:
    """With the default model; the other one stands in for a stronger model where it answered the same rows."""
    for cell in (cell for cell in cells if cell.model == DEFAULT_MODEL):
        larger = [each for each in cells if each.pool_name == cell.pool_name and each.model != DEFAULT_MODEL]
        with (
            closing(answering(cell, live=not replay)) as student,
            closing(answering((larger or [cell])[0], live=not replay)) as strong,
        ):
            yield techniques.section(student, strong if larger else None)


def _pools(cell: Cell, console: Console, replay: bool) -> Sequence[Pool]:
    if cell.path is None:
        console.print(f"Left out: {cell.how_to_get}", style="yellow")
        return ()
    try:
        with closing(answering(cell, live=not replay)) as model, console.status(f"{cell.name}, {cell.model}"):
            return pools(model)
    except NotRecordedError as error:
        console.print(f"{cell.name} is left out: {error}", style="yellow")
        return ()


if __name__ == "__main__":
    main()
