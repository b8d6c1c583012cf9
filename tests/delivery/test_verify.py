"""Verification of manifests, objects and rows: each kind of difference separately."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sendit.delivery import objects, table, verify
from sendit.delivery.table import HeldRow
from sendit.delivery.verify import Difference, verify_collection, verify_run
from sendit.digests import short_digest
from sendit.errors import FailBatch

NAME = "Collection/c-1/Entity/p/p_20100209_s.tar.gz"
MANIFEST = f"Collection/c-1/Manifest/{short_digest('a run')}.json"
STORED = objects.StoredObject(
    bucket="data",
    name=NAME,
    size=7,
    crc32c="AAAAAA==",
    md5="BBBB",
    generation=5,
    updated="now",
    self_link="self",
    media_link="media",
)
ROW = HeldRow("data", NAME, 5, 7, "AAAAAA==", "BBBB", 3)
ARCHIVE = {
    "state": "delivered",
    "bucket": "data",
    "name": NAME,
    "size": 7,
    "crc32c": "AAAAAA==",
    "md5": "BBBB",
    "images": 3,
    "recipe": "0",
    "engine": "1",
    "revision": 1,
    "generation": 5,
}
ENTRY = {
    "batch": "b0",
    "status": "DONE",
    "same_as": None,
    "received": 8,
    "delivered": 3,
    "filtered": 2,
    "quarantined": 1,
    "duplicate": 1,
    "undelivered": 1,
    "archive": ARCHIVE,
}


class Collection:
    """A bucket and a table that match their manifest until a test changes them."""

    def __init__(self) -> None:
        self.manifest: Any = {"manifest": 1, "run": "a run", "ledger": "mine", "batches": [ENTRY]}
        self.objects = {NAME: STORED}
        self.rows: dict[str, list[HeldRow]] | None = {NAME: [ROW]}
        self.feeder: Any = SimpleNamespace(ledgers={"mine", "of before"})
        self.queries: list[Any] = []

    def entry(self, **changed: Any) -> None:
        self.manifest = self.manifest | {"batches": [ENTRY | changed]}

    def archive(self, **changed: Any) -> None:
        self.entry(archive=ARCHIVE | changed)

    def differences(self) -> list[Difference]:
        client: Any = SimpleNamespace(project="project")
        storage: Any = "storage"
        return verify_collection(storage, client, "data", "c-1").differences


@pytest.fixture
def collection(monkeypatch: pytest.MonkeyPatch) -> Collection:
    made = Collection()

    def find(client: Any, bucket: str, name: str) -> Any:
        assert (client, bucket) == ("storage", "data")
        return "a manifest" if name == MANIFEST else made.objects.get(name)

    def held_rows(client: Any, dataset: str, bucket: str, names: Any = None) -> Any:
        assert client.project == "project"
        made.queries.append((dataset, bucket, names))
        return made.rows

    def find_all(client: Any, bucket: str, prefix: str) -> Any:
        assert (client, bucket, prefix) == ("storage", "data", "Collection/c-1/Entity/")
        return made.objects

    def names(client: Any, bucket: str, prefix: str) -> list[str]:
        assert (client, bucket, prefix) == ("storage", "data", "Collection/c-1/Manifest/")
        return [MANIFEST] if made.manifest else []

    def get(client: Any, bucket: str, name: str) -> str:
        assert (client, bucket, name) == ("storage", "data", MANIFEST)
        return json.dumps(made.manifest)

    def remembered(client: Any, bucket: str, collection: str) -> Any:
        assert (client, bucket, collection) == ("storage", "data", "c-1")
        return made.feeder

    def exists(client: Any, dataset: str) -> bool:
        assert (client.project, dataset) == ("project", "c_1")
        return made.rows is not None

    monkeypatch.setattr(objects, "find", find)
    monkeypatch.setattr(objects, "find_all", find_all)
    monkeypatch.setattr(objects, "names", names)
    monkeypatch.setattr(objects, "get", get)
    monkeypatch.setattr(table, "exists", exists)
    monkeypatch.setattr(table, "held_rows", held_rows)
    monkeypatch.setattr(verify, "remembered", remembered)
    return made


def test_a_matching_collection_verifies(collection: Collection) -> None:
    client: Any = SimpleNamespace(project="project")
    storage: Any = "storage"
    for verdict in (
        verify_collection(storage, client, "data", "c-1"),
        verify_run(storage, client, "data", "c-1", "a run"),
    ):
        assert verdict.agrees and verdict.differences == []
        assert (verdict.manifests, verdict.archives) == (1, 1)
        assert verdict.feeder is collection.feeder
        assert verdict.compared is not None and verdict.compared.without_row() == []
        assert verdict.compared.collection == "c-1"
    assert [asked[:2] for asked in collection.queries] == [("c_1", "data")] * 2
    assert collection.queries[0][2] is None and list(collection.queries[1][2]) == [NAME]


def test_a_run_without_a_manifest_is_an_error(collection: Collection) -> None:
    storage: Any = "storage"
    with pytest.raises(FailBatch, match="no manifest of that run is in bucket data"):
        verify_run(storage, storage, "data", "c-1", "another run")


@pytest.mark.parametrize("manifest", [[], {}, {"manifest": 2}, "text", 1])
def test_an_invalid_manifest_is_an_error(collection: Collection, manifest: Any) -> None:
    collection.manifest = manifest or [None]
    with pytest.raises(FailBatch, match="is not a manifest of this version"):
        collection.differences()


@pytest.mark.parametrize(
    ("changed", "messages"),
    [
        ({"objects": {}}, ["no object"]),
        (
            {"objects": {NAME: replace(STORED, generation=6)}},
            ["another object: size, checksum or generation differ"],
        ),
        (
            {"objects": {NAME: replace(STORED, size=8)}},
            ["another object: size, checksum or generation differ"],
        ),
        ({"rows": {}}, ["0 rows, not 1"]),
        ({"rows": {NAME: [ROW, ROW]}}, ["2 rows, not 1"]),
        ({"objects": {}, "rows": {}}, ["no object", "0 rows, not 1"]),
        *(
            ({"rows": {NAME: [replace(ROW, **{key: value})]}}, ["its row describes another object"])
            for key, value in (
                *(("bucket", "x"), ("name", "x"), ("generation", 6), ("size", 8)),
                *(("crc32c", "x"), ("md5", "x"), ("images", 4)),
            )
        ),
    ],
)
def test_differing_archives_are_reported(
    collection: Collection, changed: dict[str, Any], messages: list[str]
) -> None:
    vars(collection).update(changed)
    assert collection.differences() == [Difference(NAME, each) for each in messages]


def test_objects_and_rows_without_a_manifest_are_reported(collection: Collection) -> None:
    collection.objects = {NAME: STORED, "a": replace(STORED, name="a")}
    collection.rows = {NAME: [ROW], "a": [ROW], "b": [ROW, ROW], "c": []}
    assert collection.differences() == [
        Difference("a", "an object that no manifest lists"),
        Difference("a", "1 rows that no manifest lists"),
        Difference("b", "2 rows that no manifest lists"),
    ]


def test_a_missing_table_is_reported(collection: Collection) -> None:
    collection.rows = None
    assert collection.differences() == [
        Difference("project.c_1.dicom", "there is no such table"),
        Difference(NAME, "0 rows, not 1"),
    ]


def test_an_empty_collection_needs_no_table(collection: Collection) -> None:
    collection.manifest, collection.objects, collection.rows = None, {}, None
    assert collection.differences() == []


@pytest.mark.parametrize(
    ("ledger", "known"), [("mine", True), ("of before", True), ("other", False), (None, True)]
)
def test_a_run_of_an_unknown_ledger_is_reported(
    collection: Collection, ledger: str | None, known: bool
) -> None:
    collection.manifest = collection.manifest | {"ledger": ledger}
    differences = collection.differences()
    assert bool(differences) is not known
    assert known or (differences[0].where == "a run" and "the ledger other" in differences[0].what)
    collection.feeder = None
    assert collection.differences() == []


@pytest.mark.parametrize(
    ("entry", "messages"),
    [
        ({"received": 9}, ["received is not the sum of its outcomes"]),
        *(
            ({kind: ENTRY[kind] + 1}, ["received is not the sum of its outcomes"])  # type: ignore[operator]
            for kind in ("filtered", "quarantined", "duplicate", "undelivered")
        ),
        ({"archive": None}, ["DONE without archive"]),
        ({"archive": None, "status": "EMPTY"}, []),
        ({"archive": None, "same_as": "b7"}, []),
        ({"archive": ARCHIVE | {"state": "withdrawn"}}, []),
        ({"archive": ARCHIVE | {"state": "superseded"}}, []),
    ],
)
def test_inconsistent_batch_entries_are_reported(
    collection: Collection, entry: dict[str, Any], messages: list[str]
) -> None:
    collection.entry(**entry)
    archive = (ENTRY | entry)["archive"]
    if not isinstance(archive, dict) or archive["state"] != "delivered":
        collection.objects, collection.rows = {}, {}
    assert collection.differences() == [Difference("b0", each) for each in messages]


def test_older_manifests_without_an_undelivered_count_are_accepted(collection: Collection) -> None:
    entry = {key: value for key, value in ENTRY.items() if key != "undelivered"}
    collection.manifest = collection.manifest | {"batches": [entry | {"received": 7}]}
    assert collection.differences() == []


def test_a_differing_number_of_images_is_reported(collection: Collection) -> None:
    collection.archive(images=4)
    collection.rows = {NAME: [replace(ROW, images=4)]}
    assert collection.differences() == [
        Difference(NAME, "images in the archive are not those delivered")
    ]
    collection.entry(archive=ARCHIVE | {"images": 4}, status="ERROR")
    assert collection.differences() == []


def test_archives_in_another_bucket_are_not_compared(collection: Collection) -> None:
    collection.archive(bucket="before")
    collection.objects, collection.rows = {}, {}
    assert collection.differences() == []


def test_an_archive_claimed_by_two_batches_is_reported(collection: Collection) -> None:
    collection.manifest = collection.manifest | {"batches": [ENTRY, ENTRY | {"batch": "b1"}]}
    assert collection.differences() == [Difference(NAME, "two batches claim to have delivered it")]


@pytest.mark.parametrize(
    ("objects_there", "rows", "without"),
    [
        ({NAME: STORED}, [ROW], False),
        ({NAME: STORED}, [], True),
        ({NAME: STORED}, [ROW, ROW], True),
        ({NAME: STORED}, [replace(ROW, images=4)], True),
        ({NAME: replace(STORED, generation=6)}, [replace(ROW, generation=6)], True),
        ({NAME: replace(STORED, generation=6)}, [ROW], True),
        ({NAME: replace(STORED, md5=None)}, [replace(ROW, md5=None)], False),
        ({NAME: replace(STORED, size=8)}, [], False),  # different bytes: no row to write
        ({}, [], False),
    ],
)
def test_which_archives_need_a_row(
    collection: Collection, objects_there: Any, rows: list[HeldRow], without: bool
) -> None:
    collection.objects, collection.rows = objects_there, {NAME: rows}
    client: Any = SimpleNamespace(project="project")
    storage: Any = "storage"
    compared = verify_collection(storage, client, "data", "c-1").compared
    assert compared is not None
    assert compared.without_row() == ([NAME] if without else [])
