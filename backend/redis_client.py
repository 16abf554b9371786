"""The connection to Redis, its keys, and its errors in our words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from backend.labeling.errors import SettingsError, StoreError

_CREDENTIALS = re.compile(r"//\S*@")


def connect(url: str) -> redis.Redis:
    """Connects on first use. A lost connection is tried twice more within half a second, then the call fails."""
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=1,
            socket_timeout=5,
            health_check_interval=30,
            retry=Retry(ExponentialWithJitterBackoff(cap=0.2, base=0.02), retries=2),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            max_connections=1000,
        )
    except ValueError:
        raise SettingsError(f"REDIS_URL: {_masked(url)!r} is not an address of a Redis") from None


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
