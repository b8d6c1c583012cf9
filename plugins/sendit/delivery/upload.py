"""One lane's work: upload archives, write their rows, and confirm the deliveries.

In between, the provider's operators load the rows (stage, load, merge; see
`sendit.tasks.upload`). Every step asks the ledger what remains to be done, so each may run again
at any time: what is already delivered, or taken over by another run, is left alone.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from google.cloud import bigquery, storage

from sendit.batch import Status
from sendit.crashpoint import reach
from sendit.deidentify.losses import warnings_of
from sendit.delivery import objects, table
from sendit.delivery.lanes import Lane
from sendit.delivery.names import Stage, dataset_name, parse_object_name
from sendit.delivery.rows import Rows, row_of, write_rows
from sendit.errors import FailBatch, Misconfigured, RetryLater, SenditError, keep_failure
from sendit.ledger import Batch, Delivery, Ledger, StageLeft
from sendit.workspace import RESULT, Workspace

logger = logging.getLogger(__name__)

#: Stages of errors that delivery may clear: its own, and the report's, which marks batches that a
#: killed task left unfinished.
OWN_FAILURES = ("upload task", "run task")

#: Errors by batch id.
Failures = dict[str, SenditError]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch whose archive is ready and that is not DONE yet."""

    batch: Batch
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class LaneWork:
    """The context of one lane of a run.

    Parameters
    ----------
    ledger
        The ledger.
    root
        The working folder, shared by all workers.
    run
        The run's key in the ledger (`Ledger.run_key`).
    lane
        The lane's number and its batches' ids.
    """

    ledger: Ledger
    root: Path
    run: str
    lane: Lane

    def waiting(self) -> list[Waiting]:
        """Return this run's batches of the lane that have an archive and are not DONE."""
        waiting = []
        for batch_id in self.lane["batches"]:
            batch = self.ledger.batch(batch_id)
            delivery = self.ledger.delivery(batch_id)
            if batch.holder == self.run and delivery is not None and _is_ready(batch, delivery):
                waiting.append(Waiting(batch, delivery))
        return waiting

    def parts(self) -> list[CollectionPart]:
        """Return the batches whose archives are in the bucket and whose rows must be loaded, by
        collection. A run may have batches of several studies."""
        stored = [each for each in self.waiting() if each.delivery.generation is not None]
        collections = sorted({each.batch.collection for each in stored})
        return [
            CollectionPart(
                Stage.of(self.run, self.lane["lane"], collection),
                self.root,
                [each for each in stored if each.batch.collection == collection],
            )
            for collection in collections
        ]


@dataclass(frozen=True, slots=True)
class CollectionPart:
    """The batches of one collection in a lane, whose archives are in the bucket.

    Parameters
    ----------
    stage
        Names of the lane's staging data.
    root
        The working folder.
    batches
        At least one.
    """

    stage: Stage
    root: Path
    batches: list[Waiting]

    @property
    def rows_file(self) -> Path:
        """The rows, as a file."""
        return self.root / self.stage.file

    @property
    def bucket(self) -> str:
        """The bucket that the rows pass through."""
        return self.batches[0].delivery.bucket

    @property
    def collection(self) -> str:
        """The collection."""
        return self.batches[0].batch.collection

    @property
    def dataset(self) -> str:
        """The collection's dataset."""
        return dataset_name(self.stage.collection)


def _is_ready(batch: Batch, delivery: Delivery) -> bool:
    if delivery.members != batch.counts.delivered or not batch.counts.conserved:
        return False  # the batch is being processed again, and this is the earlier archive
    if batch.status is Status.ERROR:
        failed = {error["stage"] for error in batch.errors if error["stage"].endswith(" task")}
        return failed <= set(OWN_FAILURES)
    return batch.status is Status.DONEPROCESSING


def deliver_archives(
    work: LaneWork, client: storage.Client, refused: Container[str] = ()
) -> Failures:
    """Upload the lane's archives, except those of ``refused`` batches, and record the stored
    objects' metadata.

    An archive that cannot be delivered does not stop the others.

    Returns
    -------
    Failures
        By batch; `RetryLater` if a retry may succeed.
    """
    failures: Failures = {}
    for each in work.waiting():
        if each.batch.id not in refused:
            with keep_failure(failures, each.batch.id):
                _deliver_archive(work, client, each)
    _warn(failures)
    return failures


def _deliver_archive(work: LaneWork, client: storage.Client, each: Waiting) -> None:
    batch_id = each.batch.id
    delivery = each.delivery
    workspace = Workspace(work.root, batch_id)
    check_place(each.batch, delivery, workspace)
    _remove_sent(delivery, client)
    _check_replaced(delivery, client)
    work.ledger.put_sent(delivery)
    reach("archives: about to send")
    there = objects.deliver(
        client,
        delivery,
        workspace.archive,
        replaces=_replaced_generation(work.ledger, delivery, client),
    )
    reach("archives: uploaded")
    work.ledger.put_stored(delivery, there.stored)
    reach("archives: stored")
    if delivery.replaces is not None and delivery.replaced_object == delivery.object:
        work.ledger.supersede(delivery.replaces, batch_id)
        reach("archives: superseded")
    logger.info("batch %s: its archive is in the bucket, %d bytes", batch_id, there.size)


