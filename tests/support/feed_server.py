"""The web server of a vendor's status feed, on loopback, over TLS or not; it says what a test wants, path by path.

It runs in threads of its own, so that tests without an event loop may use it too.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from mailprobe.lab.certificates import CertificateFiles

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Say:
    """An answer. `times`: the body is sent so often; `length`: whether its length is said before; `stalls`: never."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    length: bool = True
    stalls: bool = False


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    headers: Mapping[str, str]


class FeedServer:
    """`answers` by path; what has an ETag or Last-Modified is answered with 304 to whoever knows it."""

    def __init__(self, files: CertificateFiles | None = None) -> None:
        self.answers: dict[str, Say] = {}
        self.asked: list[Asked] = []
        self.sent = 0
        """Bytes of bodies that went out."""
        self._ending = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        if files:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.url = f"{'https' if files else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> FeedServer:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answers nobody any more; may be called twice."""
        self._ending.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        self.asked.append(Asked(handler.path, dict(handler.headers.items())))
        say = self.answers.get(handler.path, Say(b"not found", 404))
        if say.stalls:
            self._ending.wait(30)
            return
        if say.status == 200 and _is_known(say, handler.headers):
            say = Say(status=304)
        handler.send_response_only(say.status)
        for name, value in say.headers.items():
            handler.send_header(name, value)
        if say.length:
            handler.send_header("Content-Length", str(len(say.body) * say.times))
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(say.times):
            handler.wfile.write(say.body)
            self.sent += len(say.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are what these tests are about."""


def _handler_for(server: FeedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _is_known(say: Say, asked: Any) -> bool:
    pairs = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))
    return any(say.headers.get(has) and say.headers[has] == asked.get(knows) for has, knows in pairs)
