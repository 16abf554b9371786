"""`make demo`: a real Label Studio whose tasks an LLM labels, and a prompt that learns from an annotator, on this
machine, with nothing else needed."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.label_studio import LabelStudioClient
from backend.labeling.errors import WhetstoneError
from backend.projects import connection
from backend.settings import Settings, load
from backend.stack import Stack
from backend.stack.signals import interrupt_on_sigterm
from demo import learning
from demo.display import Labelled, print_accuracy, print_change, print_tasks
from demo.label_studio_environment import ROOT
from demo.label_studio_server import LabelStudioServer
from demo.projects import Prediction, ReviewProject
from demo.reviews import Review, reviews

FOLDER = ROOT / ".demo"
TITLE = "Amazon reviews"
TASKS = 200
LABEL_S = 1800.0
RUN_CALLS = 900
_POLL_S = 0.5
# The demo depends on nothing else that is set: its LLM is the local one, and costs nothing.
_UNSET = (
    "OPENAI_",
    "LLM_",
    "LABEL_STUDIO_",
    "REDIS_URL",
    "INSTRUCTION",
    "BASIC_AUTH_",
    "WEBHOOK_SECRET",
    "PUBLIC_URL",
    "LEARN_",
    "RUN_MAX_",
    "MONTH_MAX_",
    "TEACHER_",
    "BLIND_",
    "OPTIMIZE_",
    "REQUIRE_",
    "AUTO_",
)


class UnlabelledError(WhetstoneError):
    hint = "The log .demo/whetstone.log says why; `make clean` and another `make demo` begin afresh."


def main() -> None:
    """Ends with exit code 0 once the tasks carry predictions if DEMO_EXIT=1, else runs until Ctrl-C."""
    interrupt_on_sigterm()
    console = Console()
    try:
        with ExitStack() as running:
            _run(console, running)
    except KeyboardInterrupt:
        console.print("Stopped. Run it again: it starts in seconds.")
    except WhetstoneError as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", f"[dim]hint:[/dim] {escape(error.hint)}", sep="\n")
        sys.exit(error.exit_code)


def _run(console: Console, running: ExitStack) -> None:
    for name in [name for name in os.environ if name.startswith(_UNSET)]:
        del os.environ[name]
    with _step(console, "Label Studio") as tell:
        label_studio = LabelStudioServer(FOLDER / "label-studio", port=_free_port(8080), on_progress=tell)
        running.enter_context(label_studio)
    settings = _settings(label_studio)
    with _step(console, "Redis, the local LLM, the service and two workers") as tell:
        log = running.enter_context((FOLDER / "whetstone.log").open("a"))
        running.enter_context(Stack(settings, write=_to(log), on_progress=tell))
    with _step(console, "A project, connected to its model"):
        project = ReviewProject(label_studio.url, label_studio.token, TITLE)
        version = _connect(project, settings)
    data = reviews(TASKS)
    rows, seconds = _labelled(console, project, version, data)
    print_tasks(console, rows)
    print_accuracy(console, rows)
    if seconds:
        console.print(f"{len(rows)} tasks labelled in {seconds:.0f} s, {len(rows) / seconds:.1f} a second.")
    _learned(console, project, settings, rows, version)
    _invite(console, label_studio, project)


def _settings(label_studio: LabelStudioServer) -> Settings:
    """For this process and those it starts."""
    os.environ |= {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "WHETSTONE_HOME": str(FOLDER / "whetstone"),
        "PORT": str(_free_port(9090)),
        "LOCAL_LLM_PORT": str(_free_port(9091)),
        "LOG_LEVEL": "WARNING",
        "CANARY_S": "0",  # nothing drifts in minutes
        "BLIND_SHARE": "0",  # the viewer sees a prediction at every task
        "LEARN_AFTER_LABELS": str(learning.BATCH),
        "LEARN_AFTER_ERRORS": str(learning.BATCH),
        "RUN_MAX_CALLS": str(RUN_CALLS),
    }
    return load()


def _to(log: TextIO) -> Callable[[str, str], None]:
    """The children's lines go to a file: the screen is the demo's."""
    return lambda name, line: print(f"{name:<15} {line}", file=log, flush=True)


def _connect(project: ReviewProject, settings: Settings) -> str:
    """The active prompt version."""
    client = LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())
    known = client.project(project.id)
    version = connection.active_version(settings.backend_url, known, label_studio_url=client.url, auth=None)
    report = connection.connect(client, known, backend_url=settings.backend_url, version=version)
    failed = [f"{step.name}: {step.detail}" for step in report.steps if step.state == "failed"]
    if failed:
        raise UnlabelledError("; ".join(failed))
    return version


def _labelled(
    console: Console, project: ReviewProject, version: str, data: list[Review]
) -> tuple[list[Labelled], float]:
    """Imports what is missing, as a person would, and waits for the worker. Seconds are 0 when nothing was left."""
    began = time.monotonic()
    ids = project.import_reviews(data)
    humans = {ids[review.id]: review for review in data}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"Labelling with {version}", total=len(humans))
        found, waited = _awaited(project, version, set(humans), lambda count: bar.update(task, completed=count))
    rows = [Labelled(i, humans[i].text, p.label, humans[i].label, p.score) for i, p in found.items()]
    return rows, time.monotonic() - began if waited else 0.0


def _learned(console: Console, project: ReviewProject, settings: Settings, rows: list[Labelled], version: str) -> None:
    """The people's labels of the first tasks are given, one by one; the others show what that was worth."""
    ids = sorted(row.task for row in rows)
    humans = {row.task: row.human for row in rows}
    taught = ids[: learning.BATCH * learning.BATCHES]
    lesson = learning.Lesson(project, {task: humans[task] for task in taught}, settings.backend_url)
    learning.teach(console, lesson)
    open_tasks = set(ids) - set(taught)
    latest = _connect(project, settings)
    if latest == version:
        return
    before = [row for row in rows if row.task in open_tasks]
    after = _relabelled(console, project, latest, before)
    print_change(console, before, after, latest)


