"""The part of the report's document that tells of the whole project, not only of what people labelled."""

from typing import TypedDict

from worker.report.shares import ShareJson


class WeightedJson(TypedDict):
    """A share of all tasks, from labels each of which stands for as many tasks as had its chance of being labelled.
    As sure as `effective` labels drawn at random."""

    value: float | None
    low: float
    high: float
    effective: float
    words: str


class WeightedLabelJson(TypedDict):
    label: str
    precision: WeightedJson
    recall: WeightedJson


class WeightedControlJson(TypedDict):
    control: str
    labels: list[WeightedLabelJson]


class WeightedVersionJson(TypedDict):
    """`plain` is over the same labels, each counting once."""

    version: str
    plain: ShareJson
    accuracy: WeightedJson


class GapJson(TypedDict):
    """Scores between which nobody has labelled a task."""

    low: float
    high: float
    tasks: int


class PrefillJson(TypedDict):
    """How often people agree with predictions they were shown, weighted to all tasks, and with those kept from them on
    blind audit tasks; `difference` is shown - hidden, with its 90 % interval."""

    shown: WeightedJson
    hidden: WeightedJson
    difference: float | None
    low: float
    high: float
    words: str


class WholeJson(TypedDict):
    """The active version over all of the project's `tasks`, where people labelled some for their score: `chosen` of the
    `labels`. Only labels on the version's `basis` count. `speaks_for` is the share of the project that labels reach.
    `scores_of` is the version by whose scores tasks are told apart."""

    version: str
    scores_of: str
    tasks: int
    labels: int
    chosen: int
    speaks_for: float
    gaps: list[GapJson]
    plain: ShareJson
    accuracy: WeightedJson
    versions: list[WeightedVersionJson]
    controls: list[WeightedControlJson]
    words: list[str]
