"""One run a project at a time, over all workers: a lock with a heartbeat, and a word to the run to stop.

with run_lock(client, project) as lock:
    ...
    lock.check()                    # between steps: raises when the lock was lost meanwhile
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from redis import Redis

from backend.labeling.errors import StoreError, WhetstoneError
from backend.storage.redis_client import as_text, project_key, translated

_log = structlog.get_logger(__name__)
_CANCEL_TTL_S = 24 * 3600

# KEYS[1] the lock
# ARGV[1] the holder's token, ARGV[2] milliseconds to hold it
# Returns 1 when it is the holder's now, or still.
_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS[1] the lock
# ARGV[1] the holder's token: another's lock is left alone
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""


class RunningError(WhetstoneError):
    """Another run of the project is under way."""

    retryable = True
    hint = "Wait for it, or end it with `whetstone jobs cancel`."


class LockLostError(WhetstoneError):
    """Redis was away for too long, or another worker took the run over: this one must not go on."""

    retryable = True
    hint = "The run begins again by itself, and pays only for what is new."


class Lock:
    """Held until its heartbeat stops for `ttl_s`; `check` is cheap and asks nobody."""

    def __init__(self, client: Redis, project: str, *, ttl_s: float) -> None:
        self._project = project
        self._key = _lock_key(project)
        self._token = uuid.uuid4().hex
        self._ttl_s = ttl_s
        self._acquire = client.register_script(_ACQUIRE)
        self._release = client.register_script(_RELEASE)
        self._over = threading.Event()
        self._taken = False
        self._renewed_at = 0.0
        self._thread = threading.Thread(target=self._beat, name=f"lock {project}", daemon=True)

    def take(self) -> None:
        """Raises `RunningError` when another holds it."""
        if not self._renew():
            raise RunningError(f"project {self._project}: a run is under way")
        self._thread.start()

    def check(self) -> None:
        """Raises `LockLostError`."""
        if self._taken:
            raise LockLostError(f"project {self._project}: another worker took the run over")
        if time.monotonic() - self._renewed_at > self._ttl_s:
            raise LockLostError(f"project {self._project}: Redis was away for more than {self._ttl_s:.0f} s")

    def give_back(self) -> None:
        """With Redis away the lock lapses by itself."""
        self._over.set()
        self._thread.join()
        with suppress(StoreError), translated():
            self._release(keys=[self._key], args=[self._token])

    def _beat(self) -> None:
        while not self._over.wait(self._ttl_s / 3):
            try:
                self._taken = not self._renew()
            except StoreError as error:
                _log.warning("the run's lock could not be renewed", project=self._project, reason=str(error))
                continue
            if self._taken:
                return

    def _renew(self) -> bool:
        """Counted from before the question, since the answer may be late. A lock that lapsed, by a restart of Redis or
        a clock that jumped, is taken again where nobody else took it."""
        began = time.monotonic()
        with translated():
            held = bool(self._acquire(keys=[self._key], args=[self._token, int(self._ttl_s * 1000)]))
        self._renewed_at = began if held else self._renewed_at
        return held


@contextmanager
def run_lock(client: Redis, project: str, *, ttl_s: float = 60) -> Iterator[Lock]:
    """Raises `RunningError` when another run of the project is under way. A worker that died holds it for `ttl_s`."""
    lock = Lock(client, project, ttl_s=ttl_s)
    lock.take()
    try:
        yield lock
    finally:
        lock.give_back()


@translated()
def cancel(client: Redis, project: str, revision: int) -> bool:
    """The run under way is told to stop, and so is each that works on what was asked up to `revision`: that of a worker
    which takes over from one that died. False when none is under way."""
    token = client.get(_lock_key(project))
    client.set(_cancel_key(project), f"{revision} {as_text(token or b'')}", ex=_CANCEL_TTL_S)
    return token is not None


@translated()
def is_canceled(client: Redis, project: str, revision: int | None = None) -> bool:
    """Of the run under way, which works on what was asked up to `revision`; None where no job asked for it."""
    token, canceled = client.mget(_lock_key(project), _cancel_key(project))
    last, told = _canceled(canceled)
    return (token is not None and as_text(token) == told) or (revision is not None and revision <= last)


@translated()
def canceled_up_to(client: Redis, project: str) -> int:
    """The last revision of what was asked and is not to be begun any more; -1 where nothing was canceled lately."""
    return _canceled(client.get(_cancel_key(project)))[0]


@translated()
def is_running(client: Redis, project: str) -> bool:
    return bool(client.exists(_lock_key(project)))


@translated()
def turn(client: Redis, name: str, *, ttl_s: float) -> bool:
    """True for one caller of many in each `ttl_s`."""
    return bool(client.set(f"whetstone:turn:{name}", 1, nx=True, px=int(ttl_s * 1000)))


def _canceled(stored: bytes | str | None) -> tuple[int, str]:
    """The revision, and the holder that was told."""
    last, _, told = as_text(stored).partition(" ") if stored is not None else ("-1", "", "")
    return int(last), told


def _lock_key(project: str) -> str:
    return project_key(project, "run:lock")


def _cancel_key(project: str) -> str:
    return project_key(project, "run:cancel")
