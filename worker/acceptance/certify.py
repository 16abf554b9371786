"""The lowest score from which on tasks may be accepted unseen: at least a target share of them is right, and that is as
sure as was asked for. Pure.

What is tested. A grid of thresholds is fixed before any right or wrong is looked at: quantiles of the scores of all
tasks. At each of them the checked labels at or above it, drawn at random, decide by Clopper and Pearson's bound whether
more than 1 - target can be wrong there (`boundary.p_value`).

How many thresholds are tried. Fixed-sequence testing (Learn then Test, arXiv 2110.01052) begins at the strictest
threshold that could pass and stops at the first that does not. That costs no certainty, but one mistake among the
surest tasks ends it, and the more labels there are, the fewer of them stand behind the first step. So all steps are
tried at one level, so much stricter that all of them together keep to 1 - sure (`boundary.level`), and after each
success those that are left are tried again at the level of those alone (step-down, as Holm's). Thresholds that could
not pass even without a mistake are left out first, which only scores decide. Simulated for 95 %, a fixed sequence
certifies something more often with 200 labels where scores order tasks well (26, 43, 54, 38 of 100 runs against 17, 43,
44, 44 in four such worlds), less often where the surest tasks are no better than the rest (13, 17, 1 against 39, 40,
32), and falls far behind with 1,000 labels (63, 35, 12 against 87, 99, 87). Splitting the certainty over two to four
starts covered less.

How far the promise holds. The level is exact where mistakes are equally likely all along the scores; of the shapes
tried, 60 drawn at random and jumps made to break it, none missed more often than 1 - sure within the error of the
simulation. `tests/benchmarks/trust/acceptance.py` counts misses on scores of real models.

Conformal risk control (arXiv 2208.02814) does not fit: it bounds the risk on average over draws of the checked labels,
not with a stated certainty, and its loss must fall with the threshold, which a share among the accepted ones need not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from backend.labeling.answers import ScoreKind
from worker.statistics import boundary

Floats = NDArray[np.float64]

_QUANTILES = 20
_RATIO = 1.1  # of the checks behind a step to those behind the step above it
_PERCENT = 100
_ENOUGH = 1 << 20  # checks that nobody makes


@dataclass(frozen=True, slots=True)
class Evidence:
    """`scores` of checked labels, drawn at random from all tasks, and whether each is `right`; `open_scores` of the
    tasks nobody has labelled. All in [0, 1] and of one kind: what is certified for one kind says nothing of another."""

    score_kind: ScoreKind
    scores: Sequence[float] = field(repr=False)
    right: Sequence[bool] = field(repr=False)
    open_scores: Sequence[float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MoreChecks:
    """About how many more tasks, drawn at random, must be checked: if all answers that count are right (`clean`), and
    if mistakes stay as frequent as they were. None where no number of them would do, or there are not so many tasks."""

    clean: int | None
    as_before: int | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """With certainty `sure`, of the tasks with a score of `threshold` or more at least `target` are right; `threshold`
    None: no such threshold is known.

    `checked` labels lie at or above it, `errors` of them wrong, and `bound` is the most that can be wrong, at the
    certainty that is left when so many thresholds are tried; without a threshold they are of all checked labels.
    `tasks` open ones would be accepted, `coverage` is their share of all open ones, None of none. `more_checks` would
    certify the target, or further tasks, None where all are. `reachable` is the highest precision in whole per cents
    that can be promised instead, None where it is not needed or none can.
    """

    score_kind: ScoreKind
    threshold: float | None
    target: float
    sure: float
    checked: int
    errors: int
    bound: float
    coverage: float | None
    tasks: int
    more_checks: MoreChecks | None
    reachable: float | None


@dataclass(frozen=True, slots=True)
class _Step:
    """`share` of all tasks, checked and open, that lie at or above the threshold."""

    threshold: float
    checked: int
    errors: int
    unchecked: int
    share: float

    def passes(self, target: float, level: float) -> bool:
        return boundary.p_value(self.errors, self.checked, self.unchecked, 1 - target) <= level


def certify(evidence: Evidence, *, target: float, sure: float = 0.9) -> Certificate:
    """Raises `ValueError` for a target or certainty outside (0, 1)."""
    _check(target, sure)
    steps = _steps(evidence)
    found = _lowest(steps, target, 1 - sure)
    step, level = found or (_whole(evidence), 1 - sure)
    open_tasks = len(evidence.open_scores)
    return Certificate(
        score_kind=evidence.score_kind,
        threshold=step.threshold if found else None,
        target=target,
        sure=sure,
        checked=step.checked,
        errors=step.errors,
        bound=boundary.upper_bound(step.errors, step.checked, level),
        coverage=(step.unchecked / open_tasks if found else 0.0) if open_tasks else None,
        tasks=step.unchecked if found else 0,
        more_checks=_more(steps, step.threshold if found else None, target, 1 - sure),
        reachable=None if found else _reachable(steps, target, 1 - sure),
    )


def threshold(evidence: Evidence, *, target: float, sure: float = 0.9) -> float | None:
    """That of `certify`, alone: all that a simulation needs, at a fraction of the time."""
    _check(target, sure)
    found = _lowest(_steps(evidence), target, 1 - sure)
    return found[0].threshold if found else None


def _check(target: float, sure: float) -> None:
    if not (0 < target < 1 and 0 < sure < 1):
        raise ValueError(f"target and certainty must lie between 0 and 1, not {target} and {sure}")


def _steps(evidence: Evidence) -> list[_Step]:
    """Strictest first; the last holds all tasks. None of no task at all."""
    checked, right = np.asarray(evidence.scores, float), np.asarray(evidence.right, bool)
    unchecked = np.asarray(evidence.open_scores, float)
    everything = np.concatenate([checked, unchecked])
    if not len(everything):
        return []
    levels = np.quantile(everything, np.arange(_QUANTILES) / _QUANTILES, method="higher")
    return [_step(float(level), checked, right, unchecked) for level in np.unique(levels)[::-1]]


def _step(threshold: float, checked: Floats, right: NDArray[np.bool_], unchecked: Floats) -> _Step:
    above, more = checked >= threshold, int((unchecked >= threshold).sum())
    n = int(above.sum())
    return _Step(threshold, n, int((~right[above]).sum()), more, (n + more) / (len(checked) + len(unchecked)))


def _whole(evidence: Evidence) -> _Step:
    errors = len(evidence.right) - sum(evidence.right)
    return _Step(0.0, len(evidence.scores), errors, len(evidence.open_scores), 1.0)


def _lowest(steps: Sequence[_Step], target: float, alpha: float) -> tuple[_Step, float] | None:
    """The lowest step that passes, and the level at which it did."""
    left, found = _tried(steps, target, alpha), None
    while left:
        level = _level(left, target, alpha)
        passed = [step for step in left if step.passes(target, level)]
        if not passed:
            break
        if found is None or passed[-1].threshold < found[0].threshold:
            found = passed[-1], level
        left = [step for step in left if step not in passed]
    return found


def _tried(steps: Sequence[_Step], target: float, alpha: float) -> list[_Step]:
    """Those with enough checks, the last one always, and each with a tenth fewer than the one below it: nearer ones
    would only make the level stricter."""
    fewest, most = boundary.fewest(1 - target, alpha), float("inf")
    kept: list[_Step] = []
    for step in reversed(steps):
        if fewest <= step.checked <= most:
            kept.append(step)
            most = step.checked / _RATIO
    return kept[::-1]


def _level(steps: Sequence[_Step], target: float, alpha: float) -> float:
    return boundary.level([step.checked for step in steps], 1 - target, alpha)


def _reachable(steps: Sequence[_Step], target: float, alpha: float) -> float | None:
    """All targets hold together: each threshold's bound fails at no more than its level, whichever target it is read
    at. So the highest may be picked after the fact, if nothing is stepped down."""
    low, high = 0, ceil(round(target * _PERCENT, 6))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _passes_one(steps, middle / _PERCENT, alpha) else (low, middle)
    return low / _PERCENT if low else None


def _passes_one(steps: Sequence[_Step], target: float, alpha: float) -> bool:
    tried = _tried(steps, target, alpha)
    return bool(tried) and any(step.passes(target, _level(tried, target, alpha)) for step in tried)


def _more(steps: Sequence[_Step], certified: float | None, target: float, alpha: float) -> MoreChecks | None:
    below = [step for step in steps if certified is None or step.threshold < certified]
    if steps and not below:
        return None
    tried = _tried(steps, target, alpha)
    level = _level(tried, target, alpha) if tried else alpha
    tasks = sum(step.unchecked for step in steps[-1:])
    return MoreChecks(
        _fewest(below, tasks, lambda step: _needed(step, 0.0, target, level)),
        _fewest(below, tasks, lambda step: _needed(step, (step.errors + 0.5) / (step.checked + 1), target, level)),
    )


def _fewest(steps: Sequence[_Step], tasks: int, needed: Callable[[_Step], int]) -> int | None:
    """Of all tasks, since those below the threshold are drawn as well."""
    found = min((ceil(needed(step) / step.share) for step in steps), default=_ENOUGH)
    return found if found <= tasks else None


def _needed(step: _Step, error_rate: float, target: float, level: float) -> int:
    """More checks at or above the threshold, `error_rate` of them wrong; `_ENOUGH` where that is too many for any."""
    if error_rate >= 1 - target:
        return _ENOUGH

    def passes(more: int) -> bool:
        errors = step.errors + round(error_rate * more)
        return boundary.p_value(errors, step.checked + more, 0, 1 - target) <= level

    low, high = 0, 1
    while high < _ENOUGH and not passes(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
