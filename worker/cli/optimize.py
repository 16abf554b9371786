"""`whetstone optimize`: a run now, watched to its verdict."""

import click
from rich.console import Console

from backend.cli.output import open_service, print_json, say
from backend.projects import catalog, run_control, run_text
from backend.projects.run_control import RunOptions
from backend.queue.dispatch import OPTIMIZE
from backend.service import Service
from backend.storage.runs import RunRecord, Spend
from backend.storage.store import ProjectRecord
from worker.calls.forecast import Forecast, forecast
from worker.cli.following import NoWorkerError, Show, follow, known_runs, progress, watching
from worker.runs import learn

_EXIT_CODES = {"failed": 1, "out_of_budget": 4}


@click.command()
@click.argument("project")
@click.option("--budget", type=click.IntRange(min=1), help="Most calls to LLMs.  [default: RUN_MAX_CALLS]")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of proposals.  [default: OPTIMIZE_ROUNDS]")
@click.option("--require-approval", is_flag=True, help="Publish nothing: a better prompt awaits `prompts activate`.")
@click.option("--here", is_flag=True, help="Run in this process instead of handing the work to a worker.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON; the progress bar goes to stderr.")
def optimize(
    project: str, *, budget: int | None, rounds: int | None, require_approval: bool, here: bool, as_json: bool
) -> None:
    """Improve a project's prompt now, from the annotations that there are.

    Reads the annotations, tries other instructions, definitions and demonstrations on some of them, and publishes the
    best only if it is surely better on labels that did not choose it. Then it prints the verdict: what changed and why,
    which errors that fixes and breaks, the gain with its interval, what it cost. What it may cost is said before.

    It starts by itself after enough new labels (LEARN_AFTER_LABELS, LEARN_AFTER_ERRORS); this starts one whatever their
    number. Ctrl-C ends only the watching, unless --here is given. PROJECT is Label Studio's number of the project, or
    its key.

    Exit codes: 0 done, published or not, 1 failed or canceled, 3 something unreachable, 4 out of budget.

    \b
    Examples:
      whetstone optimize 12
      whetstone optimize 12 --budget 500 --require-approval
    """
    service = open_service()
    record = catalog.project(service, project)
    options = RunOptions(budget, rounds, require_approval or None)
    expected = forecast(service.settings, _known(service, record), budget=budget)
    console = Console(stderr=as_json)
    console.print(f"Project {record.numeric_id}: {expected.words()}.", highlight=False)
    run = (_run_here if here else _run_by_worker)(service, record, options, console)
    _print(run, expected, as_json=as_json)
    raise SystemExit(1 if run.state == "canceled" else _EXIT_CODES.get(run.decision or "", 0))


def _known(service: Service, record: ProjectRecord) -> Spend:
    """What the project's last run that asked anything took; before the first, what all predictions took."""
    spent = (run.spend for run in service.runs.runs(record.key) if run.spend.student_calls)
    return next(spent, None) or _predicted(service)


def _predicted(service: Service) -> Spend:
    found = {count.name: round(count.value) for count in service.counters.counts() if not count.labels}
    calls, prompt, answers = (found.get(f"llm_{what}", 0) for what in ("calls", "prompt_tokens", "completion_tokens"))
    return Spend(student_calls=calls, prompt_tokens=prompt, completion_tokens=answers)


def _run_here(service: Service, record: ProjectRecord, options: RunOptions, console: Console) -> RunRecord:
    known = known_runs(service, record.key)
    with progress(f"project {record.numeric_id}", console) as show, watching(service, record.key, known, show):
        return learn.run(service, record.key, trigger="forced", options=learn.Options(**options.as_asked()))


def _run_by_worker(service: Service, record: ProjectRecord, options: RunOptions, console: Console) -> RunRecord:
    if not service.dispatch.workers(OPTIMIZE):
        raise NoWorkerError(f"no worker listens to the queue {OPTIMIZE!r}")
    known = known_runs(service, record.key)
    asked = run_control.request(service, record, options)
    if asked.running:
        console.print(f"Run {asked.running} is under way; this one comes after it.")
    with progress(f"project {record.numeric_id}", console) as show:
        return _watch(service, record, known, show)


def _watch(service: Service, record: ProjectRecord, known: frozenset[str], show: Show) -> RunRecord:
    try:
        return follow(service, record.key, known, show)
    except KeyboardInterrupt:
        project = record.numeric_id
        click.echo(f"The run goes on: `whetstone jobs show {project}`, `whetstone jobs cancel {project}`.", err=True)
        raise SystemExit(1) from None


def _print(run: RunRecord, expected: Forecast, *, as_json: bool) -> None:
    if as_json:
        print_json({"forecast": expected, "run": run})
    else:
        say(run_text.verdict(run))
