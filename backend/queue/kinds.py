"""The kinds of work that a project has, and what a job of a kind is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LABEL, OPTIMIZE = "label", "optimize"
QUEUES = (LABEL, OPTIMIZE)  # in order of priority


@dataclass(frozen=True, slots=True)
class Kind:
    """Work of which a project has at most one job pending; the job is the function of the kind's name.

    Light work goes `first`: a project of ten thousand tasks to label must not keep another from learning.
    """

    queue: str
    timeout_s: int
    first: bool = False


KINDS = {
    "label_project": Kind(LABEL, timeout_s=3600),
    "prune": Kind(LABEL, timeout_s=3600),
    "explain": Kind(LABEL, timeout_s=600),
    "follow": Kind(LABEL, timeout_s=600, first=True),
    "watch": Kind(LABEL, timeout_s=3600),
    "optimize": Kind(OPTIMIZE, timeout_s=6 * 3600),
}
# Why work is asked for, the weakest first: a stronger reason stays until a job has settled it.
TRIGGERS = ("", "reconcile", "watch", "labels", "errors", "drift", "guideline", "model", "forced")


@dataclass(frozen=True, slots=True)
class Request:
    """What a job is to do: all that was asked up to `revision`, for the strongest of the reasons (`trigger`). `options`
    are the job's own, of whoever asked for that reason last."""

    revision: int
    trigger: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
