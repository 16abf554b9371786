"""Figures over all processes for /metrics: counts and durations, added up in Redis.

A figure is never worth a request: with Redis down it is dropped, with one warning an outage.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import structlog
from redis import Redis

from backend.labeling.errors import StoreError
from backend.outage import Outage
from backend.storage.redis_client import translated

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 80.0)

_log = structlog.get_logger(__name__)
_COUNTS = "whetstone:counts"
_DURATIONS = "whetstone:durations"
_MUTE_S = 5.0
_ABOVE_ALL = "+Inf"
_LIMITS = (*map(str, BUCKETS_S), _ABOVE_ALL)


@dataclass(frozen=True, slots=True)
class Count:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """`buckets`: upper bounds in seconds, the last "+Inf", each with the number of durations at or below it."""

    name: str
    buckets: tuple[tuple[str, float], ...]
    sum_s: float


class Counters:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._outage = Outage(_MUTE_S)

    def count(self, name: str, labels: Mapping[str, str] | None = None, amount: float = 1) -> None:
        """Never raises."""
        self.count_many([Count(name, labels or {}, amount)])

    def count_many(self, counts: Iterable[Count]) -> None:
        """One round trip; never raises."""
        amounts: dict[tuple[Any, ...], float] = defaultdict(float)
        for count in counts:
            amounts[count.name, tuple(sorted(count.labels.items()))] += count.value
        self._add(_COUNTS, amounts)

    def observe(self, name: str, *durations_s: float) -> None:
        """One round trip for all durations; never raises."""
        amounts: dict[tuple[Any, ...], float] = defaultdict(float)
        for duration_s in durations_s:
            amounts[name, _LIMITS[bisect_left(BUCKETS_S, duration_s)]] += 1
            amounts[name, "sum"] += duration_s
        self._add(_DURATIONS, amounts)

    @translated()
    def counts(self) -> list[Count]:
        """Sorted by name, then labels."""
        stored = self._client.hgetall(_COUNTS)
        rows = sorted((json.loads(name), float(value)) for name, value in stored.items())
        return [Count(name, dict(labels), value) for (name, labels), value in rows]

    @translated()
    def histograms(self) -> list[Histogram]:
        """Sorted by name."""
        durations: dict[str, dict[str, float]] = defaultdict(dict)
        for field_name, value in self._client.hgetall(_DURATIONS).items():
            name, limit = json.loads(field_name)
            durations[name][limit] = float(value)
        return [_histogram(name, durations[name]) for name in sorted(durations)]

    def _add(self, key: str, amounts: Mapping[tuple[Any, ...], float]) -> None:
        if not amounts or self._outage.is_on:
            return
        try:
            self._send(key, amounts)
        except StoreError as error:
            if self._outage.failed():
                _log.warning("figures for /metrics are dropped until Redis is back", reason=str(error))
        else:
            self._outage.passed()

    @translated()
    def _send(self, key: str, amounts: Mapping[tuple[Any, ...], float]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for parts, amount in amounts.items():
                pipe.hincrbyfloat(key, json.dumps(parts), amount)
            pipe.execute()


def _histogram(name: str, stored: Mapping[str, float]) -> Histogram:
    cumulative = accumulate(stored.get(limit, 0.0) for limit in _LIMITS)
    return Histogram(name, tuple(zip(_LIMITS, cumulative, strict=True)), stored.get("sum", 0.0))
