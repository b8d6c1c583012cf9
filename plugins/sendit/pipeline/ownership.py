"""Which run a batch belongs to, and what happens to it when that run has ended.

A batch belongs to a run only while Airflow says that the run is queued or running. Whatever
ended it (marked, deleted, the metadata database lost), the next run takes up what it left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from sendit.crashpoint import reach
from sendit.errors import RetryLater
from sendit.ledger import Holder, Ledger

logger = logging.getLogger(__name__)

#: Whether Airflow says that a run, by DAG id and run id, is queued or running. Raises
#: `RetryLater` if it cannot say.
IsActive = Callable[[str, str], bool]


def ended(
    ledger: Ledger, holders: Iterable[Holder], own: Holder, is_active: IsActive
) -> list[Holder]:
    """Return the runs that have ended, whether or not Airflow still knows them.

    Parameters
    ----------
    ledger
        The ledger.
    holders
        The runs in question.
    own
        The run that asks. It is not among the ended.
    is_active
        Asks Airflow.

    Raises
    ------
    RetryLater
        Airflow does not answer, or answers that the run which asks has ended: then nothing that
        it says of others is believed.
    """
    found = []
    answers: dict[tuple[str, str], bool] = {}
    for holder in holders:
        if holder.key == own.key:
            continue
        run = (holder.dag_id or str(own.dag_id), holder.run_id)
        if run != (own.dag_id, own.run_id):
            if run not in answers:
                answers[run] = is_active(*run)
            if answers[run] and ledger.is_latest(holder):
                continue
        found.append(holder)
    if found and not is_active(str(own.dag_id), own.run_id):
        raise RetryLater(
            "Airflow says that this very run is neither queued nor running, so that what it says "
            "of other runs cannot be relied on; batches that other runs left are not taken up now"
        )
    return found


def take_up(ledger: Ledger, own: Holder, is_active: IsActive) -> None:
    """Take up what runs that have ended left under way: a batch goes back to its place in the
    queue, or fails after too many take-ups (`Ledger.take_up`)."""
    left = ended(ledger, ledger.holders(), own, is_active)
    if not left:
        return
    queued, given_up = ledger.take_up([holder.key for holder in left], own.run_id, own.key)
    reach("discover: taken up")
    for batch_id in queued:
        logger.info("batch %s: left by a run that has ended, queued again", batch_id)
    for batch_id in given_up:
        logger.warning("batch %s: left by too many runs, given up", batch_id)
