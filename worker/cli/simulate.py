"""`whetstone simulate`: has this task headroom with this model? Without Label Studio and Redis."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from backend import logs, stack
from backend import settings as environment
from backend.calls.embedding import make_embedder
from backend.calls.engine import limits, make_wire
from backend.cli.output import read_text
from backend.labeling import schema as schemas
from backend.labeling import templates
from backend.labeling.embedding import Embedder
from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.settings import Settings
from backend.stack.llm import local_llm
from backend.stack.signals import interrupt_on_sigterm
from worker.calls import teacher
from worker.calls.prices import price_usd
from worker.calls.teacher import is_capable
from worker.labels.examples import Example
from worker.optimizer.optimize import Tools
from worker.runs import abilities
from worker.simulation import replay_data
from worker.simulation import report as simulation_report
from worker.simulation import simulate as simulation
from worker.simulation.purse import MeteredEmbedder
from worker.simulation.replay_data import ReplayDataError
from worker.simulation.student import Account, MeteredEngine, Price, Prices, Student, Teacher
from worker.statistics.consensus import Method

_UNCAPPED = 5000  # calls that a search is sized for where nothing caps them


class Counts(click.ParamType[tuple[int, ...]]):
    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            counts = {int(part) for part in str(value).split(",")}
        except ValueError:
            counts = {0}
        if min(counts) < 1:
            self.fail(f"{value!r} is no list of numbers of labels, such as 20,50,100", param, ctx)
        return tuple(sorted(counts))


_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("data", type=_file)
@click.option("--config", required=True, type=_file, help="The labeling configuration (XML).")
@click.option("--test", type=_file, help="Labelled rows to measure on. [default: those of DATA whose split is test]")
@click.option("--instruction", default="", help="What to begin with. [default: what the configuration says]")
@click.option("--candidates", type=_file, help="Instructions to try in place of the templates (JSON: a list of texts).")
@click.option(
    "--labels", type=Counts(), default="20,50,100,200", show_default=True, help="At how many labels to learn."
)
@click.option("--order", type=click.Choice(["random", "score"]), default="random", show_default=True)
@click.option("--budget", type=click.IntRange(min=1), help="LLM calls for each run. [default: RUN_MAX_CALLS]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the progress bar goes to stderr.")
def simulate(
    data: Path, config: Path, test: Path | None, *, labels: tuple[int, ...], as_json: bool, **options: Any
) -> None:
    """Replay the labels of DATA as annotators would give them, and see what Whetstone would learn.

    DATA holds one JSON object a line: {"id": "1", "text": "...", "label": "positive"}, with the configuration's data
    fields in place of text; or it is a CSV with such a header, or what Label Studio exports as JSON or CSV. The labels
    arrive in random order, or least certain first (--order score); at each number of --labels the very loop that serves
    runs on them. What is measured is measured on rows that it never sees: those of --test, else the rows of DATA whose
    "split" is "test", else a third of DATA. Beside the LLM stands what TF-IDF with logistic regression makes of the
    same labels: where that is as good, no LLM is needed.

    Needs an LLM, as `whetstone up` does, and nothing else: without a configured one it starts the local LLM.

    \b
    Example:
      whetstone simulate reviews.jsonl --config labels.xml --labels 20,50,100
    """
    settings = environment.load()
    logs.configure(settings)
    interrupt_on_sigterm()  # so that the local LLM is stopped
    schema = schemas.parse(read_text(config, "--config"))
    console = Console(stderr=as_json)
    candidates = _instructions(options["candidates"]) if options["candidates"] else ()
    rows, tested, digest = _rows(data, test, schema, settings.consensus, console)
    plan = simulation.Plan(
        schema,
        rows,
        tested,
        Prompt(options["instruction"].strip() or templates.initial_instruction(schema), style=settings.prompt_style),
        tuple(sorted({min(count, len(rows)) for count in labels})),
        model="",
        order=options["order"],
        seed=options["seed"],
        calls=options["budget"] or settings.run_max_calls or _UNCAPPED,
        rounds=settings.optimize_rounds,
        teacher_sees_texts=settings.teacher_sees == "examples",
        candidates=tuple(Prompt(text, style=settings.prompt_style) for text in candidates),
    )
    embedder = MeteredEmbedder(make_embedder(settings))
    with _student(settings, schema, console, embedder) as student, _teacher(settings) as taught:
        able = student.meter.capabilities
        plan = replace(
            plan,
            model=student.meter.model,
            styles=abilities.styles(settings, able),
            techniques=tuple(each for each in abilities.techniques(settings, able) if each != "cascade"),
            samples=settings.rationale_samples,
            cached_token=abilities.cached_token(settings),
        )
        account = Account(student, plan.calls, _prices(settings, student, taught), taught, embedder)
        found = _simulated(plan, account, console)
    if as_json:
        click.echo(json.dumps(simulation_report.document(plan, found, digest), indent=2, ensure_ascii=False))
    else:
        console.print(*simulation_report.renderables(plan, found), sep="\n")
    for line in simulation_report.failures(plan, found):
        console.print(line, style="yellow", markup=False)


def _instructions(path: Path) -> tuple[str, ...]:
    """A JSON list of texts, or of objects with a "text", which may stand under "instructions"."""
    wanted = f'{path} is no JSON list of instructions, such as ["Positive means that …", "…"]'
    try:
        found = json.loads(read_text(path, "--candidates"))
    except ValueError as error:
        raise click.BadParameter(f"{wanted}: {error}", param_hint="--candidates") from error
    listed = found.get("instructions") if isinstance(found, dict) else found
    given = listed if isinstance(listed, list) else []
    texts = [each.get("text") if isinstance(each, dict) else each for each in given]
    read = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not read or len(read) < len(texts):
        raise click.BadParameter(wanted, param_hint="--candidates")
    return read


def _rows(
    data: Path, test: Path | None, schema: LabelingSchema, method: Method, console: Console
) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Rows to replay, rows to test on, the digest of what was read. Raises `ReplayDataError`."""
    read = [replay_data.read(path, schema, method=method) for path in (data, test) if path]
    replayed, tested = read[0].rows, read[0].test
    if test:
        tested = (*read[1].rows, *read[1].test)
    elif not tested:
        replayed, tested = replay_data.part_for_test(replayed)
    kept = replay_data.apart(replayed, tested, schema)
    for reason, count in sum((Counter(part.left_out) for part in read), Counter[str]()).items():
        console.print(Text(f"{count} tasks are left out: {reason}", style="yellow"))
    for label, count in sum((Counter(part.unknown) for part in read), Counter[str]()).items():
        why = f"the configuration has no label {label!r}" if label else "they have no label"
        console.print(Text(f"{count} rows are left out: {why}", style="yellow"))
    if len(kept) < len(replayed):
        console.print(Text(f"{len(replayed) - len(kept)} rows are left out: they are test rows too", style="yellow"))
    if not kept or not tested:
        raise ReplayDataError(f"{len(kept)} rows are left to replay and {len(tested)} to test on: both are needed")
    return kept, tested, replay_data.sha256(*read)


