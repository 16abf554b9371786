"""What a simulation found, as JSON and as a table."""

from collections.abc import Iterator
from typing import TypedDict

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from backend.storage.runs import Spend
from worker.simulation.simulate import Figures, Plan, Simulation

_FEW = 0.02  # of the test rows: not worth a word


class FiguresJson(TypedDict):
    accuracy: float
    macro_f1: float
    ece: float | None


class StepJson(FiguresJson):
    """`calls`, `tokens` and `seconds` are of all runs up to this number of labels."""

    labels: int
    calls: int
    tokens: int
    seconds: float
    version: str
    verdict: str


class ClassicJson(TypedDict):
    labels: int
    accuracy: float
    macro_f1: float


class SimulationJson(TypedDict):
    naive: FiguresJson
    best_of_set: FiguresJson | None
    by_labels: list[StepJson]
    classic: list[ClassicJson]
    dataset_sha256: str
    model: str
    seed: int


def document(plan: Plan, found: Simulation, digest: str) -> SimulationJson:
    return {
        "naive": _figures(found.naive),
        "best_of_set": _figures(found.best_of_set) if found.best_of_set else None,
        "by_labels": [
            {
                "labels": step.labels,
                **_figures(step.figures),
                "calls": step.spend.calls,
                "tokens": _tokens(step.spend),
                "seconds": round(step.spend.seconds, 3),
                "version": step.version,
                "verdict": " ".join(step.words),
            }
            for step in found.steps
        ],
        "classic": [
            {"labels": step.labels, "accuracy": step.classic.accuracy, "macro_f1": step.classic.macro_f1}
            for step in found.steps
        ],
        "dataset_sha256": digest,
        "model": plan.model,
        "seed": plan.seed,
    }


def renderables(plan: Plan, found: Simulation) -> Iterator[RenderableType]:
    """The table, then each run's verdict."""
    yield _table(plan, found)
    for step in found.steps:
        yield Text(f"{step.labels} labels, {step.version}: {step.words[0]}", style="bold")
        yield from map(Text, step.words[1:])


def failures(plan: Plan, found: Simulation) -> Iterator[str]:
    """What got no answer, where that is more than a few rows; said once of prompts that follow one another and failed
    alike."""
    measured = [("naive", found.naive), *((f"{step.labels} labels", step.figures) for step in found.steps)]
    said = 0
    for name, figures in measured:
        if figures.failed != said and figures.failed > _FEW * len(plan.test):
            yield (
                f"{name}: {figures.failed} of {len(plan.test)} test rows got no usable answer and count as wrong, the "
                f"first because {figures.failure}."
            )
        said = figures.failed


def _table(plan: Plan, found: Simulation) -> Table:
    title = f"{plan.model} on {len(plan.test)} test rows (accuracy, macro-F1, calibration error; TF-IDF: the first two)"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("prompt")
    for heading in ("acc.", "F1", "ECE", "TF-IDF", "F1", "calls", "tokens", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("naive", *_cells(found.naive), *[""] * 5)
    if found.best_of_set:
        table.add_row("best of the set", *_cells(found.best_of_set), *[""] * 5)
    for step in found.steps:
        classic, spend = _cells(step.classic)[:2], step.spend
        cost = (f"{spend.calls:,}", f"{_tokens(spend):,}", f"{spend.seconds:.0f}")
        table.add_row(f"{step.labels} labels", *_cells(step.figures), *classic, *cost)
    return table


def _cells(figures: Figures) -> tuple[str, str, str]:
    ece = "" if figures.ece is None else f"{figures.ece:.3f}"
    return f"{figures.accuracy:.3f}", f"{figures.macro_f1:.3f}", ece


def _figures(figures: Figures) -> FiguresJson:
    return {"accuracy": figures.accuracy, "macro_f1": figures.macro_f1, "ece": figures.ece}


def _tokens(spend: Spend) -> int:
    return spend.prompt_tokens + spend.completion_tokens
