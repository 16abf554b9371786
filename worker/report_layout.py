"""What the report's sections are laid out with."""

from collections.abc import Sequence

from backend.report_layout import Section as Section
from backend.report_layout import Table as Table

MOST_IDS = 12


def named_ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
    return f"{', '.join(ids[:MOST_IDS])}{more}"
