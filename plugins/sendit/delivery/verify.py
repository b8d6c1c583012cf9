"""Verify: compare the manifests with bucket and table, and report every difference.

The ledger is not asked: this is what someone who does not trust it can do. What is written
here of an archive, its row and its object must be the same in all three places. A ledger that
was restored can be held against the bucket as well (`verify_ledger`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from google.cloud import bigquery, storage

from sendit.delivery import objects, table
from sendit.delivery.feeder import Remembered, remembered
from sendit.delivery.manifest import VERSION, manifest_folder, manifest_name
from sendit.delivery.names import TABLE, dataset_name
from sendit.errors import FailBatch
from sendit.ledger import Delivery, Ledger


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference from a manifest. ``where`` is an object's name or a batch's id."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Compared:
    """The archives according to manifests, bucket and table, each by name."""

    collection: str
    expected: dict[str, Delivery]
    objects: dict[str, objects.StoredObject]
    rows: dict[str, list[table.HeldRow]]

    def without_row(self) -> list[str]:
        """Return the archives whose object is there, with the bytes that were delivered, and
        that do not have the one row which describes it."""
        found = []
        for name, delivery in sorted(self.expected.items()):
            there, held = self.objects.get(name), self.rows.get(name, [])
            if there is None or not there.holds(delivery):
                continue
            stored = replace(delivery, generation=there.generation, md5=there.md5)
            if (
                len(held) != 1
                or not held[0].describes(stored)
                or there.generation != delivery.generation
            ):
                found.append(name)
        return found


@dataclass(slots=True)
class Verification:
    """The result of a verification."""

    manifests: int = 0
    archives: int = 0
    differences: list[Difference] = field(default_factory=list)
    feeder: Remembered | None = None
    compared: Compared | None = None

    @property
    def agrees(self) -> bool:
        """Whether everything is as the manifests say."""
        return not self.differences


def verify_run(
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
    bucket: str,
    collection: str,
    run_id: str,
) -> Verification:
    """Verify what one run delivered.

    Raises
    ------
    FailBatch
        The run has no manifest in the bucket.
    """
    name = manifest_name(collection, run_id)
    if objects.find(storage_client, bucket, name) is None:
        raise FailBatch(f"no manifest of that run is in bucket {bucket} (looked for {name})")
    verdict = Verification(feeder=remembered(storage_client, bucket, collection))
    expected = _expected([_read(storage_client, bucket, name)], verdict, bucket)
    found = {
        name: there
        for name in expected
        if (there := objects.find(storage_client, bucket, name)) is not None
    }
    rows = _rows(bigquery_client, collection, bucket, verdict, expected) if expected else {}
    verdict.compared = Compared(collection, expected, found, rows)
    _compare(expected, found, rows, verdict)
    return verdict


def verify_collection(
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
    bucket: str,
    collection: str,
) -> Verification:
    """Verify a whole collection, including what no manifest lists.

    While a run is delivering, its archives differ until it has written its manifest.
    """
    verdict = Verification(feeder=remembered(storage_client, bucket, collection))
    names = objects.names(storage_client, bucket, manifest_folder(collection))
    manifests = [_read(storage_client, bucket, name) for name in names]
    expected = _expected(manifests, verdict, bucket)
    found = objects.find_all(storage_client, bucket, f"Collection/{collection}/Entity/")
    rows = {}
    if names or found:
        rows = _rows(bigquery_client, collection, bucket, verdict)
    verdict.compared = Compared(collection, expected, found, rows)
    _compare(expected, found, rows, verdict)
    return verdict


def _rows(
    client: bigquery.Client,
    collection: str,
    bucket: str,
    verdict: Verification,
    names: Iterable[str] | None = None,
) -> dict[str, list[table.HeldRow]]:
    """Return the rows that there are; a table that is not there is a difference of its own."""
    dataset = dataset_name(collection)
    if table.exists(client, dataset):
        return table.held_rows(client, dataset, bucket, names)
    verdict.differences.append(
        Difference(f"{client.project}.{dataset}.{TABLE}", "there is no such table")
    )
    return {}


def verify_ledger(
    ledger: Ledger, storage_client: storage.Client, bucket: str, collection: str
) -> list[Difference]:
    """Return what the ledger says is delivered and is not in the bucket as it says.

    What the bucket has beyond that is said by ``verify_collection``, or, of a ledger that is
    older than the bucket, by who feeds the collection (``sendit adopt``).
    """
    found = objects.find_all(storage_client, bucket, f"Collection/{collection}/Entity/")
    differences = []
    for delivery in ledger.delivered_to(bucket, collection):
        there = found.get(delivery.object)
        if there is None:
            differences.append(Difference(delivery.object, "delivered, says the ledger; no object"))
        elif not there.holds(delivery):
            differences.append(
                Difference(delivery.object, "the ledger says another size or checksum")
            )
    return differences


def _read(client: storage.Client, bucket: str, name: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(objects.get(client, bucket, name))
        if manifest["manifest"] == VERSION:
            return manifest
    except (ValueError, KeyError, TypeError):
        pass
    raise FailBatch(f"{name} in bucket {bucket} is not a manifest of this version of sendit")


def _expected(
    manifests: list[dict[str, Any]], verdict: Verification, bucket: str
) -> dict[str, Delivery]:
    """Return the archives that should be in the bucket, by name; check the sums on the way.

    What a run delivered into another bucket, which the setting named then, is verified there.
    """
    expected: dict[str, Delivery] = {}
    for manifest in manifests:
        verdict.manifests += 1
        # A manifest of before collections remembered who feeds them names no ledger.
        named = manifest.get("ledger")
        if named and verdict.feeder and named not in verdict.feeder.ledgers:
            verdict.differences.append(
                Difference(
                    manifest["run"],
                    f"was delivered with the ledger {named}, which the collection "
                    "does not know: its codes are others",
                )
            )
        for entry in manifest["batches"]:
            kinds = ("delivered", "filtered", "quarantined", "duplicate", "undelivered")
            # Manifests of before what is not delivered was told apart have none of the last kind.
            if entry["received"] != sum(entry.get(kind, 0) for kind in kinds):
                verdict.differences.append(
                    Difference(entry["batch"], "received is not the sum of its outcomes")
                )
            archive = entry["archive"]
            if archive is None or archive["state"] != "delivered":
                if archive is None and entry["status"] == "DONE" and not entry["same_as"]:
                    verdict.differences.append(Difference(entry["batch"], "DONE without archive"))
                continue
            if archive["bucket"] != bucket:
                continue
            delivery = _delivery(entry["batch"], archive)
            if entry["status"] == "DONE" and archive["images"] != entry["delivered"]:
                verdict.differences.append(
                    Difference(delivery.object, "images in the archive are not those delivered")
                )
            if delivery.object in expected:
                verdict.differences.append(
                    Difference(delivery.object, "two batches say that they delivered it")
                )
            expected[delivery.object] = delivery
    verdict.archives = len(expected)
    return expected


def _delivery(batch_id: str, archive: dict[str, Any]) -> Delivery:
    return Delivery(
        batch_id=batch_id,
        bucket=archive["bucket"],
        object=archive["name"],
        size=archive["size"],
        crc32c=archive["crc32c"],
        md5=archive["md5"],
        members=archive["images"],
        recipe_digest=archive["recipe"],
        engine=archive["engine"],
        revision=archive["revision"],
        generation=archive["generation"],
    )


def _compare(
    expected: dict[str, Delivery],
    found: dict[str, objects.StoredObject],
    rows: dict[str, list[table.HeldRow]],
    verdict: Verification,
) -> None:
    for name in sorted(expected.keys() | found.keys() | rows.keys()):
        delivery, there, held = expected.get(name), found.get(name), rows.get(name, [])
        problems = []
        if delivery is None:
            problems += ["an object that no manifest tells of"] if there else []
            problems += [f"{len(held)} rows that no manifest tells of"] if held else []
        else:
            if there is None:
                problems.append("no object")
            elif there.generation != delivery.generation or not there.holds(delivery):
                problems.append("another object: size, checksum or generation differ")
            if len(held) != 1:
                problems.append(f"{len(held)} rows, not 1")
            elif not held[0].describes(delivery):
                problems.append("its row describes another object")
        verdict.differences += [Difference(name, problem) for problem in problems]
