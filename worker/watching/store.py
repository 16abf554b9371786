"""What a project's watch remembers from one day to the next, in Redis."""

from pydantic import TypeAdapter
from redis import Redis

from backend.storage.redis_client import project_key, translated
from worker.watching.canary import Baseline, Frozen
from worker.watching.drift import Reference

_KEPT_S = 400 * 24 * 3600


_REFERENCE = TypeAdapter(Reference)
_FROZEN = TypeAdapter(Frozen)
_BASELINE = TypeAdapter(Baseline)


class DriftStore:
    """Raises `StoreError` only. `Store.forget_project` forgets this too."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @translated()
    def reference(self, project: str, version: str) -> Reference:
        """An empty one for a version that is new."""
        text = self._client.get(project_key(project, f"drift:{version}"))
        return Reference() if text is None else _REFERENCE.validate_json(text)

    @translated()
    def keep_reference(self, project: str, version: str, reference: Reference) -> None:
        self._client.set(project_key(project, f"drift:{version}"), _REFERENCE.dump_json(reference), ex=_KEPT_S)

    @translated()
    def frozen(self, project: str) -> Frozen | None:
        text = self._client.get(project_key(project, "canary:tasks"))
        return None if text is None else _FROZEN.validate_json(text)

    @translated()
    def freeze(self, project: str, tasks: Frozen) -> None:
        self._client.set(project_key(project, "canary:tasks"), _FROZEN.dump_json(tasks))

    @translated()
    def baseline(self, project: str) -> Baseline | None:
        """Of the version that was asked last."""
        text = self._client.get(project_key(project, "canary"))
        return None if text is None else _BASELINE.validate_json(text)

    @translated()
    def keep_baseline(self, project: str, baseline: Baseline) -> None:
        self._client.set(project_key(project, "canary"), _BASELINE.dump_json(baseline))
