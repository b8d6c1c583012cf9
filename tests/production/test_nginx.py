"""deploy/nginx.conf, run by nginx itself before a stand-in for the API server."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.production.compose_file import ROOT, load

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CONFIG = (ROOT / "deploy" / "nginx.conf").read_text()
HOST = "sendit.example.org"

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Proxy:
    """nginx with the project's configuration, on free ports and in a folder of its own."""

    def __init__(self, folder: Path, upstream: int) -> None:
        assert NGINX
        self.https, self.http = free_port(), free_port()
        certificate = (
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout tls.key -out tls.crt"
        )
        subprocess.run(
            [*certificate.split(), "-subj", f"/CN={HOST}"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        text = CONFIG
        for old, new in (
            ("http://api-server:8080", f"http://127.0.0.1:{upstream}"),
            ("listen 8443", f"listen 127.0.0.1:{self.https}"),
            ("listen 8080", f"listen 127.0.0.1:{self.http}"),
            (" /tmp/", f" {folder}/"),
            ("/run/secrets/", f"{folder}/"),
            ("/dev/stdout", f"{folder}/access.log"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        self.config = folder / "nginx.conf"
        self.config.write_text(text)
        self.command = [NGINX, "-e", "stderr", "-c", str(self.config), "-g", "daemon off;"]

    def get(
        self, path: str, headers: dict[str, str] | None = None, *, tls: bool = True
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection: http.client.HTTPConnection
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.https, timeout=10, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
        with closing(connection):
            connection.request("GET", path, headers={"Host": HOST} | (headers or {}))
            answer = connection.getresponse()
            return answer, answer.read()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    proxy = Proxy(tmp_path_factory.mktemp("nginx"), upstream.server_port)
    with subprocess.Popen(proxy.command, stderr=subprocess.PIPE, text=True) as server:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", proxy.https), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, server.stderr and server.stderr.read()
                time.sleep(0.05)
        yield proxy
        server.terminate()
    upstream.shutdown()
    upstream.server_close()


@needs_nginx
def test_nginx_takes_it_without_a_word(proxy: Proxy) -> None:
    result = subprocess.run(
        [*proxy.command[:-2], "-t"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr


@needs_nginx
def test_what_is_not_tls_is_sent_there(proxy: Proxy) -> None:
    answer, _ = proxy.get("/dags?tag=x", tls=False)
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/dags?tag=x")


@needs_nginx
def test_its_health_check_is_true(proxy: Proxy) -> None:
    checked = load()["services"]["nginx"]["healthcheck"]["test"][-1]
    assert checked == "http://localhost:8080/nginx-health"
    answer, body = proxy.get("/nginx-health", tls=False)
    assert (answer.status, body) == (200, b"ok\n")


@needs_nginx
def test_the_api_server_hears_who_asked_and_how(proxy: Proxy) -> None:
    lies = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil", "X-Real-IP": "10.0.0.1"}
    _, body = proxy.get("/", lies)
    heard = json.loads(body)
    assert heard["host"] == heard["x-forwarded-host"] == HOST
    assert heard["x-forwarded-for"] == heard["x-real-ip"] == "127.0.0.1"
    assert heard["x-forwarded-proto"] == "https"


@needs_nginx
@pytest.mark.parametrize(
    "path",
    [
        "/execution/",
        "/execution/task-instances/x",
        "//execution/",
        "/x/../execution/",
        "/./execution/docs",
        "/%65xecution/",
    ],
)
def test_the_door_for_workers_is_shut(proxy: Proxy, path: str) -> None:
    answer, _ = proxy.get(path)
    assert answer.status == 404


@needs_nginx
def test_browsers_are_told_to_be_careful(proxy: Proxy) -> None:
    answer, _ = proxy.get("/")
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


@needs_nginx
def test_guessing_passwords_is_slowed_down(proxy: Proxy) -> None:
    statuses = [proxy.get("/auth/token")[0].status for _ in range(20)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert proxy.get("/")[0].status == 200
