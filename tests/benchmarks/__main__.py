"""`python -m tests.benchmarks`: speed, prompt injections, local LLMs. Prints tables; a missed bar is no error."""

import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from tests.benchmarks import injections, models, speed
from tests.benchmarks.figures import Section, machine

PARTS = ("speed", "injections", "models")
WIDTH = 160  # of tables in a file


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there too.")
@click.option("--quick", is_flag=True, help="A minute or two, to see that it runs: no figure of it is worth quoting.")
@click.option(
    "--gguf",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Another model's weights to measure with `models`; may be given several times.",
)
def main(parts: tuple[str, ...], json_path: Path | None, quick: bool, files: tuple[Path, ...]) -> None:
    """Measure PARTS (all of them without any). A timing is worth what the machine's load beside it allows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    runs: dict[str, Callable[..., list[Section]]] = {
        "speed": speed.run,
        "injections": injections.run,
        "models": partial(models.run, files=files),
    }
    console.print(machine())
    sections: list[Section] = []
    for part in parts or PARTS:
        with console.status(part) as status:
            found = runs[part](status.update, quick=quick)
        for section in found:
            section.show(console)
        sections += found
    if json_path:
        json_path.write_text(json.dumps({"machine": machine(), "sections": [s.to_json() for s in sections]}, indent=1))


if __name__ == "__main__":
    main()
