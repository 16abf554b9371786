"""Prompt versions in Redis: kept for good under their names, one of a project active at a time.

Whatever is written moves in one Lua step, so that two who publish at once cannot both win, and a reader finds a
version whole or not at all.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from backend.labeling.errors import StoreError
from backend.labeling.prompt import PromptVersion
from backend.storage import scripts
from backend.storage.redis_client import as_text, project_key, translated

_MOST_VERSIONS = 500
_MOST_ACTIVATIONS = 500
_MOST_REMEMBERED = 1000
_TAKEN, _UNKNOWN = -1, -2


@dataclass(frozen=True, slots=True)
class Publication:
    version: PromptVersion
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Activation:
    """`version` is a name; `by` says who or what made it the active one."""

    version: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """`settings` in one text, that a project is to go by `since` then (in seconds): those of a higher `rank` go first,
    of equals the later ones."""

    settings: str
    rank: int
    since: float


class VersionStore:
    """Each method is one round trip, unless it says more, and raises `StoreError` only.

    Of a project `most_versions` stay: challengers that never were active go first, the active one never.
    """

    def __init__(
        self, client: Redis, *, most_versions: int = _MOST_VERSIONS, most_activations: int = _MOST_ACTIVATIONS
    ) -> None:
        self._client = client
        self._most_versions, self._most_activations = most_versions, most_activations
        self._last: dict[str, PromptVersion] = {}
        self._lock = threading.Lock()
        self._find_active = client.register_script(scripts.ACTIVE)
        self._add = client.register_script(scripts.ADD_VERSION)
        self._activate = client.register_script(scripts.ACTIVATE)
        self._find_claim = client.register_script(scripts.CLAIM)

    @translated()
    def active(self, project: str) -> PromptVersion | None:
        """The pointer is read each time; the version, which never changes, only when it is another than last time."""
        last = self.last_active(project)
        found = self._find_active(keys=_keys(project)[:2], args=[last.name if last else ""])
        if found is None:
            return None
        name, text = found
        if text is None and last and last.name == as_text(name):
            return last
        if text is None:
            raise StoreError(f"project {project}: version {as_text(name)} is active but not stored")
        return self._remember(project, PromptVersion.from_json(text))

    def last_active(self, project: str) -> PromptVersion | None:
        """What this process saw last, without asking Redis: to go on with while it is down."""
        return self._last.get(project)

    @translated()
    def add_version(self, project: str, version: PromptVersion) -> None:
        """Kept, not active: a challenger. Adding it again changes nothing."""
        added = self._add(keys=_keys(project), args=[version.name, version.to_json(), self._most_versions])
        _check(project, version.name, added)

    @translated()
    def publish(self, project: str, version: PromptVersion, expected: str | None, *, by: str = "seed") -> bool:
        """Stores `version` and makes it the active one if the active one is still `expected` (None: there is none).

        False when another was quicker, and then nothing is stored. Publishing the active version again is True.
        """
        return self._move(project, version.name, version.to_json(), expected, by)

    @translated()
    def activate(self, project: str, name: str, *, expected: str | None, by: str) -> bool:
        """`publish` for a version that is stored already; `StoreError` where none has this name."""
        return self._move(project, name, "", expected, by)

    @translated()
    def claim(self, project: str, claim: Claim) -> str | None:
        """None where the project goes by these settings, now or from now on; else those that go before."""
        args: list[str | int] = [claim.settings, claim.rank, f"{claim.since:.6f}"]
        held = self._find_claim(keys=[project_key(project, "settings")], args=args)
        return None if held is None else as_text(held)

    @translated()
    def next_number(self, project: str) -> int:
        """From 1; no two callers get the same."""
        return int(self._client.incr(project_key(project, "number")))

    @translated()
    def version(self, project: str, name: str) -> PromptVersion | None:
        text = self._client.hget(project_key(project, "versions"), name)
        return PromptVersion.from_json(text) if text is not None else None

    @translated()
    def versions(self, project: str) -> list[Publication]:
        """Those that were ever active, the latest published first."""
        with self._client.pipeline() as pipe:
            pipe.zrevrange(project_key(project, "published"), 0, -1, withscores=True)
            pipe.hgetall(project_key(project, "versions"))
            published, texts = pipe.execute()
        return [
            Publication(PromptVersion.from_json(texts[name]), datetime.fromtimestamp(at_ms / 1000, UTC))
            for name, at_ms in published
        ]

    @translated()
    def all_versions(self, project: str) -> list[PromptVersion]:
        """Challengers that never were active too; the highest number first."""
        found = [PromptVersion.from_json(text) for text in self._client.hvals(project_key(project, "versions"))]
        return sorted(found, key=lambda version: (len(version.name), version.name), reverse=True)

    @translated()
    def activations(self, project: str) -> list[Activation]:
        """Latest first, as many as are kept."""
        return [_activation(as_text(line)) for line in self._client.lrange(project_key(project, "activations"), 0, -1)]

    def previous(self, project: str) -> str | None:
        """See the function `previous`. Three round trips."""
        active = self.active(project)
        return previous(active, self.activations(project), self.all_versions(project)) if active else None

    def _move(self, project: str, name: str, text: str, expected: str | None, by: str) -> bool:
        args: list[str | int] = [name, text, expected or "", by, self._most_versions, self._most_activations]
        return _check(project, name, self._activate(keys=_keys(project), args=args))

    def _remember(self, project: str, version: PromptVersion) -> PromptVersion:
        with self._lock:
            self._last.pop(project, None)
            self._last[project] = version
            if len(self._last) > _MOST_REMEMBERED:
                del self._last[next(iter(self._last))]
        return version

    def _forget(self, project: str) -> None:
        with self._lock:
            self._last.pop(project, None)


def previous(active: PromptVersion, activations: Sequence[Activation], stored: Sequence[PromptVersion]) -> str | None:
    """What a rollback returns to: the version that was active before, for the same labeling configuration and model;
    None where there is none. `activations`: latest first.

    Returning counts as undoing: after p1, p2, p3 and back to p2, the next one back is p1, not p3.
    """
    like = (active.config_hash, active.model)
    fit = {version.name for version in stored if (version.config_hash, version.model) == like}
    return _before(activation.version for activation in reversed(activations) if activation.version in fit)


def _keys(project: str) -> list[str]:
    return [project_key(project, what) for what in ("active", "versions", "published", "activations")]


def _check(project: str, name: str, outcome: int) -> bool:
    if outcome == _TAKEN:
        hint = "A version never changes: take the next number for the new content."
        raise StoreError(f"project {project}: {name} is stored with other content", hint=hint)
    if outcome == _UNKNOWN:
        hint = f"`whetstone prompts list {project}` names those that there are."
        raise StoreError(f"project {project} has no version {name}", hint=hint)
    return bool(outcome)


def _activation(line: str) -> Activation:
    at_ms, version, by = line.split(" ", 2)
    return Activation(version, by, datetime.fromtimestamp(float(at_ms) / 1000, UTC))


def _before(names: Iterable[str]) -> str | None:
    """`names` in the order of activation."""
    line: list[str] = []
    for name in names:
        if line[-2:-1] == [name]:
            line.pop()
        elif line[-1:] != [name]:
            line.append(name)
    return line[-2] if len(line) > 1 else None
