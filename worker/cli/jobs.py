"""`whetstone jobs`: optimization runs, and what waits for a worker."""

from dataclasses import dataclass
from datetime import datetime

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.cli.output import as_json as _json
from backend.cli.output import open_service, print_json, say
from backend.projects import catalog, run_control, run_text
from backend.queue.dispatch import QUEUES
from backend.queue.job_ends import FailedJob
from backend.service import Service
from backend.storage.runs import Estimate, RunRecord

_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True)
class QueueState:
    queue: str
    waiting: int
    workers: int


@dataclass(frozen=True, slots=True)
class Overview:
    """`interrupted` are ids of runs whose worker died: another takes them up."""

    runs: tuple[RunRecord, ...]
    interrupted: tuple[str, ...]
    queues: tuple[QueueState, ...]
    failed: tuple[FailedJob, ...]


@click.group()
def jobs() -> None:
    """List, read and cancel optimization runs; see what waits in the queues and what failed.

    A project has at most one run at a time. It starts after enough new labels or errors, on "Start Training" in Label
    Studio, when the guideline changes, or by `whetstone optimize`. PROJECT is Label Studio's number of the project, or
    its key.

    \b
    Examples:
      whetstone jobs list
      whetstone jobs show 12
      whetstone jobs cancel 12
    """


@jobs.command("list", short_help="Runs, queues, and jobs that failed.")
@click.argument("project", required=False)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="At most so many runs.")
@_json
def list_(project: str | None, limit: int, *, as_json: bool) -> None:
    """List runs, latest first, of PROJECT or of all, then the queues, their workers, and jobs that failed for good."""
    service = open_service()
    overview = _overview(service, project, limit)
    if as_json:
        print_json(overview)
    else:
        _print(overview, Console())


@jobs.command(short_help="The verdict of a run.")
@click.argument("project")
@click.argument("run", required=False)
@_json
def show(project: str, run: str | None, *, as_json: bool) -> None:
    """Print the verdict of a run: what changed and why, what it fixes and breaks, the gain, what it cost.

    RUN is an id from `whetstone jobs list`; the latest unless given, also while it is under way.
    """
    service = open_service()
    record = catalog.run(service, catalog.project(service, project), run)
    if as_json:
        print_json(record)
    else:
        say(run_text.verdict(record))


@jobs.command(short_help="End the run under way, or take back one that waits.")
@click.argument("project")
@click.argument("run", required=False)
@_json
def cancel(project: str, run: str | None, *, as_json: bool) -> None:
    """End the run under way at its next step, or take back one that waits.

    The active version stays what it is. What the run has evaluated is kept, so that the next one need not pay for it
    again. Exit code 1 when there is no such run under way.
    """
    service = open_service()
    canceled = run_control.cancel(service, catalog.project(service, project), run)
    if as_json:
        print_json(canceled)
    elif canceled.run:
        click.echo(f"Run {canceled.run} of project {canceled.project} ends at its next step.")
    else:
        click.echo(f"The run of project {canceled.project} that waited is taken back.")


def _overview(service: Service, project: str | None, limit: int) -> Overview:
    records = [catalog.project(service, project)] if project else service.store.projects()
    runs = [run for record in records for run in service.runs.runs(record.key, limit)]
    shown = sorted(runs, key=lambda run: run.started_at, reverse=True)[:limit]
    lost = [run.id for run in shown if run.state == "running" and not service.dispatch.is_running(run.project)]
    waiting = service.dispatch.queue_lengths()
    queues = tuple(QueueState(name, waiting[name], service.dispatch.workers(name)) for name in QUEUES)
    return Overview(tuple(shown), tuple(lost), queues, tuple(service.dispatch.failed()))


def _print(overview: Overview, console: Console) -> None:
    if overview.runs:
        console.print(_table(overview))
    else:
        console.print("No run yet: annotate some tasks, or start one with `whetstone optimize PROJECT`.")
    for state in overview.queues:
        workers = f"{state.workers} workers" if state.workers != 1 else "1 worker"
        console.print(f"Queue {state.queue}: {state.waiting} waiting, {workers}")
    for job in overview.failed[:_SHOWN_FAILURES]:
        console.print(Text(f"Failed {_time(job.ended_at)}: {job.description}: {job.reason}", style="red"))
    if len(overview.failed) > _SHOWN_FAILURES:
        console.print(f"... and {len(overview.failed) - _SHOWN_FAILURES} more failed jobs (--json shows them)")


def _table(overview: Overview) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("project", "run", "begun"):
        table.add_column(column, no_wrap=True)
    table.add_column("labels", justify="right")
    table.add_column("what became of it", overflow="fold")
    table.add_column("accuracy", overflow="fold")
    table.add_column("calls", justify="right")
    for run in overview.runs:
        lost = run.id in overview.interrupted
        state = "interrupted: the next worker takes it up" if lost else run_text.headline(run)
        cells = (run.project.partition(".")[0], run.id, _time(run.started_at), str(run.labels), state)
        table.add_row(*map(Text, (*cells, _accuracy(run.estimate), str(run.spend.calls))))
    return table


def _accuracy(estimate: Estimate | None) -> str:
    return f"{estimate.active_accuracy:.1%} → {estimate.challenger_accuracy:.1%}" if estimate else ""


def _time(at: datetime | None) -> str:
    return run_text.when(at) if at else ""
