"""Earlier challengers on the labels that came after them: an untouched test that costs no search.

Prequential, as in Dawid (1984): each label is first predicted, then learned from. A challenger that was not sure enough
when it was found needs no second luck, only more labels.

It is looked at whenever labels come, so that P(gain > 0) >= .95 at each look is no bound: of challengers no better,
with 15 % of labels discordant that come ten at a time up to 400, 22 % would pass at one look or another. So its wins
must have raised a stake to ten times its start (the bet of `rollback`, on the challenger): one that is no better ever
gets there with probability .1 at most (Ville's inequality), however often and long one looks, if labels come in an
order in which neither prompt had a say (where they do not, the gate's objections hold it back); each of several that
wait has that bound for itself. Of 1,000 simulated challengers each, with the gate at .9 beside it:

gain      passed by 100 / 200 / 300 / 400 labels    P >= .95 at each look    looks at 20, 30, 45, ... at P >= .98
0         .01 / .03 / .04 / .05                     .11 / .18 / .20 / .22    .03 / .05 / .06 / .07
+6 pt     .23 / .55 / .73 / .86                     .60 / .83 / .93 / .97    .27 / .53 / .69 / .84
+10 pt    .58 / .95 / 1.0 / 1.0                     .92 / 1.0 / 1.0 / 1.0    .59 / .92 / .99 / 1.0
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.comparison import CACHED, compared, costs
from worker.optimizer.evaluate import Label
from worker.optimizer.gate import Costs, Pair, Ruling, rule
from worker.optimizer.rollback import THRESHOLD, watch

LEAST = 20
SURE = 0.9  # now: the stake may have been that high long ago


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
    cached_token: float = CACHED,
) -> Proven | None:
    """The one that is surest to be better, of those that pass; None where none does. Fewer than 20 later labels prove
    nothing. `examples` in the order in which they were decided. `cached_token` is as in `comparison.costs`."""
    found = []
    for each in waiting:
        later = [example for example in examples if example.id in each.later]
        if len(later) < LEAST or each.prompt == active:
            continue
        both = compared(schema, active, each.prompt, later, label)
        pairs = tuple(one.pair for one in both)
        ruling = ruled(pairs, costs(both, cached_token))
        if ruling and ruling.passes:
            found.append(Proven(each, ruling, pairs))
    return max(found, key=lambda one: one.ruling.estimate.p_better, default=None)


def ruled(pairs: Sequence[Pair], costs: Costs | None = None) -> Ruling | None:
    """The gate's ruling on labels in the order in which they came; None where they have never raised the stake so high
    that it may be asked."""
    stake = watch((pair.active_right, pair.challenger_right) for pair in pairs)
    return rule(pairs, kind="prequential", sure=SURE, costs=costs) if stake.peak >= THRESHOLD else None
