"""An alarm is kept, told in the log and the report, and starts a run that looks again; it changes nothing by itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import structlog

from backend.service import Service
from backend.storage.alarms import Alarm, AlarmStore, Raised
from worker.report import report
from worker.report import sections as report_sections
from worker.report.document import Report

_log = structlog.get_logger(__name__)


def sound(service: Service, project: str, version: str, found: Sequence[Alarm], at: datetime) -> None:
    """Raises `StoreError`."""
    if not found:
        return
    store = AlarmStore(service.redis)
    for alarm in found:
        store.add(project, Raised(alarm, version, at))
        _log.warning("drift", project=project, version=version, kind=alarm.kind, reason=alarm.words)
    document = service.runs.report(project)
    if document is not None:
        told = report.with_alarms(cast(Report, document), store.alarms(project))
        service.runs.save_report(project, dict(told), report_sections.sections(told))
    service.dispatch.touch(project, "optimize", trigger="drift")