def _relabelled(console: Console, project: ReviewProject, version: str, rows: list[Labelled]) -> list[Labelled]:
    """The same tasks under the version that is active now, once the worker has pushed its predictions."""
    humans = {row.task: row for row in rows}
    with console.status(f"Open tasks are labelled with {version} …"):
        found, _ = _awaited(project, version, set(humans), lambda _: None)
    return [replace(humans[i], label=p.label, score=p.score) for i, p in found.items()]


def _awaited(
    project: ReviewProject, version: str, tasks: set[int], show: Callable[[int], None]
) -> tuple[dict[int, Prediction], bool]:
    """The tasks' predictions of that version, once all are there, and whether they had to be waited for."""
    began, waited = time.monotonic(), False
    while True:
        found = {p.task: p for p in project.predictions(version) if p.task in tasks}
        show(len(found))
        if len(found) == len(tasks):
            return found, waited
        if time.monotonic() - began > LABEL_S:
            raise UnlabelledError(f"{len(tasks) - len(found)} tasks have no prediction after {LABEL_S:.0f} s")
        waited = True
        time.sleep(_POLL_S)


def _invite(console: Console, label_studio: LabelStudioServer, project: ReviewProject) -> None:
    console.print(
        f"\nLook around: [bold]{label_studio.url}/projects/{project.id}/data[/bold]",
        f"Login: [bold]{label_studio.login}[/bold]  password: [bold]{label_studio.password}[/bold]",
        "The tab Least certain first shows what to label first. Import more tasks and they are labelled too.",
        sep="\n",
    )
    if os.environ.get("DEMO_EXIT") == "1":
        return
    console.print("Ctrl-C ends it.")
    threading.Event().wait()


@contextmanager
def _step(console: Console, name: str) -> Iterator[Callable[[str], None]]:
    """A line with a spinner while it lasts, and how long it took."""
    began = time.monotonic()
    with console.status(f"{name} …") as status:
        yield lambda text: status.update(f"{name}: {text}")
    console.print(f"[green]✓[/green] {name} [dim]({time.monotonic() - began:.0f} s)[/dim]")


def _free_port(wanted: int) -> int:
    """The port wanted, else any that is free."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise UnlabelledError("no port is free")


if __name__ == "__main__":
    main()
