"""A calibration fitted on labels: class bias and temperature by penalised likelihood.

The bias is drawn towards that of Batch Calibration (arXiv 2309.17249: the labels' mean log-probs over the batch, here
less the log of their share among the labels) with a strength that is fitted too; with few labels it stays near that,
with many the labels decide.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from backend.labeling import cascade
from backend.labeling.calibration import LEAST, Calibration
from backend.labeling.descent import is_bound
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome, truths

Floats = NDArray[np.float64]

# Of the prior: a strength of .5 +- .35, a temperature of 1.5 within a factor, and a bias within .7 nats of what the
# strength gives for two labels, of more labels within less (.5 of 4, .11 of 77): few examples each would tell too much.
_STRENGTH, _STRENGTH_SD = 0.5, 0.35
_BIAS_SD_OF_ONE = 1.0
_LOG_TEMPERATURE, _LOG_TEMPERATURE_SD = math.log(1.5), 0.7
_SMOOTHING = 2.0
_BOUNDS_LOG_TEMPERATURE = (math.log(0.1), math.log(20.0))


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One question's answers: `logps` of shape (n, labels), `gold` the true label's column of each row."""

    question: str
    labels: tuple[str, ...]
    logps: Floats
    gold: NDArray[np.int64]


def fit(schema: LabelingSchema, examples: Sequence[Example], outcomes: Sequence[Outcome]) -> Calibration:
    """On the examples that were answered; the identity where none was, or where options differ from task to task. What
    the stronger LLM of a cascade answered is fitted on its own."""
    both = list(zip(examples, outcomes, strict=True))
    strong = [(e, o) for e, o in both if o.answers is not None and o.answers.escalated]
    if not strong:
        return _fitted(schema, both)
    own = _fitted(schema, [(e, o) for e, o in both if o.answers is None or not o.answers.escalated])
    theirs = _fitted(schema, strong)
    return Calibration(
        bias={**own.bias, **theirs.bias},
        temperature=own.temperature,
        fitted_on=own.fitted_on + theirs.fitted_on,
        temperatures=dict.fromkeys(theirs.bias, theirs.temperature),
    )


def _fitted(schema: LabelingSchema, both: Sequence[tuple[Example, Outcome]]) -> Calibration:
    sheets = _sheets(schema, both)
    if not sheets:
        return Calibration()
    start = np.concatenate([np.zeros(2), *(np.zeros(len(sheet.labels)) for sheet in sheets)])
    start[0] = _LOG_TEMPERATURE
    start[1] = _STRENGTH
    pulls = [_batch_bias(sheet) for sheet in sheets]
    bounds = [_BOUNDS_LOG_TEMPERATURE, (0.0, 1.0)] + [(None, None)] * (len(start) - 2)
    found = minimize(_loss, start, args=(sheets, pulls), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(
        bias=_biases(sheets, pulls, found),
        temperature=float(np.exp(found[0])),
        fitted_on=sum(outcome.answers is not None for _, outcome in both),
    )


def _sheets(schema: LabelingSchema, both: Sequence[tuple[Example, Outcome]]) -> list[_Sheet]:
    rows: dict[tuple[str, tuple[str, ...]], list[tuple[Sequence[float], int]]] = defaultdict(list)
    for example, outcome in both:
        if outcome.answers is None:
            continue
        for question, gold in truths(schema, example):
            found = outcome.answers.distributions[question.key]
            if gold in found.labels and len(found.labels) > 1 and not is_bound(question, found):
                key = cascade.key(question.key, outcome.answers)
                rows[key, found.labels].append((found.probabilities, found.labels.index(gold)))
    fixed = _asked_in_one_way(list(rows))
    return [
        _Sheet(key, labels, np.log(np.maximum([p for p, _ in cells], LEAST)), np.array([gold for _, gold in cells]))
        for (key, labels), cells in rows.items()
        if key in fixed
    ]


def _asked_in_one_way(asked: Sequence[tuple[str, tuple[str, ...]]]) -> set[str]:
    """Questions whose options are the same for all tasks: of others no bias can be told."""
    ways: dict[str, int] = defaultdict(int)
    for key, _ in asked:
        ways[key] += 1
    return {key for key, count in ways.items() if count == 1}


def _batch_bias(sheet: _Sheet) -> Floats:
    mean = sheet.logps.mean(axis=0)
    counts = np.bincount(sheet.gold, minlength=len(sheet.labels)) + _SMOOTHING
    bias = mean - np.log(counts / counts.sum())
    centred: Floats = bias - bias.mean()
    return centred


def _loss(x: Floats, sheets: Sequence[_Sheet], pulls: Sequence[Floats]) -> tuple[float, Floats]:
    """Negative log posterior and its gradient. `x` is log temperature, strength, and each question's offsets from the
    strength's bias."""
    log_temperature, strength, offsets = x[0], x[1], x[2:]
    temperature = math.exp(log_temperature)
    gradient = np.zeros_like(x)
    loss = _penalty(x, sheets, gradient)
    at = 2
    for sheet, pull in zip(sheets, pulls, strict=True):
        width = len(sheet.labels)
        logits = (sheet.logps - strength * pull - offsets[at - 2 : at - 2 + width]) / temperature
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        p /= p.sum(axis=1, keepdims=True)
        loss -= float(np.log(np.maximum(p[np.arange(len(p)), sheet.gold], LEAST)).sum())
        residual = p.copy()
        residual[np.arange(len(p)), sheet.gold] -= 1
        by_label = -residual.sum(axis=0) / temperature
        gradient[at : at + width] += by_label
        gradient[1] += float(by_label @ pull)
        gradient[0] -= float((residual * logits).sum())
        at += width
    return loss, gradient


def _penalty(x: Floats, sheets: Sequence[_Sheet], gradient: Floats) -> float:
    """Adds its own part to `gradient`."""
    centres = np.concatenate([[_LOG_TEMPERATURE, _STRENGTH], np.zeros(len(x) - 2)])
    offsets = [np.full(len(sheet.labels), _BIAS_SD_OF_ONE / math.sqrt(len(sheet.labels))) for sheet in sheets]
    spreads = np.concatenate([[_LOG_TEMPERATURE_SD, _STRENGTH_SD], *offsets])
    gradient += (x - centres) / spreads**2
    return float((((x - centres) / spreads) ** 2).sum() / 2)


def _biases(sheets: Sequence[_Sheet], pulls: Sequence[Floats], x: Floats) -> dict[str, dict[str, float]]:
    biases, at = {}, 2
    for sheet, pull in zip(sheets, pulls, strict=True):
        width = len(sheet.labels)
        values = x[1] * pull + x[at : at + width]
        biases[sheet.question] = {
            label: round(float(value), 6) for label, value in zip(sheet.labels, values - values.mean(), strict=True)
        }
        at += width
    return biases
