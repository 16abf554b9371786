"""Our arms: each takes labelled rows, a pool and a budget, and gives back the prompt that it would serve."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from tests.benchmarks.optimizer.asking import Model, Run
from tests.benchmarks.optimizer.cells import STYLE
from worker.labels.examples import Example
from worker.optimizer.optimize import Finding, Problem, Tools, optimize
from worker.optimizer.outcomes import grade


@dataclass(frozen=True, slots=True)
class Task:
    """What every arm gets: the same rows, seed and budget."""

    model: Model
    rows: tuple[Example, ...]
    seed: int
    budget: int


@dataclass(frozen=True, slots=True)
class Result:
    prompt: Prompt
    calls: int
    note: str = ""


Arm = Callable[[Task], Result]


def naive(task: Task) -> Result:
    return Result(task.model.cell.naive(), 0)


def best_of_set(task: Task) -> Result:
    """The pool's instruction that is right most often on as many rows as the budget allows, the same for all."""
    cell = task.model.cell
    candidates = [cell.naive(), *cell.pool]
    rows = task.rows[-min(len(task.rows), task.budget // len(candidates)) :]
    run = Run(task.model, task.budget)
    found = max(candidates, key=lambda prompt: fmean(_right(run, prompt, rows)))
    return Result(found, run.spent)


def _right(run: Run, prompt: Prompt, rows: tuple[Example, ...]) -> list[bool]:
    try:
        outcomes = run.label(prompt, rows)
    except BudgetError:
        return [False]
    schema = run.model.cell.schema
    return [grade(schema, prompt, e, o).right for e, o in zip(rows, outcomes, strict=True)]


def ours(task: Task) -> Result:
    return _served(task, *_found(task))


def ours_without_gate(task: Task) -> Result:
    """The winner of the search, whatever the gate says."""
    finding, run = _found(task)
    return Result(finding.challenger or task.model.cell.naive(), run.spent, finding.decision)


def ours_without_soft(task: Task) -> Result:
    """Raced by right and wrong, not by margins."""
    return _served(task, *_found(task, soft=False))


def ours_without_demonstrations(task: Task) -> Result:
    return _served(task, *_found(task, rounds=1))


def _served(task: Task, finding: Finding, run: Run) -> Result:
    published = finding.challenger if finding.decision == "published" else None
    return Result(published or task.model.cell.naive(), run.spent, finding.decision)


def _found(task: Task, **changes: Any) -> tuple[Finding, Run]:
    """The pool alone, in seeded order, stands where earlier challengers and a teacher's rewrites would, unless there is
    one: a small budget tries the beginning of it."""
    cell, run, teacher = task.model.cell, Run(task.model, task.budget), task.model.teacher
    pool = random.Random(task.seed).sample(cell.pool, len(cell.pool))
    problem = Problem(
        schema=cell.schema,
        active=cell.naive(),
        examples=task.rows,
        seeds=() if teacher else tuple(pool),
        guideline=cell.naive().instruction,
        styles=(STYLE,),
        seed=task.seed,
        calls=task.budget,
        sets=cell.sets,
        templates=teacher is not None,
    )
    return optimize(replace(problem, **changes), Tools(run.label, teacher)), run


OURS: dict[str, Arm] = {
    "naive prompt": naive,
    "best of the set": best_of_set,
    "ours": ours,
    "ours, no gate": ours_without_gate,
    "ours, no soft signal": ours_without_soft,
    "ours, no demonstrations": ours_without_demonstrations,
}
