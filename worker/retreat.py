"""The active version is watched on labels that came after it: one that does worse than the one before it goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.labeling.prompt import PromptVersion
from backend.pushing import Target
from backend.service import Service
from worker import publication, rollback, verdict
from worker.evaluate import Label, fair, graded
from worker.examples import Example

LEAST_FRESH = 5


@dataclass(frozen=True, slots=True)
class Watched:
    """`before` is the version to go back to; `later` are the examples decided since the active one was published, in
    that order, at least one."""

    before: PromptVersion
    later: tuple[Example, ...]

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
    """Only versions that a run published are: what a person activated stays until a person says otherwise."""
    project, active = to.record.key, to.current.version
    latest = next(iter(service.store.activations(project)), None)
    if latest is None or latest.version != active.name or not publication.is_by_run(latest.by):
        return None
    later = sorted((e for e in examples if e.annotated_at > latest.at), key=lambda example: example.annotated_at)
    name = service.store.previous(project) if later else None
    before = service.store.version(project, name) if name else None
    return Watched(before, tuple(later)) if before else None


def due(to: Target, found: Watched, label: Label) -> Retreat | None:
    """None where the active version holds its own."""
    schema, active = to.current.schema, to.current.version
    fairly = fair(schema, label)
    now = graded(schema, active.prompt, found.later, fairly)
    then = graded(schema, found.before.prompt, found.later, fairly)
    watch = rollback.watch((now[example.id].right, then[example.id].right) for example in found.later)
    name = found.before.name
    return Retreat(name, verdict.rolled_back(watch, active.name, name)) if watch.rolls_back else None
