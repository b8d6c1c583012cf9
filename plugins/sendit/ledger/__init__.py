"""The ledger: what Airflow does not know about batches, identifiers and deliveries.

A separate database (SQLAlchemy; PostgreSQL or SQLite). Every method is one
transaction and idempotent. Real identifiers are only in the table ``identifiers``, and only
until cleanup; after that a folder is known by its keyed digest.

Every method raises `RetryLater` if the database does not respond, and, on a ledger bound to a run
(`Ledger.of_run`), `TakenOver` if it would write about a batch that the run no longer holds.
"""

from __future__ import annotations

from sendit.ledger.batches import Batches
from sendit.ledger.codes import Codes
from sendit.ledger.database import LOCK_WAIT_SECONDS, ledger_url
from sendit.ledger.deliveries import Deliveries
from sendit.ledger.feeds import Feeds
from sendit.ledger.records import (
    FINAL,
    MAX_TAKE_UPS,
    SENT,
    UNDER_WAY,
    Batch,
    BatchParams,
    Delivery,
    Event,
    HistoryEntry,
    Holder,
    InputMark,
    KnownFolder,
    Run,
    StageLeft,
    Stored,
    count_outcomes,
)
from sendit.ledger.runs import Runs
from sendit.ledger.schema import SCHEMA_VERSION


class Ledger(Feeds, Runs, Batches, Deliveries, Codes):
    """The ledger's operations.

    Parameters
    ----------
    uri
        ``postgresql://user:password@host/database`` or ``sqlite:////path``.
    """


__all__ = [
    "FINAL",
    "LOCK_WAIT_SECONDS",
    "MAX_TAKE_UPS",
    "SCHEMA_VERSION",
    "SENT",
    "UNDER_WAY",
    "Batch",
    "BatchParams",
    "Delivery",
    "Event",
    "HistoryEntry",
    "Holder",
    "InputMark",
    "KnownFolder",
    "Ledger",
    "Run",
    "StageLeft",
    "Stored",
    "count_outcomes",
    "ledger_url",
]
