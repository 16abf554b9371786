"""A real Label Studio on this machine, for the demo and the end-to-end tests."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from backend.label_studio import LabelStudioClient
from backend.labeling.errors import LabelStudioError
from demo.label_studio_environment import (
    DATABASE,
    LabelStudioEnvironment,
    LabelStudioServerError,
    Progress,
    settings,
    silent,
    tail,
    waiting,
)

START_S = 300.0
STOP_S = 10.0
PORT_ATTEMPTS = 3
_STRICT = {"fflag_feat_utc_210_prediction_validation_15082025": "true"}


class PortTakenError(LabelStudioServerError):
    hint = "Name another port."


class LabelStudioServer:
    """Runs inside `with`. What is in `data_dir`, the user and its keys included, is there again the next time.

    `strict` has Label Studio refuse predictions that do not fit the labeling configuration. `extra` are further
    settings of its environment. Port 0 takes a free one.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        strict: bool = False,
        extra: Mapping[str, str] | None = None,
        environment: LabelStudioEnvironment | None = None,
        on_progress: Progress = silent,
    ) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "label-studio.log"
        self._wanted_port = port
        self._extra = {**(_STRICT if strict else {}), **(extra or {})}
        self._environment = environment or LabelStudioEnvironment()
        self._on_progress = on_progress
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> str:
        return self._account()["login"]

    @property
    def password(self) -> str:
        return self._account()["password"]

    @property
    def token(self) -> str:
        """The user's legacy token."""
        return self._account()["token"]

    def personal_token(self) -> str:
        """Label Studio shows one only when it makes it, so it is kept with the data."""
        account = self._account()
        if "personal_token" not in account:
            headers = {"Authorization": f"Token {self.token}"}
            answer = httpx.post(f"{self.url}/api/token/", headers=headers, timeout=60).raise_for_status()
            account["personal_token"] = str(answer.json()["token"])
            self._keep(account)
        return account["personal_token"]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._environment.prepare(self._on_progress)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if not (self.data_dir / DATABASE).exists():
            shutil.copyfile(self._environment.empty_database, self.data_dir / DATABASE)
        attempts = 1 if self._wanted_port else PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            self.port = self._wanted_port or _free_port()
            try:
                self._start_once()
            except PortTakenError:
                if attempt == attempts:
                    raise
            else:
                return

    def stop(self) -> None:
        """With everything it started; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start_once(self) -> None:
        command = [str(self._environment.program), "start", "--no-browser"]
        command += ["--internal-host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**settings(self.data_dir), **self._account_settings(), **self._extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_up(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        for _ in waiting(self._on_progress, "Label Studio is starting", START_S):
            if process.poll() is not None:
                message = f"Label Studio ended with exit code {process.returncode}"
                raise LabelStudioServerError(f"{message}, see {self.log}:\n{tail(self.log)}")
            if f"Port {self.port} is in use" in self.log.read_text(errors="replace"):  # it would take the next one
                raise PortTakenError(f"port {self.port} is taken, so Label Studio cannot listen there")
            if self._is_up():
                return
        raise LabelStudioServerError(f"Label Studio was not up in {START_S:g} s, see {self.log}:\n{tail(self.log)}")

    def _is_up(self) -> bool:
        """Up, and this one: another process on the port does not know the token."""
        try:
            health = httpx.get(f"{self.url}/health", timeout=5)
            return health.is_success and LabelStudioClient(self.url, self.token, retries=0).whoami() == self.login
        except (httpx.HTTPError, LabelStudioError):
            return False

    def _account_settings(self) -> dict[str, str]:
        account = self._account()
        return {
            "LABEL_STUDIO_USERNAME": account["login"],
            "LABEL_STUDIO_PASSWORD": account["password"],
            "LABEL_STUDIO_USER_TOKEN": account["token"],
        }

    def _account(self) -> dict[str, str]:
        """Made with the data: Label Studio takes login, password and token for its first start only."""
        path = self.data_dir / "account.json"
        if path.exists():
            return {str(name): str(value) for name, value in json.loads(path.read_text()).items()}
        account = {
            "login": "admin@example.com",
            "password": secrets.token_urlsafe(9),
            "token": secrets.token_hex(20),
        }
        self._keep(account)
        return account

    def _keep(self, account: Mapping[str, str]) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        path = self.data_dir / "account.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(account))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
