"""Which project a person means."""

from collections.abc import Sequence

from backend.labeling.errors import WhetstoneError
from backend.storage.store import ProjectRecord


class NotKnownError(WhetstoneError):
    """There is no such project, prompt version or run."""

    exit_code = 2


class ConflictError(WhetstoneError):
    """What is asked for does not go with how things stand now."""


def find(records: Sequence[ProjectRecord], given: str) -> ProjectRecord:
    """By its key, or by Label Studio's numeric id where one instance alone has it: of those at one address the latest
    made is meant, and one that is gone only where no other is. Raises `NotKnownError`, and `ConflictError` that names
    the keys where several have."""
    found = [record for record in records if record.key == given] or _meant(records, given)
    if not found:
        known = ", ".join(str(record.numeric_id) for record in records) or "none yet"
        hint = f"Known are: {known}. A project is known once it is connected: `whetstone connect PROJECT_ID`."
        raise NotKnownError(f"no project {given!r} is known", hint=hint)
    if len(found) > 1:
        keys = " or ".join(f"{record.key} ({record.label_studio_url or 'address unknown'})" for record in found)
        raise ConflictError(f"{len(found)} Label Studio instances have a project {given}", hint=f"Name its key: {keys}")
    return found[0]


def address(records: Sequence[ProjectRecord], record: ProjectRecord) -> str:
    """What `find` finds it by: its number, or its key where the number means another, or may."""
    number = str(record.numeric_id)
    return number if _meant(records, number) == [record] else record.key


def _meant(records: Sequence[ProjectRecord], number: str) -> list[ProjectRecord]:
    """One an address: after Label Studio's database was made anew, its projects have their old ids."""
    found = [record for record in records if number == str(record.numeric_id)]
    there = [record for record in found if not record.gone] or found
    latest = {record.label_studio_url: record for record in sorted(there, key=_made_at)}
    return list(latest.values())


def _made_at(record: ProjectRecord) -> int:
    """Seconds since 1970, as keys hold it; 0 in a key that does not."""
    return int(record.key.partition(".")[2] or 0)
