"""The active version is watched on labels that came after it: one that does worse than the one before it goes."""

from collections.abc import Sequence

from backend.pushing import Target
from backend.service import Service
from worker import rollback, verdict
from worker.evaluate import Label, fair, graded
from worker.examples import Example

BY = "rollback"


def if_worse(service: Service, to: Target, examples: Sequence[Example], label: Label) -> str | None:
    """Goes back to the version before when the test says so, and gives the reason in words; None otherwise.

    Only versions that a run published are watched: what a person activated stays until a person says otherwise.
    """
    project, active = to.record.key, to.current.version
    latest = next(iter(service.store.activations(project)), None)
    name = service.store.previous(project)
    if latest is None or name is None or latest.version != active.name or not latest.by.startswith("run "):
        return None
    before = service.store.version(project, name)
    later = sorted((e for e in examples if e.annotated_at > latest.at), key=lambda example: example.annotated_at)
    if before is None or not later:
        return None
    fairly = fair(to.current.schema, label)
    now = graded(to.current.schema, active.prompt, later, fairly)
    then = graded(to.current.schema, before.prompt, later, fairly)
    watch = rollback.watch((now[example.id].right, then[example.id].right) for example in later)
    if not watch.rolls_back or not service.store.activate(project, name, expected=active.name, by=BY):
        return None
    return verdict.rolled_back(watch, active.name, name)
