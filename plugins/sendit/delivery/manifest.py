"""The manifest of a run, in the bucket: what was received, what was delivered, and where it is.

A data steward can compare it with bucket and table without sendit's ledger
(`sendit.delivery.verify`). It contains only coded and opaque ids, checksums and counts. The same
ledger gives the same bytes, so writing it again changes nothing.
"""

from __future__ import annotations

import json
from typing import Any

from google.cloud import storage

from sendit import __version__
from sendit.crashpoint import reach
from sendit.deidentify.losses import warnings_of
from sendit.delivery import objects
from sendit.delivery.feeder import ledger_digest
from sendit.digests import short_digest
from sendit.errors import SenditError, joined, keep_failure
from sendit.ledger import Batch, Delivery, Ledger

VERSION = 1
CONTENT_TYPE = "application/json"


def manifest_name(collection: str, run_id: str) -> str:
    """Return the name of a run's manifest in the bucket."""
    return f"{manifest_folder(collection)}{short_digest(run_id)}.json"


def manifest_folder(collection: str) -> str:
    """Return the prefix of a collection's manifests."""
    return f"Collection/{collection}/Manifest/"


def manifests_of(ledger: Ledger, run_id: str) -> list[dict[str, Any]]:
    """Return the manifests of a run, one for each collection of its batches.

    ``batches`` lists for each batch its status, counts, reasons, what tools will get wrong about
    its images (``warnings``) and its archive; ``totals`` sums the counts. An archive's ``state``
    is "delivered", "superseded" (by the batch named) or "withdrawn"; ``same_as`` of a recognised
    batch names the one that delivered the content.
    """
    batches = ledger.batches_of_run(run_id)
    return [
        _manifest(ledger, run_id, collection, [b for b in batches if b.collection == collection])
        for collection in sorted({batch.collection for batch in batches})
    ]


def _manifest(ledger: Ledger, run_id: str, collection: str, batches: list[Batch]) -> dict[str, Any]:
    tallies = [batch.tally for batch in batches]
    totals = {name: sum(tally[name] for tally in tallies) for name in tallies[0]}
    return {
        "manifest": VERSION,
        "run": run_id,
        "collection": collection,
        "ledger": ledger_digest(ledger),
        "sendit": __version__,
        "totals": totals,
        "batches": [_entry(batch, ledger.delivery(batch.id)) for batch in batches],
    }


def _entry(batch: Batch, delivery: Delivery | None) -> dict[str, Any]:
    return {
        "batch": batch.id,
        "status": batch.status.value,
        **batch.tally,
        "reasons": batch.reasons,
        "warnings": warnings_of(batch.actions),
        "same_as": batch.same_as,
        "archive": None if delivery is None else _archive(delivery),
    }


def _archive(delivery: Delivery) -> dict[str, Any] | None:
    if delivery.rows_at is None:
        return None
    state = "delivered"
    if delivery.withdrawn_at is not None:
        state = "withdrawn"
    elif delivery.superseded_by is not None:
        state = "superseded"
    return {
        "state": state,
        "superseded_by": delivery.superseded_by,
        "bucket": delivery.bucket,
        "name": delivery.object,
        "generation": delivery.generation,
        "size": delivery.size,
        "crc32c": delivery.crc32c,
        "md5": delivery.md5,
        "images": delivery.members,
        "revision": delivery.revision,
        "recipe": delivery.recipe_digest,
        "engine": delivery.engine,
    }


def write_manifests(ledger: Ledger, client: storage.Client, bucket: str, run_id: str) -> list[str]:
    """Write a run's manifests, and those of the runs that it changed.

    Each is written to every bucket that holds one of its archives, or to ``bucket`` if it has
    none. (The setting may have changed since.)

    Returns
    -------
    list of str
        The names of the run's manifests, one per collection; none if it has no batch.

    Raises
    ------
    SenditError
        A manifest could not be written; the others were.
    """
    failures: dict[str, SenditError] = {}
    written: list[str] = []
    # This run's own first, so that an error in another run's manifest does not prevent it.
    for manifest in manifests_of(ledger, run_id):
        with keep_failure(failures, manifest["collection"]):
            written.append(_put(client, bucket, manifest))
    for other in sorted(_changed_runs(ledger, run_id)):
        for manifest in manifests_of(ledger, other):
            with keep_failure(failures, f"{other} {manifest['collection']}"):
                _put(client, bucket, manifest)
    if failures:
        raise joined(failures)
    return written


def _changed_runs(ledger: Ledger, run_id: str) -> set[str]:
    """Return the earlier runs whose archives this run replaced."""
    changed = set()
    for batch in ledger.batches_of_run(run_id):
        delivery = ledger.delivery(batch.id)
        if delivery is not None and delivery.replaces is not None:
            other = ledger.batch(delivery.replaces).run_id
            if other is not None and other != run_id:
                changed.add(other)
    return changed


def _put(client: storage.Client, bucket: str, manifest: dict[str, Any]) -> str:
    name = manifest_name(manifest["collection"], manifest["run"])
    text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    archives = [entry["archive"] for entry in manifest["batches"] if entry["archive"]]
    for place in sorted({archive["bucket"] for archive in archives} or {bucket}):
        objects.put(client, place, name, text, CONTENT_TYPE)
    reach("manifest: written")
    return name