def _replaced_generation(ledger: Ledger, delivery: Delivery, client: storage.Client) -> int | None:
    """Return the generation of the object that this archive replaces, which has changed if the
    object was rewritten with the same bytes."""
    if delivery.replaces is None or delivery.replaced_object != delivery.object:
        return delivery.replaced_generation
    there = objects.find(client, delivery.bucket, delivery.object)
    earlier = ledger.delivery(delivery.replaces)
    if there is not None and earlier is not None and there.holds(earlier):
        return there.generation
    return delivery.replaced_generation


def _check_replaced(delivery: Delivery, client: storage.Client) -> None:
    """Raise if this archive replaces one under a different name that may not be deleted: then
    nothing is sent, so that the study keeps a single archive."""
    if delivery.replaced_object in {None, delivery.object}:
        return
    there = objects.find(client, delivery.bucket, str(delivery.replaced_object))
    if there is not None:
        objects.check_removable(delivery.batch_id, there)


def _remove_sent(delivery: Delivery, client: storage.Client) -> None:
    """Delete what an earlier attempt of the batch may have uploaded under another name."""
    if delivery.sent_object in {None, delivery.object}:
        return
    there = objects.find(client, delivery.bucket, str(delivery.sent_object))
    if there is not None and there.crc32c == delivery.sent_crc32c:
        objects.remove(client, delivery.bucket, there.name, there.generation)


def _warn(failures: Failures) -> None:
    for batch_id, error in failures.items():
        logger.warning("batch %s: %s", batch_id, error)


def check_place(batch: Batch, delivery: Delivery, workspace: Workspace) -> None:
    """Check that the archive was made for the batch's study and collection, and that its object's
    name is in that collection.

    Raises
    ------
    FailBatch
        They differ; nothing of the batch may be uploaded.
    """
    result = workspace.read(RESULT)
    place = parse_object_name(delivery.object).collection
    made = (result["study"], result["collection"], place)
    if made != (batch.study, batch.collection, batch.collection):
        raise FailBatch(
            f"batch {batch.id}: its archive was made for study {made[0]} and collection "
            f"{made[1]}, under a name in {made[2]}, but the batch belongs to study {batch.study} "
            f"and collection {batch.collection}; nothing was uploaded. Clear its import task to "
            "make the archive again"
        )


def write_lane(work: LaneWork) -> Failures:
    """Write the rows of the uploaded archives to the lane's files, one per collection.

    A batch whose row cannot be made fails without stopping the others.
    """
    failures: Failures = {}
    for part in work.parts():
        work.ledger.put_stage(work.lane["lane"], part.bucket, part.collection)
        rows = Rows()
        for each in part.batches:
            with keep_failure(failures, each.batch.id):
                header = Workspace(work.root, each.batch.id).read(RESULT)["header"]
                rows.add(row_of(each.delivery, header, warnings_of(each.batch.actions)))
        write_rows(part.rows_file, rows)
        reach("archives: rows written")
        logger.info("lane %d: %d rows for %s", work.lane["lane"], len(rows), part.dataset)
    _warn(failures)
    return failures


def confirm(
    work: LaneWork, storage_client: storage.Client, bigquery_client: bigquery.Client
) -> Failures:
    """Read back the object and row of every batch; set the batch to DONE if both agree.

    Otherwise both are retracted: a batch is delivered as a whole or not at all.

    Returns
    -------
    Failures
        The batches that are not delivered, and why.
    """
    failures: Failures = {}
    waiting = work.waiting()
    proof = _Proof(work.ledger, storage_client, bigquery_client, waiting)
    for each in waiting:
        with keep_failure(failures, each.batch.id):
            proof.confirm(each)
    return failures


