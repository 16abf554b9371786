"""The part of the report's document that tells what may be accepted unseen."""

from typing import TypedDict

from backend.labeling.answers import ScoreKind


class MoreChecksJson(TypedDict):
    """About how many more random checks: without a mistake, and with as many as before. Null: no number would do."""

    clean: int | None
    as_before: int | None


class CertificateJson(TypedDict):
    """With certainty `sure` at least `target` of the tasks with a score of `threshold` or more are right. Null: no
    threshold is known; `checked`, `errors` and `bound` (the most that can be wrong) are then of all checked labels, and
    `reachable` is what can be promised instead. `coverage` is the share of the open tasks, null of none."""

    score_kind: ScoreKind
    threshold: float | None
    target: float
    sure: float
    checked: int
    errors: int
    bound: float
    coverage: float | None
    tasks: int
    more_checks: MoreChecksJson | None
    reachable: float | None
    words: str


class AcceptableJson(TypedDict):
    """What may be accepted unseen by the scores of `version`: one certificate a target. `checked` labels were drawn by
    lot and had no part in making the version; `open` tasks have a score of it."""

    version: str
    score_kind: ScoreKind
    calibrated_on: int
    checked: int
    open: int
    certificates: list[CertificateJson]
    words: list[str]
