"""Verify: compare the manifests with bucket and table, and report every difference.

The ledger is not consulted, so this works for someone who does not trust it: manifest, object and
row of an archive must agree. A restored ledger can be compared with the bucket as well
(`verify_ledger`).
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
        """Return the archives whose object has the delivered bytes, but that do not have exactly
        one row that describes it."""
        names = []
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
                names.append(name)
        return names


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
    stored = {
        name: there
        for name in expected
        if (there := objects.find(storage_client, bucket, name)) is not None
    }
    rows = _rows(bigquery_client, collection, bucket, verdict, expected) if expected else {}
    verdict.compared = Compared(collection, expected, stored, rows)
    _compare(expected, stored, rows, verdict)
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
    stored = objects.find_all(storage_client, bucket, f"Collection/{collection}/Entity/")
    rows = {}
    if names or stored:
        rows = _rows(bigquery_client, collection, bucket, verdict)
    verdict.compared = Compared(collection, expected, stored, rows)
    _compare(expected, stored, rows, verdict)
    return verdict


def _rows(
    client: bigquery.Client,
    collection: str,
    bucket: str,
    verdict: Verification,
    names: Iterable[str] | None = None,
) -> dict[str, list[table.HeldRow]]:
    """Return the table's rows; record a missing table as a difference."""
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
    """Return the ledger's deliveries that the bucket does not have as recorded.

    ``verify_collection`` reports what the bucket has beyond that; if the ledger is older than the
    bucket, so does the feeder check (``sendit adopt``).
    """
    stored = objects.find_all(storage_client, bucket, f"Collection/{collection}/Entity/")
    differences = []
    for delivery in ledger.delivered_to(bucket, collection):
        there = stored.get(delivery.object)
        if there is None:
            differences.append(
                Difference(delivery.object, "delivered according to the ledger, but no object")
            )
        elif not there.holds(delivery):
            differences.append(
                Difference(delivery.object, "size or checksum differs from the ledger's")
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
    """Return the archives that should be in the bucket, by name; also check the counts.

    Archives that a run delivered to a different bucket, configured at the time, are left out.
    """
    expected: dict[str, Delivery] = {}
    for manifest in manifests:
        verdict.manifests += 1
        # Manifests from before feeders were recorded name no ledger.
        named = manifest.get("ledger")
        if named and verdict.feeder and named not in verdict.feeder.ledgers:
            verdict.differences.append(
                Difference(
                    manifest["run"],
                    f"was delivered with the ledger {named}, which the collection "
                    "does not know: its codes are different",
                )
            )
        for entry in manifest["batches"]:
            kinds = ("delivered", "filtered", "quarantined", "duplicate", "undelivered")
            # Older manifests have no count of undelivered files.
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
                    Difference(delivery.object, "two batches claim to have delivered it")
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
    stored: dict[str, objects.StoredObject],
    rows: dict[str, list[table.HeldRow]],
    verdict: Verification,
) -> None:
    for name in sorted(expected.keys() | stored.keys() | rows.keys()):
        delivery, there, held = expected.get(name), stored.get(name), rows.get(name, [])
        problems = []
        if delivery is None:
            problems += ["an object that no manifest lists"] if there else []
            problems += [f"{len(held)} rows that no manifest lists"] if held else []
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
