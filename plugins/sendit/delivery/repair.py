"""Repair: reload missing, duplicate or wrong rows from the manifests and the objects in the bucket.

Only rows are written or deleted here, never archives. An object that was rewritten with
the same bytes is still the archive that was delivered: ledger, manifest and row are updated to its
new generation.
"""

from __future__ import annotations

import json
import logging
import tarfile
from dataclasses import asdict, replace
from typing import Any

from google.cloud import bigquery, storage

from sendit.deidentify.losses import warnings_of
from sendit.deidentify.study import searchable
from sendit.delivery import objects, table
from sendit.delivery.manifest import write_manifests
from sendit.delivery.names import dataset_name
from sendit.delivery.rows import merge_statement, row_of, schema_fields
from sendit.delivery.verify import Compared
from sendit.digests import short_digest
from sendit.errors import FailBatch, SenditError, keep_failure
from sendit.ledger import Delivery, Ledger

logger = logging.getLogger(__name__)

#: Bytes of an archive that are fetched at a time; only its first image is needed.
CHUNK_BYTES = 1 << 20


def repair(
    ledger: Ledger,
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
    compared: Compared,
    *,
    location: str,
) -> dict[str, SenditError]:
    """Restore exactly one row for each archive whose object matches its manifest.

    Parameters
    ----------
    ledger
        The ledger, in which objects that were rewritten are updated.
    storage_client, bigquery_client
        Clients for the collection's bucket and dataset.
    compared
        The comparison of manifests, bucket and table (`sendit.delivery.verify`).
    location
        Location of the dataset, if it has to be created.

    Returns
    -------
    dict of str to SenditError
        Archives whose row could not be restored, by name.
    """
    failures: dict[str, SenditError] = {}
    rows: list[dict[str, Any]] = []
    runs: set[tuple[str, str]] = set()
    for name in compared.without_row():
        with keep_failure(failures, name):
            delivery, there = compared.expected[name], compared.objects[name]
            if there.generation != delivery.generation:
                run_id = _rewritten(ledger, delivery, there)
                runs.add((delivery.bucket, run_id))
            stored = replace(delivery, **asdict(there.stored))
            warnings = warnings_of(ledger.batch(delivery.batch_id).actions)
            rows.append(row_of(stored, first_header(storage_client, there), warnings))
    for bucket, run_id in sorted(runs):
        write_manifests(ledger, storage_client, bucket, run_id)
    if rows:
        _load(storage_client, bigquery_client, compared.collection, location, rows)
    return failures


def _rewritten(ledger: Ledger, delivery: Delivery, there: objects.StoredObject) -> str:
    """Record an object's new generation; return the run whose manifest lists it."""
    run_id = ledger.batch(delivery.batch_id).run_id
    if run_id is None or not ledger.put_rewritten(delivery, there.stored):
        raise FailBatch(
            f"batch {delivery.batch_id}: its object was rewritten, but this ledger does not have "
            "it as delivered; run this where its ledger is"
        )
    logger.info("batch %s: generation is now %d", delivery.batch_id, there.generation)
    return run_id


def first_header(client: storage.Client, there: objects.StoredObject) -> dict[str, Any]:
    """Return the attributes of an archive's first image, for its row.

    Raises
    ------
    FailBatch
        The object is not an archive of images.
    """
    blob = client.bucket(there.bucket).blob(there.name, generation=there.generation)
    with objects.bucket_errors(there.bucket):
        try:
            with (
                blob.open("rb", chunk_size=CHUNK_BYTES) as file,
                tarfile.open(fileobj=file, mode="r|gz") as archive,
            ):
                member = archive.next()
                content = archive.extractfile(member) if member is not None else None
                if content is not None:
                    return searchable(content.read())
        except (tarfile.TarError, EOFError):
            pass
    raise FailBatch(f"{there.name} in bucket {there.bucket} is not an archive of images")


def _load(
    storage_client: storage.Client,
    client: bigquery.Client,
    collection: str,
    location: str,
    rows: list[dict[str, Any]],
) -> None:
    """Replace the rows of archives in the same way as a run: through a staging object, a staging
    table and MERGE. Idempotent."""
    bucket = rows[0]["bucket"]
    dataset = dataset_name(collection)
    table.ensure_table(client, collection, location)
    names = sorted(row["name"] for row in rows)
    digest = short_digest("\n".join(names))
    stage, name = f"stage_repair_{digest}", f"Stage/repair/{digest}.ndjson"
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    objects.put(storage_client, bucket, name, text.encode(), "application/x-ndjson")
    with table.dataset_errors(dataset):
        client.load_table_from_uri(
            f"gs://{bucket}/{name}",
            bigquery.DatasetReference(client.project, dataset).table(stage),
            job_config=bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
                schema=[bigquery.SchemaField.from_api_repr(field) for field in schema_fields()],
                write_disposition="WRITE_TRUNCATE",
            ),
            retry=table.RETRY,
            timeout=table.TIMEOUT,
        ).result(retry=table.RETRY, timeout=table.QUERY_TIMEOUT)
    try:
        table.delete_rows(client, dataset, bucket, names)
        with table.dataset_errors(dataset):
            table.run_query(client, merge_statement(dataset, stage))
    finally:
        table.drop_table(client, dataset, stage)
        objects.clear_away(storage_client, bucket, name)
