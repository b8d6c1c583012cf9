from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sendit.errors import Misconfigured
from sendit.identifiers.calls import Reply, Unanswered, checked_url, post
from testing.dasher_standin import DasherStandin, Fault


def call(dasher: DasherStandin, *, timeout: float = 5.0, until: float = 60.0) -> Reply:
    return post(
        f"{dasher.base}/v1/uid/test",
        '{"identifiers": []}',
        {"Authorization": f"Bearer {dasher.access}", "Content-Type": "application/json"},
        what="DASHER",
        timeout=timeout,
        until=time.monotonic() + until,
    )


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://api.example.org/ids/", "https://api.example.org/ids"),
        ("https://api.example.org:8443", "https://api.example.org:8443"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:1/", "http://localhost:1"),
    ],
)
def test_safe_urls(url: str, checked: str) -> None:
    assert checked_url(url, "it") == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "ftp://127.0.0.1",
        "api.example.org",
        "https://",
        "https:///path",
        "https://user:secret@api.example.org",
        "https://api.example.org?key=secret",
        "https://api.example.org#part",
        "https://api.example.org:port",
        "https://[::1",
        "",
    ],
)
def test_unsafe_urls(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"^it "):
        checked_url(url, "it")


def test_netrc_does_not_replace_the_token(
    dasher: DasherStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    call(dasher)
    assert dasher.calls()[0].headers["Authorization"] == f"Bearer {dasher.access}"


def test_localhost_bypasses_the_proxy(
    dasher: DasherStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "elsewhere.example.org")
    assert call(dasher).status == 400


def test_slow_server_times_out(dasher: DasherStandin) -> None:
    # If the client waited, there would be a response and no error.
    dasher.script(Fault("slow", seconds=5))
    with pytest.raises(Unanswered, match="too long"):
        call(dasher, timeout=0.3)


def test_dripping_server_times_out(dasher: DasherStandin) -> None:
    # Each byte arrives well within the timeout; the whole response would take much longer.
    dasher.script(Fault("drip", seconds=0.1))
    with pytest.raises(Unanswered, match="too long"):
        call(dasher, timeout=0.5)


def test_endless_response_is_aborted(dasher: DasherStandin) -> None:
    dasher.script(Fault("endless"))
    with pytest.raises(Unanswered, match="larger than"):
        call(dasher)


def test_no_request_after_the_deadline(dasher: DasherStandin) -> None:
    with pytest.raises(Unanswered, match="too long"):
        call(dasher, until=-1)
    assert not dasher.seen


def test_unreachable_server() -> None:
    gone = DasherStandin()
    gone.start()
    gone.stop()
    with pytest.raises(Unanswered, match="connection"):
        call(gone)


def test_https_to_a_server_without_tls(dasher: DasherStandin) -> None:
    with pytest.raises(Misconfigured, match="certificate"):
        post(
            dasher.base.replace("http:", "https:"),
            "{}",
            {},
            what="DASHER",
            timeout=5,
            until=time.monotonic() + 5,
        )


@pytest.mark.parametrize("fault", ["drop", "short"])
def test_connection_closed_early(dasher: DasherStandin, fault: str) -> None:
    dasher.script(Fault(fault))
    with pytest.raises(Unanswered, match="connection"):
        call(dasher)


def test_redirect_is_returned_unfollowed(dasher: DasherStandin) -> None:
    elsewhere = DasherStandin()
    elsewhere.start()
    dasher.script(Fault("redirect", status=307, to=f"{elsewhere.base}/v1/uid/test"))
    assert call(dasher).status == 307
    assert not elsewhere.seen
    elsewhere.stop()


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("0", 0, 0),
        ("120", 120, 120),
        (timedelta(seconds=500), 400, 500),
        (timedelta(seconds=-500), 0, 0),
        ("Wed, 21 Oct 2015 07:28:00", 0, 0),
    ],
)
def test_retry_after(
    dasher: DasherStandin, header: str | timedelta, low: float, high: float
) -> None:
    if isinstance(header, timedelta):  # from now, not from when the tests were collected
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    dasher.script(Fault("status", status=503, headers={"Retry-After": header}))
    wait = call(dasher).wait
    assert wait is not None
    assert low <= wait <= high


@pytest.mark.parametrize("header", ["soon", "-5", "1.5", "", "²"])
def test_invalid_retry_after_is_ignored(dasher: DasherStandin, header: str) -> None:
    dasher.script(Fault("status", status=503, headers={"Retry-After": header}))
    assert call(dasher).wait is None


def test_repr_of_a_response_hides_its_content() -> None:
    assert "1111111" not in repr(Reply(400, b"bad id 1111111"))
