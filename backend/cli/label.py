"""`whetstone label`: pre-annotate a whole project."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend import logs, pushing, settings
from backend.dispatch import LABEL
from backend.label_studio import LabelStudioClient
from backend.labeling.errors import WhetstoneError
from backend.service import Service

_POLL_S = 0.5
# With nothing queued and nothing counted for so long, what is left is asked of Label Studio.
_STALLED_S = 15.0

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Report:
    """`pushed` predictions of `version` that Label Studio took in this run; `failed` tasks have none."""

    project: int
    version: str
    lacking: int
    pushed: int
    failed: int
    seconds: float
    reason: str = ""


class NoWorkerError(WhetstoneError):
    exit_code = 3
    hint = "Start one with `whetstone worker` (or `whetstone up`), or add --here to label in this process."


@click.command()
@click.argument("project_id", type=int)
@click.option("--here", is_flag=True, help="Label in this process instead of handing the tasks to the workers.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON; the progress bar goes to stderr.")
def label(project_id: int, *, here: bool, as_json: bool) -> None:
    """Pre-annotate all tasks of a Label Studio project.

    Tasks that already have a prediction of the active prompt version are left alone, so stopping with Ctrl-C and
    running it again goes on where it was. The work is split into chunks that any number of workers share; Ctrl-C ends
    only the watching, unless --here is given.

    Needs LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, and Redis. Exit code 1 when a task could not be labelled.

    \b
    Example:
      whetstone label 12
    """
    service = Service(settings.load())
    logs.configure(service.settings)
    client = pushing.make_client(service.settings)
    to = pushing.target(service, client, project_id)
    ids = pushing.lacking(client, to)
    console = Console(stderr=as_json)
    with _progress(console) as bar:
        task = bar.add_task(f"project {project_id}, {to.current.version.name}", total=len(ids))
        report = (_label_here if here else _watch)(
            service, client, to, ids, lambda done, failed: bar.update(task, completed=done + failed)
        )
    service.explain_labels(to.record.key)
    _print(report, as_json=as_json, console=console)
    if report.failed:
        raise click.exceptions.Exit(1)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


def _label_here(
    service: Service, client: LabelStudioClient, to: pushing.Target, ids: list[int], advance: Advance
) -> Report:
    began, pushed, failed, reason = time.monotonic(), 0, 0, ""
    size = service.settings.chunk_tasks
    for start in range(0, len(ids), size):
        outcome = pushing.push(service, client, to, ids[start : start + size])
        pushed += outcome.pushed
        failed += outcome.failed + len(outcome.waiting)
        reason = reason or outcome.reason
        advance(pushed, failed)
    pushing.settle_title(service, client, to)
    return Report(to.project_id, to.current.version.name, len(ids), pushed, failed, time.monotonic() - began, reason)


def _watch(service: Service, client: LabelStudioClient, to: pushing.Target, ids: list[int], advance: Advance) -> Report:
    began, version = time.monotonic(), to.current.version.name
    if ids:
        _queue(service, to, ids)
    moved_at, seen, left = began, -1, len(ids)
    while left:
        progress = service.store.bulk(to.record.key, version)
        done, failed = (progress.done, progress.failed) if progress else (0, 0)
        advance(done, failed)
        if progress and progress.finished:
            break
        if done + failed > seen:
            moved_at, seen = time.monotonic(), done + failed
        elif time.monotonic() - moved_at > _STALLED_S and not service.dispatch.queue_lengths()[LABEL]:
            left, moved_at = len(pushing.lacking(client, to)), time.monotonic()
        time.sleep(_POLL_S)
    lacking = len(pushing.lacking(client, to)) if ids else 0
    pushing.settle_title(service, client, to)
    reason = next((job.reason for job in service.dispatch.failed()), "") if lacking else ""
    return Report(to.project_id, version, len(ids), len(ids) - lacking, lacking, time.monotonic() - began, reason)


def _queue(service: Service, to: pushing.Target, ids: list[int]) -> None:
    """Raises `NoWorkerError` when nobody would do the work."""
    if not service.dispatch.workers():
        raise NoWorkerError("no worker listens to the queue")
    service.store.begin_bulk(to.record.key, to.current.version.name, len(ids))
    service.dispatch.label_tasks(to.record.key, ids, chunk=service.settings.chunk_tasks)


def _print(report: Report, *, as_json: bool, console: Console) -> None:
    if as_json:
        click.echo(json.dumps(asdict(report)))
        return
    rate = report.pushed / report.seconds if report.seconds else 0.0
    if not report.lacking:
        console.print(f"All tasks of project {report.project} have a prediction of {report.version}.")
        return
    console.print(
        f"{report.pushed} of {report.lacking} tasks labelled with {report.version} "
        f"in {report.seconds:.1f} s ({rate:.1f} a second)."
    )
    if report.failed:
        console.print(f"[red]{report.failed} tasks have no prediction: {report.reason or 'see the log'}[/red]")
