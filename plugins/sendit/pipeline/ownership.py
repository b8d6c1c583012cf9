"""Ownership: which run a batch belongs to, and what happens to it when that run has ended.

A batch belongs to a run only while Airflow says that the run is queued or running. However the
run ended (marked, deleted, the metadata database lost), the next run takes up its unfinished
batches.
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
    holders
        The runs to check.
    own
        The calling run. It is never among the ended.
    is_active
        Asks Airflow.

    Raises
    ------
    RetryLater
        Airflow does not answer, or says that the calling run has ended: then its answers about
        other runs cannot be trusted.
    """
    ended_runs = []
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
        ended_runs.append(holder)
    if ended_runs and not is_active(str(own.dag_id), own.run_id):
        raise RetryLater(
            "Airflow says that this very run is neither queued nor running, so its answers about "
            "other runs cannot be trusted; batches that other runs left are not taken up now"
        )
    return ended_runs


def take_up(ledger: Ledger, own: Holder, is_active: IsActive) -> None:
    """Take up the batches that ended runs left unfinished: each goes back to its place in the
    queue, or fails after too many take-ups (`Ledger.take_up`)."""
    left = ended(ledger, ledger.holders(), own, is_active)
    if not left:
        return
    queued, given_up = ledger.take_up([holder.key for holder in left], own.run_id, own.key)
    reach("discover: taken up")
    for batch_id in queued:
        logger.info("batch %s: left unfinished by a run that has ended, requeued", batch_id)
    for batch_id in given_up:
        logger.warning("batch %s: left unfinished by too many runs, set to ERROR", batch_id)
