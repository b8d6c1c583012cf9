"""A DASHER stand-in on 127.0.0.1, for tests: the protocol, the tokens and, on demand, faults.

As a fixture: ``dasher`` (tests/conftest.py). As a process, which needs only Python, prints
its port and writes a token file::

    python -m testing.dasher_standin --port 0 --secrets FILE

Restarted with the same file after a kill, it knows the tokens in it and returns the same
codes as before. Faults are scripted from outside with ``POST /control/faults``, a JSON object
``{"where": "uid" or "token", "faults": [{"kind": "status", "status": 503}, ...]}``; each is
used once. ``POST /control/expire`` expires the access token; ``GET /control/seen``
lists the received calls.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

BASE = "/identifiers/api"
TOKEN_PATH = "/token"
HOME = ZoneInfo("America/Los_Angeles")
TOKEN_SECONDS = 24 * 3600
MOST_ITEMS = 1000

_UID_PATH = re.compile(rf"{BASE}/v1/uid/([a-z0-9_-]+)")
_ID = re.compile(r"[A-Za-z0-9_-]+")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass
class Fault:
    """One fault, used once.

    ``kind`` is one of

    - ``status``: ``status``, ``headers`` and ``body``;
    - ``html``, ``empty``, ``text`` (``body``): with 200;
    - ``redirect``: ``status``, to ``to``;
    - ``slow``: a valid response after ``seconds``; ``stall``: none after ``seconds``;
    - ``drip``: a valid response, one byte each ``seconds``;
    - ``drop``: the connection is closed; ``short``: closed in mid-response;
    - ``endless``: a response without end;
    - ``set``: a valid response with ``value`` at ``where`` (a list of keys); ``remove``: one
      without that key; ``change``: one passed to ``change`` (in-process only).
    """

    kind: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    to: str = ""
    seconds: float = 0.0
    where: list[str | int] = field(default_factory=list)
    value: Any = None
    change: Callable[[dict[str, Any]], Any] | None = None


@dataclass
class Seen:
    """One received call."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


