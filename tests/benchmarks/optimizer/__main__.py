"""`python -m tests.benchmarks.optimizer`: our optimizer beside published ones, on real data with the local model."""

import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console

from backend.labeling.engines.weights import WeightsError
from backend.settings import load
from tests.benchmarks.figures import Section, machine
from tests.benchmarks.optimizer import comparison, peers
from tests.benchmarks.optimizer.asking import NotRecordedError, recorded, teacher_of
from tests.benchmarks.optimizer.cells import CELLS, Cell

WIDTH = 180  # of tables in a file
NAMES = tuple(cell.key for cell in CELLS)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--replays", type=click.IntRange(min=0), default=70, show_default=True, help="Of ours, for each data set."
)
@click.option("--no-peers", is_flag=True, help="Ours alone.")
@click.option("--replay", is_flag=True, help="Never ask the model: what is not recorded is an error.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there too.")
def main(
    names: tuple[str, ...], *, seeds: int, replays: int, no_peers: bool, replay: bool, json_path: Path | None
) -> None:
    """Compare on the data sets NAMES (all of them without any). What the model says is recorded as it is asked, and
    replayed the next time: stop and go on at will. With TEACHER_MODEL or TEACHER_BASE_URL set, each arm writes its own
    instructions with that model, instead of drawing them from the pool."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was asked is kept, and the server stopped
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(machine())
    with_peers = not no_peers and peers.available()
    if not no_peers and not with_peers:
        console.print("The peers are left out: `make bench-optimizer` makes their environment.", style="yellow")
    found: list[Section] = []
    for cell in (cell for cell in CELLS if cell.key in (names or NAMES)):
        with console.status(cell.name) as status:
            sections = _compared(
                cell, console, status.update, seeds=seeds, replays=replays, options=(with_peers, replay)
            )
        for section in sections:
            section.show(console)
        found += sections
    if json_path:
        json_path.write_text(json.dumps({"machine": machine(), "sections": [s.to_json() for s in found]}, indent=1))


def _compared(
    cell: Cell, console: Console, say: Callable[[str], None], *, seeds: int, replays: int, options: tuple[bool, bool]
) -> list[Section]:
    with_peers, replay = options
    if cell.path is None:
        console.print(f"Left out: {cell.how_to_get}", style="yellow")
        return []
    began = time.monotonic()
    with closing(recorded(cell, live=not replay, teacher=teacher_of(load()))) as model:
        try:
            sections = list(
                comparison.sections(
                    comparison.compare(model, seeds=seeds, replays=replays, with_peers=with_peers, say=say)
                )
            )
        except (WeightsError, NotRecordedError) as error:
            console.print(f"{cell.name} is left out: {error}", style="yellow")
            return []
    pace = model.cold / max(model.cold_s, 1e-9)
    console.print(
        f"{cell.name}: {time.monotonic() - began:.0f} s, of them {model.cold_s:.0f} s cold: the model was asked for "
        f"{model.cold} of {len(model.recording)} recorded answers ({pace:.1f} a second)",
        style="dim",
    )
    return sections


if __name__ == "__main__":
    main()
