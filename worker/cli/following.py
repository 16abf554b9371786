"""A run that is under way, watched from outside through its record."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from backend.labeling.errors import StoreError, WhetstoneError
from backend.queue.dispatch import OPTIMIZE
from backend.service import Service
from backend.storage.runs import RunRecord
from worker import wording

Show = Callable[[RunRecord], None]

_POLL_S = 0.5
_ALONE_S = 15.0  # a worker that was restarted is away for a moment


class NoWorkerError(WhetstoneError):
    exit_code = 3
    hint = "Start one with `whetstone worker` (or `whetstone up`), or add --here to run in this process."


class JobFailedError(WhetstoneError):
    """The job ended without a run to show for it."""

    hint = "The worker's log says more; `whetstone jobs list` shows what failed."


@contextmanager
def progress(title: str, console: Console) -> Iterator[Show]:
    """A bar: the stage, candidates alive, calls and tokens spent, the best so far."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{title}: waiting", total=1.0, figures="")
        yield lambda run: bar.update(
            task, description=f"{title}: {run.stage or run.state}", completed=run.progress, figures=figures(run)
        )


def figures(run: RunRecord) -> str:
    spent = run.spend
    tokens = spent.prompt_tokens + spent.completion_tokens
    best = f", best {run.best:.1%}" if run.best is not None else ""
    counts = (run.candidates, "candidate"), (spent.calls, "call"), (tokens, "token")
    return f"{', '.join(wording.counted(n, noun) for n, noun in counts)}{best}"


def known_runs(service: Service, project: str) -> frozenset[str]:
    """Those that a run asked for now cannot be: they are over, or under way already. One whose worker died is taken up
    again, and is none of them."""
    is_running = service.dispatch.is_running(project)
    return frozenset(run.id for run in service.runs.runs(project) if run.is_over or is_running)


def follow(
    service: Service, project: str, known: frozenset[str], show: Show, *, alone_s: float = _ALONE_S
) -> RunRecord:
    """Until the next run is over. Raises `NoWorkerError` after `alone_s` without a worker, and `JobFailedError` when
    there is nothing to wait for any more."""
    attended_at = time.monotonic()
    while True:
        waits = service.dispatch.is_pending(project, OPTIMIZE)
        run = _new(service, project, known)
        if run:
            show(run)
            if run.is_over:
                return run
        if not waits:
            raise JobFailedError(f"project {project}: the run ended early: {_reason(service, project)}")
        if service.dispatch.workers(OPTIMIZE):
            attended_at = time.monotonic()
        elif time.monotonic() - attended_at > alone_s:
            raise NoWorkerError("no worker listens to the queue any more")
        time.sleep(_POLL_S)


@contextmanager
def watching(service: Service, project: str, known: frozenset[str], show: Show) -> Iterator[None]:
    """Shows the next run as it goes while this process is busy with it."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_S):
            with suppress(StoreError):
                run = _new(service, project, known)
                if run:
                    show(run)

    thread = threading.Thread(target=watch, name="watch the run", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _new(service: Service, project: str, known: frozenset[str]) -> RunRecord | None:
    """The oldest of those that are not known: the one that was asked for."""
    found = [run for run in service.runs.runs(project) if run.id not in known]
    return found[-1] if found else None


def _reason(service: Service, project: str) -> str:
    failed = (job for job in service.dispatch.failed() if job.description == f"{OPTIMIZE} of project {project}")
    latest = next(failed, None)
    return latest.reason if latest else "its job is gone"
