"""Redis: reachable, writable, and keeping what it is given."""

import time
from collections.abc import Mapping
from typing import Any

from redis import Redis

from backend.diagnosis.check import Check, Section, skipped
from backend.labeling.errors import StoreError
from backend.queue.dispatch import Dispatch
from backend.settings import Settings
from backend.storage.redis_client import connect, translated

SUBJECT = "Redis"
_REST = ("writes", "persistence", "eviction", "memory", "workers")
_FULL = 0.9
_KEY = "whetstone:doctor"


def examine(settings: Settings) -> Section:
    client = connect(settings.redis_address)
    began = time.monotonic()
    try:
        info = _info(client)
    except StoreError as error:
        hint = "REDIS_URL must point at it." if settings.redis_url else "`whetstone up` starts one; or set REDIS_URL."
        failed = Check("address", "failed", str(error), hint, needed=True)
        return Section(SUBJECT, (failed, *skipped(_REST, "Redis was not reached")))
    found = f"Redis {info.get('redis_version', '?')} answers in {(time.monotonic() - began) * 1000:.0f} ms"
    return Section(
        SUBJECT,
        (
            Check("address", "ok", found, needed=True),
            _writes(client),
            persistence(info),
            eviction(info),
            memory(info),
            _workers(client),
        ),
    )


@translated()
def _info(client: Redis) -> Mapping[str, Any]:
    info: Mapping[str, Any] = client.info()
    return info


def _writes(client: Redis) -> Check:
    try:
        _write(client)
    except StoreError as error:
        hint = "REDIS_URL must point at a primary with room on its disk and in its memory."
        return Check("writes", "failed", str(error), hint, needed=True)
    return Check("writes", "ok", "taken", needed=True)


@translated()
def _write(client: Redis) -> None:
    client.set(_KEY, "1", px=1000)


def persistence(info: Mapping[str, Any]) -> Check:
    if not info.get("aof_enabled"):
        found = "no append-only file: a crash loses prompt versions and the queue"
        return Check("persistence", "warning", found, "Start Redis with `appendonly yes`.")
    if info.get("aof_last_write_status", "ok") != "ok":
        return Check("persistence", "failed", "the append-only file cannot be written", "Is Redis's disk full?")
    return Check("persistence", "ok", "append-only file")


def eviction(info: Mapping[str, Any]) -> Check:
    """Without a limit on memory nothing is evicted, whatever the policy."""
    policy = info.get("maxmemory_policy", "unknown")
    hint = "Start Redis with `maxmemory-policy noeviction`."
    if policy == "noeviction":
        return Check("eviction", "ok", "noeviction", needed=True)
    if not info.get("maxmemory"):
        return Check("eviction", "warning", f"{policy}, without effect while maxmemory is unset", hint)
    return Check("eviction", "failed", f"{policy}: the queue and what was learned may vanish", hint, needed=True)


def memory(info: Mapping[str, Any]) -> Check:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    shown = f"{used / 2**20:.1f} MB used"
    if not most:
        return Check("memory", "ok", f"{shown}, no limit")
    shown += f" of {most / 2**20:.1f} MB"
    if used < _FULL * most:
        return Check("memory", "ok", shown)
    return Check("memory", "warning", shown, "Raise maxmemory, or lower MAX_CACHED_PREDICTIONS.")


def _workers(client: Redis) -> Check:
    try:
        count = Dispatch(client).workers()
    except StoreError as error:
        return Check("workers", "warning", str(error), error.hint)
    if not count:
        hint = "Start one with `whetstone worker`, or all with `whetstone up`."
        return Check("workers", "warning", "none: nothing is labelled in the background", hint)
    return Check("workers", "ok", f"{count} on the queue `label`")
