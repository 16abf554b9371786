"""`python -m tests.benchmarks.curves`: the README's curves, drawn anew from the recordings. No model is asked."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import click

from tests.benchmarks.curves import charts
from tests.benchmarks.optimizer.asking import PEERS
from tests.benchmarks.optimizer.cells import ROOT

FOLDER = ROOT / "docs" / "curves"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, help="The folder for the SVG files.")
def main(out: Path) -> None:
    found = json.dumps([asdict(chart) for chart in charts.charts()])
    python, script = PEERS / "bin" / "python", Path(__file__).parent / "draw.py"
    subprocess.run([str(python), str(script), str(out)], input=found, text=True, check=True)
    click.echo(f"Drawn into {out}.")


if __name__ == "__main__":
    main()
