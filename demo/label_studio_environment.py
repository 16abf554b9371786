"""Label Studio installed in an environment of its own, with a migrated, empty database to start from."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from backend.labeling.errors import WhetstoneError

Progress = Callable[[str], None]

ROOT = Path(__file__).resolve().parents[1]
LOCK_FILE = ROOT / "requirements" / "label-studio.txt"
FOLDER = ROOT / ".label-studio"
DATABASE = "label_studio.sqlite3"
INSTALL_S = 1800.0
_POLL_S = 0.2
_PROGRESS_S = 5.0
_LOG_TAIL_LINES = 25
# Label Studio reads every setting by its bare name too, so a stray HOST, PORT, DEBUG, CI or PASSWORD would count.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_SETTINGS = {
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LOG_LEVEL": "INFO",
    "PYTHONUNBUFFERED": "1",
}


class LabelStudioServerError(WhetstoneError):
    """It cannot be installed or started; the message ends with the tail of the log."""

    exit_code = 3
    hint = "The log named above says why."


def silent(_text: str) -> None:
    """Progress that nobody watches."""


class LabelStudioEnvironment:
    """The installed Label Studio and a migrated, empty database; both are kept until the lock file changes."""

    def __init__(self, home: Path = FOLDER, *, uv: Path | None = None, lock_file: Path = LOCK_FILE) -> None:
        self.home = home
        self.log = home / "install.log"
        self._uv = uv
        self._lock_file = lock_file
        self._lock_hash = hashlib.sha256(lock_file.read_bytes()).hexdigest()[:16]

    @property
    def program(self) -> Path:
        return self.home / "venv" / "bin" / "label-studio"

    @property
    def empty_database(self) -> Path:
        return self.home / f"empty-{self._lock_hash}.sqlite3"

    def prepare(self, on_progress: Progress = silent) -> None:
        """Seconds when all is there; else minutes, once. Processes that come at the same time wait for the first."""
        self.home.mkdir(parents=True, exist_ok=True)
        with _locked(self.home / "lock"):
            stamp = self.home / "venv" / ".installed"
            if not stamp.exists() or stamp.read_text() != self._lock_hash:
                self._install(on_progress)
                stamp.write_text(self._lock_hash)
            if not self.empty_database.exists():
                self._migrate(on_progress)

    def _install(self, on_progress: Progress) -> None:
        uv, venv = str(self._uv or find_uv()), str(self.home / "venv")
        text = "Installing Label Studio (800 MB, once)"
        self._run([uv, "venv", "--clear", "--python", sys.executable, venv], dict(os.environ), on_progress, text)
        sync = [uv, "pip", "sync", "--require-hashes", "--python", f"{venv}/bin/python", str(self._lock_file)]
        self._run(sync, dict(os.environ), on_progress, text)

    def _migrate(self, on_progress: Progress) -> None:
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            # Every command migrates first; this one then only prints.
            command = [str(self.program), "version"]
            self._run(command, settings(Path(folder)), on_progress, "Making Label Studio's database (once)")
            (Path(folder) / DATABASE).replace(self.empty_database)

    def _run(self, command: Sequence[str], env: Mapping[str, str], on_progress: Progress, text: str) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            for _ in waiting(on_progress, text, INSTALL_S):
                if process.poll() is not None:
                    break
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise LabelStudioServerError(f"{text} failed ({command[0]}), see {self.log}:\n{tail(self.log)}")


def settings(data_dir: Path) -> dict[str, str]:
    """The whole environment Label Studio gets."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, **_SETTINGS, "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir)}


def find_uv() -> Path:
    for candidate in (ROOT / ".uv" / "bin" / "uv", Path(sys.executable).with_name("uv")):
        if candidate.exists():
            return candidate
    found = shutil.which("uv")
    if not found:
        raise LabelStudioServerError("there is no uv to install Label Studio with", hint="`make setup` brings one.")
    return Path(found)


def waiting(on_progress: Progress, text: str, limit_s: float) -> Iterator[None]:
    """Until `limit_s` is over, telling every few seconds how long it has been."""
    started = told = time.monotonic()
    on_progress(text)
    while (now := time.monotonic()) - started < limit_s:
        if now - told >= _PROGRESS_S:
            on_progress(f"{text}: {now - started:.0f} s")
            told = now
        yield
        time.sleep(_POLL_S)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
