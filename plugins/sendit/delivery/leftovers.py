"""Deletes what ended runs left in bucket and table, based on the ledger's records of what was
about to be written."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from google.cloud import bigquery, storage

from sendit.delivery import objects
from sendit.delivery.names import dataset_name
from sendit.delivery.upload import remove_stage, retract
from sendit.errors import FailBatch
from sendit.ledger import Delivery, Ledger, StageLeft

logger = logging.getLogger(__name__)

#: Seconds after which a lane's staging data is looked for a second and last time: BigQuery
#: finishes a load job, and creates its table, even if the task that waited for it was killed.
LAST_LOOK_SECONDS = 3600.0


def stages_left(ledger: Ledger, ended: Iterable[str]) -> list[StageLeft]:
    """Return the staging data of ended runs that is due for deletion."""
    keys = set(ended)
    return [
        stage
        for stage in ledger.stages()
        if stage.holder in keys
        and (stage.dropped_at is None or time.time() - stage.dropped_at > LAST_LOOK_SECONDS)
    ]


def remove_stages(
    ledger: Ledger,
    root: Path,
    stages: Iterable[StageLeft],
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
) -> None:
    """Delete staging data, also below the working folder ``root``; what the bucket retains is left
    for a later run."""
    for stage in stages:
        if not remove_stage(stage, root, storage_client, bigquery_client):
            continue
        ledger.put_stage_dropped(stage, for_good=stage.dropped_at is not None)
        logger.info("lane %d of an ended run: staging data deleted", stage.lane)


def retract_strays(
    ledger: Ledger,
    strays: Iterable[Delivery],
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
) -> None:
    """Delete archives of ended batches that were sent but never confirmed, and their rows if there
    are any."""
    for delivery in strays:
        batch = ledger.batch(delivery.batch_id)
        deleted = False
        for name, checksum in {
            (delivery.object, delivery.crc32c),
            (delivery.sent_object or delivery.object, delivery.sent_crc32c),
        }:
            there = objects.find(storage_client, delivery.bucket, name)
            if there is None or there.crc32c != checksum or _is_delivered(ledger, there, delivery):
                continue
            there_now = replace(delivery, object=name, generation=there.generation)
            dataset = dataset_name(batch.collection)
            try:
                retract(there_now, dataset, storage_client, bigquery_client)
            except FailBatch as error:
                logger.warning("%s", error)  # a later run tries again
                break
            deleted = True
        else:
            ledger.put_retracted(delivery.batch_id, found=deleted)


def _is_delivered(ledger: Ledger, there: objects.StoredObject, delivery: Delivery) -> bool:
    """Whether another batch delivered this object."""
    return any(
        (other.object, other.generation) == (there.name, there.generation)
        and other.rows_at is not None
        and other.withdrawn_at is None
        for other in ledger.deliveries_of(delivery.bucket, delivery.study_key)
        if other.batch_id != delivery.batch_id
    )
