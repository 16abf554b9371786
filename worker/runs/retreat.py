"""The active version is watched on labels, drawn by lot, that came after it: one that does worse than the one before it
goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from backend.labeling.prompt import PromptVersion
from backend.predictions.audit import is_audit
from backend.projects.pushing import Target
from backend.service import Service
from worker.acceptance import served
from worker.labels.annotation_store import AnnotationStore
from worker.labels.examples import Example
from worker.optimizer import rollback
from worker.optimizer.evaluate import Label, fair, graded
from worker.optimizer.outcomes import Graded
from worker.queue.store import QueueStore
from worker.runs import publication, verdict
from worker.statistics import strata

LEAST_FRESH = 5


@dataclass(frozen=True, slots=True)
class Watched:
    """`before` is the version to go back to; `later` are the examples drawn by lot that came since the active one was
    published, in the order in which they were decided, at least one. `queued` are ids of those that a queue drew; the
    others are of the audit slice."""

    before: PromptVersion
    later: tuple[Example, ...]
    queued: frozenset[str] = frozenset()

    @property
    def until(self) -> datetime:
        return self.later[-1].annotated_at

    def is_due(self, tested: datetime | None) -> bool:
        """Whether five of them were decided after `tested`, that of the last test."""
        return sum(tested is None or example.annotated_at > tested for example in self.later) >= LEAST_FRESH


@dataclass(frozen=True, slots=True)
class Retreat:
    """`version` is the name of the one to go back to, `words` are the reason."""

    version: str
    words: str


def watched(service: Service, to: Target, examples: Sequence[Example]) -> Watched | None:
    """Only versions that a run published are: what a person activated stays until a person says otherwise. Only labels
    of tasks drawn by lot count: the least certain are those on which the active version is at its worst."""
    project, active = to.record.key, to.current.version
    latest = next(iter(service.store.activations(project)), None)
    if latest is None or latest.version != active.name or not publication.is_by_run(latest.by):
        return None
    used = AnnotationStore(service.redis).used(project, to.current.schema.config_hash)
    drawn, share = QueueStore(service.redis).drawn(project), service.settings.audit_share
    later = sorted(
        (
            example
            for example in examples
            if used.is_later(example, latest.at)
            and (not drawn[example.id].chosen if example.id in drawn else is_audit(project, example.id, share))
        ),
        key=lambda example: example.annotated_at,
    )
    name = service.store.previous(project) if later else None
    before = service.store.version(project, name) if name else None
    return Watched(before, tuple(later), frozenset(drawn)) if before else None


def due(service: Service, to: Target, found: Watched, label: Label) -> Retreat | None:
    """None where the active version holds its own."""
    schema, active = to.current.schema, to.current.version
    fairly = fair(schema, label)
    now = graded(schema, active.prompt, found.later, fairly)
    later = _by_lot(service, to, found, now)
    then = graded(schema, found.before.prompt, later, fairly)
    watch = rollback.watch((now[example.id].right, then[example.id].right) for example in later)
    name = found.before.name
    return Retreat(name, verdict.rolled_back(watch, active.name, name)) if watch.rolls_back else None


def _by_lot(service: Service, to: Target, found: Watched, now: Mapping[str, Graded]) -> list[Example]:
    """Who labels by rising score labels the audit slice so, too. Where the labels that no queue asked for do not lie
    evenly over the active version's scores, only those that a queue drew count."""
    others = [now[example.id].score for example in found.later if example.id not in found.queued]
    kept = served.open_scores(service, to.record.key, to.current.version.name, to.current.schema)
    scores = np.array([*others, *(each.score for each in kept)], np.float64)
    even = strata.are_even(scores, np.arange(len(scores)) < len(others))
    return [example for example in found.later if even or example.id in found.queued]
