"""What commands share in how they begin, read and print."""

import json
import re
from pathlib import Path

import click
from pydantic_core import to_jsonable_python

from backend import logs, settings
from backend.service import Service

# Text of prompts and verdicts is other people's: it must not move the cursor or rename the window.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def open_service() -> Service:
    """From the environment; connects to nothing yet. Raises `SettingsError`."""
    service = Service(settings.load())
    logs.configure(service.settings)
    return service


def read_text(path: Path, option: str) -> str:
    """Of the file that `option` names. Raises `click.BadParameter`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read as UTF-8: {error}", param_hint=option) from error


def print_json(value: object) -> None:
    click.echo(json.dumps(to_jsonable_python(value), ensure_ascii=False, indent=2))


def say(text: str, *, colour: str | None = None) -> None:
    """A line or several, without control characters."""
    click.secho(_CONTROL.sub("", text), fg=colour)
