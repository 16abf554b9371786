"""`whetstone doctor`: what works, what does not, and the way out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status as Spinner
from rich.table import Table
from rich.text import Text

from backend import settings as environment
from backend.cli.output import read_text
from backend.diagnosis import Check, Report, Status, diagnose

_COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A labeling configuration (XML): can the endpoint tell its labels apart?",
)
@click.option("--project", type=click.IntRange(min=1), help="A Label Studio project: its labels and its connection.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(config: Path | None, project: int | None, as_json: bool) -> None:
    """Try the LLM, Redis and Label Studio, and say what each can do and what to mend.

    Asks the LLM ten to twenty short questions: log-probs, constraints, thinking, prefix cache, seed. With --config or
    --project it also labels one text, a made-up one or the project's first task. Nothing in Label Studio is changed.
    What the endpoint can do replaces what the service remembers of it.

    Exit codes: 0 all that is needed works, 1 something needed fails, 2 wrong usage or settings.

    \b
    Examples:
      whetstone doctor
      whetstone doctor --project 12
      whetstone doctor --config labels.xml --json | jq '.checks[] | select(.status != "ok")'
    """
    if config and project:
        raise click.UsageError("--config and --project exclude each other: a project brings its own configuration")
    text = read_text(config, "--config") if config else ""
    settings = environment.load()
    with _spinner(shown=not as_json) as spinner:
        report = diagnose(
            settings, config=text, project_id=project, announce=lambda what: spinner.update(f"trying {what} …")
        )
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(report, Console())
    raise SystemExit(0 if report.ok else 1)


@contextmanager
def _spinner(*, shown: bool) -> Iterator[Spinner]:
    """On stderr, and only where that is a terminal."""
    with Console(stderr=True, quiet=not shown).status("trying …") as spinner:
        yield spinner


def _print(report: Report, console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found, and the way out", overflow="fold")
    for section in report.sections:
        for number, check in enumerate(section.checks):
            subject = Text(section.subject if number == 0 else "", style="bold")
            table.add_row(subject, check.name, Text(check.status, style=_COLOURS[check.status]), _words(check))
        table.add_section()
    console.print(table)
    console.print(_summary(report))


def _words(check: Check) -> Text:
    """What a server said may hold brackets, which would be read as markup."""
    words = Text(check.found, style="dim" if check.status == "skipped" else "")
    return words.append(f"\n→ {check.hint}", style="cyan") if check.hint else words


def _summary(report: Report) -> Text:
    counts = f"{report.count('failed')} failed, {_plural(report.count('warning'), 'warning')}"
    if report.ok:
        return Text(f"All that is needed works ({counts}).", style="green")
    return Text(f"Something needed fails ({counts}).", style="bold red")


def _plural(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
