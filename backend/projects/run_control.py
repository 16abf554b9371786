"""Optimization runs started and ended by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass as checked

from backend.labeling.errors import SettingsError
from backend.projects import catalog
from backend.projects.naming import ConflictError
from backend.queue.dispatch import OPTIMIZE
from backend.service import Service
from backend.storage.store import ProjectRecord


@checked(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class RunOptions:
    """`budget` is the most calls to LLMs. What is left out, or null, is as the settings say."""

    budget: PositiveInt | None = None
    rounds: PositiveInt | None = None
    require_approval: bool | None = None

    def as_asked(self) -> dict[str, Any]:
        """For the job: the fields of `worker.runs.learn.Options` that are not None."""
        asked = {"budget_calls": self.budget, "rounds": self.rounds, "require_approval": self.require_approval}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Requested:
    """`running` is the id of a run that is under way, after which this one's turn comes. With no `workers` nobody
    takes it up."""

    project: int
    running: str | None
    workers: int


@dataclass(frozen=True, slots=True)
class Canceled:
    """`run` is None where only a waiting job was taken back that had not begun one."""

    project: int
    run: str | None


def request(service: Service, record: ProjectRecord, options: RunOptions) -> Requested:
    """Queued whatever the number of new labels. Raises `SettingsError` where no annotations could be read."""
    if not service.settings.can_push:
        raise SettingsError(
            "annotations cannot be read without LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
            hint="Set them for the service and the workers.",
        )
    running = _running(service, record)
    service.dispatch.touch(record.key, "optimize", trigger="forced", options=options.as_asked())
    return Requested(record.numeric_id, running, service.dispatch.workers(OPTIMIZE))


def cancel(service: Service, record: ProjectRecord, run_id: str | None = None) -> Canceled:
    """The run under way ends at its next step, one that waits before it begins, or begins again; what was published
    stays. A `run_id` must be of that one. Raises `NotKnownError`, and `ConflictError` where there is nothing to end."""
    if run_id is not None and catalog.run(service, record, run_id).is_over:
        raise ConflictError(f"run {run_id} of project {record.numeric_id} is over", hint="There is nothing to cancel.")
    running = _running(service, record)
    if not service.dispatch.cancel(record.key):
        raise ConflictError(
            f"no run of project {record.numeric_id} is under way or waits", hint="There is nothing to cancel."
        )
    return Canceled(record.numeric_id, running or _interrupted(service, record))


def _interrupted(service: Service, record: ProjectRecord) -> str | None:
    """A run that waited for its next try has ended with its job, unless all but its report was done. One whose worker
    died ends when it is taken up."""
    latest = service.runs.latest(record.key)
    if latest is None or latest.is_over or latest.decision:
        return None
    if not service.dispatch.is_pending(record.key, "optimize"):
        service.runs.save(latest.canceled(datetime.now(UTC)))
    return latest.id


def _running(service: Service, record: ProjectRecord) -> str | None:
    latest = service.runs.latest(record.key)
    under_way = latest is not None and not latest.is_over and service.dispatch.is_running(record.key)
    return latest.id if latest and under_way else None
