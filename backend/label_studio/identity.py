"""Which project: Label Studio's own "id.created", since bare ids collide between instances."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.labeling.errors import WhetstoneError


class IdentityError(WhetstoneError):
    hint = "Label Studio sends it as id.created, such as 1.1795346384."


def project_key(project_id: int, created_at: str) -> str:
    """The key that `/setup` and `/predict` carry, from the id and the ISO time that payloads and the API carry (in UTC
    where it does not say)."""
    created = datetime.fromisoformat(created_at)
    return f"{project_id}.{int((created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp())}"


def checked(key: Any) -> str:
    """Raises `IdentityError` for what is no project key."""
    if not isinstance(key, str) or not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", key):
        raise IdentityError(f'"project" is {key!r}, which names no project')
    return key


def from_payload(project: Mapping[str, Any]) -> str:
    """From the `project` of a webhook."""
    try:
        return checked(project_key(int(project["id"]), str(project["created_at"])))
    except (KeyError, TypeError, ValueError) as error:
        raise IdentityError('the payload\'s "project" has no usable "id" and "created_at"') from error
