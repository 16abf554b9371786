"""What may be accepted unseen: a version's scores on labels drawn by lot, and on tasks without a label. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from backend.labeling.answers import ScoreKind
from backend.labeling.schema import LabelingSchema
from worker import wording
from worker.acceptance import certificate_text
from worker.acceptance.certify import Certificate, Evidence, certify
from worker.acceptance.document import AcceptableJson, CertificateJson
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded

TARGETS = (0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Scored:
    """A prediction's score and the kind that it is of; `kind` None where the prediction does not tell."""

    score: float
    kind: ScoreKind | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A label of the audit slice beside the prediction of the version that is judged. `blind`: whoever gave it had seen
    no prediction."""

    scored: Scored
    right: bool
    blind: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """All of one version. `unscored` open tasks have no prediction of it."""

    version: str
    calibrated_on: int
    checked: Sequence[Checked] = field(repr=False)
    open: Sequence[Scored] = field(repr=False)
    unscored: int = 0

    @property
    def kind(self) -> ScoreKind:
        """The most frequent one, log-probs where none is known. Scores of another are never held against its
        threshold."""
        counts = Counter(each.kind for each in self._scored if each.kind)
        return counts.most_common(1)[0][0] if counts else "logprob"

    @property
    def others(self) -> int:
        """Predictions with a score of another kind."""
        kind = self.kind
        return sum(not fits(each, kind) for each in self._scored)

    @property
    def evidence(self) -> Evidence:
        kind = self.kind
        usable = [each for each in self.checked if fits(each.scored, kind)]
        return Evidence(
            kind,
            [each.scored.score for each in usable],
            [each.right for each in usable],
            [each.score for each in self.open if fits(each, kind)],
        )

    @property
    def _scored(self) -> list[Scored]:
        return [*(each.scored for each in self.checked), *self.open]


def fits(scored: Scored, kind: ScoreKind) -> bool:
    """A prediction that does not tell its kind goes with the others."""
    return scored.kind in (None, kind)


def checked(schema: LabelingSchema, examples: Iterable[Example], graded: Mapping[str, Graded]) -> list[Checked]:
    """Of the examples that have a prediction, and a truth for all that its score is about."""
    names = {control.name for control in schema.controls}
    return [
        Checked(Scored(found.score, found.score_kind), found.right, blind=each.shown is None)
        for each in examples
        if names <= each.truth.keys() and (found := graded.get(each.id)) and found.values
    ]


def document(pool: Pool, *, targets: Iterable[float] = TARGETS, sure: float = 0.9) -> AcceptableJson:
    evidence = pool.evidence
    certificates = [certify(evidence, target=target, sure=sure) for target in targets]
    return {
        "version": pool.version,
        "score_kind": evidence.score_kind,
        "calibrated_on": pool.calibrated_on,
        "checked": len(evidence.scores),
        "open": len(evidence.open_scores),
        "certificates": [as_json(each) for each in certificates],
        "words": list(about(pool)),
    }


def as_json(found: Certificate) -> CertificateJson:
    return {**asdict(found), "words": certificate_text.words(found)}  # type: ignore[typeddict-item] # its very fields


def about(pool: Pool) -> Iterator[str]:
    """What the certificates rest on."""
    evidence = pool.evidence
    kind = evidence.score_kind
    n, tasks = len(evidence.scores), wording.counted(len(evidence.open_scores), "open task")
    blind = sum(each.blind for each in pool.checked if fits(each.scored, kind))
    yield (
        f"How often {pool.version} is right is told by {wording.counted(n, 'label')} drawn by lot that had no part in "
        f"making it, {blind} of them given without seeing a prediction. With a score of it: {tasks}."
    )
    if n < wording.FEW:
        yield "That is too few to promise much: the tasks of the audit slice (AUDIT_SHARE) are worth labelling first."
    if not pool.calibrated_on:
        yield (
            f"The scores of {pool.version} are uncalibrated: they order tasks, and a threshold is found on labels, but "
            "a score of 0.9 is not yet right nine times in ten."
        )
    if pool.unscored:
        yield f"{wording.counted(pool.unscored, 'open task')} without a prediction of {pool.version} are not counted."
    if pool.others:
        yield f"{wording.counted(pool.others, 'prediction')} with scores of another kind than {kind} are left out."
