"""The BigQuery table, tested against an emulator."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from google.api_core import exceptions as api
from google.api_core.retry import retry_base, retry_unary
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sendit.delivery import table
from sendit.delivery.names import dataset_name
from sendit.delivery.rows import COLUMNS, merge_statement, row_of, schema_fields
from sendit.delivery.table import delete_rows, drop_table, ensure_table, exists, held_rows
from sendit.errors import Misconfigured, RetryLater
from tests.delivery.test_rows import HEADER, delivery


class Unavailable(BaseHTTPRequestHandler):
    """Responds 503 to every request."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    """Return how long the library slept between retries, on a fake clock that only its sleeps
    advance.

    The Cloud Storage client fetches a bucket's metadata in a thread of its own, which may still be
    retrying for an earlier test; such threads keep the real clock.
    """
    sleeps: list[float] = []
    test = threading.get_ident()

    def monotonic() -> float:
        return sum(sleeps) if threading.get_ident() == test else time.monotonic()

    def sleep(seconds: float) -> None:
        if threading.get_ident() == test:
            sleeps.append(seconds)
        else:
            time.sleep(seconds)

    clock = SimpleNamespace(monotonic=monotonic, sleep=sleep)
    for module in (retry_base, retry_unary):
        monkeypatch.setattr(module, "time", clock)
    return sleeps


@pytest.fixture
def unavailable(sleeps) -> Iterator[bigquery.Client]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Unavailable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield bigquery.Client(
        project="p",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{server.server_port}"},
    )
    server.shutdown()
    server.server_close()


CALLS = {
    "ensure_table": lambda client: ensure_table(client, "IRB", "US"),
    "exists": lambda client: exists(client, "IRB"),
    "held_rows": lambda client: held_rows(client, "IRB", "bucket"),
    "delete_rows": lambda client: delete_rows(client, "IRB", "bucket", ["name"]),
    "drop_table": lambda client: drop_table(client, "IRB", "stage"),
}


@pytest.mark.parametrize("call", CALLS)
def test_library_retries_end_within_two_minutes(unavailable, sleeps, call):
    with pytest.raises(RetryLater):
        CALLS[call](unavailable)
    assert len(sleeps) > 3
    assert sum(sleeps) < 120.0


class RecordingClient:
    """Stands in for BigQuery: creates what is missing and records each call's retry and timeout."""

    project = "p"

    def __init__(self, older_table: bigquery.Table | None = None) -> None:
        self.calls: dict[str, dict[str, object]] = {}
        self.made: dict[str, object] = {}
        self._held = older_table

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.calls[name] = options
            if name.startswith("get_"):
                raise api.NotFound("nothing yet")
            if name.startswith("create_"):
                self.made[name] = arguments[0]
            return self._held if name == "create_table" and self._held else arguments[0]

        return call


def test_every_call_has_a_timeout_and_created_tables_are_labelled():
    reference = bigquery.DatasetReference("p", "IRB_1").table("dicom")
    older = bigquery.Table(reference, schema=[bigquery.SchemaField("bucket", "STRING")])
    client = RecordingClient(older)
    ensure_table(client, "IRB-1", "EU")
    bounds = {(options["retry"], options["timeout"]) for options in client.calls.values()}
    assert set(client.calls) == {"get_dataset", "create_dataset", "create_table", "update_table"}
    assert bounds == {(table.RETRY, table.TIMEOUT)}
    dataset, made = client.made["create_dataset"], client.made["create_table"]
    assert (dataset.location, dataset.labels) == ("EU", {"sendit-collection": "irb-1"})
    assert dataset.description == "De-identified DICOM of the collection IRB-1, by sendit."
    assert made.description.startswith("One row")
    assert client.calls["create_dataset"]["exists_ok"] is True
    assert client.calls["create_table"]["exists_ok"] is True
    drop_table(client, "IRB_1", "stage")
    options = {"not_found_ok": True, "retry": table.RETRY, "timeout": table.TIMEOUT}
    assert client.calls["delete_table"] == options
    assert not exists(client, "IRB_1")
    assert set(client.calls["get_table"]) >= {"retry", "timeout"}


@pytest.fixture
def collection(request) -> str:
    """A collection of the test's own."""
    return f"IRB-{abs(hash(request.node.name)) % 10**8}"


