"""What delivery asks of Google for each state of bucket and table, and what it makes of the answers."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c
import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from google.cloud.storage import exceptions as storage_exceptions

from sendit.delivery import manifest, objects, table, verify
from sendit.delivery.google_errors import google_errors, is_kept, refused
from sendit.delivery.names import Stage, dataset_name, object_name, parse_object_name, study_key
from sendit.delivery.rows import (
    COLUMNS,
    Rows,
    check_row,
    header_text,
    merge_statement,
    row_of,
    schema_fields,
    write_rows,
)
from sendit.errors import SenditError
from testing.approval import Approved
from tests.delivery.test_rows import HEADER, delivery
from tests.delivery.test_verify import ARCHIVE, ENTRY, NAME, ROW, STORED

HOLD = "Object 'x' is under active Temporary hold and cannot be deleted, overwritten or archived."
RETENTION = "Object 'x' is subject to bucket's retention policy: retentionPolicyNotMet"


class Google:
    """Stands for the HTTP of Cloud Storage and BigQuery: answers from memory, notes each request."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.bucket = True
        self.refuses: dict[str, tuple[int, str]] = {}
        self.loses: list[str] = []
        self.datasets: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.rows: list[list[Any]] = []
        self.asked: list[str] = []
        self.generation = 1000
        self.headers: dict[str, str] = {}
        self.is_mtls = False

    def put(self, name: str, content: bytes, **more: Any) -> dict[str, Any]:
        """Write an object."""
        self.generation += 1
        self.objects[name] = {
            "name": name,
            "bucket": "data",
            "size": str(len(content)),
            "crc32c": base64.b64encode(google_crc32c.Checksum(content).digest()).decode(),
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "generation": str(self.generation),
            "updated": "2026-11-22T12:00:00.000Z",
            "selfLink": f"https://store/b/data/o/{name}",
            "mediaLink": f"https://store/download/b/data/o/{name}",
            "content": base64.b64encode(content).decode(),
            **more,
        }
        return self.objects[name]

    def request(
        self, method: str, url: str, data: Any = None, headers: Any = None, **options: Any
    ) -> requests.Response:
        """Answer one request, as the session of both clients."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        path = unquote(parts.path)
        raw = data.read() if hasattr(data, "read") else data
        body = raw.encode() if isinstance(raw, str) else raw or b""
        shown = {
            key: value
            for key, value in sorted(query.items())
            if key not in ("prettyPrint", "projection")
        }
        timeout = options.get("timeout")
        if path != "/storage/v1/b/data":  # the library asks in a thread, when it likes
            about = f"{shown} timeout {timeout}{self._told(path, body)}"
            self.asked.append(f"{method} {re.sub('queries/.*', 'queries/JOB', path)} {about}")
        status, answer = self._answer(method, path, query, body)
        response = requests.Response()
        response.status_code = status
        response.url = url
        response.headers["Content-Type"] = "application/json"
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        response._content = content
        response._content_consumed = True  # type: ignore[attr-defined]
        response.raw = SimpleNamespace(
            headers=response.headers, read=lambda *_a, **_k: b"", release_conn=lambda: None
        )
        if isinstance(answer, bytes):
            digest = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
            response.headers["X-Goog-Hash"] = f"crc32c={digest}"
        response.request = SimpleNamespace(method=method, url=url)  # type: ignore[assignment]
        return response

    def _told(self, path: str, body: bytes) -> str:
        if not body:
            return ""
        if path.startswith("/upload"):
            lines = body.split(b"\r\n")
            about = next((line for line in lines if line.startswith(b"{")), b"")
            return f" {about.decode()} {len(body)} bytes"
        made = json.loads(body)
        for key in ("jobReference", "schema"):
            if key in made:
                made[key] = f"<{len(json.dumps(made[key]))}>" if key == "schema" else "<job>"
        made.pop("requestId", None)
        return f" {json.dumps(made, sort_keys=True)}"

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        for start, (status, text) in self.refuses.items():
            if f"{method} {path}".startswith(start):
                return status, {
                    "error": {
                        "code": status,
                        "message": text,
                        "errors": [{"reason": text.split()[-1]}],
                    }
                }
        if "/bigquery/" in path:
            return self._bigquery(method, path, body)
        if not self.bucket:
            return 404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
        if path.startswith("/upload"):
            about, content = self._uploaded(body)
            wanted = query.get("ifGenerationMatch")
            there = self.objects.get(about["name"])
            if wanted is not None and wanted != (there["generation"] if there else "0"):
                return 412, {"error": {"code": 412, "message": "conditionNotMet"}}
            made = self.put(about["name"], content)
            if about["name"] in self.loses:
                del self.objects[about["name"]]
            return 200, {key: value for key, value in made.items() if key != "content"}
        name = path.partition("/o/")[2]
        if not name:
            objects = [
                each
                for key, each in sorted(self.objects.items())
                if key.startswith(query.get("prefix", ""))
            ]
            if query.get("versions") or query.get("softDeleted"):
                objects = [
                    each
                    for each in objects
                    if each.get("timeDeleted") or each.get("softDeleteTime")
                ]
            return 200, {
                "items": [{k: v for k, v in each.items() if k != "content"} for each in objects]
            }
        there = self.objects.get(name)
        if there is None:
            return 404, {"error": {"code": 404, "message": "No such object"}}
        if method == "DELETE":
            if query.get("ifGenerationMatch") not in (None, there["generation"]):
                return 412, {"error": {"code": 412, "message": "conditionNotMet"}}
            if name not in self.loses:
                del self.objects[name]
            return 204, b""
        if query.get("alt") == "media":
            return 200, base64.b64decode(there["content"])
        return 200, {key: value for key, value in there.items() if key != "content"}

    @staticmethod
    def _uploaded(body: bytes) -> tuple[dict[str, Any], bytes]:
        boundary = body.split(b"\r\n", 1)[0]
        _, about, content, _ = body.split(boundary)
        return (
            json.loads(about.partition(b"\r\n\r\n")[2]),
            content.partition(b"\r\n\r\n")[2][:-2],
        )

    def _bigquery(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        sent = json.loads(body) if body else {}
        parts = path.rpartition("/projects/p/")[2].split("/")
        match method, parts:
            case "GET", ["datasets", name]:
                return (
                    (200, self.datasets[name])
                    if name in self.datasets
                    else (404, {"error": {"code": 404, "message": "Not found: Dataset"}})
                )
            case "POST", ["datasets"]:
                self.datasets[sent["datasetReference"]["datasetId"]] = sent
                return 200, sent
            case "GET" | "PATCH" | "DELETE", ["datasets", _, "tables", name]:
                if name not in self.tables:
                    return 404, {"error": {"code": 404, "message": "Not found: Table"}}
                if method == "DELETE":
                    del self.tables[name]
                    return 204, b""
                self.tables[name] |= sent
                return 200, self.tables[name]
            case "POST", ["datasets", _, "tables"]:
                name = sent["tableReference"]["tableId"]
                if name in self.tables:
                    return 409, {"error": {"code": 409, "message": "Already Exists"}}
                self.tables[name] = sent
                return 200, sent
            case "POST", ["jobs"]:
                return 200, {
                    "jobReference": sent["jobReference"],
                    "configuration": sent["configuration"],
                    "status": {"state": "DONE"},
                    "statistics": {"query": {"statementType": "SELECT"}},
                }
            case "GET", ["queries", _]:
                names = (
                    "bucket",
                    "name",
                    "generation",
                    "size",
                    "crc32c",
                    "md5Hash",
                    "sendit_images",
                )
                kinds = ("STRING", "STRING", "INTEGER", "INTEGER", "STRING", "STRING", "INTEGER")
                return 200, {
                    "jobComplete": True,
                    "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
                    "schema": {
                        "fields": [
                            {"name": n, "type": k, "mode": "NULLABLE"}
                            for n, k in zip(names, kinds, strict=True)
                        ]
                    },
                    "totalRows": str(len(self.rows)),
                    "rows": [{"f": [{"v": value} for value in row]} for row in self.rows],
                }
            case _:
                return 200, {
                    "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
                    "configuration": {"query": {"query": ""}},
                    "status": {"state": "DONE"},
                    "statistics": {"query": {"statementType": "SELECT"}},
                }


def _storage(google: Google) -> storage.Client:
    return storage.Client(project="p", credentials=AnonymousCredentials(), _http=google)


def _bigquery(google: Google) -> bigquery.Client:
    return bigquery.Client(project="p", credentials=AnonymousCredentials(), _http=google)


def _outcome(work: Callable[[], Any]) -> str:
    try:
        return f"{work()}"
    except SenditError as error:
        return f"{type(error).__name__}: {error}"
    except api.GoogleAPICallError as error:
        return f"not translated: {type(error).__name__}"


def _asked(google: Google) -> Iterator[str]:
    for line in google.asked:
        yield f"  {line}"
    google.asked.clear()


ARCHIVED = b"the archive's bytes"
CRC = base64.b64encode(google_crc32c.Checksum(ARCHIVED).digest()).decode()
MADE = delivery(size=len(ARCHIVED), crc32c=CRC, md5=None, generation=None)


def _states() -> dict[str, Callable[[Google], None]]:
    def refuse(start: str, status: int, text: str) -> Callable[[Google], None]:
        return lambda google: google.refuses.update({start: (status, text)})

    def there(content: bytes, **more: Any) -> Callable[[Google], None]:
        return lambda google: google.put(MADE.object, content, **more) and None

    def both(*each: Callable[[Google], None]) -> Callable[[Google], None]:
        return lambda google: [one(google) for one in each] and None

    return {
        "absent": lambda google: None,
        "the same": there(ARCHIVED),
        "the same without MD5": there(ARCHIVED, md5Hash=None),
        "other bytes": there(b"other bytes"),
        "other bytes of the same size": there(b"x" * len(ARCHIVED)),
        "other bytes on hold": there(b"other bytes", temporaryHold=True),
        "other bytes on another hold": there(b"other bytes", eventBasedHold=True),
        "the same on hold": there(ARCHIVED, temporaryHold=True),
        "retained": there(b"other bytes", retentionExpirationTime="2999-01-02T03:04:05.000Z"),
        "retained before": there(
            b"other bytes", retentionExpirationTime="2001-01-02T03:04:05.000Z"
        ),
        "retained itself": there(
            b"other bytes",
            retention={"mode": "Locked", "retainUntilTime": "2998-01-02T03:04:05.000Z"},
        ),
        "no bucket": lambda google: setattr(google, "bucket", False),
        "no role": refuse("", 403, "caller does not have storage.objects.get access forbidden"),
        "no role to write": refuse("POST /upload", 403, "caller does not have access forbidden"),
        "a hold at the upload": both(there(b"other bytes"), refuse("POST /upload", 403, HOLD)),
        "retention at the upload": both(
            there(b"other bytes"), refuse("POST /upload", 403, RETENTION)
        ),
        "a hold at the deletion": both(there(ARCHIVED), refuse("DELETE", 403, HOLD)),
        "no role to delete": both(there(ARCHIVED), refuse("DELETE", 403, "forbidden")),
        "gone at the deletion": both(there(ARCHIVED), refuse("DELETE", 404, "gone notFound")),
        "changed at the deletion": both(
            there(ARCHIVED), refuse("DELETE", 412, "changed conditionNotMet")
        ),
        "no credentials": refuse("", 401, "who are you unauthorized"),
        "an invalid request": refuse("", 400, "bad invalid"),
        "a race": both(there(b"other bytes"), refuse("POST /upload", 412, "race conditionNotMet")),
        "lost": lambda google: google.loses.append(MADE.object),
        "written again": both(there(ARCHIVED), lambda google: google.loses.append(MADE.object)),
    }


@pytest.mark.parametrize("state", _states())
def test_objects(state: str, approved: Approved, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(ARCHIVED)
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(ARCHIVED + b"x")
    generation = 1001
    calls: dict[str, Callable[[storage.Client], Any]] = {
        "deliver": lambda client: objects.deliver(client, MADE, path),
        "deliver a revision": lambda client: objects.deliver(
            client, MADE, path, replaces=generation
        ),
        "deliver what was sent before": lambda client: objects.deliver(
            client,
            replace(
                MADE,
                sent_object=MADE.object,
                sent_crc32c=base64.b64encode(
                    google_crc32c.Checksum(b"other bytes").digest()
                ).decode(),
            ),
            path,
        ),
        "deliver another archive": lambda client: objects.deliver(client, MADE, bad),
        "deliver without one": lambda client: objects.deliver(client, MADE, tmp_path / "missing"),
        "find": lambda client: objects.find(client, "data", MADE.object),
        "put": lambda client: objects.put(client, "data", MADE.object, ARCHIVED, "text/plain"),
        "create": lambda client: objects.create(
            client, "data", MADE.object, ARCHIVED, "text/plain"
        ),
        "remove": lambda client: objects.remove(client, "data", MADE.object),
        "remove a generation": lambda client: objects.remove(
            client, "data", MADE.object, generation, "b1"
        ),
        "remove another generation": lambda client: objects.remove(
            client, "data", MADE.object, 7, "b1"
        ),
        "clear away": lambda client: objects.clear_away(client, "data", MADE.object),
        "take out": lambda client: objects.take_out(client, replace(MADE, generation=generation)),
        "take out another": lambda client: objects.take_out(
            client, replace(MADE, generation=7, crc32c="x")
        ),
        "names": lambda client: objects.names(client, "data", "Collection/"),
        "find all": lambda client: objects.find_all(client, "data", "Collection/c/"),
        "remains": lambda client: objects.remains(client, "data", MADE.object),
        "check the bucket": lambda client: objects.check_bucket(client, "data"),
    }

    def lines() -> Iterator[str]:
        for name, call in calls.items():
            google = Google()
            _states()[state](google)
            outcome = _outcome(lambda call=call, google=google: call(_storage(google)))
            yield f"# {name}: {outcome.replace(str(tmp_path), 'FOLDER')}"
            yield from _asked(google)
            yield f"  then: {[(each, held['size'], held['generation']) for each, held in google.objects.items()]}"

    approved(lines())


def test_remains_of_deleted_objects(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for more in (
            {},
            {"timeDeleted": "2026-01-01T00:00:00.000Z"},
            {"softDeleteTime": "2026-01-01T00:00:00.000Z"},
        ):
            google = Google()
            google.put("name", b"x", **more)
            google.put("name.more", b"x", **more)
            yield f"{more}: {objects.remains(_storage(google), 'data', 'name')}"
        for one in (STORED, replace(STORED, kept="under a hold")):
            yield f"{replace(one.stored, uploaded_at=0)} {_outcome(lambda one=one: objects.check_removable('b1', one))}"
            for held in (
                MADE,
                replace(MADE, size=7, crc32c="AAAAAA==", md5="BBBB"),
                replace(MADE, size=7, crc32c="AAAAAA==", md5="C"),
                replace(MADE, generation=5),
            ):
                yield f"  holds {one.holds(held)}, is of {objects.is_of(one, held)}"
            yield f"  {objects.kept_error(one, 'kept', None)} | {objects.kept_error(one, 'kept', 'b1')}"

    approved(lines())


TABLES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "as it should be": lambda: list(map(dict, schema_fields())),
    "an older one": lambda: [
        dict(each) for each in schema_fields() if not each["name"].startswith("sendit_")
    ],
    "with other names of types": lambda: [
        each | {"type": "INT64"} if each["type"] == "INTEGER" else dict(each)
        for each in schema_fields()
    ],
    "with another type": lambda: [
        each | {"type": "FLOAT"} if each["name"] in ("size", "name") else dict(each)
        for each in schema_fields()
    ],
    "with a column more": lambda: [
        *map(dict, schema_fields()),
        {"name": "mine", "type": "STRING", "mode": "NULLABLE"},
    ],
}


def test_tables(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for name, fields in TABLES.items():
            google = Google()
            google.datasets["C_1"] = {
                "datasetReference": {"projectId": "p", "datasetId": "C_1"},
                "labels": {table.COLLECTION_LABEL: "c-1"},
            }
            google.tables["dicom"] = {
                "tableReference": {"projectId": "p", "datasetId": "c_1", "tableId": "dicom"},
                "schema": {"fields": fields()},
            }
            yield f"# {name}: {_outcome(lambda google=google: table.ensure_table(_bigquery(google), 'C-1', 'EU'))}"
            yield from _asked(google)
        for labels in (None, {}, {table.COLLECTION_LABEL: "c_1"}):
            google = Google()
            if labels is not None:
                google.datasets["c_1"] = {
                    "datasetReference": {"projectId": "p", "datasetId": "c_1"},
                    "labels": labels,
                }
            yield f"# labels {labels}: {_outcome(lambda google=google: table.ensure_table(_bigquery(google), 'c-1', 'EU'))}"
            yield from _asked(google)
        row = ["data", NAME, "5", "7", "AAAAAA==", None, "3"]
        calls: dict[str, Callable[[bigquery.Client], Any]] = {
            "exists": lambda client: table.exists(client, "c_1"),
            "all rows": lambda client: table.held_rows(client, "c_1", "data"),
            "rows of names": lambda client: table.held_rows(client, "c_1", "data", ["b", "a", "b"]),
            "rows of none": lambda client: table.held_rows(client, "c_1", "data", []),
            "delete rows": lambda client: table.delete_rows(client, "c_1", "data", ["a", "b"]),
            "delete none": lambda client: table.delete_rows(client, "c_1", "data", []),
            "drop a table": lambda client: table.drop_table(client, "c_1", "stage"),
        }
        for name, call in calls.items():
            for refusal in (
                None,
                (403, "no bigquery.tables.get accessDenied"),
                (404, "Not found notFound"),
                (400, "bad query reason: invalidQuery md5Hash"),
            ):
                google = Google()
                google.rows = [row, row]
                google.tables["dicom"] = google.tables["stage"] = {
                    "tableReference": {"projectId": "p", "datasetId": "c_1", "tableId": "dicom"}
                }
                if refusal:
                    google.refuses[""] = refusal
                yield f"# {name}, {refusal}: {_outcome(lambda call=call, google=google: call(_bigquery(google)))}"
                yield from _asked(google)

    approved(lines())


def test_rows_that_describe(approved: Approved) -> None:
    held = replace(
        MADE,
        bucket="data",
        object=NAME,
        generation=5,
        size=7,
        crc32c="AAAAAA==",
        md5="BBBB",
        members=3,
    )
    changes = (
        {},
        {"bucket": "x"},
        {"object": "x"},
        {"generation": 6},
        {"size": 8},
        {"crc32c": "x"},
        {"md5": "x"},
        {"members": 4},
    )
    approved(f"{change}: {ROW.describes(replace(held, **change))}" for change in changes)  # type: ignore[arg-type]


def test_names(approved: Approved) -> None:
    codes = ("p", "A-1_b", "", "a/b", "ä", "x" * 64, "x" * 65, "..", "a\n")
    days = (None, "20100209", "20101399", "2010", "20100209 ", "")
    collections = ("c", "IRB-41449", "a_b", "", "a b", "ä", "x" * 200, "Ab-c", "1a", "-a", "a/b")

    def lines() -> Iterator[str]:
        for code in codes:
            yield f"{code!r}: {_outcome(lambda code=code: object_name('c', code, None, 's'))} | {_outcome(lambda code=code: object_name('c', 'p', None, code))}"
        for day in days:
            yield f"{day!r}: {_outcome(lambda day=day: object_name('c', 'p', day, 's'))}"
        for name in collections:
            yield f"{name!r}: {_outcome(lambda name=name: object_name(name, 'p', None, 's'))} | {_outcome(lambda name=name: dataset_name(name))}"
            yield f"  {_outcome(lambda name=name: Stage.of('run 1', 3, name))}"
        stage = Stage.of("scheduled__2026-01-01T00:00:00+00:00", 2, "IRB-1")
        yield " ".join(
            f"{each}={getattr(stage, each)}"
            for each in dir(Stage)
            if isinstance(getattr(Stage, each), property)
        )
        for name in (
            NAME,
            "Collection/c/Entity/p/p_nodate_s.tar.gz",
            "Collection/c/Entity/p/q_nodate_s.tar.gz",
            "x",
            f"{NAME}x",
            "Collection/c/Entity/p/p_2010_s.tar.gz",
        ):
            try:
                yield f"{name}: {parse_object_name(name)} {study_key(name)}"
            except ValueError as error:
                yield f"{name}: {error}"

    approved(lines())


def test_rows(approved: Approved, tmp_path: Path) -> None:
    headers: tuple[dict[str, Any], ...] = (
        HEADER,
        {},
        {"PatientSex": "", "Modality": ["CT", "MR"], "PatientAge": None, "StudyDescription": 5},
        {"A": math.nan, "B": [math.inf, 1.5], "C": {"D": "x\0y"}, "E": "\ud800"},
        {"Modality": [], "L": "x" * 100, "M": "y" * 50},
    )

    def lines() -> Iterator[str]:
        for header in headers:
            yield f"# {str(header)[:200]!r}"
            row = row_of(delivery(), header, ("one", "two"))
            yield from (f"  {key}: {value!r}" for key, value in row.items())
        good = row_of(delivery(), HEADER)
        for column in COLUMNS:
            yield f"{column}"
            for value in (
                None,
                "",
                "x",
                5,
                -1,
                True,
                2**63,
                -(2**63),
                1.5,
                "2026-11-22T12:00:00Z",
                "\ud800",
                [],
            ):
                told = _checked(good | {column.name: value})
                yield f"  {value!r}: {told}"
            yield f"  missing: {_checked({key: each for key, each in good.items() if key != column.name})}"
        yield f"more: {_checked(good | {'mine': 1})}"
        rows = Rows()
        for name in ("b", "a"):
            rows.add(good | {"name": name})
        yield f"{len(rows)} rows, {_outcome(lambda: rows.add(good | {'name': 'a'}))}, {_outcome(lambda: rows.add(good | {'DicomHeader': 'x' * 11_000_000}))[:200]}"
        write_rows(tmp_path / "x" / "rows.ndjson", rows)
        yield from (tmp_path / "x" / "rows.ndjson").read_text().splitlines()
        yield oct((tmp_path / "x").stat().st_mode)
        (tmp_path / "file").write_text("")
        yield _outcome(lambda: write_rows(tmp_path / "file" / "rows", rows)).replace(
            str(tmp_path), "FOLDER"
        )
        yield merge_statement("c_1", "stage")
        from sendit.delivery import rows as module

        limit = module.MAX_HEADER_CHARACTERS
        long = {"A": "a" * (limit // 2), "B": "b" * (limit // 2), "C": "c" * (limit // 4), "D": "d"}
        yield f"{sorted(json.loads(header_text(long)))} of {sorted(long)}"

    approved(lines())


def _checked(row: Mapping[str, Any]) -> str:
    try:
        check_row(row)
    except ValueError as error:
        return str(error)
    return "valid"


def test_errors(approved: Approved) -> None:
    raised: tuple[Exception, ...] = (
        api.Unauthorized("x"),
        auth.DefaultCredentialsError("x"),
        auth.MalformedError("x"),
        auth.RefreshError("x", retryable=True),
        auth.RefreshError("x", retryable=False),
        api.Forbidden("caller lacks a role"),
        api.Forbidden("quotaExceeded"),
        api.Forbidden("rateLimitExceeded"),
        api.Forbidden("SERVICE_DISABLED"),
        api.Forbidden("accessNotConfigured"),
        api.Forbidden("the billing account is closed"),
        api.Forbidden("VPC_SERVICE_CONTROLS"),
        api.Forbidden("retentionPolicyNotMet"),
        api.Forbidden("objectUnderActiveHold"),
        api.Forbidden(HOLD),
        api.NotFound("x"),
        api.BadRequest("no such field: md5Hash"),
        api.BadRequest("reason: 'backendError'"),
        api.BadRequest("reason: invalid size, name and nameless"),
        api.TooManyRequests("x"),
        api.ServiceUnavailable("x", errors=[{"reason": "backendError"}, {"reason": "x y"}, "text"]),
        api.InternalServerError("x"),
        api.Conflict("x"),
        api.PreconditionFailed("x"),
        api.GoogleAPICallError("x"),
        storage_exceptions.DataCorruption(None, "x"),
        storage_exceptions.InvalidResponse(None, "x"),
        api.RetryError("x", None),
        auth.TransportError("x"),
        requests.ConnectionError("x"),
        requests.Timeout("x"),
        ConnectionError("x"),
        TimeoutError("x"),
        ValueError("x"),
        KeyError("x"),
    )

    def lines() -> Iterator[str]:
        for error in raised:
            try:
                with google_errors("Cloud Storage", "bucket data", "SENDIT_BUCKET", "roles/x"):
                    raise error
            except Exception as told:  # noqa: BLE001 what it becomes is what is compared
                yield f"{type(error).__name__} {error.args[:1]}: {type(told).__name__} {told} {told.__suppress_context__}"
        for text in (
            "reason: timeout",
            'reason="invalidQuery"',
            "nothing",
            "reason=stopped size",
            "crc32c md5Hash",
        ):
            told_error = refused("BigQuery", "dataset c", text)
            yield f"{text}: {type(told_error).__name__} {told_error}; kept {is_kept(text)}"

    approved(lines())


def test_differences_from_manifests(approved: Approved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests, objects and rows held against one another, whole verdicts."""
    entries: dict[str, list[dict[str, Any]]] = {
        "one": [ENTRY],
        "a sum that is wrong": [ENTRY | {"received": 9}],
        "undelivered": [ENTRY | {"archive": ARCHIVE | {"state": "withdrawn"}}],
        "superseded": [ENTRY | {"archive": ARCHIVE | {"state": "superseded"}}],
        "no archive": [ENTRY | {"archive": None, "delivered": 0, "undelivered": 4}],
        "in another bucket": [ENTRY | {"archive": ARCHIVE | {"bucket": "other"}}],
        "other images": [ENTRY | {"archive": ARCHIVE | {"images": 4}}],
        "two revisions": [
            ENTRY,
            ENTRY | {"batch": "b1", "archive": ARCHIVE | {"revision": 2, "generation": 6}},
        ],
        "not done": [ENTRY | {"status": "ERROR"}],
        "the same as another": [ENTRY | {"same_as": "b7"}],
    }
    stored: dict[str, dict[str, Any]] = {
        "there": {NAME: STORED},
        "another generation": {NAME: replace(STORED, generation=6)},
        "other bytes": {NAME: replace(STORED, size=8)},
        "absent": {},
        "one more": {NAME: STORED, "z": replace(STORED, name="z")},
    }
    rows: dict[str, dict[str, Any] | None] = {
        "a row": {NAME: [ROW]},
        "a row of another": {NAME: [replace(ROW, generation=6)]},
        "two rows": {NAME: [ROW, ROW]},
        "no row": {},
        "no table": None,
    }
    google = Google()
    client: Any = SimpleNamespace(project="project")
    feeder = SimpleNamespace(ledgers=("digest 1",))
    monkeypatch.setattr(verify, "remembered", lambda *_: feeder)

    def told(content: Any, held: Any, table_rows: Any) -> str:
        monkeypatch.setattr(
            objects,
            "find",
            lambda _c, _b, name: held.get(name) or ("x" if "Manifest" in name else None),
        )
        monkeypatch.setattr(objects, "find_all", lambda *_: held)
        monkeypatch.setattr(objects, "names", lambda *_: ["a manifest"])
        monkeypatch.setattr(objects, "get", lambda *_: json.dumps(content))
        monkeypatch.setattr(table, "exists", lambda *_: table_rows is not None)
        monkeypatch.setattr(table, "held_rows", lambda *_: table_rows)
        verdicts = []
        for work in (
            lambda: verify.verify_collection(_storage(google), client, "data", "c-1"),
            lambda: verify.verify_run(_storage(google), client, "data", "c-1", "a run"),
        ):
            try:
                verdict = work()
            except SenditError as error:
                verdicts.append(str(error))
                continue
            assert verdict.compared is not None
            verdicts.append(
                f"{verdict.manifests} manifests, {verdict.archives} archives, agrees {verdict.agrees}, "
                f"without a row {verdict.compared.without_row()}: {'; '.join(map(str, verdict.differences))}"
            )
        return " | ".join(dict.fromkeys(verdicts))

    def lines() -> Iterator[str]:
        base = {
            "manifest": manifest.VERSION,
            "run": "a run",
            "ledger": "digest 1",
            "collection": "c-1",
        }
        for name, batches in entries.items():
            yield f"{name}: {told(base | {'batches': batches}, stored['there'], rows['a row'])}"
        for (there, held), (with_rows, table_rows) in (
            (s, r) for s in stored.items() for r in rows.items()
        ):
            yield f"{there}, {with_rows}: {told(base | {'batches': [ENTRY]}, held, table_rows)}"
        for content in (
            {},
            [],
            base | {"manifest": 99},
            base | {"ledger": "digest 2", "batches": [ENTRY]},
            base | {"ledger": None, "batches": []},
        ):
            yield f"{str(content)[:80]}: {told(content, stored['there'], rows['a row'])}"

    approved(lines())
