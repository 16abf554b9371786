"""What the report's sections are laid out with."""

from collections.abc import Sequence

from backend.storage.report_layout import Section as Section
from backend.storage.report_layout import Table as Table
from worker import wording
from worker.report.shares import ShareJson

MOST_IDS = 12


def named_ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
    return f"{', '.join(ids[:MOST_IDS])}{more}"


def counted_share(found: ShareJson) -> str:
    """ "18/21 86 % (70 to 94 %)"."""
    if found["value"] is None:
        return "-"
    interval = wording.between(found["low"], found["high"])
    return f"{found['right']}/{found['n']} {wording.percent(found['value'])} ({interval})"
