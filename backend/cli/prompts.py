"""`whetstone prompts`: a project's prompt versions, and which of them is active."""

import getpass

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.cli.output import as_json as _json
from backend.cli.output import open_service, print_json, say
from backend.projects import activation, catalog, run_text
from backend.projects.activation import Swap
from backend.projects.catalog import VersionEntry, VersionList, VersionPage
from backend.projects.naming import ConflictError
from backend.prompts import prompt_text
from backend.service import Service
from backend.storage.runs import Estimate
from backend.storage.store import ProjectRecord

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}

_project = click.argument("project")


@click.group()
def prompts() -> None:
    """List, read, compare, activate and roll back a project's prompt versions.

    A version never changes; which one is active does, at once for all processes. PROJECT is Label Studio's number of
    the project. Where two Label Studio instances have the same number, name the key that the error shows.

    \b
    Examples:
      whetstone prompts list 12
      whetstone prompts diff 12
      whetstone prompts activate 12 p0007-3fa2
    """


@prompts.command("list", short_help="What versions there are, and which is active.")
@_project
@_json
def list_(project: str, *, as_json: bool) -> None:
    """List the versions, latest first: where each came from, what its run said, when it was active.

    Versions that never were active, because the gain was not sure or a person must approve it, are there too.
    """
    service, record = _open(project)
    found = catalog.versions(service, record)
    if as_json:
        print_json(found)
    else:
        Console().print(_table(found))


@prompts.command(short_help="A prompt as people read it, its lineage and verdict.")
@_project
@click.argument("version", required=False)
@_json
def show(project: str, version: str | None, *, as_json: bool) -> None:
    """Print a prompt as people read it: instruction, definitions, rules, demonstrations, calibration, lineage, verdict.

    VERSION is a name from `whetstone prompts list`; the active one unless given. --json also holds the exact text.
    """
    service, record = _open(project)
    page = catalog.page(service, record, version or _active(service, record))
    if as_json:
        print_json(page)
    else:
        say(_page(page))


@prompts.command(short_help="How two versions differ.")
@_project
@click.argument("before", required=False)
@click.argument("after", required=False)
@_json
def diff(project: str, before: str | None, after: str | None, *, as_json: bool) -> None:
    """Show how two versions differ, as a unified diff of what `show` prints.

    Without AFTER the active version is compared, without BEFORE with the one it was made from, or that was active
    before it.

    \b
    Examples:
      whetstone prompts diff 12
      whetstone prompts diff 12 p0001-a3c4
      whetstone prompts diff 12 p0001-a3c4 p0007-3fa2
    """
    service, record = _open(project)
    new = catalog.version(service, record, after or _active(service, record))
    old = catalog.version(service, record, before or new.parent or _previous(service, record))
    lines = prompt_text.diff(old, new)
    if as_json:
        print_json({"before": old.name, "after": new.name, "diff": lines})
        return
    for line in lines or [f"{old.name} and {new.name} say the same."]:
        say(line, colour=_COLOURS.get(line[:1]))


@prompts.command(short_help="Make a version the active one, or approve it.")
@_project
@click.argument("version")
@_json
def activate(project: str, version: str, *, as_json: bool) -> None:
    """Make VERSION the active one: the next task is labelled by it, open tasks are predicted anew.

    This is how a version that awaits approval is approved. It is recorded with your name. A version of another
    labeling configuration is refused.

    Exit code 1 when another version became active at the same moment.
    """
    service, record = _open(project)
    _report(service, activation.activate(service, record, version, by=_who()), as_json=as_json)


@prompts.command(short_help="Return to the version that was active before.")
@_project
@_json
def rollback(project: str, *, as_json: bool) -> None:
    """Return to the version that was active before, of the same labeling configuration.

    Doing it twice goes back two versions. Annotations stay as they are, and so do all versions.

    Exit code 1 when there is none to return to.
    """
    service, record = _open(project)
    _report(service, activation.roll_back(service, record, by=_who()), as_json=as_json)


def _open(project: str) -> tuple[Service, ProjectRecord]:
    service = open_service()
    return service, catalog.project(service, project)


def _active(service: Service, record: ProjectRecord) -> str:
    active = service.store.active(record.key)
    if active is None:
        raise ConflictError(f"project {record.numeric_id} has no active version", hint="Open a task in Label Studio.")
    return active.name


def _previous(service: Service, record: ProjectRecord) -> str:
    previous = service.store.previous(record.key)
    if previous is None:
        raise ConflictError(
            f"project {record.numeric_id} has no earlier version to compare with",
            hint=f"Name two: `whetstone prompts list {record.numeric_id}` shows them.",
        )
    return previous


def _who() -> str:
    """Recorded with an activation; a container's user may have no name."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return "command line"


def _table(found: VersionList) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("version", no_wrap=True, min_width=10)
    table.add_column("origin", overflow="fold")
    table.add_column("from", no_wrap=True, min_width=10)
    table.add_column("accuracy, on labels that did not choose it", overflow="fold")
    table.add_column("verdict", overflow="fold")
    table.add_column("active", overflow="fold")
    for entry in found.versions:
        table.add_row(*_row(entry, found))
    return table


def _row(entry: VersionEntry, found: VersionList) -> list[Text]:
    mark = "●" if entry.active else "↶" if entry.name == found.previous else ""
    style = "bold green" if entry.active else "" if entry.fits else "dim"
    verdict = (entry.decision or "").replace("_", " ") if entry.fits else "made for other labels"
    cells = [
        mark,
        entry.name,
        entry.origin,
        entry.parent or "",
        _accuracy(entry.estimate),
        verdict,
        _active_from(entry),
    ]
    return [Text(cell, style=style) for cell in cells]


def _active_from(entry: VersionEntry) -> str:
    """Since when, or from when on it last was, and by whom: "" for one that never was."""
    if not entry.activations:
        return ""
    latest = entry.activations[0]
    return f"{'since' if entry.active else 'last from'} {run_text.when(latest.at)}, {latest.by}"


def _accuracy(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.active_accuracy:.1%} → {estimate.challenger_accuracy:.1%} (n={estimate.n})"


def _page(page: VersionPage) -> str:
    return "\n\n".join([_lineage(page.entry), page.text.rstrip(), *_verdict(page)])


def _lineage(entry: VersionEntry) -> str:
    state = (
        "active" if entry.active else "not active" if entry.fits else "not active, of another labeling configuration"
    )
    lines = [f"{entry.name}: {state}", f"  {entry.origin}, made {run_text.when(entry.created_at)}"]
    if entry.parent:
        lines.append(f"  from {entry.parent}")
    lines += [f"  active from {run_text.when(one.at)}, by {one.by}" for one in entry.activations]
    return "\n".join(lines)


def _verdict(page: VersionPage) -> list[str]:
    if page.run is None:
        return []
    return ["Verdict\n" + "\n".join(f"  {line}".rstrip() for line in run_text.verdict(page.run).splitlines())]


def _report(service: Service, swap: Swap, *, as_json: bool) -> None:
    if as_json:
        print_json(swap)
        return
    if swap.before == swap.active:
        click.echo(f"{swap.active} is the active version of project {swap.project} already.")
        return
    click.echo(f"{swap.active} is the active version of project {swap.project}; before it was {swap.before or 'none'}.")
    if not service.settings.can_push:
        click.echo("Open tasks keep their predictions: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY to renew them.")
    elif not service.dispatch.workers():
        click.echo("Open tasks are predicted anew once a worker runs: `whetstone worker`.")
    else:
        click.echo("Open tasks are predicted anew in the background.")
