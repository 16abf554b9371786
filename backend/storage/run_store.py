"""Optimization runs and the last report of each project, in Redis."""

import json
from collections.abc import Sequence
from typing import Any

from redis import Redis

from backend.storage import report_layout, scripts
from backend.storage.redis_client import project_key, translated
from backend.storage.report_layout import Section
from backend.storage.runs import RunRecord

MOST_RUNS = 200
_FORMAT = 2  # of a report: one more wherever fields that are read go away, are renamed or are added


class RunStore:
    """Of a project the `most` runs that were begun last stay. Raises `StoreError` only. `Store.forget_project` forgets
    these too."""

    def __init__(self, client: Redis, *, most: int = MOST_RUNS) -> None:
        self._client = client
        self._most = most
        self._save = client.register_script(scripts.SAVE_RUN)

    @translated()
    def save(self, record: RunRecord) -> None:
        """Anew, or in place of what was saved under its id."""
        keys = [_runs(record.project), _order(record.project)]
        self._save(keys=keys, args=[record.id, record.to_json(), self._most])

    @translated()
    def runs(self, project: str, limit: int = 50) -> list[RunRecord]:
        """Latest first. Two round trips."""
        ids: list[Any] = self._client.zrevrange(_order(project), 0, limit - 1) if limit > 0 else []
        texts = self._client.hmget(_runs(project), ids) if ids else []
        return [RunRecord.from_json(text) for text in texts if text is not None]

    @translated()
    def run(self, project: str, run_id: str) -> RunRecord | None:
        text = self._client.hget(_runs(project), run_id)
        return RunRecord.from_json(text) if text is not None else None

    def latest(self, project: str) -> RunRecord | None:
        """Also one that is still under way."""
        return next(iter(self.runs(project, 1)), None)

    @translated()
    def save_report(self, project: str, document: dict[str, Any], layout: Sequence[Section]) -> None:
        """The document and how it is laid out for people, in place of those before. Raises `ValueError` for what is no
        JSON, such as NaN."""
        text = json.dumps(document, allow_nan=False)
        self._client.mset({report_key(project): text, _layout(project): report_layout.to_json(layout)})

    @translated()
    def report(self, project: str) -> dict[str, Any] | None:
        """None too where an earlier build made it: its fields were others, and the next run makes it anew."""
        text = self._client.get(report_key(project))
        document: dict[str, Any] | None = None if text is None else json.loads(text)
        return document

    @translated()
    def report_layout(self, project: str) -> tuple[Section, ...]:
        """Of the same report; empty where there is none."""
        text = self._client.get(_layout(project))
        return () if text is None else report_layout.from_json(text)


def report_key(project: str) -> str:
    """Another for each format, so that no build reads what it does not know."""
    return project_key(project, f"report:{_FORMAT}")


def _runs(project: str) -> str:
    return project_key(project, "runs")


def _order(project: str) -> str:
    return project_key(project, "runs:order")


def _layout(project: str) -> str:
    return f"{report_key(project)}:layout"