class _Proof:
    """Compares bucket and table with the ledger for a lane's batches."""

    def __init__(
        self,
        ledger: Ledger,
        storage_client: storage.Client,
        bigquery_client: bigquery.Client,
        waiting: list[Waiting],
    ) -> None:
        self._ledger = ledger
        self._storage = storage_client
        self._bigquery = bigquery_client
        self._names = [each.delivery.object for each in waiting]
        self._held: dict[tuple[str, str], dict[str, list[table.HeldRow]]] = {}

    def confirm(self, each: Waiting) -> None:
        """Set a batch to DONE, or retract it.

        Raises
        ------
        FailBatch
            It is not delivered.
        """
        batch_id, delivery = each.batch.id, each.delivery
        self._ledger.check_held(batch_id)
        if delivery.generation is None:
            raise _earlier(each.batch) or FailBatch(
                "its archive was not uploaded, because the archives task of its lane did not get "
                "that far; clear that task, with downstream tasks"
            )
        dataset = dataset_name(each.batch.collection)
        problem = self._problem(delivery, dataset)
        if problem is not None:
            why = _earlier(each.batch) or FailBatch(problem)
            try:
                retract(delivery, dataset, self._storage, self._bigquery)
            except FailBatch as error:
                raise FailBatch(f"{why}; {error}") from None
            self._ledger.put_retracted(batch_id)
            reach("confirm: retracted")
            raise why
        _remove_replaced(self._ledger, delivery, dataset, self._storage, self._bigquery)
        for stage in OWN_FAILURES:
            self._ledger.record(batch_id, errors=[], stage=stage)
            reach("confirm: errors taken back")
        self._ledger.put_done(batch_id, 1)
        reach("confirm: done")
        logger.info("batch %s: delivered", batch_id)

    def _problem(self, delivery: Delivery, dataset: str) -> str | None:
        held = self._rows(dataset, delivery.bucket).get(delivery.object, [])
        there = objects.find(self._storage, delivery.bucket, delivery.object)
        if there is None or there.generation != delivery.generation or not there.holds(delivery):
            return "its object in the bucket is not the one delivered"
        if len(held) != 1 or not held[0].describes(delivery):
            return f"{len(held)} rows in BigQuery describe its archive, not 1"
        return None

    def _rows(self, dataset: str, bucket: str) -> dict[str, list[table.HeldRow]]:
        place = (dataset, bucket)
        if place not in self._held:
            self._held[place] = table.held_rows(self._bigquery, dataset, bucket, self._names)
        return self._held[place]


def retract(
    delivery: Delivery,
    dataset: str,
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
) -> None:
    """Delete a delivery's object, then its row, and verify that both are gone. Idempotent.

    The object is deleted first because Cloud Storage may refuse to delete it (retention,
    a hold): then both are unchanged.

    Raises
    ------
    FailBatch
        The object may not be deleted; nothing was changed.
    RetryLater
        The row was written again meanwhile.
    """
    name = delivery.object
    table.held_rows(bigquery_client, dataset, delivery.bucket, [name])  # BigQuery responds
    objects.take_out(storage_client, delivery)
    reach("take back: object deleted")
    table.delete_rows(bigquery_client, dataset, delivery.bucket, [name])
    if table.held_rows(bigquery_client, dataset, delivery.bucket, [name]):
        raise RetryLater(
            f"batch {delivery.batch_id}: its row in BigQuery was deleted, but has been written "
            "again meanwhile; repeat this"
        )
    reach("take back: row deleted")


def _remove_replaced(
    ledger: Ledger,
    delivery: Delivery,
    dataset: str,
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
) -> None:
    """Delete the archive that this one replaces, if it has a different name (its date changed)."""
    if delivery.replaced_object in {None, delivery.object}:
        return
    known = ledger.delivery(delivery.replaces) if delivery.replaces is not None else None
    old = replace(
        known or delivery,
        object=str(delivery.replaced_object),
        generation=delivery.replaced_generation,
    )
    retract(old, dataset, storage_client, bigquery_client)
    if delivery.replaces is not None:
        ledger.supersede(delivery.replaces, delivery.batch_id)
        reach("confirm: superseded")


def _earlier(batch: Batch) -> SenditError | None:
    """Return the error recorded by an earlier step of delivery, if any."""
    errors = [error for error in batch.errors if error["stage"] in OWN_FAILURES]
    if not errors:
        return None
    # Never RetryLater: retrying confirm does not upload an archive; its own task must be cleared.
    kind = Misconfigured if errors[-1].get("outside") else FailBatch
    return kind(errors[-1]["reason"])


def drop_stage(
    work: LaneWork,
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
    *,
    for_good: bool,
) -> None:
    """Delete the lane's staging data: file, object and table. Idempotent.

    Unless ``for_good``, a later run looks for it once more (`sendit.delivery.leftovers`).
    """
    for left in work.ledger.stages():
        if (left.holder, left.lane) == (work.run, work.lane["lane"]) and remove_stage(
            left, work.root, storage_client, bigquery_client
        ):
            work.ledger.put_stage_dropped(left, for_good=for_good)


def remove_stage(
    left: StageLeft,
    root: Path,
    storage_client: storage.Client,
    bigquery_client: bigquery.Client,
) -> bool:
    """Delete a lane's staging file, object and table of one collection. Idempotent.

    Returns
    -------
    bool
        Whether nothing is left. If the bucket keeps the object (retention, a hold), a later run
        deletes it; the delivery is not affected.
    """
    stage = Stage.of(left.holder, left.lane, left.collection)
    table.drop_table(bigquery_client, dataset_name(left.collection), stage.table)
    reach("confirm: stage table dropped")
    gone = objects.clear_away(storage_client, left.bucket, stage.object)
    reach("confirm: stage object removed")
    file = root / stage.file
    file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it does not exist, or has another lane's files
        file.parent.rmdir()
        file.parent.parent.rmdir()
    return gone
