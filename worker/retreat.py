"""The active version is watched on labels that came after it: one that does worse than the one before it goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.pushing import Target
from backend.service import Service
from worker import publication, rollback, verdict
from worker.evaluate import Label, fair, graded
from worker.examples import Example


@dataclass(frozen=True, slots=True)
class Retreat:
    """`version` is the name of the one to go back to, `words` are the reason."""

    version: str
    words: str


def due(service: Service, to: Target, examples: Sequence[Example], label: Label) -> Retreat | None:
    """None where the active version holds its own.

    Only versions that a run published are watched: what a person activated stays until a person says otherwise.
    """
    project, active = to.record.key, to.current.version
    latest = next(iter(service.store.activations(project)), None)
    name = service.store.previous(project)
    if latest is None or name is None or latest.version != active.name or not publication.is_by_run(latest.by):
        return None
    before = service.store.version(project, name)
    later = sorted((e for e in examples if e.annotated_at > latest.at), key=lambda example: example.annotated_at)
    if before is None or not later:
        return None
    fairly = fair(to.current.schema, label)
    now = graded(to.current.schema, active.prompt, later, fairly)
    then = graded(to.current.schema, before.prompt, later, fairly)
    watch = rollback.watch((now[example.id].right, then[example.id].right) for example in later)
    return Retreat(name, verdict.rolled_back(watch, active.name, name)) if watch.rolls_back else None
