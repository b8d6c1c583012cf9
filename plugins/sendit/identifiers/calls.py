"""One POST to an identifier service, bounded in time, size and destination.

This closes what som leaves open: every call has a timeout, redirects are not followed (they
would carry the token along), ``.netrc`` is ignored, tokens are never sent in clear text over
a network, and no library's exception is passed on, because its text may quote the request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import requests
import urllib3

from sendit.errors import Misconfigured, RetryLater

#: An answer about one study is under a kilobyte.
MAX_BYTES = 1 << 20

_PIECE = 1 << 16


class Unanswered(RetryLater):
    """The service gave no usable answer; retry later.

    Parameters
    ----------
    reason
        What happened; safe to show.
    wait
        Retry-After, in seconds, if the service sent it.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: status, body, and Retry-After in seconds (``wait``)."""

    status: int
    content: bytes = field(repr=False)
    wait: float | None = None


def checked_url(url: str, what: str) -> str:
    """Return a validated URL for tokens and identifiers, without its trailing slash.

    Raises
    ------
    Misconfigured
        It is not a plain ``https`` URL (``http`` is accepted on the loopback interface only).
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise Misconfigured(f"{what} is not a URL") from None
    if not host or parts.username is not None or parts.query or parts.fragment:
        raise Misconfigured(f"{what} must be https://host/path, and nothing more")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise Misconfigured(
            f"{what} must start with https://, because real identifiers and tokens are sent to it"
        )
    return url.rstrip("/")


def post(
    url: str, body: str, headers: Mapping[str, str], *, what: str, timeout: float, until: float
) -> Reply:
    """Send a JSON text once, without retries.

    Parameters
    ----------
    what
        Name of the service, for errors.
    timeout
        Maximum duration of this call in seconds.
    until
        ``time.monotonic()`` by which it must be finished.

    Raises
    ------
    Unanswered
        No connection, a timeout, or too long an answer.
    Misconfigured
        The server's certificate is not trusted.
    """
    until = min(until, time.monotonic() + timeout)
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise Unanswered(f"{what} took too long")
    try:
        with (
            requests.Session() as session,
            session.post(
                url,
                data=body.encode(),
                headers={**headers, "Accept-Encoding": "identity"},
                auth=_as_given,
                proxies=_past_proxies(url),
                timeout=seconds,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            return Reply(
                status=response.status_code,
                content=_read(response, what, until),
                wait=_seconds(response.headers.get("Retry-After")),
            )
    except requests.exceptions.SSLError:
        raise Misconfigured(
            f"the certificate of {what} is not trusted; check its address, "
            "or name your site's certificates in REQUESTS_CA_BUNDLE"
        ) from None
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        raise Unanswered(f"{what} took too long") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError):
        raise Unanswered(f"the connection to {what} failed") from None


def _read(response: requests.Response, what: str, until: float) -> bytes:
    # A socket's timeout restarts with every byte; this stops a server that trickles.
    content = bytearray()
    while piece := response.raw.read1(_PIECE, decode_content=True):
        content += piece
        if len(content) > MAX_BYTES:
            raise Unanswered(f"{what} sent an answer larger than {MAX_BYTES} bytes")
        if time.monotonic() > until:
            raise Unanswered(f"{what} took too long")
    return bytes(content)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep the Authorization header, which ``.netrc`` would otherwise replace."""
    return request


def _past_proxies(url: str) -> dict[str, str]:
    """Bypass proxies for calls within this machine."""
    host = urlsplit(url).hostname or ""
    return {"no_proxy": host} if _is_loopback(host) else {}


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
