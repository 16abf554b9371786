"""Which project a person means."""

from collections.abc import Sequence

from backend.labeling.errors import WhetstoneError
from backend.store import ProjectRecord


class NotKnownError(WhetstoneError):
    """There is no such project, prompt version or run."""

    exit_code = 2


class ConflictError(WhetstoneError):
    """What is asked for does not go with how things stand now."""


def find(records: Sequence[ProjectRecord], given: str) -> ProjectRecord:
    """By its key, or by Label Studio's numeric id where one instance alone has it. Raises `NotKnownError`, and
    `ConflictError` that names the keys where several have."""
    found = [record for record in records if given in (record.key, str(record.numeric_id))]
    if not found:
        known = ", ".join(str(record.numeric_id) for record in records) or "none yet"
        hint = f"Known are: {known}. A project is known once it is connected: `whetstone connect PROJECT_ID`."
        raise NotKnownError(f"no project {given!r} is known", hint=hint)
    if len(found) > 1:
        keys = " or ".join(f"{record.key} ({record.label_studio_url or 'address unknown'})" for record in found)
        raise ConflictError(f"{len(found)} Label Studio instances have a project {given}", hint=f"Name its key: {keys}")
    return found[0]
