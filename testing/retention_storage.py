"""The Cloud Storage emulator with the retention features that it lacks.

Responds as Google's JSON API does to the calls that its client library makes: a retention policy
and holds (403, reasons ``retentionPolicyNotMet`` and ``objectUnderActiveHold``, and the object
fields that describe them), noncurrent versions, and soft-deleted objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from chaos.proxy import Answer, Proxy

OBJECTS = re.compile(r"(?:/upload)?/storage/v1/b/([^/]+)/o(?:/([^/]+))?")
NAME = re.compile(rb'"name": *"([^"]+)"')


@dataclass
class Bucket:
    """Retention settings of a bucket.

    Attributes
    ----------
    retention
        The retention policy's period, from an object's creation.
    temporary, event_based
        Names of objects under these holds.
    versioning, soft_delete
        Whether these are enabled.
    describes
        Whether object fields show the hold. If not, it was set after they were read.
    """

    retention: timedelta | None = None
    temporary: set[str] = field(default_factory=set)
    event_based: set[str] = field(default_factory=set)
    versioning: bool = False
    soft_delete: bool = False
    describes: bool = True
    noncurrent: list[dict[str, Any]] = field(default_factory=list)
    soft_deleted: list[dict[str, Any]] = field(default_factory=list)


class RetentionStorage(Proxy):
    """A proxy in front of the emulator; ``buckets`` are those with retention settings, by name."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.buckets: dict[str, Bucket] = {}
        self._sessions: dict[str, tuple[Bucket, dict[str, Any]]] = {}

    def call(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Answer:
        """Respond as Google does where the emulator would not."""
        parts = urlsplit(path)
        match = OBJECTS.fullmatch(parts.path)
        bucket = self.buckets.get(match[1]) if match else None
        if match is None or bucket is None:
            return super().call(method, path, headers, body)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if method == "GET" and match[2] is None:
            return self._listed(bucket, path, query, headers)
        name = unquote(match[2] or query.get("name", ""))
        if method == "POST" and not name and (name_match := NAME.search(body)):
            name = name_match[1].decode()
        there = None
        # The precondition that no object exists is checked first.
        if method in {"POST", "DELETE"} and query.get("ifGenerationMatch") != "0":
            there = self._there(match[1], name)
        if there is not None and (refusal := self._refusal(bucket, match[1], there, method)):
            return refusal
        status, answered, content = super().call(method, path, headers, body)
        if there is not None and status in {200, 204}:
            _keep(bucket, there)
        if method == "GET" and status == 200 and query.get("alt") != "media":
            content = json.dumps(_described(bucket, json.loads(content))).encode()
        return status, answered, content

    def _there(self, bucket: str, name: str) -> dict[str, Any] | None:
        status, _, content = super().call("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")
        return json.loads(content) if status == 200 else None

    def _refusal(
        self, bucket: Bucket, place: str, there: dict[str, Any], method: str
    ) -> Answer | None:
        """Return Google's error if an object may not be deleted; with versioning, what is replaced
        or deleted without its generation becomes a noncurrent version, which retention allows.
        """
        whole = f"Object '{place}/{there['name']}'"
        until = _retained_until(bucket, there)
        held = {"Temporary": bucket.temporary, "Event-Based": bucket.event_based}
        for kind, names in held.items():
            if there["name"] in names:
                return _forbidden(
                    "objectUnderActiveHold",
                    f"{whole} is under active {kind} hold and cannot be deleted, overwritten or "
                    "archived until hold is removed.",
                )
        if until is not None and not bucket.versioning:
            return _forbidden(
                "retentionPolicyNotMet",
                f"{whole} is subject to bucket's retention policy or object retention and cannot "
                f"be deleted or overwritten until {until}",
            )
        return None

    def _listed(
        self, bucket: Bucket, path: str, query: dict[str, str], headers: Iterable[tuple[str, str]]
    ) -> Answer:
        gone: list[dict[str, Any]] = []
        if query.get("versions", "").lower() == "true":
            gone = bucket.noncurrent
        if query.get("softDeleted", "").lower() == "true":
            items: list[dict[str, Any]] = bucket.soft_deleted
            answer: Answer = (200, {"Content-Type": "application/json"}, b"{}")
        else:
            answer = super().call("GET", path, headers)
            items = [_described(bucket, each) for each in json.loads(answer[2]).get("items", [])]
        prefix = query.get("prefix", "")
        content = json.loads(answer[2])
        content["items"] = [each for each in (*items, *gone) if each["name"].startswith(prefix)]
        return answer[0], answer[1], json.dumps(content).encode()


def _keep(bucket: Bucket, there: dict[str, Any]) -> None:
    now = _text(datetime.now(UTC))
    if bucket.versioning:
        bucket.noncurrent.append(there | {"timeDeleted": now})
    elif bucket.soft_delete:
        bucket.soft_deleted.append(there | {"softDeleteTime": now})


def _retained_until(bucket: Bucket, there: dict[str, Any]) -> str | None:
    if bucket.retention is None:
        return None
    until = datetime.fromisoformat(there["timeCreated"]) + bucket.retention
    return _text(until) if until > datetime.now(UTC) else None


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _described(bucket: Bucket, there: dict[str, Any]) -> dict[str, Any]:
    if not bucket.describes:
        return there
    description = dict(there)
    if until := _retained_until(bucket, there):
        description["retentionExpirationTime"] = until
    if there["name"] in bucket.temporary:
        description["temporaryHold"] = True
    if there["name"] in bucket.event_based:
        description["eventBasedHold"] = True
    return description


def _forbidden(reason: str, message: str) -> Answer:
    error = {"message": message, "domain": "global", "reason": reason}
    content = {"error": {"code": 403, "message": message, "errors": [error]}}
    return 403, {"Content-Type": "application/json"}, json.dumps(content).encode()
