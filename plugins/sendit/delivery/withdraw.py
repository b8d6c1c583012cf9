"""Withdraw: delete a delivered batch's object and row; the ledger keeps the history."""

from __future__ import annotations

import logging

from google.cloud import bigquery, storage

from sendit.batch import Status
from sendit.crashpoint import reach
from sendit.delivery.manifest import write_manifests
from sendit.delivery.names import dataset_name
from sendit.delivery.objects import find, is_of, remains
from sendit.delivery.upload import retract
from sendit.errors import FailBatch
from sendit.ledger import Ledger

logger = logging.getLogger(__name__)


def withdraw(
    ledger: Ledger,
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
    batch_id: str,
    reason: str,
) -> list[str]:
    """Delete a delivered batch's object and row, verify that they are gone, and record why.

    The batch can be requeued afterwards (`Ledger.requeue`), for example with a different recipe;
    its archive is then the study's next revision. Idempotent, so it can be repeated after an
    interruption.

    Parameters
    ----------
    ledger
        The ledger.
    storage_client, bigquery_client
        Clients for the bucket and dataset it was delivered to.
    batch_id
        Opaque id.
    reason
        Why, for the ledger's history. It is kept, so it must not say anything about a patient.

    Returns
    -------
    list of str
        What Cloud Storage still keeps of the object, as texts: earlier versions, and
        copies that can be restored.

    Raises
    ------
    FailBatch
        There is nothing to withdraw, or the object may not be deleted (retention, a hold) or is
        not the one delivered: nothing was changed. The text gives the reason.
    """
    batch, delivery = ledger.batch(batch_id), ledger.delivery(batch_id)
    if batch.same_as is not None:
        raise FailBatch(
            f"batch {batch_id} has the same content as batch {batch.same_as}, which delivered it: "
            "withdraw that one"
        )
    if delivery is None or delivery.generation is None:
        raise FailBatch(f"batch {batch_id} is {batch.status}: it has delivered nothing")
    if delivery.superseded_by is not None:
        raise FailBatch(
            f"batch {batch_id} was replaced by batch {delivery.superseded_by}: withdraw that one"
        )
    if batch.status not in (Status.DONE, Status.ERROR):
        raise FailBatch(f"batch {batch_id} is {batch.status}: wait until its run has ended")
    there = find(storage_client, delivery.bucket, delivery.object)
    if there is not None and not is_of(there, delivery):
        raise FailBatch(
            f"batch {batch_id}: the object with its archive's name, {there.name}, has different "
            f"bytes (generation {there.generation}); nothing was withdrawn. Find out who "
            "wrote it; delete it, or copy it elsewhere and delete it here, then run the command "
            "again"
        )
    retract(delivery, dataset_name(batch.collection), storage_client, bigquery_client)
    if delivery.withdrawn_at is None:
        ledger.put_withdrawn(batch_id, reason)
        reach("withdraw: written down")
    if batch.run_id is not None:
        write_manifests(ledger, storage_client, delivery.bucket, batch.run_id)
    left = remains(storage_client, delivery.bucket, delivery.object)
    for text in left:
        logger.warning("batch %s: still kept of its archive: %s", batch_id, text)
    logger.info("batch %s: withdrawn", batch_id)
    return left
