"""Published optimizers, each in a process of the peers' environment, asking the recorded student over loopback."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from tests.benchmarks.optimizer.arms import Result, Task
from tests.benchmarks.optimizer.asking import PEERS, NotRecordedError, Run
from tests.benchmarks.optimizer.cells import STYLE
from worker.labels.examples import Example
from worker.optimizer.demonstrations import demonstration
from worker.optimizer.outcomes import grade

SCRIPTS = Path(__file__).parent / "peers"
LIMIT_S = 3600.0
# The script, and whether a prompt that wins a whole pass over dev is what it would stop with.
SCRIPT = {"gepa": ("gepa_run.py", True), "dspy MIPROv2": ("mipro_run.py", True), "CAPO": ("capo_run.py", False)}


def available() -> bool:
    return (PEERS / "bin" / "python").exists()


def trajectory(name: str, task: Task) -> list[Result]:
    """What the peer would have stopped with, by calls spent; it begins with the naive prompt. Raises `RuntimeError`
    when the peer fails."""
    script, stops_at_passes = SCRIPT[name]
    cell = task.model.cell
    run = Run(task.model, task.budget)
    with tempfile.TemporaryDirectory() as folder, _served(run, task) as server:
        job, result = Path(folder) / "job.json", Path(folder) / "result.json"
        job.write_text(
            json.dumps({
                "url": server.url,
                "naive": cell.naive().instruction,
                "pool": [prompt.instruction for prompt in cell.pool],
                "train": [_row(cell.control, row) for row in task.rows[: cell.shown]],
                "dev": [_row(cell.control, row) for row in task.rows[cell.shown :]],
                "budget": task.budget,
                "seed": task.seed,
                "stops_at_passes": stops_at_passes,
                "teaches": task.model.teacher is not None,
                "result": str(result),
            })
        )  # fmt: skip
        _run(script, job)
        server.check()
        stops = json.loads(result.read_text())["stops"]
    found = [Result(_prompt(task, stop["instruction"], stop["demonstrations"]), stop["spent"]) for stop in stops]
    return [Result(cell.naive(), 0), *found]


def at(results: list[Result], calls: int) -> Result:
    """The last that was found within so many calls."""
    return [result for result in results if result.calls <= calls][-1]


def _run(script: str, job: Path) -> None:
    command = [str(PEERS / "bin" / "python"), str(SCRIPTS / script), str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=job.parent)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")


def _row(control: str, example: Example) -> dict[str, str]:
    return {"id": example.id, "text": example.data["text"], "label": example.truth[control][0]}


def _prompt(task: Task, instruction: str, shown: list[str]) -> Prompt:
    rows = {row.id: row for row in task.rows}
    made = (demonstration(task.model.cell.schema, rows[row]) for row in shown)
    shown_rows = tuple(one for one in made if one)
    return Prompt(instruction, demonstrations=shown_rows, style=STYLE, codes=task.model.cell.codes)


class _Server:
    def __init__(self, run: Run, task: Task) -> None:
        self._task = task
        self._run = run
        self._rows = {row.id: row for row in task.rows}
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self.url = ""

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "teach" in asked and self._task.model.teacher:
            return {"text": self._task.model.teacher(asked["teach"])}
        prompt = _prompt(self._task, asked["instruction"], asked["demonstrations"])
        rows = [self._rows[row] for row in asked["rows"]]
        with self._lock:
            try:
                outcomes = self._run.label(prompt, rows)
            except BudgetError:
                return {"labels": [], "spent": self._run.spent, "over": True}
            except NotRecordedError as error:
                self._failure = error
                raise
            return {"labels": self._said(prompt, rows, outcomes), "spent": self._run.spent, "over": False}

    def _said(self, prompt: Prompt, rows: list[Example], outcomes: list[Any]) -> list[str]:
        cell = self._run.model.cell
        graded = [grade(cell.schema, prompt, row, outcome) for row, outcome in zip(rows, outcomes, strict=True)]
        return [(each.values.get(cell.control) or ("",))[0] for each in graded]

    def check(self) -> None:
        if self._failure:
            raise self._failure


@contextmanager
def _served(run: Run, task: Task) -> Iterator[_Server]:
    answers = _Server(run, task)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(answers.answer(json.loads(body))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
