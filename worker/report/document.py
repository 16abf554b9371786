"""The report's JSON document: what `whetstone report --json` prints, the API answers and pages show.

Times are ISO 8601 in UTC, shares lie in [0, 1], tasks are ids as text, `words` are plain sentences. A figure that
nothing decides is null, and its interval is [0, 1].
"""

from typing import Literal, NotRequired, TypedDict

from worker.acceptance.document import AcceptableJson
from worker.labels.examples import Split
from worker.report.people_document import PeopleJson
from worker.report.shares import AverageJson as AverageJson
from worker.report.shares import ShareJson as ShareJson
from worker.report.whole_document import PrefillJson, WholeJson


class LabelJson(TypedDict):
    """`precision` is over the answers that name the label, `recall` over the tasks whose truth does."""

    label: str
    precision: ShareJson
    recall: ShareJson
    f1: float | None


class CellJson(TypedDict):
    """Null is "no label", or no usable answer. In a multiple choice each label is on its own: hit (a, a), missed
    (a, null), false alarm (null, a)."""

    true: str | None
    predicted: str | None
    tasks: list[str]


class DistanceJson(TypedDict):
    """`mean` absolute difference of ratings, in steps."""

    mean: float | None
    within_one: ShareJson


class ControlJson(TypedDict):
    """`failed` are tasks without a usable answer, which count as wrong. The fullest cell stands first. `distance` is
    of ratings."""

    control: str
    accuracy: ShareJson
    macro_f1: AverageJson
    labels: list[LabelJson]
    confusion: list[CellJson]
    failed: list[str]
    distance: NotRequired[DistanceJson]


class BinJson(TypedDict):
    """`accuracy` with Wilson's 90 % interval."""

    n: int
    score: float
    accuracy: float
    low: float
    high: float


class RiskPointJson(TypedDict):
    """Of the answers with a score of `threshold` or more: their share of all, and the share of them that is wrong."""

    threshold: float
    coverage: float
    risk: float


class CoverageJson(TypedDict):
    """The widest part, by score, of which at least `precision` was right: as counted, no promise. Nulls: none is."""

    precision: float
    coverage: float | None
    threshold: float | None


class RiskCoverageJson(TypedDict):
    """`aurc` is the mean share of mistakes among the n surest answers, over all n. `points` run from the surest on, at
    most a hundred of them."""

    aurc: float | None
    points: list[RiskPointJson]
    coverage_at: list[CoverageJson]


class CalibrationJson(TypedDict):
    """`ece` = sum over bins of n_b / n |mean score - share right|, bins of equal mass; `by_chance` is what it stays
    below in 9 of 10 cases when every score keeps its word. `auroc` is null where all are right or all are wrong."""

    n: int
    ece: float | None
    by_chance: float | None
    brier: float | None
    auroc: float | None
    bins: list[BinJson]
    risk_coverage: RiskCoverageJson
    words: str


class FiguresJson(TypedDict):
    """Of one version over `labels` labels: a task is right when all its controls are. `blind` are tasks whose annotator
    saw no prediction, `prefilled` the others; the two make up `accuracy`."""

    labels: int
    accuracy: ShareJson
    blind: ShareJson
    prefilled: ShareJson
    controls: list[ControlJson]
    calibration: CalibrationJson


class PairedJson(TypedDict):
    """A version against the active one, on the labels that neither has seen."""

    labels: int
    right: int
    active_right: int
    only_this: int
    only_active: int
    words: str


class VersionJson(TypedDict):
    """`unseen` are the labels that had no part in making the version, `all` flatters it. `basis` says which of the two
    is worth reading: "unseen" from ten labels on. `against_active` is null for the active version itself. Its scores
    are calibrated on `calibrated_on` labels; 0: uncalibrated."""

    version: str
    origin: str
    created_at: str
    active: bool
    activated: list[str]
    calibrated_on: int
    basis: Literal["unseen", "all"]
    unseen: FiguresJson
    all: FiguresJson
    against_active: PairedJson | None
    words: str


class PointJson(TypedDict):
    """What served after a run (or, with `run` null, serves now) on labels that did not choose it, by how many `labels`
    there were. `active` served before, `challenger` was compared with it, on the same labels."""

    labels: int
    at: str
    run: str | None
    kind: Literal["cross-fitted", "holdout", "prequential", "unseen"]
    decision: str | None
    version: str
    accuracy: ShareJson
    active: str
    active_accuracy: ShareJson
    challenger: str | None
    challenger_accuracy: ShareJson | None


class SplitJson(TypedDict):
    """`divided` are labels that a majority of several annotators decided."""

    split: Split
    labels: int
    blind: int
    prefilled: int
    divided: int


class AcceptanceJson(TypedDict):
    """Of the labels that began with a shown prediction, those whose final answer is what was shown."""

    shown: ShareJson
    by_version: dict[str, ShareJson]
    words: str


class SpendJson(TypedDict):
    """Over all runs that are kept. `usd` leaves out the `unpriced_runs`; null when no run has a price."""

    runs: int
    student_calls: int
    teacher_calls: int
    embedding_calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: float | None
    unpriced_runs: int
    seconds: float
    from_cache: int
    words: str


class RunJson(TypedDict):
    id: str
    state: str
    started_at: str
    labels: int
    trigger: str
    active: str
    challenger: str | None
    decision: str | None
    words: list[str]
    fixes: list[str]
    breaks: list[str]


class ActivationJson(TypedDict):
    version: str
    by: str
    at: str


class AlarmJson(TypedDict):
    """`strength` is 1 at the threshold. `kind`: labels, margins, label_mass, accuracy or model."""

    kind: str
    words: str
    strength: float
    version: str
    at: str


class Report(TypedDict):
    """`words` say the whole in a few sentences. Versions and activations stand latest first, the active version before
    all; the curve runs from few labels to many. `left_out` counts annotations that are no ground truth by reason;
    `contested` are tasks whose annotators split evenly. `drift` holds the last alarms, latest first.
    `whole` and `prefill` are null where tasks' scores are not known."""

    project: str
    title: str
    made_at: str
    labels: int
    active: str
    words: list[str]
    versions: list[VersionJson]
    whole: WholeJson | None
    prefill: PrefillJson | None
    curve: list[PointJson]
    acceptance: AcceptanceJson
    acceptable: AcceptableJson
    spend: SpendJson
    splits: list[SplitJson]
    left_out: dict[str, int]
    contested: list[str]
    people: PeopleJson
    last_run: RunJson | None
    activations: list[ActivationJson]
    drift: list[AlarmJson]