def load(client, dataset, stage, deliveries):
    body = "".join(json.dumps(row_of(each, HEADER)) + "\n" for each in deliveries)
    client.load_table_from_file(
        io.BytesIO(body.encode()),
        f"{client.project}.{dataset}.{stage}",
        job_config=bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON",
            write_disposition="WRITE_TRUNCATE",
            schema=[bigquery.SchemaField.from_api_repr(f) for f in schema_fields()],
        ),
    ).result()


def merge(client, dataset, stage):
    client.query(merge_statement(dataset, stage)).result()


def test_the_table_is_created_once_with_its_schema(bigquery_client, collection):
    for _ in range(2):
        ensure_table(bigquery_client, collection, "US")
    dataset = bigquery_client.get_dataset(dataset_name(collection))
    assert dataset.labels == {"sendit-collection": collection.lower()}
    table = bigquery_client.get_table(f"{dataset.dataset_id}.dicom")
    assert [field.name for field in table.schema] == [column.name for column in COLUMNS]
    assert table.schema[0].description == COLUMNS[0].description
    assert table.description.startswith("One row")


def test_collections_with_the_same_dataset_name_are_refused(bigquery_client, collection):
    ensure_table(bigquery_client, collection, "US")
    with pytest.raises(Misconfigured, match="belongs to the collection"):
        ensure_table(bigquery_client, collection.replace("-", "_"), "US")


def test_an_older_table_gains_columns_and_an_incompatible_one_is_refused(
    bigquery_client, collection
):
    name = dataset_name(collection)
    bigquery_client.create_dataset(name)
    bigquery_client.create_table(
        bigquery.Table(
            f"{bigquery_client.project}.{name}.dicom",
            schema=[bigquery.SchemaField("bucket", "STRING"), bigquery.SchemaField("mine", "DATE")],
        )
    )
    ensure_table(bigquery_client, collection, "US")
    names = [field.name for field in bigquery_client.get_table(f"{name}.dicom").schema]
    assert names[:2] == ["bucket", "mine"]
    assert set(names) == {column.name for column in COLUMNS} | {"mine"}
    bigquery_client.delete_table(f"{name}.dicom")
    bigquery_client.create_table(
        bigquery.Table(
            f"{bigquery_client.project}.{name}.dicom",
            schema=[bigquery.SchemaField("size", "STRING")],
        )
    )
    with pytest.raises(Misconfigured, match="different types from sendit's in size"):
        ensure_table(bigquery_client, collection, "US")


def test_merge_is_idempotent_and_keeps_the_newest_generation(bigquery_client, collection):
    ensure_table(bigquery_client, collection, "US")
    dataset = dataset_name(collection)
    one, two = delivery(), delivery(object="Collection/c/Entity/p/p_nodate_s.tar.gz")
    load(bigquery_client, dataset, "stage_1", [one, two])
    for _ in range(2):
        merge(bigquery_client, dataset, "stage_1")
    rows = held_rows(bigquery_client, dataset, "data", [one.object, two.object, "none"])
    assert set(rows) == {one.object, two.object}
    assert all(len(versions) == 1 for versions in rows.values())
    assert rows[one.object][0].describes(one)
    assert not rows[one.object][0].describes(two)

    revised = replace(one, generation=one.generation + 1, crc32c="BBBBBB==", size=99)
    load(bigquery_client, dataset, "stage_2", [revised])
    for stage in ("stage_2", "stage_1"):  # the older stage is merged last
        merge(bigquery_client, dataset, stage)
    (row,) = held_rows(bigquery_client, dataset, "data", [one.object])[one.object]
    assert row.describes(revised)
    assert set(held_rows(bigquery_client, dataset, "data")) == {one.object, two.object}
    assert held_rows(bigquery_client, dataset, "elsewhere") == {}
    assert held_rows(bigquery_client, dataset, "data", []) == {}


def test_deleting_rows_and_stages_is_idempotent(bigquery_client, collection):
    ensure_table(bigquery_client, collection, "US")
    dataset = dataset_name(collection)
    load(bigquery_client, dataset, "stage_1", [delivery()])
    merge(bigquery_client, dataset, "stage_1")
    for _ in range(2):
        drop_table(bigquery_client, dataset, "stage_1")
        delete_rows(bigquery_client, dataset, "data", [delivery().object])
    assert held_rows(bigquery_client, dataset, "data") == {}
    assert [table.table_id for table in bigquery_client.list_tables(dataset)] == ["dicom"]


def test_a_missing_dataset_is_named(bigquery_client):
    with pytest.raises(Misconfigured, match="no dataset nowhere"):
        held_rows(bigquery_client, "nowhere", "data", ["x"])
