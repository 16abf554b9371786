"""Two prompts on the same examples: who is right where, and at what cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.evaluate import Label
from worker.examples import Example
from worker.gate import Costs, Pair
from worker.outcomes import Graded, Outcome, grade
from worker.reflect import named

_CACHED = 0.25  # of a token: providers ask a tenth to a half for one that their prefix cache holds


@dataclass(frozen=True, slots=True)
class Compared:
    """One example under both; tokens, those from a prefix cache at a quarter, are None where there was no usable
    answer."""

    pair: Pair
    active_tokens: float | None
    challenger_tokens: float | None


def compared(
    schema: LabelingSchema, active: Prompt, challenger: Prompt, examples: Sequence[Example], label: Label
) -> list[Compared]:
    """Each with its own calibration."""
    before, after = label(active, examples), label(challenger, examples)
    return [
        Compared(
            _pair(example, grade(schema, active, example, old), grade(schema, challenger, example, new)),
            _tokens(old),
            _tokens(new),
        )
        for example, old, new in zip(examples, before, after, strict=True)
    ]


def costs(found: Sequence[Compared]) -> Costs:
    """The ratio is of the sums over examples that both answered; of none the neutral costs."""
    both = [each for each in found if each.active_tokens and each.challenger_tokens]
    before, after = sum(each.active_tokens or 0 for each in both), sum(each.challenger_tokens or 0 for each in both)
    count = max(1, len(found))
    return Costs(
        ratio=after / before if before else 1.0,
        active_failures=sum(each.active_tokens is None for each in found) / count,
        challenger_failures=sum(each.challenger_tokens is None for each in found) / count,
    )


def _pair(example: Example, active: Graded, challenger: Graded) -> Pair:
    truth = named(example.truth.values())
    return Pair(example.id, truth, _said(active, truth), _said(challenger, truth), example.weight)


def _said(graded: Graded, truth: str) -> str:
    """The truth's own words where it agrees: controls without a truth do not count."""
    if graded.right:
        return truth
    said = named(graded.values.values())
    return said if said != truth else f"{said} (another control differs)"


def _tokens(outcome: Outcome) -> float | None:
    if outcome.answers is None:
        return None
    usage = outcome.answers.usage
    return usage.prompt_tokens - (1 - _CACHED) * usage.cached_tokens + usage.completion_tokens
