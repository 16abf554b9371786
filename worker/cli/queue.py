"""`whetstone queue`: what people should label next."""

import click
from rich.console import Console
from rich.table import Table

from backend.cli.output import open_service, print_json
from backend.projects import catalog, pushing
from worker import wording
from worker.queue import queueing
from worker.queue.queueing import Queue

_COUNT, _CALLS = 100, 200


@click.command()
@click.argument("project")
@click.option("--count", type=click.IntRange(1, 1000), default=_COUNT, show_default=True, help="Tasks to queue.")
@click.option(
    "--budget",
    type=click.IntRange(min=0),
    default=_CALLS,
    show_default=True,
    help="Most calls to the LLM, to find tasks on which a waiting challenger disagrees.",
)
@click.option("--sampling", is_flag=True, help="Also have Label Studio's label stream serve the least certain first.")
@click.option("--dry-run", is_flag=True, help="Write nothing into Label Studio.")
@click.option("--clear", is_flag=True, help="Take the numbers away, and queue nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the queue as JSON.")
def queue(project: str, *, count: int, budget: int, sampling: bool, dry_run: bool, clear: bool, as_json: bool) -> None:
    """Say what to label next, and put it first in Label Studio.

    Of the places, half or more go to the tasks that the active prompt is least certain of, without near repetitions; a
    fifth to tasks on which a waiting challenger disagrees with it, since their labels decide between the two; a fifth,
    and up to 200 labels 30 %, are drawn by lot from the audit slice (AUDIT_SHARE), without which no figure would hold
    for all tasks. Blind tasks among these stay without a prediction.

    The queue is the tab "Label next", which sorts by the data field whetstone_queue; no prompt ever sees that field.
    PROJECT is Label Studio's number of the project, or its key.

    \b
    Examples:
      whetstone queue 12
      whetstone queue 12 --count 40 --json
    """
    service = open_service()
    record = catalog.project(service, project)
    client = pushing.make_client(service.settings)
    to = pushing.target(service, client, record.numeric_id, key=record.key)
    if clear:
        gone = queueing.clear(client, to)
        click.echo(f"{wording.counted(gone, 'task')} had a number, which {'is' if gone == 1 else 'are'} gone.")
        return
    found = queueing.plan(service, client, to, count, calls=budget)
    if not dry_run:
        click.echo(f"Numbering {wording.counted(len(found.places), 'task')} in Label Studio.", err=True)
        queueing.deliver(service, client, to, found)
    if sampling and not dry_run:
        client.set_sampling(to.project_id, queueing.UNCERTAINTY)
    if as_json:
        print_json(found)
    else:
        _say(found, dry_run=dry_run, sampling=sampling)


def _say(found: Queue, *, dry_run: bool, sampling: bool) -> None:
    for line in _words(found, dry_run=dry_run, sampling=sampling):
        click.echo(line)
    table = Table("", "task", "why", "score", "chance", box=None, pad_edge=False)
    for number, place in enumerate(found.places, 1):
        score = "-" if place.score is None else f"{place.score:.2f}"
        table.add_row(str(number), str(place.task), place.reason, score, f"{place.probability:.3f}")
    Console().print(table)


def _words(found: Queue, *, dry_run: bool, sampling: bool) -> list[str]:
    reasons = [place.reason for place in found.places]
    parts = [f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons)]
    if not parts:
        return ["No task is open: everything is annotated or skipped."]
    words = [f"{len(reasons)} of {wording.counted(found.open, 'open task')}: {wording.listed(parts)}.", *found.words]
    if not found.scored:
        words.append(f"No open task has a prediction of {found.version} yet, so none is known to be uncertain.")
    if not dry_run:
        words.append('They stand in the tab "Label next" of the project\'s table, 1 first.')
    if sampling and not dry_run:
        words.append("The label stream serves the least certain first, and blind tasks last: for audit use the tab.")
    return words