class DasherStandin:
    """The service: state, rules and the HTTP server around them."""

    def __init__(self, port: int = 0) -> None:
        self.lock = threading.RLock()
        self.seen: list[Seen] = []
        self.faults: dict[str, deque[Fault]] = {"uid": deque(), "token": deque()}
        self.known: dict[str, tuple[str, int]] = {}
        self.forbidden_studies: set[str] = set()
        self.refreshes = 0
        self.access = self.refresh = ""
        self.expires = 0.0
        self.rotate()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True

    # --- running ---------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base(self) -> str:
        return self.root + BASE

    def start(self) -> None:
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- tokens ----------------------------------------------------------------------------

    def rotate(self) -> None:
        with self.lock:
            self.access, self.refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
            self.expires = time.time() + TOKEN_SECONDS

    def expire(self) -> None:
        self.expires = 0.0

    def token_file(self) -> dict[str, str]:
        return {
            "accessToken": self.access,
            "client_id": "stand-in",
            "refreshToken": self.refresh,
            "token_uri": self.root + TOKEN_PATH,
        }

    def write_tokens(self, path: Path) -> Path:
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(self.token_file(), file)
        return path

    def know_tokens(self, path: Path) -> None:
        content = json.loads(path.read_text())
        self.access, self.refresh = content["accessToken"], content["refreshToken"]

    # --- responses -----------------------------------------------------------------------

    def script(self, *faults: Fault, where: str = "uid") -> None:
        """Make the next calls fail, one fault each."""
        self.faults[where].extend(faults)

    def next_fault(self, where: str) -> Fault | None:
        with self.lock:
            return self.faults[where].popleft() if self.faults[where] else None

    def calls(self, path: str = "/v1/uid/") -> list[Seen]:
        return [call for call in self.seen if path in call.path]

    def answer_token(self, body: str) -> tuple[int, Any]:
        try:
            given = json.loads(body)["refreshToken"]
        except (ValueError, KeyError, TypeError):
            return 400, {"error": "refreshToken is missing"}
        with self.lock:
            if given != self.refresh:
                return 401, {"error": "refresh token is not valid"}
            self.rotate()
            self.refreshes += 1
            return 200, {"accessToken": self.access, "refreshToken": self.refresh}

    def answer_uid(self, study: str, headers: dict[str, str], body: str) -> tuple[int, Any]:
        with self.lock:
            known = headers.get("Authorization") == f"Bearer {self.access}"
            if not known or time.time() >= self.expires:
                return 401, {"error": "token is not valid, or not any more"}
        if study in self.forbidden_studies:
            return 403, {"error": "no right to this study"}
        if headers.get("Content-Type") != "application/json":
            return 415, {"error": "application/json only"}
        try:
            entities = json.loads(body)["identifiers"]
            if not entities:
                return 400, {"error": "no identifiers"}
            results = [self._entity(study, entity) for entity in entities]
        except (ValueError, KeyError, TypeError) as error:
            # Like many services, it quotes what it rejects.
            return 400, {"error": f"bad request: {error!r}: {body}"}
        return 200, {"results": results}

    def _entity(self, study: str, entity: dict[str, Any]) -> dict[str, Any]:
        items = entity["items"]
        if not isinstance(items, list) or not 1 <= len(items) <= MOST_ITEMS:
            raise ValueError("items")
        jitter = self.jitter(study, entity["id"])
        coded = self._coded(study, entity, jitter, entity["id"])
        return {
            **coded,
            "items": [self._coded(study, item, jitter, entity["id"]) for item in items],
        }

    def _coded(self, study: str, sent: dict[str, Any], jitter: int, patient: str) -> dict[str, Any]:
        if not isinstance(sent["id"], str) or not _ID.fullmatch(sent["id"]):
            raise ValueError("id")
        if not isinstance(sent["id_source"], str) or not sent["id_source"]:
            raise ValueError("id_source")
        stamp = sent.get("id_timestamp")
        if stamp is None:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not _TIMESTAMP.fullmatch(stamp):
            raise ValueError("id_timestamp")
        # The wall clock plus the jitter, with Stanford's UTC offset on that day.
        moment = datetime.fromisoformat(stamp[:-1]) + timedelta(days=jitter)
        return {
            "id": sent["id"],
            "id_source": sent["id_source"],
            "suid": self.suid(study, patient, sent),
            "jitter": jitter,
            "jittered_timestamp": moment.isoformat() + moment.replace(tzinfo=HOME).strftime("%z"),
        }

    def suid(self, study: str, patient: str, sent: dict[str, Any]) -> str:
        if sent["id"] in self.known:
            return self.known[sent["id"]][0]
        return _hash(study, patient, sent["id_source"], sent["id"])[:8]

    def jitter(self, study: str, patient: str) -> int:
        if patient in self.known:
            return self.known[patient][1]
        days = int(_hash(study, patient), 16) % 30 + 1
        return -days if len(patient) % 2 else days


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _handler(service: DasherStandin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Log nothing: the log would be full of identifiers."""

        def do_GET(self) -> None:
            self._note("")
            if self.path == "/control/seen":
                calls = [vars(call) for call in service.seen if "/control/" not in call.path]
                self._json(200, calls)
            elif _UID_PATH.fullmatch(self.path):
                self._json(405, {"error": "POST only"})
            else:
                self._json(404, {"error": "no such path"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            self._note(body)
            if self.path == "/control/faults":
                given = json.loads(body)
                service.script(*(Fault(**item) for item in given["faults"]), where=given["where"])
                self._json(200, {})
            elif self.path == "/control/expire":
                service.expire()
                self._json(200, {})
            elif self.path == TOKEN_PATH:
                self._with_fault("token", lambda: service.answer_token(body))
            elif match := _UID_PATH.fullmatch(self.path):
                self._with_fault(
                    "uid", lambda: service.answer_uid(match[1], dict(self.headers), body)
                )
            else:
                self._json(404, {"error": "no such path"})

        def _note(self, body: str) -> None:
            call = Seen(self.command, self.path, dict(self.headers), body)
            with service.lock:
                service.seen.append(call)

        def _with_fault(self, where: str, answer: Callable[[], tuple[int, Any]]) -> None:
            fault = service.next_fault(where)
            if fault is None:
                self._json(*answer())
            else:
                getattr(self, f"_{fault.kind}")(fault, answer)

        # --- faults --------------------------------------------------------------------------

        def _status(self, fault: Fault, _: object) -> None:
            self._send(fault.status, fault.body.encode(), "text/plain", fault.headers)

        def _html(self, *_: object) -> None:
            page = b"<!DOCTYPE html><html><body>Please log in to the VPN</body></html>"
            self._send(200, page, "text/html")

        def _empty(self, *_: object) -> None:
            self._send(200, b"", "application/json")

        def _text(self, fault: Fault, _: object) -> None:
            self._send(200, fault.body.encode(), "application/json")

        def _redirect(self, fault: Fault, _: object) -> None:
            self._send(fault.status, b"", "text/plain", {"Location": fault.to})

        def _slow(self, fault: Fault, answer: Callable[[], tuple[int, Any]]) -> None:
            time.sleep(fault.seconds)
            self._json(*answer())

        def _stall(self, fault: Fault, _: object) -> None:
            time.sleep(fault.seconds)
            self.close_connection = True

        def _drip(self, fault: Fault, answer: Callable[[], tuple[int, Any]]) -> None:
            body = json.dumps(answer()[1]).encode()
            self._start(200, "application/json", {"Content-Length": str(len(body))})
            for byte in body:
                self.wfile.write(bytes((byte,)))
                time.sleep(fault.seconds)

        def _drop(self, *_: object) -> None:
            self.close_connection = True

        def _short(self, _: Fault, answer: Callable[[], tuple[int, Any]]) -> None:
            body = json.dumps(answer()[1]).encode()
            self._start(200, "application/json", {"Content-Length": str(len(body))})
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True

        def _endless(self, *_faults: object) -> None:
            self._start(200, "application/json", {"Connection": "close"})
            for _ in range(1 << 16):
                self.wfile.write(b" " * (1 << 16))

        def _change(self, fault: Fault, answer: Callable[[], tuple[int, Any]]) -> None:
            status, content = answer()
            assert fault.change is not None
            fault.change(content)
            self._json(status, content)

        def _set(self, fault: Fault, answer: Callable[[], tuple[int, Any]]) -> None:
            status, content = answer()
            *way, last = fault.where
            _at(content, way)[last] = fault.value
            self._json(status, content)

        def _remove(self, fault: Fault, answer: Callable[[], tuple[int, Any]]) -> None:
            status, content = answer()
            *way, last = fault.where
            del _at(content, way)[last]
            self._json(status, content)

        # --- sending -------------------------------------------------------------------------

        def _json(self, status: int, content: Any) -> None:
            self._send(status, json.dumps(content).encode(), "application/json")

        def _send(
            self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
        ) -> None:
            self._start(status, kind, {"Content-Length": str(len(body)), **(headers or {})})
            self.wfile.write(body)

        def _start(self, status: int, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def handle(self) -> None:
            # Tests check that a client does not wait for a slow response.
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler


def _at(content: Any, way: list[str | int]) -> Any:
    for key in way:
        content = content[key]
    return content


def main() -> None:
    """Run as a process until terminated."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--secrets", type=Path, help="token file, mode 0600; written if missing")
    given = options.parse_args()
    service = DasherStandin(given.port)
    if given.secrets and given.secrets.exists():
        service.know_tokens(given.secrets)
    if given.secrets:
        # Also if it exists: it may contain an earlier port.
        service.write_tokens(given.secrets)
    print(service.port, flush=True)  # noqa: T201 - what the caller waits for
    service.serve()


if __name__ == "__main__":
    main()
