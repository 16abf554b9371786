"""An HTTP server on loopback that answers what a test wrote down, and remembers what it was asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is sent as JSON unless it is a string, which goes out as HTML."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class LoopbackServer:
    """`answers` maps "METHOD /path" to the answers to give in turn, the last one again and again; else 404."""

    def __init__(self, answers: Mapping[str, Answer | list[Answer]] | None = None) -> None:
        self.answers = {
            route: [given] if isinstance(given, Answer) else given for route, given in (answers or {}).items()
        }
        self.asked: list[Asked] = []
        self.silent = Event()
        self._over = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(server: Self) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                path = self.path.partition("?")[0]
                server.asked.append(Asked(self.command, self.path, self.headers, json.loads(body) if body else None))
                if server.silent.is_set():
                    server._over.wait()
                    return
                queue = server.answers.get(f"{self.command} {path}", [Answer(404, {"detail": "Not found."})])
                self._send(queue.pop(0) if len(queue) > 1 else queue[0])

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def _send(self, answer: Answer) -> None:
                is_html = isinstance(answer.body, str)
                content = (answer.body if is_html else json.dumps(answer.body)).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", "text/html" if is_html else "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
