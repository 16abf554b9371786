"""Cascades as candidates: which answers of the student are handed to the stronger LLM, from its risk curve. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.labeling.answers import TaskAnswers
from backend.labeling.cascade import alone, confidence, escalated
from backend.labeling.prompt import Prompt
from worker.labels.examples import Example
from worker.optimizer.outcomes import Label, Outcome

# What is kept is to be right in so many cases; and no more than this share may be handed on, or the stronger LLM might
# as well do it alone.
_TARGETS = (0.9, 0.95)
_MOST_ESCALATED = 0.6
_ROUNDING = 1e-4


def composed(label: Label) -> Label:
    """Of a prompt with a cascade each model is asked as if alone, so that all thresholds share what was paid for."""

    def labelled(prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        student, *strong = alone(prompt)
        found = label(student, examples)
        if not strong:
            return found
        doubtful = [i for i, outcome in enumerate(found) if not _is_kept(outcome, prompt.escalate_below)]
        second = label(strong[0], [examples[i] for i in doubtful]) if doubtful else []
        for i, outcome in zip(doubtful, second, strict=True):
            found[i] = _handed_on(found[i], outcome)
        return found

    return labelled


def _handed_on(before: Outcome, outcome: Outcome) -> Outcome:
    """What the stronger LLM made of it, at the price of both."""
    if outcome.answers is None:
        return replace(outcome, wasted=before.spent + outcome.spent)
    tried = before.answers or TaskAnswers({}, usage=before.spent.usage, calls=before.spent.calls)
    return Outcome(escalated(outcome.answers, tried))


def thresholds(outcomes: Sequence[Outcome], right: Sequence[bool]) -> tuple[float, ...]:
    """For each target the least confidence above which the student's own answers reach it, as far as it hands on no
    more than 60 %; rising, each once. Empty where nothing needs handing on, or too much would."""
    known = [(confidence(o.answers), r) for o, r in zip(outcomes, right, strict=True) if o.answers is not None]
    if not known:
        return ()
    ordered = sorted(known, reverse=True)
    confidences = np.array([each for each, _ in ordered])
    shares = np.cumsum([r for _, r in ordered]) / np.arange(1, len(ordered) + 1)
    found = set()
    for target in _TARGETS:
        enough = np.flatnonzero(shares >= target)
        kept = int(enough[-1]) + 1 if len(enough) else 0
        if (1 - _MOST_ESCALATED) * len(ordered) <= kept < len(ordered):
            found.add(round(float(confidences[kept]) + _ROUNDING, 4))
    return tuple(sorted(each for each in found if each <= 1))


def _is_kept(outcome: Outcome, threshold: float) -> bool:
    return outcome.answers is not None and confidence(outcome.answers) >= threshold