@contextmanager
def _student(settings: Settings, schema: LabelingSchema, console: Console, embedder: Embedder) -> Iterator[Student]:
    """The local LLM is started where it is wanted and does not run."""
    said = stack.printer(settings)
    with (
        local_llm(
            settings,
            stack.exported(settings),
            write=lambda name, line: said(name, line) if settings.log_level == "DEBUG" else None,
            on_wait=lambda _: console.print("Starting the local LLM …"),
        ),
        closing(make_wire(settings)) as wire,
        closing(
            Student(
                MeteredEngine(OpenAIEngine(wire, settings.llm_model)),
                schema,
                limits(settings),
                threads=settings.concurrency,
                embedder=embedder,
            )
        ) as student,
    ):
        yield student


@contextmanager
def _teacher(settings: Settings) -> Iterator[Teacher | None]:
    """None where the loop that serves has none either."""
    if not is_capable(settings):
        yield None
        return
    with closing(teacher.make_wire(settings)) as wire:
        engine = OpenAIEngine(wire, settings.teacher_model or settings.llm_model)
        yield Teacher(MeteredEngine(engine), settings.llm_thinking_tokens)


def _simulated(plan: simulation.Plan, account: Account, console: Console) -> simulation.Simulation:
    """Each run gets the budget anew; what is measured on test rows is outside of it. Where no bar can be shown, each
    run's beginning has a line."""

    def begins(what: str) -> None:
        if not console.is_terminal:
            console.print(f"{what} …")

    begins(f"The naive prompt on {len(plan.test)} test rows")
    with _progress(console) as bar:
        task = bar.add_task("the naive prompt, on the test rows", total=1.0, at="")

        def tell(stage: str, done: float, alive: int, best: float | None) -> None:
            spent = f"{account.spend().student_calls} calls"
            at = f"{alive} alive, best {best:+.2f}, {spent}" if best is not None else spent
            bar.update(task, completed=done, at=f"{stage}: {at}")

        def arrived(count: int) -> None:
            account.begin_run()
            begins(f"Learning from {count} labels")
            bar.update(task, description=f"{count} labels", completed=0.0, at="")

        tools = Tools(account.label, account.ask, tell, account.embed)
        return simulation.simulate(plan, simulation.Senses(account.measure, tools, account.spend, arrived))


def _prices(settings: Settings, student: Student, taught: Teacher | None) -> Prices:
    def price(model: str, base_url: str) -> Price:
        return lambda usage, calls: price_usd(model, base_url, usage, calls=calls)

    return Prices(
        price(student.meter.model, settings.llm_base_url),
        price(taught.meter.model if taught else "", settings.teacher_base_url or settings.llm_base_url),
        price(settings.embeddings_model, settings.embeddings_base_url or settings.llm_base_url),
    )


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[at]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
