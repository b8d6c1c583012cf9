"""The ledger's records as Python types."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from sendit.batch import Counts, Outcome, Status

#: Fields of an uploaded archive that are kept when the archive is made again.
SENT = ("sent_at", "sent_object", "sent_crc32c")


FINAL = (Status.DONE, Status.EMPTY, Status.ERROR)


#: Number of consecutive runs that may leave a batch unfinished before it fails.
MAX_TAKE_UPS = 3


#: In progress in a run, as far as the ledger knows.
UNDER_WAY = (Status.NEW, Status.PROCESSING, Status.DONEPROCESSING)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a DAG, as the context of one of its tasks describes it.

    Parameters
    ----------
    dag_id, run_id
        Airflow's ids. They may be reused: when a run is deleted and triggered again, or the
        metadata database is lost.
    created
        Airflow's ``run_after`` (ISO 8601); it never changes.
    clears
        How often the run was cleared.
    started
        When the run started (ISO 8601); clearing a finished run changes it.
    """

    dag_id: str
    run_id: str
    created: str = ""
    clears: int = 0
    started: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that holds batches: its key in the ledger and its ids in Airflow."""

    key: str
    dag_id: str | None
    run_id: str


@dataclass(slots=True)
class Batch:
    """A batch's record. Times are seconds since the epoch, sizes are bytes."""

    id: str
    folder_digest: str
    status: Status
    run_id: str | None
    holder: str | None
    take_ups: int
    study: str
    collection: str
    recipe: str
    revise: bool
    subfolder: str | None
    same_as: str | None
    has_error: bool
    set_aside: bool
    errors: list[dict[str, Any]]
    reasons: dict[str, int]
    actions: dict[str, int]
    wanted: dict[str, int]
    counts: Counts
    bytes_in: int
    listing: str | None
    queued_at: float
    started_at: float | None
    finished_at: float | None
    cleaned_at: float | None

    @property
    def params(self) -> BatchParams:
        """The params that it was queued with."""
        return params_from(self)

    @property
    def tally(self) -> dict[str, int]:
        """The number of files received, in total and by current outcome.

        Files in the archive count as delivered once the batch is DONE. Until then, and for good
        in ERROR, they are ``undelivered``, like every file without an outcome. All numbers but
        ``received`` add up to ``received``.
        """
        counts = asdict(self.counts)
        if self.status is not Status.DONE:
            counts["delivered"] = 0
        received = counts.pop("received")
        return {"received": received, **counts, "undelivered": received - sum(counts.values())}

    @property
    def summary(self) -> str:
        """One line for logs: the status, and how many files have which outcome and why."""
        numbers = ", ".join(f"{count} {name}" for name, count in self.tally.items() if count)
        reasons = "; ".join(f"{reason} ({count})" for reason, count in self.reasons.items())
        error = " with errors" if self.has_error else ""
        return f"{self.status}{error}: {numbers or 'no files yet'}" + (
            f" [{reasons}]" if reasons else ""
        )


@dataclass(slots=True)
class Delivery:
    """One archive: its destination, its checksum, and the stored object's metadata.

    ``study_key`` identifies the study (collection, patient's and study's code), ``content_digest``
    is the keyed digest of the input, ``revision`` counts the study's archives from 1, ``replaces``
    is the batch whose archive this one is to replace, and ``replaced_...`` its object. ``sent_...``
    describes the last upload that was begun; its object may exist although no answer arrived.
    """

    batch_id: str
    bucket: str
    object: str
    size: int
    crc32c: str
    members: int
    recipe_digest: str
    engine: str
    study_key: str = ""
    content_digest: str = ""
    revision: int = 1
    replaces: str | None = None
    replaced_object: str | None = None
    replaced_generation: int | None = None
    generation: int | None = None
    md5: str | None = None
    updated: str | None = None
    self_link: str | None = None
    media_link: str | None = None
    sent_at: float | None = None
    sent_object: str | None = None
    sent_crc32c: str | None = None
    uploaded_at: float | None = None
    rows: int | None = None
    rows_at: float | None = None
    superseded_by: str | None = None
    withdrawn_at: float | None = None


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A known folder: its batch, and the digest of the files that import listed."""

    batch_id: str
    status: Status
    set_aside: bool
    cleaned: bool
    listing: str | None


@dataclass(frozen=True, slots=True)
class InputMark:
    """The identity of a non-empty input folder: device, inode, and whether it was a mount point."""

    device: str
    inode: str
    mounted: bool


@dataclass(frozen=True, slots=True)
class BatchParams:
    """The params that a batch was queued with. It keeps them, whichever run claims it, until
    `Ledger.requeue` changes them.

    ``subfolder`` is that of the run that found the batch, or None.
    """

    study: str
    collection: str
    recipe: str
    revise: bool = False
    subfolder: str | None = None


@dataclass(frozen=True, slots=True)
class StageLeft:
    """A lane's staging data: its location, and when it was deleted, if it was."""

    holder: str
    lane: int
    bucket: str
    collection: str
    dropped_at: float | None


class Event(StrEnum):
    """Events in the history of deliveries."""

    DELIVERED = "delivered"
    RECOGNISED = "recognised"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event in the history of a batch's delivery."""

    at: float
    batch_id: str
    event: Event
    study_key: str | None
    object: str | None
    revision: int | None
    generation: int | None
    crc32c: str | None
    recipe_digest: str | None
    note: str | None


@dataclass(slots=True)
class Stored:
    """An uploaded archive's metadata, as returned by Cloud Storage.

    ``md5`` is base64; composed objects in Cloud Storage have none.
    """

    generation: int
    md5: str | None
    updated: str
    self_link: str
    media_link: str
    uploaded_at: float = field(default_factory=time.time)


def count_outcomes(outcomes: Iterable[Outcome]) -> Counts:
    """Count files by outcome."""
    counts = Counts()
    for outcome in outcomes:
        counts.received += 1
        setattr(counts, outcome.value, getattr(counts, outcome.value) + 1)
    return counts


def counts_from(row: sa.Row[Any]) -> Counts:
    """Return a batch's counts, from its row."""
    return Counts(**{each.name: getattr(row, each.name) for each in fields(Counts)})


def params_from(row: sa.Row[Any] | Batch) -> BatchParams:
    """Return the params that a batch was queued with, from its row."""
    return BatchParams(**{each.name: getattr(row, each.name) for each in fields(BatchParams)})
