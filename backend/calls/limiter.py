"""How many calls to the LLM may be under way at once, over all processes, and whose turn it is.

Slots are held for a batch of calls, so that a call costs no round trip. A holder asks after each call whether another
needs the slot more:

    with limiter.slots("bulk", len(tasks)) as slots:
        ...                             # slots.count calls at a time; as each one ends:
        if slots.should_yield():
            slots.release()             # one call fewer at a time; at none, slots.grow() waits
        else:
            slots.grow(len(tasks_left))
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import structlog
from redis import Redis

from backend.labeling.errors import EngineBusyError, StoreError
from backend.outage import Outage
from backend.storage import scripts
from backend.storage.redis_client import translated

Priority = Literal["live", "bulk", "optimize"]

_log = structlog.get_logger(__name__)
_RANKS = {"live": 0, "bulk": 1, "optimize": 2}
_LOOK_S = 0.05
_WAKE_S = 0.5
_EASE_S = 0.25
_DOWN_S = 1.0
_MOST_PAUSE_S = 600.0
_MOST_BLOCK_S = 0.5


class Slots(Protocol):
    """Slots of one batch, safe to use from its threads."""

    @property
    def count(self) -> int: ...

    def should_yield(self) -> bool:
        """True once for each slot to give back; cheap enough to ask after each call."""

    def release(self, n: int = 1) -> None:
        """Gives `n` back and asks for no more, until `grow`."""

    def grow(self, wanted: int) -> int:
        """How many came on top, with `wanted` useful in all. Waits only where none is held, as `Limiter.slots` does."""


class Limiter:
    """At most `most` slots, of which bulk and optimize leave one to live requests.

    With Redis away, each process counts up to `most` on its own. `lease_s` after a process died its slots come back.
    """

    def __init__(self, client: Redis, *, name: str, most: int, lease_s: float = 10.0) -> None:
        self._shared = _Shared(client, name, most, lease_s)
        self._local = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._leases: set[_Lease] = set()
        self._beater: threading.Thread | None = None
        self._successes, self._eased_at = 0, time.monotonic()

    @contextmanager
    def slots(self, priority: Priority, wanted: int, *, wait_s: float = 60.0) -> Iterator[Slots]:
        """At least one slot, at most `wanted`; raises `EngineBusyError` when none is free for `wait_s`."""
        shared = _Lease(self._shared, _RANKS[priority], wait_s)
        local = _LocalLease(self._local, self._shared.most, wait_s)
        try:
            self._keep_alive(shared)
            if shared.wait(wanted):
                yield shared
            else:
                local.grow(wanted)
                yield local
        finally:
            with self._lock:
                self._leases.discard(shared)
            shared.close()
            local.close()

    def backoff(self, retry_after_s: float | None = None) -> None:
        """The endpoint answered 429: half as many slots, and none for anyone until then (1 s where it did not say)."""
        self._shared.back_off(min(1.0 if retry_after_s is None else retry_after_s, _MOST_PAUSE_S))
        with self._lock:
            for lease in self._leases:
                lease.look_again()

    def ease(self) -> None:
        """A call succeeded: each round of as many successes as there are slots adds one, up to `most` again."""
        if not self._shared.reduced:
            return
        with self._lock:
            self._successes += 1
            if time.monotonic() - self._eased_at < _EASE_S:
                return
            successes, self._successes, self._eased_at = self._successes, 0, time.monotonic()
        self._shared.ease(successes)

    def _keep_alive(self, lease: "_Lease") -> None:
        with self._lock:
            self._leases.add(lease)
            if self._beater is None or not self._beater.is_alive():  # a fork leaves its parent's threads behind
                self._beater = threading.Thread(target=self._beat, name="limiter-heartbeat", daemon=True)
                self._beater.start()

    def _beat(self) -> None:
        """Ends when nothing is held."""
        while True:
            time.sleep(self._shared.lease_s / 3)
            with self._lock:
                leases = list(self._leases)
                if not leases:
                    self._beater = None
                    return
            for lease in leases:
                lease.renew()


class _Lease:
    def __init__(self, shared: "_Shared", rank: int, wait_s: float) -> None:
        self._shared, self._rank, self._wait_s = shared, rank, wait_s
        self._id = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._count = self._wanted = self._give = 0
        self._looked_at = self._grown_at = 0.0

    @property
    def count(self) -> int:
        return self._count

    def should_yield(self) -> bool:
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if time.monotonic() - self._looked_at >= _LOOK_S:
                self._step()
            self._give -= 1
            return self._give >= 0
        finally:
            self._lock.release()

    def release(self, n: int = 1) -> None:
        with self._lock:
            self._wanted = self._count = max(0, self._count - n)
            self._step()

    def grow(self, wanted: int) -> int:
        if not self._count:
            if not self.wait(wanted):
                self._count = self._wanted = 1  # Redis went away meanwhile: the batch goes on, one call at a time
            return self._count
        with self._lock:
            before, self._wanted = self._count, max(wanted, self._count)
            if wanted > before and time.monotonic() - self._grown_at >= _LOOK_S:
                self._grown_at = time.monotonic()
                self._step(take=True)
            return self._count - before

    def wait(self, wanted: int) -> bool:
        """False when Redis is away."""
        deadline = time.monotonic() + self._wait_s
        while True:
            with self._lock:
                self._wanted = max(1, wanted)
                pause_s = self._step(take=True)
                if pause_s is None:
                    self._wanted = 0
                    return False
                if self._count:
                    return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise _busy(self._shared.most, self._wait_s)
            self._shared.wait_for_wake(self._id, min(left_s, pause_s or _WAKE_S))

    def look_again(self) -> None:
        self._looked_at = 0.0

    def renew(self) -> None:
        with self._lock:
            if self._wanted:
                self._step()

    def close(self) -> None:
        with self._lock:
            if self._wanted:
                self._wanted = self._count = 0
                self._step()

    def _step(self, *, take: bool = False) -> float | None:
        """Seconds of a pause that are left; None when Redis is away, and then all stays as it is."""
        self._looked_at = time.monotonic()
        found = self._shared.step(self._id, self._rank, self._wanted, self._count, take=take)
        if found is None:
            return None
        self._count, self._give, pause_s = found
        return pause_s


class _LocalLease:
    def __init__(self, free: threading.Semaphore, most: int, wait_s: float) -> None:
        self._free, self._most, self._wait_s = free, most, wait_s
        self._lock = threading.Lock()
        self.count = 0

    def should_yield(self) -> bool:
        return False

    def release(self, n: int = 1) -> None:
        with self._lock:
            n = min(n, self.count)
            self.count -= n
        if n:
            self._free.release(n)

    def grow(self, wanted: int) -> int:
        with self._lock:
            before = self.count
            while self.count < max(1, wanted) and self._free.acquire(timeout=0 if self.count else self._wait_s):
                self.count += 1
            if not self.count:
                raise _busy(self._most, self._wait_s)
            return self.count - before

    def close(self) -> None:
        self.release(self.count)


class _Shared:
    """The limiter's state in Redis. None is the answer while Redis is away, which is tried again each second."""

    def __init__(self, client: Redis, name: str, most: int, lease_s: float) -> None:
        self.most, self.lease_s = most, lease_s
        self.reduced = True
        self._client = client
        self._prefix = f"whetstone:limiter:{name}:"
        self._entries, self._pace = self._prefix + "entries", self._prefix + "pace"
        self._run_step = client.register_script(scripts.STEP)
        self._run_back_off = client.register_script(scripts.BACK_OFF)
        self._run_ease = client.register_script(scripts.EASE)
        self._outage = Outage(_DOWN_S)

    def step(self, lease_id: str, rank: int, wanted: int, count: int, *, take: bool) -> tuple[int, int, float] | None:
        """Count, how many of them to give back, seconds of a pause left."""
        args: list[str | int] = [
            lease_id,
            rank,
            wanted,
            count,
            int(take),
            self.most,
            int(self.lease_s * 1e6),
            self._prefix + "wake:",
        ]
        found = self._attempt(lambda: self._run_step(keys=[self._entries, self._pace], args=args))
        if found is None:
            return None
        self.reduced = bool(found[3])
        return found[0], found[1], int(found[2]) / 1e6

    def wait_for_wake(self, lease_id: str, most_s: float) -> None:
        timeout_s = max(0.01, min(most_s, _MOST_BLOCK_S))  # 0 would block for ever
        self._attempt(lambda: self._client.blpop([f"{self._prefix}wake:{lease_id}"], timeout=timeout_s))

    def back_off(self, pause_s: float) -> None:
        self.reduced = True
        self._attempt(lambda: self._run_back_off(keys=[self._pace], args=[self.most, int(pause_s * 1e6)]))

    def ease(self, successes: int) -> None:
        self._attempt(lambda: self._run_ease(keys=[self._pace], args=[self.most, successes]))

    def _attempt(self, run: Callable[[], Any]) -> Any:
        if self._outage.is_on:
            return None
        try:
            with translated():
                found = run()
        except StoreError as error:
            if self._outage.failed():
                _log.warning(
                    "each process limits its calls to the LLM on its own until Redis is back", reason=str(error)
                )
            return None
        self._outage.passed()
        return found


def _busy(most: int, wait_s: float) -> EngineBusyError:
    error = EngineBusyError(f"no slot for a call to the LLM came free in {wait_s:g} s, of {most}")
    error.hint = "Raise LLM_CONCURRENCY if the endpoint can take more, or wait for the work under way to end."
    return error
