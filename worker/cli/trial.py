"""`whetstone try`: an instruction that somebody wrote, held against the active prompt."""

from pathlib import Path

import click
from rich.console import Console

from backend.cli.output import as_json as _json
from backend.cli.output import open_service, print_json, read_text, say
from backend.projects import catalog, run_text
from backend.storage.runs import TRIAL, RunRecord
from worker.cli.following import known_runs, progress, watching
from worker.runs import learn

_EXIT_CODES = {"failed": 1, "out_of_budget": 4}
_MOST_CHARACTERS = 20_000


@click.command("try")
@click.argument("project")
@click.option("--instruction", default="", help="The instruction.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file that holds it.")
@click.option("--publish", is_flag=True, help="Make it the active prompt if it is surely better.")
@click.option("--budget", type=click.IntRange(min=1), help="Most calls to LLMs.  [default: RUN_MAX_CALLS]")
@_json
def trial(
    project: str, *, instruction: str, file: Path | None, publish: bool, budget: int | None, as_json: bool
) -> None:
    """Hold an instruction of your own against the active prompt, on the labels that there are.

    It takes the place of all that the active prompt says: instruction, definitions and rules. Demonstrations and format
    stay. Both prompts answer the labelled tasks, and the verdict says how sure the gain is. The new prompt is kept
    under a name: `whetstone prompts activate` makes it the active one whatever the verdict says, and later runs try it
    again with more labels. Each trial is one more chance to be lucky, so the more there were, the surer a gain has to
    be.

    Runs in this process and needs LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY and the LLM, as a worker does. As long as
    nothing has been learned, the project's own instruction in Label Studio is the prompt's: edit it there.

    Exit codes: 0 done, 1 failed or canceled, 3 something unreachable, 4 out of budget.

    \b
    Examples:
      whetstone try 12 --instruction "Is the reviewer happy with the product? Judge the whole sentence."
      whetstone try 12 --file instruction.txt --publish
    """
    text = _text(instruction, file)
    service = open_service()
    record = catalog.project(service, project)
    options = learn.Options(budget_calls=budget, require_approval=not publish, instruction=text)
    known, console = known_runs(service, record.key), Console(stderr=as_json)
    with progress(f"project {record.numeric_id}", console) as show, watching(service, record.key, known, show):
        run = learn.run(service, record.key, trigger=TRIAL, options=options)
    if as_json:
        print_json({"run": run})
    else:
        say("\n\n".join([run_text.verdict(run), *_next(run, record.numeric_id)]))
    raise SystemExit(1 if run.state == "canceled" else _EXIT_CODES.get(run.decision or "", 0))


def _text(instruction: str, file: Path | None) -> str:
    if bool(instruction) == bool(file):
        raise click.UsageError("give the instruction by --instruction or by --file, one of them")
    text = (read_text(file, "--file") if file else instruction).strip()
    if not text:
        raise click.UsageError("the instruction is empty")
    if len(text) > _MOST_CHARACTERS:
        raise click.UsageError(f"the instruction has {len(text):,} characters, {_MOST_CHARACTERS:,} are the most")
    return text


def _next(run: RunRecord, project: int) -> list[str]:
    if run.challenger is None or run.decision == "published":
        return []
    return [f"`whetstone prompts activate {project} {run.challenger}` makes it the active prompt all the same."]
