"""Two prompts on the same examples: who is right where, and at what cost."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import fmean

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.storage.runs import Effort
from worker.labels.examples import Example
from worker.optimizer.evaluate import Label
from worker.optimizer.gate import Costs, Pair
from worker.optimizer.outcomes import Graded, Outcome, grade
from worker.optimizer.reflect import named

CACHED = 0.25  # of a token: providers ask a tenth to a half for one that their prefix cache holds


@dataclass(frozen=True, slots=True)
class Compared:
    """One example under both; what the answers took is None where there was no usable one."""

    pair: Pair
    active: Effort | None
    challenger: Effort | None


def compared(
    schema: LabelingSchema, active: Prompt, challenger: Prompt, examples: Sequence[Example], label: Label
) -> list[Compared]:
    """Each with its own calibration."""
    before, after = label(active, examples), label(challenger, examples)
    return [
        Compared(
            _pair(example, grade(schema, active, example, old), grade(schema, challenger, example, new)),
            _effort(old),
            _effort(new),
        )
        for example, old, new in zip(examples, before, after, strict=True)
    ]


def costs(found: Sequence[Compared], cached_token: float = CACHED) -> Costs:
    """Means and their ratio over examples that both answered; of none the neutral costs. A token that a prefix cache
    held counts `cached_token`, other tokens 1."""
    both = [(each.active, each.challenger) for each in found if each.active and each.challenger]
    active, challenger = _mean([before for before, _ in both]), _mean([after for _, after in both])
    count = max(1, len(found))
    return Costs(
        ratio=_tokens(challenger, cached_token) / _tokens(active, cached_token) if active and challenger else 1.0,
        active_failures=sum(each.active is None for each in found) / count,
        challenger_failures=sum(each.challenger is None for each in found) / count,
        active=active,
        challenger=challenger,
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


def _effort(outcome: Outcome) -> Effort | None:
    if outcome.answers is None:
        return None
    usage = outcome.answers.usage
    return Effort(outcome.answers.calls, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)


def _mean(efforts: Sequence[Effort]) -> Effort | None:
    if not efforts:
        return None
    return Effort(*(fmean(column) for column in zip(*map(astuple, efforts), strict=True)))


def _tokens(effort: Effort, cached_token: float) -> float:
    """At least one: engines that do not count say 0 of all."""
    return max(1.0, effort.prompt_tokens - (1 - cached_token) * effort.cached_tokens + effort.completion_tokens)
