"""The connection to Redis, its keys, and its errors in our words."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from redis.backoff import AbstractBackoff, ExponentialWithJitterBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from backend.labeling.errors import SettingsError, StoreError
from backend.outage import Outage

_CREDENTIALS = re.compile(r"//\S*@")
_ANSWER_S = 5.0
# Label Studio waits 3 s for the whole of /setup.
_HURRIED_S = 1.0
_HANGS_S = 5.0

_T = TypeVar("_T")


def connect(url: str, *, hurried: bool = False) -> redis.Redis:
    """Connects on first use. A lost connection is tried twice more within half a second, then the call fails.

    `hurried`, for requests that a person waits for: a Redis that does not answer within 1 s is not asked again for 5 s,
    by any thread; commands fail at once. Nothing may block for as long as that then.
    """
    backoff = ExponentialWithJitterBackoff(cap=0.2, base=0.02)
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=1,
            socket_timeout=_HURRIED_S if hurried else _ANSWER_S,
            health_check_interval=30,
            retry=_HurriedRetry(backoff, retries=2) if hurried else Retry(backoff, retries=2),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            max_connections=1000,
        )
    except ValueError:
        raise SettingsError(f"REDIS_URL: {_masked(url)!r} is not an address of a Redis") from None


class _HurriedRetry(Retry):
    """redis-py connects, pings and sends every command through this. Tries lost connections again, and no timeout."""

    def __init__(self, backoff: AbstractBackoff, retries: int) -> None:
        super().__init__(backoff, retries)
        self._outage = Outage(_HANGS_S)

    def call_with_retry(
        self,
        do: Callable[[], _T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _T:
        if self._outage.is_on:
            raise redis.TimeoutError(f"it did not answer in time less than {_HANGS_S:g} s ago")

        def is_worth_it(error: Exception) -> bool:
            return not isinstance(error, redis.TimeoutError) and (is_retryable is None or is_retryable(error))

        try:
            return super().call_with_retry(do, fail, is_worth_it, with_failure_count)
        except redis.TimeoutError:
            if not self._outage.is_on:  # else a call within this one was refused, or another thread told of it
                self._outage.failed()
            raise


@contextmanager
def translated() -> Iterator[None]:
    """Redis's errors as `StoreError`, with neither the address's password nor the values that were to be stored."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreError(f"Redis cannot be reached: {_reason(error)}") from None
    except redis.RedisError as error:
        raise StoreError(f"Redis refused a command: {_reason(error)}") from None


def project_key(project: str, what: str) -> str:
    """`Store.forget_project` deletes all of these."""
    return f"whetstone:project:{project}:{what}"


def as_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _reason(error: redis.RedisError) -> str:
    """A pipeline's error quotes the command with its values before it says what was wrong."""
    return _masked(str(error).rpartition("of pipeline caused error: ")[2]) or type(error).__name__


def _masked(text: str) -> str:
    return _CREDENTIALS.sub("//***@", text)
