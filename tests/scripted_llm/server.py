"""HTTP/1.1 with keep-alive by hand, so that the server takes little of the processor that a benchmark measures."""

import asyncio
import dataclasses
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from tests.scripted_llm.script import Script
from tests.scripted_llm.service import Recorded, Reply, Service

HEAD_END = b"\r\n\r\n"
SERVERS = {"llama.cpp": "llama.cpp", "vllm": "uvicorn", "openai": "cloudflare"}
BACKLOG = 1024


class ScriptedLLM:
    """Serves from a thread between `start` and `stop`, or inside `with`; starting again takes the same port.

    Takes a whole `script`, or the fields of one. Setting `script` changes what requests from then on are answered.
    """

    def __init__(self, script: Script | None = None, *, port: int = 0, **fields: Any) -> None:
        self._service = Service(dataclasses.replace(script or Script(), **fields))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = asyncio.Event()
        self.port = port

    @property
    def base_url(self) -> str:
        """Ends in /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def requests(self) -> list[Recorded]:
        """All so far, in the order of arrival."""
        return list(self._service.recorded)

    @property
    def calls(self) -> int:
        """Requests for completions so far."""
        return self._service.calls

    @property
    def script(self) -> Script:
        return self._service.script

    @script.setter
    def script(self, script: Script) -> None:
        self._service.script = script

    def change(self, **fields: Any) -> None:
        """Replaces these fields of the script."""
        self._service.script = dataclasses.replace(self._service.script, **fields)

    def start(self) -> None:
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="scripted-llm", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Connections are cut; requests under way get no answer."""
        if self._thread and self._loop:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()
            self._loop.close()
            self._thread = self._loop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, listener: socket.socket) -> None:
        assert self._loop
        self._loop.run_until_complete(serve(self._service, listener, self._stopped))


def listen(port: int) -> socket.socket:
    """On a free port for 0. Connections wait in the backlog until they are served."""
    return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)


async def serve(service: Service, listener: socket.socket, stopped: asyncio.Event) -> None:
    """Until `stopped`; then connections are cut."""
    service.restart()
    connections: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service, connections), sock=listener, backlog=BACKLOG)
    await stopped.wait()
    server.close()
    for connection in tuple(connections):
        connection.drop()
    await server.wait_closed()
    await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One request at a time; what arrives meanwhile waits in the buffer."""

    def __init__(self, service: Service, connections: "set[_Connection]") -> None:
        self._service = service
        self._connections = connections
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._connections.discard(self)

    def drop(self) -> None:
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        head_end = self._buffer.find(HEAD_END)
        if self._busy or head_end < 0:
            return
        request_line, *lines = self._buffer[:head_end].decode("latin-1").split("\r\n")
        headers = _headers(lines)
        body_start = head_end + len(HEAD_END)
        body_end = body_start + int(headers.get("content-length", 0))
        if len(self._buffer) < body_end:
            return
        body, self._buffer = self._buffer[body_start:body_end], self._buffer[body_end:]
        method, target, _ = request_line.split(" ", 2)
        self._busy = True
        self._service.serve(method, target, headers, body, self._answered)

    def _answered(self, reply: Reply | None) -> None:
        self._busy = False
        if self._transport is None:
            return
        if reply is None:
            self.drop()
            return
        self._transport.write(_render(reply, SERVERS[self._service.script.dialect]))
        self._next()


def _headers(lines: list[str]) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


def _render(reply: Reply, server: str) -> bytes:
    lines = [
        f"HTTP/1.1 {int(reply.status)} {HTTPStatus(reply.status).phrase}",
        f"Server: {server}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        f"Content-Length: {len(reply.body)}",
    ]
    return "\r\n".join(lines).encode("latin-1") + HEAD_END + reply.body
