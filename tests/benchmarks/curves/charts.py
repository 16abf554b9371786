"""The README's curves as values, from what the local models were recorded to say."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

import numpy as np

from tests.benchmarks.optimizer import asking, comparison
from tests.benchmarks.optimizer.cells import CELLS, Cell
from tests.benchmarks.optimizer.comparison import BUDGETS, Runs
from tests.benchmarks.trust.calibrating import LABELS, REPLAYS, drawn
from tests.benchmarks.trust.pools import AMAZON, DEFAULT_MODEL, SUBJECTIVE, Pool, answering, cell_of, pools
from tests.benchmarks.trust.weighting import Labeling, weighting
from worker.statistics import reliability, selective

SEEDS = 3
GEMMA = "gemma3-270m"
ARMS = {
    "ours": "Whetstone",
    "ours, no gate": "its search, no gate",
    "best of the set": "best of the pool on the labels",
    "gepa": "gepa",
    "dspy MIPROv2": "MIPROv2",
    "CAPO": "CAPO",
}
_COUNTS = (50, 75, 100, 125, 150, 175)
_LEAST_COVERED = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """`low` and `high` bound a band; empty for none. `ours` is drawn to be seen first, a `guide` to compare with."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    ours: bool = False
    guide: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """y is a share; x is one too, or a number of `counted` things."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    name: str
    panels: Sequence[Panel]


def charts() -> Iterator[Chart]:
    """Raises `NotRecordedError` where an answer is missing."""
    yield Chart("learning", [_learning(CELLS[0])])
    small, small_shown = _pools(AMAZON, DEFAULT_MODEL)
    large, large_shown = _pools(AMAZON, GEMMA)
    _, film_shown = _pools(SUBJECTIVE, DEFAULT_MODEL)
    titles = {
        "SmolLM2, 8 demonstrations, Amazon": small_shown,
        "SmolLM2, 8 demonstrations, film": film_shown,
        "Gemma, zero-shot, Amazon": large,
    }
    yield Chart("scores", [_reliability(title, pool) for title, pool in titles.items()])
    names = {"SmolLM2, zero-shot": small, "Gemma, zero-shot": large, "Gemma, 8 demonstrations": large_shown}
    yield Chart("accepting", [_accepting(names), _weighted("Gemma, zero-shot, Amazon", large)])


def _learning(cell: Cell) -> Panel:
    with closing(asking.recorded(cell, live=False)) as model:
        found = comparison.compare(model, seeds=SEEDS, replays=0, with_peers=True, say=lambda _: None)
    guides = {
        "first prompt": found.naive.accuracy,
        "best of the pool by the test labels": found.oracle.accuracy,
        "TF-IDF, no LLM": median(found.classic),
    }
    lines = [_by_calls(said, found.runs[name]) for name, said in ARMS.items() if name in found.runs]
    ends = (BUDGETS[0], BUDGETS[-1])
    lines += [Line(name, ends, (value, value), guide=True) for name, value in guides.items()]
    title = f"{cell.name}, Gemma-3-270m, {comparison.LABELS} labels"
    return Panel(title, "LLM calls allowed", "test accuracy, median of 3 seeds", lines, counted=True)


def _by_calls(name: str, runs: Runs) -> Line:
    budgets = sorted(runs.tests)
    values = [runs.accuracies(budget) for budget in budgets]
    ours = name == ARMS["ours"]
    low, high = ([min(each) for each in values], [max(each) for each in values]) if ours else ((), ())
    return Line(name, budgets, [median(each) for each in values], low, high, ours=ours)


def _pools(name: str, model: str) -> tuple[Pool, ...]:
    with closing(answering(cell_of(name, model), live=False)) as answered:
        return pools(answered)


def _reliability(title: str, pool: Pool) -> Panel:
    """Of all replays together, each on the rows that its calibration was not fitted on."""
    sides: dict[str, tuple[list[float], list[bool]]] = {"as the LLM says": ([], []), "calibrated": ([], [])}
    for seed in range(REPLAYS):
        fitted, rest = drawn(pool, LABELS, seed)
        for name, prompt in zip(sides, (pool.prompt, pool.calibrated_on(fitted)), strict=True):
            scores, right = pool.graded(prompt)
            sides[name][0].extend(scores[rest].tolist())
            sides[name][1].extend(right[rest].tolist())
    lines = [_binned(name, *side, ours=name == "calibrated") for name, side in sides.items()]
    lines.append(Line("scores that keep their word", (0.3, 1.0), (0.3, 1.0), guide=True))
    return Panel(title, "score", "share right", lines)


def _binned(name: str, scores: list[float], right: list[bool], *, ours: bool) -> Line:
    found = reliability.bins(scores, right)
    return Line(name, [each.score for each in found], [each.accuracy for each in found], ours=ours)


def _accepting(by_name: dict[str, Pool]) -> Panel:
    lines = []
    for name, pool in by_name.items():
        scores, right = pool.graded(pool.prompt)
        points = [
            point for point in selective.curve(scores.tolist(), right.tolist()) if point.coverage >= _LEAST_COVERED
        ]
        lines.append(Line(name, [point.coverage for point in points], [1 - point.risk for point in points]))
    return Panel("Amazon sentences, the surest first", "share of tasks accepted", "share of them right", lines)


def _weighted(name: str, pool: Pool) -> Panel:
    """The mean over 200 ways to label, with the standard error of one of them as a band."""
    scores, right = (each.tolist() for each in pool.graded(pool.prompt))
    found = [weighting(scores, right, Labeling(labels=count)) for count in _COUNTS]
    true = float(np.mean(right))
    weighted = [true + each.weighted_bias for each in found]
    lines = [
        Line("on what people labelled", _COUNTS, [true + each.plain_bias for each in found]),
        Line(
            "weighted, as reported", _COUNTS, weighted,
            [value - each.weighted_rmse for value, each in zip(weighted, found, strict=True)],
            [value + each.weighted_rmse for value, each in zip(weighted, found, strict=True)],
            ours=True,
        ),
        Line("on all tasks, in truth", (_COUNTS[0], _COUNTS[-1]), (true, true), guide=True),
    ]  # fmt: skip
    return Panel(name, "labels, 70 % of them of the least certain tasks", "accuracy", lines, counted=True)
