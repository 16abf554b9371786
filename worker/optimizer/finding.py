"""What a run comes to: a decision, with the prompt and the labels that it rests on. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.labeling.prompt import Prompt
from backend.storage.runs import Decision, Estimate
from worker.optimizer.gate import Pair, Ruling

_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision of "published" means that it may be. `challenger` is calibrated; `objections` are the gate's.

    `best_of_set` is the instruction that did best without demonstrations, with the calibration that it did so by.
    `fixes` and `breaks` are ids of examples that decided.
    """

    decision: Decision
    challenger: Prompt | None = None
    origin: str = ""
    estimate: Estimate | None = None
    objections: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    best_of_set: Prompt | None = None


def told(challenger: Prompt, origin: str, pairs: Sequence[Pair], ruling: Ruling, active: Prompt) -> Finding:
    """Of a challenger that the gate ruled on, with the pairs that decided."""
    return Finding(
        decision=_decided(challenger, active, ruling),
        challenger=challenger,
        origin=origin,
        estimate=ruling.estimate,
        objections=ruling.objections,
        fixes=_ids(pair for pair in pairs if pair.challenger_right and not pair.active_right),
        breaks=_ids(pair for pair in pairs if pair.active_right and not pair.challenger_right),
    )


def _decided(challenger: Prompt, active: Prompt, ruling: Ruling) -> Decision:
    if challenger == active or ruling.estimate.gain <= 0:
        return "no_headroom"
    return "published" if ruling.passes else "kept"


def _ids(pairs: Iterable[Pair]) -> tuple[str, ...]:
    return tuple(pair.id for pair in pairs)[:_MOST_NAMED]
