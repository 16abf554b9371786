"""The record of a run, from its begin or the point where it is taken up again to its end, as others see it."""

import time
import uuid
from dataclasses import replace
from datetime import datetime

from backend.labeling.errors import BudgetError, WhetstoneError
from backend.service import Service
from backend.storage.run_store import RunStore
from backend.storage.runs import Decision, RunRecord
from worker.runs import publication, verdict

_EVERY_S = 0.5


class Journal:
    """`record` is the latest; where it is `hidden` others see it from the first `keep` on. Raises `StoreError` only."""

    def __init__(self, runs: RunStore, record: RunRecord, *, hidden: bool = False) -> None:
        self.record = record
        self.hidden = hidden
        self._runs = runs
        self._saved_at = 0.0
        if not hidden:
            self.keep(record)

    @property
    def is_due(self) -> bool:
        """Whether what is noted now would be written."""
        return not self.hidden and time.monotonic() - self._saved_at >= _EVERY_S

    def note(self, **changes: object) -> None:
        """Fields of the record. They are written at most twice a second."""
        self.record = replace(self.record, **changes)  # type: ignore[arg-type] # fields of the record
        if self.is_due:
            self.keep(self.record)

    def keep(self, record: RunRecord) -> None:
        """Written at once."""
        self.record, self.hidden = record, False
        self._runs.save(record)
        self._saved_at = time.monotonic()


def begun(service: Service, project: str, trigger: str, at: datetime) -> RunRecord:
    """A new record, or that of a run which was interrupted: under its id, with what it had decided if that was carried
    out, from the start otherwise."""
    latest = service.runs.latest(project)
    active = service.store.active(project)
    name = active.name if active else ""
    if latest is None or latest.state != "running":
        new = f"{at:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
        return RunRecord(new, project, "running", at, labels=0, active=name, trigger=trigger, stage="reading labels")
    if publication.is_carried_out(service, latest):
        return replace(latest, stage="taken up again")
    return RunRecord(
        latest.id,
        project,
        "running",
        latest.started_at,
        labels=latest.labels,
        active=name,
        trigger=latest.trigger,
        spend=latest.spend,
        stage="taken up again",
    )


def failed(record: RunRecord, error: Exception) -> RunRecord:
    """For people; of an error that is none of ours only the log tells more."""
    known = isinstance(error, WhetstoneError)
    reason = str(error) if known else "an internal error, see the worker's log"
    decision: Decision = "out_of_budget" if isinstance(error, BudgetError) else "failed"
    words = verdict.words(decision, None, (), "", record.spend, record.labels, objections=(reason,))
    hints = (error.hint,) if isinstance(error, WhetstoneError) and error.hint else ()
    return replace(record, state="done", decision=decision, words=(*words, *hints))
