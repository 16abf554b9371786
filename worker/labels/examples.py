"""Ground truth as the optimizer reads it: examples, each in a split it never leaves."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Split = Literal["train", "dev", "holdout"]

_TRAIN, _DEV = 0.40, 0.35


@dataclass(frozen=True, slots=True)
class Shown:
    """The prediction that the annotator started from: of which version, its values by control, its score."""

    version: str
    values: Mapping[str, tuple[str, ...]]
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A task with its truth. `id` is the task's id as text (or a file's own); `truth` maps each labelled control's name
    to the values that annotators decided on, none of them for "no label applies".

    `annotated_at` is when the truth was last decided, in UTC. `shown` is None where no prediction was shown: the label
    is blind. `unanimous` is False where several annotators disagreed, those who answer at random aside; `disputed`
    where fewer than three in four of them said the same.

    `soft` is how likely each label is true where they disagreed, by control: of a single choice summing to 1, of a
    multiple one the probability that each label applies. Controls on which all agree are not in it.

    `reason` is why, in the words of somebody who decided so: never the LLM's, "" where nobody wrote or corrected one.

    `weight` is how many of the project's tasks it stands for, in units of what it would be if all labels were drawn by
    lot: their mean is the share of the tasks that labels speak for. 1 as long as nobody has reckoned it.
    """

    id: str
    data: Mapping[str, Any] = field(repr=False)
    truth: Mapping[str, tuple[str, ...]]
    annotated_at: datetime
    shown: Shown | None = None
    unanimous: bool = True
    disputed: bool = False
    soft: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reason: str = field(default="", repr=False)
    weight: float = 1.0

    @property
    def split(self) -> Split:
        return split_of(self.id)


def split_of(example_id: str) -> Split:
    """By a hash of the id alone, so that no example ever moves: train 40 %, dev 35 %, holdout 25 %."""
    share = int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8], "big") / 2**64
    if share < _TRAIN:
        return "train"
    return "dev" if share < _TRAIN + _DEV else "holdout"
