"""`whetstone projects`: which projects are known, and how one is forgotten."""

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.cli.output import as_json as _json
from backend.cli.output import open_service, print_json, say
from backend.projects import catalog
from backend.projects.catalog import ProjectEntry
from backend.projects.naming import ConflictError
from backend.queue.kinds import KINDS
from backend.service import Service
from backend.storage.store import ProjectRecord


@click.group()
def projects() -> None:
    """List the projects that are known, and forget one with all that is kept of it.

    PROJECT is Label Studio's number of the project. Where two Label Studio instances have the same number, name the key
    that `list` shows.

    \b
    Examples:
      whetstone projects list
      whetstone projects forget 12
    """


@projects.command("list", short_help="Which projects are known, and which are gone from Label Studio.")
@_json
def list_(*, as_json: bool) -> None:
    """List the projects: number, key, name, the address of their Label Studio, the active prompt version.

    One that Label Studio has no more is marked as gone: its annotations are not read any more.
    """
    found = catalog.entries(open_service())
    if as_json:
        print_json(found)
    elif found:
        Console().print(_table(found))
    else:
        click.echo("No project yet: `whetstone connect PROJECT_ID` makes one known.")


@projects.command(short_help="Forget a project: its prompts, runs, report and predictions.")
@click.argument("project")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(project: str, *, yes: bool) -> None:
    """Forget PROJECT: its prompt versions, runs, report, predictions, and what was read of its annotations.

    It asks before it does. Nothing changes in Label Studio; a project that is still there begins anew, with an initial
    prompt, when it is next opened. Refused while a run is under way.
    """
    service = open_service()
    record = catalog.project(service, project)
    _refuse_while_running(service, record)
    kept = f"{len(service.store.all_versions(record.key))} prompt versions"
    if not yes:
        named = f"{record.numeric_id} ({record.name or 'no name'}, {record.key})"
        click.confirm(f"Forget project {named} with {kept}, its runs and its report?", abort=True)
    for kind in KINDS:
        service.dispatch.withdraw(record.key, kind)
    service.store.forget_project(record.key)
    say(f"Project {record.key} is forgotten.")


def _refuse_while_running(service: Service, record: ProjectRecord) -> None:
    if service.dispatch.is_running(record.key):
        raise ConflictError(
            f"a run of project {record.numeric_id} is under way",
            hint=f"`whetstone jobs cancel {record.key}` ends it at its next step.",
        )


def _table(found: list[ProjectEntry]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("project", "key"):
        table.add_column(column, no_wrap=True)
    for column in ("name", "Label Studio", "active prompt"):
        table.add_column(column, overflow="fold")
    for entry in sorted(found, key=lambda entry: (entry.gone, entry.id, entry.key)):
        state = "gone from Label Studio" if entry.gone else entry.active or "none yet"
        cells = (str(entry.id), entry.key, entry.name, entry.label_studio_url, state)
        table.add_row(*(Text(cell, style="dim" if entry.gone else "") for cell in cells))
    return table
