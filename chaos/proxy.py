"""A fault-injecting proxy in front of a server: errors, garbage, silence, lost responses."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: Faults of a call, and what the caller sees.
BREAKS = {
    "429": "the call does not arrive; too many requests",
    "500": "the call does not arrive; internal error",
    "503": "the call does not arrive; unavailable",
    "garbage": "the call does not arrive; HTML with status 200",
    "cut before": "the call does not arrive; the connection closes",
    "cut after": "the call arrives; the connection closes before the answer",
    "hang": "the call arrives late",
}
HANG_SECONDS = 5.0
DROPPED = {"connection", "transfer-encoding", "content-length", "keep-alive"}
#: Status, headers and content.
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Break:
    """How the next calls fail."""

    kind: str
    calls: int


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards calls to ``target``.

    ``calls`` are the methods and targets of the received calls, ``broken`` counts those that
    failed since `break_next`.
    """

    def __init__(self) -> None:
        self.target = ""
        self.calls: list[tuple[str, str]] = []
        self.broken = 0
        self._break: Break | None = None
        self._lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy.forward(self)
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def break_next(self, kind: str, calls: int) -> None:
        """Make the next calls fail."""
        with self._lock:
            self._break = Break(kind, calls)
            self.broken = 0

    def repair(self) -> None:
        """Let all calls succeed."""
        with self._lock:
            self._break = None

    def _next(self) -> str | None:
        with self._lock:
            if self._break is None:
                return None
            self._break.calls -= 1
            self.broken += 1
            kind = self._break.kind
            if self._break.calls <= 0:
                self._break = None
            return kind

    def forward(self, call: http.server.BaseHTTPRequestHandler) -> None:
        """Forward one call, or inject a fault."""
        body = self._body(call)
        self.calls.append((call.command, call.path))
        kind = self._next()
        if kind in {"429", "500", "503"}:
            self._answer(call, int(kind), {}, b"<html>out of order</html>")
            return
        if kind == "garbage":
            self._answer(call, 200, {"Content-Type": "text/html"}, b"<html>hello</html>")
            return
        if kind == "cut before":
            call.close_connection = True
            return
        if kind == "hang":
            time.sleep(HANG_SECONDS)
        try:
            status, headers, content = self.call(
                call.command, call.path, call.headers.items(), body
            )
        except (OSError, http.client.HTTPException):
            call.close_connection = True
            return
        if kind == "cut after":
            call.close_connection = True
            return
        self._answer(call, status, headers, content)

    def call(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Answer:
        """Call the server and return the response to forward.

        Raises
        ------
        OSError, http.client.HTTPException
            The server does not respond.
        """
        where = urlsplit(self.target)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=120)
        try:
            sent = {key: value for key, value in headers if key.lower() != "host"}
            connection.request(method, path, body, sent | {"Host": where.netloc})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        kept = {key: value for key, value in answer.getheaders() if key.lower() not in DROPPED}
        if "Location" in kept:  # of a resumable upload's session
            kept["Location"] = kept["Location"].replace(self.target, self.url)
        return answer.status, kept, content

    @staticmethod
    def _body(call: http.server.BaseHTTPRequestHandler) -> bytes:
        if call.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(call.rfile.readline().split(b";")[0], 16):
                parts.append(call.rfile.read(size))
                call.rfile.readline()
            call.rfile.readline()
            del call.headers["Transfer-Encoding"]
            return b"".join(parts)
        return call.rfile.read(int(call.headers.get("Content-Length") or 0))

    @staticmethod
    def _answer(
        call: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        call.send_response(status)
        for key, value in headers.items():
            call.send_header(key, value)
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        if call.command != "HEAD":
            call.wfile.write(body)
