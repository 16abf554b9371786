"""Earlier challengers on the labels that came after them: an untouched test that costs no search.

Prequential, as in Dawid (1984): each label is first predicted, then learned from. A challenger that was not sure enough
when it was found needs no second luck, only more labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.comparison import compared, costs
from worker.evaluate import Label
from worker.examples import Example
from worker.gate import Pair, Ruling, rule

LEAST = 20
SURE = 0.95  # more than on a holdout: several may wait, and each is looked at whenever labels come


@dataclass(frozen=True, slots=True)
class Waiting:
    """A challenger with its calibration. `later` are ids of the examples that were decided after it was made."""

    prompt: Prompt
    origin: str
    later: frozenset[str]


@dataclass(frozen=True, slots=True)
class Proven:
    """A challenger that passed, with the pairs that decided."""

    waiting: Waiting
    ruling: Ruling
    pairs: tuple[Pair, ...]


def proven(
    schema: LabelingSchema,
    active: Prompt,
    waiting: Sequence[Waiting],
    examples: Sequence[Example],
    label: Label,
    *,
    sure: float = SURE,
) -> Proven | None:
    """The one that is surest to be better, of those that pass; None where none does. Fewer than 20 later labels prove
    nothing."""
    found = []
    for each in waiting:
        later = [example for example in examples if example.id in each.later]
        if len(later) < LEAST or each.prompt == active:
            continue
        both = compared(schema, active, each.prompt, later, label)
        pairs = tuple(one.pair for one in both)
        ruling = rule(pairs, kind="prequential", sure=sure, costs=costs(both))
        if ruling.passes:
            found.append(Proven(each, ruling, pairs))
    return max(found, key=lambda one: one.ruling.estimate.p_better, default=None)
