"""`whetstone label`: pre-annotate a whole project."""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from backend import logs, settings
from backend.label_studio import LabelStudioClient
from backend.labeling.errors import WhetstoneError
from backend.projects import pushing
from backend.queue.dispatch import LABEL
from backend.service import Service

_POLL_S = 0.5
# With nothing queued and nothing counted for so long, what is left is asked of Label Studio.
_STALLED_S = 15.0


@dataclass(frozen=True, slots=True)
class Report:
    """`pushed` predictions of `version`, the one active in the end, that Label Studio took in this run; `failed` tasks
    have none."""

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
    with _progress(console) as progress:
        bar = _Bar(progress, progress.add_task(_title(to), total=len(ids)))
        report = (_label_here if here else _watch)(service, client, to, ids, bar)
    service.explain_labels(to.record.key)
    _print(report, as_json=as_json, console=console)
    if report.failed:
        raise click.exceptions.Exit(1)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


def _title(to: pushing.Target) -> str:
    return f"project {to.project_id}, {to.current.version.name}"


@dataclass(frozen=True, slots=True)
class _Bar:
    progress: Progress
    task: TaskID

    def advance(self, done: int, failed: int) -> None:
        self.progress.update(self.task, completed=done + failed)

    def begin_again(self, to: pushing.Target, total: int) -> None:
        """Under another version, which is said."""
        self.progress.console.print(
            f"{to.current.version.name} is the active version now: {total} tasks lack its label."
        )
        self.progress.reset(self.task, total=total, description=_title(to))


def _label_here(service: Service, client: LabelStudioClient, to: pushing.Target, ids: list[int], bar: _Bar) -> Report:
    began, pushed, failed, reason = time.monotonic(), 0, 0, ""
    size = service.settings.chunk_tasks
    for start in range(0, len(ids), size):
        outcome = pushing.push(service, client, to, ids[start : start + size])
        pushed += outcome.pushed
        failed += outcome.failed + len(outcome.waiting)
        reason = reason or outcome.reason
        bar.advance(pushed, failed)
    pushing.settle_title(service, client, to)
    return Report(to.project_id, to.current.version.name, len(ids), pushed, failed, time.monotonic() - began, reason)


def _watch(service: Service, client: LabelStudioClient, to: pushing.Target, ids: list[int], bar: _Bar) -> Report:
    began, began_at, asked = time.monotonic(), datetime.now(UTC), bool(ids)
    _queue(service, to, ids)
    while ids and not _is_done(service, client, to, bar):
        to = pushing.target(service, client, to.project_id, key=to.record.key)
        ids = pushing.lacking(client, to)
        bar.begin_again(to, len(ids))
        _queue(service, to, ids)
    lacking = len(pushing.lacking(client, to)) if asked else 0
    pushing.settle_title(service, client, to)
    seconds, reason = time.monotonic() - began, _reason(service, to, began_at) if lacking else ""
    return Report(to.project_id, to.current.version.name, len(ids), len(ids) - lacking, lacking, seconds, reason)


def _is_done(service: Service, client: LabelStudioClient, to: pushing.Target, bar: _Bar) -> bool:
    """Waits until all is labelled that can be; False as soon as another version is active, by which the workers label
    and count from then on."""
    key, version = to.record.key, to.current.version.name
    moved_at, seen = time.monotonic(), -1
    while (active := service.store.active(key)) is None or active.name == version:
        progress = service.store.bulk(key, version)
        done, failed = (progress.done, progress.failed) if progress else (0, 0)
        bar.advance(done, failed)
        if progress and progress.finished:
            return True
        if done + failed > seen:
            moved_at, seen = time.monotonic(), done + failed
        elif time.monotonic() - moved_at > _STALLED_S and not service.dispatch.queue_lengths()[LABEL]:
            if not pushing.lacking(client, to):
                return True
            moved_at = time.monotonic()
        time.sleep(_POLL_S)
    return False


def _reason(service: Service, to: pushing.Target, since: datetime) -> str:
    """Of the project's job that failed last, since then: "" where none did."""
    failed = (
        job
        for job in service.dispatch.failed()
        if job.queue == LABEL
        and job.description.endswith(f" of project {to.record.key}")
        and job.ended_at
        and job.ended_at >= since
    )
    latest = next(failed, None)
    return latest.reason if latest else ""


def _queue(service: Service, to: pushing.Target, ids: list[int]) -> None:
    """Raises `NoWorkerError` when nobody would do the work that there is."""
    if not ids:
        return
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
        reason = report.reason or "see the log"
        console.print(Text(f"{report.failed} tasks have no prediction: {reason}", style="red"))
