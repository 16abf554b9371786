"""A wire between a process and Redis that is cut when a command has been carried out and before it is answered."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

Command = list[bytes]
Matches = Callable[[Command], bool]

CHUNK = 65536


def runs_script(script: str, containing: bytes = b"") -> Matches:
    """A Lua script of ours, by its digest, with `containing` somewhere in its arguments."""
    digest = hashlib.sha1(script.encode()).hexdigest().encode()  # noqa: S324 - Redis's own name for it
    return lambda command: (
        command[0].upper() == b"EVALSHA" and command[1] == digest and any(containing in each for each in command[2:])
    )


def sets(key: str) -> Matches:
    """Alone or among others: of several it must stand first."""
    return lambda command: command[0].upper() in {b"SET", b"MSET"} and command[1] == key.encode()


class RedisProxy:
    """Serves inside `with`. The first command that matches and succeeds sets `struck`: from then on no connection
    carries anything, so that whoever sent it stands still."""

    def __init__(self, url: str, matches: Matches) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 6379)
        self._matches = matches
        self.struck = threading.Event()
        self._over = threading.Event()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                due = threading.Event()
                for pump in (self._forth, self._back):
                    threading.Thread(target=pump, args=(client, server, due), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket, due: threading.Event) -> None:
        with suppress(OSError), server:
            for command, raw in commands(client):
                if self._matches(command):
                    due.set()
                if self.struck.is_set():
                    self._over.wait()
                    return
                server.sendall(raw)

    def _back(self, client: socket.socket, server: socket.socket, due: threading.Event) -> None:
        """An answer that begins with a minus is a refusal: an unknown script is sent whole and asked for again."""
        with suppress(OSError), client:
            while answer := server.recv(CHUNK):
                if due.is_set() and not answer.startswith(b"-"):
                    self.struck.set()
                if self.struck.is_set():
                    self._over.wait()
                    return
                due.clear()
                client.sendall(answer)


def commands(client: socket.socket) -> Iterator[tuple[Command, bytes]]:
    """Each command with its bytes, until the connection ends."""
    with client.makefile("rb") as stream:
        while head := stream.readline():
            raw, command = [head], []
            for _ in range(int(head[1:])):
                length = stream.readline()
                body = stream.read(int(length[1:]) + 2)
                raw += [length, body]
                command.append(body[:-2])
            yield command, b"".join(raw)
