"""Studies that were delivered before: recognised, refused, or replaced.

Studies are identified by their codes, contents by a keyed digest of the input, so this also
works if the study comes in a different folder, with different file names, or after an upgrade.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from sendit.batch import Status
from sendit.errors import FailBatch
from sendit.ledger import Batch, Delivery, Ledger

logger = logging.getLogger(__name__)


def register_archive(ledger: Ledger, delivery: Delivery) -> Status:
    """Register a new archive: as a first delivery, a duplicate or a revision.

    =============================================  ==========================================
    the study                                      the batch
    =============================================  ==========================================
    was never delivered, or was withdrawn          is to be delivered (DONEPROCESSING)
    was delivered, same content, same recipe       is recognised: DONE, nothing is sent
    was delivered, different, the run revises      is to replace that archive
    was delivered, different, the run does not     fails
    is being delivered by another batch            fails
    =============================================  ==========================================

    Parameters
    ----------
    ledger
        The ledger.
    delivery
        The archive, with its content digest; its revision and the object that it replaces are
        determined here.

    Returns
    -------
    Status
        DONEPROCESSING if it is to be delivered, DONE if it was recognised.

    Raises
    ------
    FailBatch
        As in the table; the text says what to do.
    """
    batch = ledger.batch(delivery.batch_id)
    held = ledger.deliveries_of(delivery.bucket, delivery.study_key)
    own = next((each for each in held if each.batch_id == batch.id), None)
    before = _delivered_before(ledger, batch, held)
    if before is not None and _same(before, delivery):
        if before is own:
            ledger.record(batch.id, status=Status.DONE)
        else:
            ledger.mark_duplicate_of(batch.id, before.batch_id)
        logger.info("batch %s: its study was delivered as batch %s", batch.id, before.batch_id)
        return Status.DONE
    if before is not None and not batch.revise:
        what = "recipe" if before.content_digest == delivery.content_digest else "content"
        raise FailBatch(
            f"batch {batch.id}: its study was delivered before, with a different {what}, as batch "
            f"{before.batch_id}; to replace that archive, requeue this batch with: "
            f"sendit requeue {batch.id} --revise; or withdraw the earlier batch first"
        )
    ledger.put_archive(_placed(delivery, own, before, held))
    return Status.DONEPROCESSING


def _delivered_before(ledger: Ledger, batch: Batch, held: list[Delivery]) -> Delivery | None:
    for each in held:
        if each.withdrawn_at or each.superseded_by:
            continue
        if each.batch_id == batch.id:
            if each.rows_at is not None:
                return each  # its folder was renamed to .err, fixed and queued again
            continue
        other = ledger.batch(each.batch_id)
        if other.status is Status.DONE:
            return each
        if each.generation is None and other.status is Status.ERROR:
            ledger.drop_archive(each.batch_id)  # it was never delivered
            continue
        raise FailBatch(
            f"batch {batch.id}: batch {other.id} is delivering an archive of the same study: "
            "two folders hold one study; when that batch is finished, compare the folders, "
            "and keep one, or clear this batch's anonymize task to check again"
        )
    return None


def _same(before: Delivery, delivery: Delivery) -> bool:
    return (before.content_digest, before.recipe_digest) == (
        delivery.content_digest,
        delivery.recipe_digest,
    )


def _placed(
    delivery: Delivery, own: Delivery | None, before: Delivery | None, held: list[Delivery]
) -> Delivery:
    """Return the delivery with its revision, and the object that it may replace."""
    last = max((each.revision for each in held if each is not own), default=0)
    if own is not None and own.withdrawn_at is None and own is not before:
        revision = own.revision
        replaced = (own.replaced_object, own.replaced_generation)
        if own.generation is not None and own.crc32c != delivery.crc32c:
            # An earlier attempt uploaded different bytes, and was never DONE.
            replaced = (own.object, own.generation)
    else:
        revision = max(last, own.revision if own else 0) + 1
        replaced = (None, None)
    if before is not None and replaced == (None, None):
        replaced = (before.object, before.generation)
    return replace(
        delivery,
        revision=revision,
        replaces=before.batch_id if before and before is not own else None,
        replaced_object=replaced[0],
        replaced_generation=replaced[1],
    )
