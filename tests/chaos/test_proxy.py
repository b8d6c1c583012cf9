"""The fault-injecting proxy."""

from __future__ import annotations

import http.client
import http.server
import threading

import pytest

from chaos import proxy as proxy_module
from chaos.proxy import BREAKS, Proxy
from demo.processes import answers


@pytest.fixture
def served():
    """A server that echoes what it receives, and a proxy in front of it."""
    seen = []

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(body)
            self.send_response(201)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/session")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Proxy()
    made.target = f"http://127.0.0.1:{server.server_port}"
    yield made, seen
    server.shutdown()
    server.server_close()


def post(proxy: Proxy, body: object, **headers: str) -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", "/x", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Location")
    finally:
        connection.close()


def test_calls_are_forwarded(served):
    proxy, seen = served
    assert post(proxy, b"hello") == (201, b"hello", f"{proxy.url}/session")
    assert post(proxy, iter([b"in ", b"pieces"]))[1] == b"in pieces"
    assert seen == [b"hello", b"in pieces"]
    assert answers(f"{proxy.url}/") is False  # the server does not implement GET


@pytest.mark.parametrize("kind", list(BREAKS))
def test_next_calls_fail_as_configured(served, kind, monkeypatch):
    monkeypatch.setattr(proxy_module, "HANG_SECONDS", 0.1)
    proxy, seen = served
    proxy.break_next(kind, 2)
    for number in range(2):
        if kind.startswith("cut"):
            with pytest.raises(OSError):
                post(proxy, b"hello")
        else:
            wanted = {"garbage": 200, "hang": 201}.get(kind) or int(kind)
            assert post(proxy, b"hello")[0] == wanted
        arrives = "the call arrives" in BREAKS[kind]
        assert len(seen) == (number + 1 if arrives else 0)
    assert post(proxy, b"hello")[0] == 201


def test_calls_succeed_after_repair(served):
    proxy, _ = served
    proxy.break_next("503", 5)
    proxy.repair()
    assert post(proxy, b"hello")[0] == 201
