"""The demo's second act: one annotator decides, the prompt learns, and the viewer watches."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.labeling.errors import WhetstoneError
from backend.storage.runs import RunRecord
from demo.projects import ReviewProject
from worker import wording
from worker.report import text as report_text

# A run begins by itself after so many labels: twice in the demo.
BATCH, BATCHES = 60, 2
RUN_S = 3600.0
_POLL_S = 1.0
_OVER = {"done", "canceled"}


class NotLearnedError(WhetstoneError):
    hint = "The log .demo/whetstone.log says why; `make clean` and another `make demo` begin afresh."


@dataclass(frozen=True, slots=True)
class Lesson:
    """`decisions` are the annotator's labels by task id, in the order in which they are given."""

    project: ReviewProject
    decisions: Mapping[int, str]
    backend_url: str


def teach(console: Console, lesson: Lesson) -> None:
    """Annotates batch by batch, and after each waits for the run that it brings about. What was done in an earlier demo
    is not done again."""
    with httpx.Client(base_url=f"{lesson.backend_url}/api/projects/{lesson.project.id}", timeout=60) as api:
        ids = list(lesson.decisions)
        for number in range(BATCHES):
            batch = ids[number * BATCH : (number + 1) * BATCH]
            before = {run.id for run in _runs(api)}
            if _annotate(console, lesson, batch):
                _show(console, _watched(console, api, before))
            else:
                _recall(console, api, number)
        _report(console, api)


def _annotate(console: Console, lesson: Lesson, batch: Sequence[int]) -> int:
    """How many were annotated now."""
    done = lesson.project.annotated()
    left = [task for task in batch if task not in done]
    with _bar(console, MofNCompleteColumn()) as bar:
        for task in bar.track(left, description="An annotator labels") if left else ():
            lesson.project.annotate(task, lesson.decisions[task])
    return len(left)


def _watched(console: Console, api: httpx.Client, before: set[str]) -> RunRecord:
    """The run that begins by itself, at its end."""
    deadline = time.monotonic() + RUN_S
    with _bar(console, TextColumn("{task.percentage:.0f}%")) as bar:
        task = bar.add_task("The worker begins to learn", total=1.0)
        while time.monotonic() < deadline:
            run = next((run for run in _runs(api) if run.id not in before), None)
            if run and run.state in _OVER:
                return run
            if run:
                bar.update(task, completed=run.progress, description=_under_way(run))
            time.sleep(_POLL_S)
    raise NotLearnedError(f"no run ended within {RUN_S:.0f} s")


def _under_way(run: RunRecord) -> str:
    alive = f", {wording.counted(run.candidates, 'prompt')} alive" if run.candidates else ""
    return f"Learning: {run.stage}{alive}, {run.spend.student_calls} calls"


def _show(console: Console, run: RunRecord) -> None:
    title = {"published": "[green]A better prompt is published[/green]"}.get(run.decision or "", "The prompt stays")
    console.print(Panel("\n\n".join(escape(line) for line in run.words), title=title, subtitle=run.challenger))


def _recall(console: Console, api: httpx.Client, number: int) -> None:
    """The verdict that an earlier demo has shown, the oldest being number 0. A run that was under way when that one
    ended comes to its end first: it would read what is decided meanwhile, too."""
    earlier = _runs(api)[::-1]
    if number < len(earlier):
        run = earlier[number]
        others = {each.id for each in earlier} - {run.id}
        _show(console, run if run.state in _OVER else _watched(console, api, others))


def _runs(api: httpx.Client) -> list[RunRecord]:
    answer = api.get("/runs", params={"limit": 10}).raise_for_status()
    return [RunRecord.from_json(json.dumps(row)) for row in answer.json()["runs"]]


def _report(console: Console, api: httpx.Client) -> None:
    answer = api.get("/report")
    if answer.is_success:
        console.print(report_text.text(answer.json()))


def _bar(console: Console, column: Any) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), column, TimeElapsedColumn(), console=console)
