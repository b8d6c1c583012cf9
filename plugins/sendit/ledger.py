"""The ledger: what Airflow cannot know about batches, identifiers and deliveries.

A database of its own (SQLAlchemy; PostgreSQL, or SQLite by default). Every method is one
transaction, and doing it twice is doing it once. Real identifiers live in the table
``identifiers`` alone, and only until cleanup; a folder is then known by its keyed digest.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sendit.batch import BatchError, Counts, Outcome, Status, new_batch_id
from sendit.errors import FailBatch, Misconfigured, RetryLater, TakenOver

SCHEMA_VERSION = 6
LOCK_WAIT_SECONDS = 60
_SCHEMA_LOCK = 0x5E4D17  # any number that is ours: one process makes the tables

metadata = sa.MetaData()

schema_info = sa.Table(
    "schema_info",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
)

identity = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
)

inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(20), nullable=False),
    sa.Column("inode", sa.String(20), nullable=False),
    sa.Column("mounted", sa.Boolean, nullable=False),
)

feeds = sa.Table(
    "feeds",
    metadata,
    sa.Column("bucket", sa.String(222), primary_key=True),
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("key", sa.String(17), primary_key=True),
    sa.Column("dag_id", sa.String(250), nullable=False),
    sa.Column("run_id", sa.String(250), nullable=False, index=True),
    sa.Column("created", sa.String(40), nullable=False),
    sa.Column("starts", sa.JSON, nullable=False),
    sa.Column("first_seen_at", sa.Float, nullable=False),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(17), primary_key=True),
    sa.Column("folder_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("status", sa.String(16), nullable=False, index=True),
    sa.Column("run_id", sa.String(250), index=True),
    sa.Column("holder", sa.String(250), index=True),
    sa.Column("take_ups", sa.Integer, nullable=False, default=0),
    sa.Column("study", sa.String(64), nullable=False),
    sa.Column("collection", sa.String(64), nullable=False),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("revise", sa.Boolean, nullable=False),
    sa.Column("subfolder", sa.Text),
    sa.Column("same_as", sa.String(17)),
    sa.Column("has_error", sa.Boolean, nullable=False, default=False),
    sa.Column("set_aside", sa.Boolean, nullable=False, default=False),
    sa.Column("errors", sa.JSON, nullable=False, default=list),
    sa.Column("reasons", sa.JSON, nullable=False, default=dict),
    sa.Column("actions", sa.JSON, nullable=False, default=dict),
    sa.Column("received", sa.Integer, nullable=False, default=0),
    sa.Column("delivered", sa.Integer, nullable=False, default=0),
    sa.Column("filtered", sa.Integer, nullable=False, default=0),
    sa.Column("quarantined", sa.Integer, nullable=False, default=0),
    sa.Column("duplicate", sa.Integer, nullable=False, default=0),
    sa.Column("bytes_in", sa.BigInteger, nullable=False, default=0),
    sa.Column("listing", sa.String(64)),
    sa.Column("queued_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("cleaned_at", sa.Float),
)

identifiers = sa.Table(
    "identifiers",
    metadata,
    sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("bucket", sa.String(222), nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("archive_of", sa.String(200), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("replaces", sa.String(17)),
    sa.Column("replaced_object", sa.Text),
    sa.Column("replaced_generation", sa.BigInteger),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("crc32c", sa.String(16), nullable=False),
    sa.Column("members", sa.Integer, nullable=False),
    sa.Column("recipe_digest", sa.String(64), nullable=False),
    sa.Column("engine", sa.String(32), nullable=False),
    sa.Column("sent_at", sa.Float),
    sa.Column("sent_object", sa.Text),
    sa.Column("sent_crc32c", sa.String(16)),
    sa.Column("generation", sa.BigInteger),
    sa.Column("md5", sa.String(32)),
    sa.Column("updated", sa.String(40)),
    sa.Column("self_link", sa.Text),
    sa.Column("media_link", sa.Text),
    sa.Column("uploaded_at", sa.Float),
    sa.Column("rows", sa.Integer),
    sa.Column("rows_at", sa.Float),
    sa.Column("superseded_by", sa.String(17)),
    sa.Column("withdrawn_at", sa.Float),
    sa.UniqueConstraint("bucket", "archive_of", "revision", name="one_archive_per_study"),
)

stages = sa.Table(
    "stages",
    metadata,
    sa.Column("holder", sa.String(250), primary_key=True),
    sa.Column("lane", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.String(222), primary_key=True),
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("dropped_at", sa.Float),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), nullable=False, index=True),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("archive_of", sa.String(200)),
    sa.Column("object", sa.Text),
    sa.Column("revision", sa.Integer),
    sa.Column("generation", sa.BigInteger),
    sa.Column("crc32c", sa.String(16)),
    sa.Column("recipe_digest", sa.String(64)),
    sa.Column("note", sa.Text),
)

patient_codes = sa.Table(
    "patient_codes",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("code", sa.String(64), nullable=False, unique=True),
    sa.Column("jitter", sa.Integer, nullable=False),
)

study_codes = sa.Table(
    "study_codes",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("code", sa.String(64), nullable=False, unique=True),
)

#: What stays written down of an archive that was sent and is made anew.
SENT = ("sent_at", "sent_object", "sent_crc32c")
FINAL = (Status.DONE, Status.EMPTY, Status.ERROR)
#: So many ended runs may leave a batch under way, one after the other, before it fails.
MAX_TAKE_UPS = 3
#: At work in a run, or thought to be.
UNDER_WAY = (Status.NEW, Status.PROCESSING, Status.DONEPROCESSING)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a DAG, as the context of one of its tasks describes it.

    Parameters
    ----------
    dag_id, run_id
        Airflow's ids. They come again: when a run was deleted and triggered again, or the
        metadata database was lost.
    created
        When the run was due (ISO 8601); it never changes.
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
    """A run that holds batches: its key in the ledger and what Airflow calls it."""

    key: str
    dag_id: str | None
    run_id: str


@dataclass(slots=True)
class Batch:
    """A batch as the ledger has it. Times are seconds since the epoch, sizes bytes."""

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
    counts: Counts
    bytes_in: int
    listing: str | None
    queued_at: float
    started_at: float | None
    finished_at: float | None
    cleaned_at: float | None

    @property
    def params(self) -> BatchParams:
        """What it was queued with."""
        return _params(self)

    @property
    def tally(self) -> dict[str, int]:
        """The files received, by what is true of them now.

        What anonymize put into an archive counts as delivered once the batch is DONE. Until then,
        and in ERROR for good, it is ``undelivered``, like every file that no outcome was found
        for. The others always add up to ``received``.
        """
        counts = asdict(self.counts)
        if self.status is not Status.DONE:
            counts["delivered"] = 0
        received = counts.pop("received")
        return {"received": received, **counts, "undelivered": received - sum(counts.values())}


@dataclass(slots=True)
class Delivery:
    """One archive: where it goes, what its bytes are, and what the store answered.

    ``archive_of`` names the study (collection, patient's and study's code), ``content`` is the
    keyed digest of what came in, ``revision`` counts the study's archives from 1, ``replaces``
    is the batch whose archive this one is to replace, and ``replaced_...`` the object.
    ``sent_...`` is what was last on its way to the bucket, and may lie there although nothing
    was answered.
    """

    batch_id: str
    bucket: str
    object: str
    size: int
    crc32c: str
    members: int
    recipe_digest: str
    engine: str
    archive_of: str = ""
    content: str = ""
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
class Known:
    """What is known of a folder: its batch, and the digest of what import found in it."""

    batch_id: str
    status: Status
    set_aside: bool
    cleaned: bool
    listing: str | None


@dataclass(frozen=True, slots=True)
class InputMark:
    """What an input folder was when it held something: file system, inode, and whether it was
    where a file system is mounted."""

    device: str
    inode: str
    mounted: bool


@dataclass(frozen=True, slots=True)
class BatchParams:
    """What a batch is queued with. It keeps these, whichever run takes it up, until a person
    gives it others (`Ledger.requeue`).

    ``subfolder`` is the one that the run which found the batch was given, or None.
    """

    study: str
    collection: str
    recipe: str
    revise: bool = False
    subfolder: str | None = None


@dataclass(frozen=True, slots=True)
class StageLeft:
    """What a lane of a run puts down: where, and when it was removed, if it was."""

    holder: str
    lane: int
    bucket: str
    collection: str
    dropped_at: float | None


class Event(StrEnum):
    """What the history of deliveries tells."""

    DELIVERED = "delivered"
    RECOGNISED = "recognised"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a batch's delivery."""

    at: float
    batch_id: str
    event: Event
    archive_of: str | None
    object: str | None
    revision: int | None
    generation: int | None
    crc32c: str | None
    recipe_digest: str | None
    note: str | None


@dataclass(slots=True)
class Stored:
    """The stored location of an archive, as Cloud Storage answered.

    ``md5`` is base64; Cloud Storage gives none for an object that it composed.
    """

    generation: int
    md5: str | None
    updated: str
    self_link: str
    media_link: str
    uploaded_at: float = field(default_factory=time.time)


def ledger_url(uri: str) -> sa.URL:
    """Read a connection URI as Airflow writes it into one for SQLAlchemy."""
    try:
        url = sa.make_url(uri)
    except sa.exc.ArgumentError:
        raise Misconfigured(
            "the ledger's connection is not a database URI; set the connection sendit_ledger"
        ) from None
    if url.drivername in {"postgres", "postgresql"}:
        return url.set(drivername="postgresql+psycopg2")
    if url.drivername in {"postgresql+psycopg2", "sqlite"}:
        return url
    raise Misconfigured(
        "the ledger runs on PostgreSQL or SQLite; set the connection sendit_ledger accordingly"
    )


class Ledger:
    """The ledger's operations.

    Parameters
    ----------
    uri
        ``postgresql://user:password@host/database`` or ``sqlite:////path``.
    """

    def __init__(self, uri: str) -> None:
        url = ledger_url(uri)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if url.drivername == "sqlite":
            options["connect_args"] = {"timeout": LOCK_WAIT_SECONDS}
            if url.database:
                folder = Path(url.database).parent
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            options["connect_args"] = {"connect_timeout": 10}
        self._engine = sa.create_engine(url, **options)
        if url.drivername == "sqlite":
            sa.event.listen(self._engine, "connect", _sqlite_connect)
            sa.event.listen(self._engine, "begin", _sqlite_begin)
            if url.database:
                Path(url.database).touch(mode=0o600)
        self._ready = False
        self._holder: str | None = None

    def of_run(self, key: str) -> Ledger:
        """Return this ledger as a run's tasks use it: what it writes about a batch is refused
        (`TakenOver`) once the run no longer holds the batch."""
        ledger = copy.copy(self)
        ledger._holder = key
        return ledger

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """One transaction; what the database cannot do now becomes RetryLater without its text,
        since a driver's error quotes the statement's values."""
        try:
            if not self._ready:
                self._make_tables()
                self._ready = True
            with self._engine.begin() as db:
                yield db
        except sa.exc.OperationalError:
            raise RetryLater(
                "the ledger's database does not answer; check the connection sendit_ledger"
            ) from None
        except sa.exc.DBAPIError as error:
            kind = type(error.orig).__name__
            raise RetryLater(
                f"the ledger's database refused a statement ({kind}); if that comes again, its own "
                "log says why: it may be out of disk, or have been changed by hand"
            ) from None

    def _make_tables(self) -> None:
        with self._engine.begin() as db:
            if db.dialect.name == "postgresql":
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            metadata.create_all(db)
            version = db.execute(sa.select(schema_info.c.version)).scalar()
            if version is None:
                db.execute(schema_info.insert().values(version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise Misconfigured(
                    f"the ledger has schema {version}, this sendit needs {SCHEMA_VERSION}; "
                    "run the sendit version that made it"
                )
            if db.execute(sa.select(identity.c.id)).first() is None:
                db.execute(identity.insert().values(id=secrets.token_hex(16)))

    # --- whom it feeds ---------------------------------------------------------------------

    def id(self) -> str:
        """Return what this ledger, and each copy of it, is told apart from others by."""
        with self._begin() as db:
            return str(db.execute(sa.select(identity.c.id)).scalar_one())

    def feed(self, bucket: str, collection: str) -> int:
        """Return how often this ledger has begun or ended a delivery to a collection."""
        with self._begin() as db:
            return _feed(db, bucket, collection)

    def advance_feed(self, bucket: str, collection: str, beyond: int = 0) -> int:
        """Count a delivery to a collection, to more than ``beyond``; return the new count."""
        with self._begin() as db:
            db.execute(
                _insert(db, feeds)
                .values(bucket=bucket, collection=collection, counter=0)
                .on_conflict_do_nothing()
            )
            counter = max(_feed(db, bucket, collection), beyond) + 1
            db.execute(
                feeds.update()
                .where(feeds.c.bucket == bucket, feeds.c.collection == collection)
                .values(counter=counter)
            )
            return counter

    def objects_of(self, bucket: str, collection: str) -> set[str]:
        """Return the names of all archives that were ever ready for a collection."""
        prefix = f"Collection/{collection}/"
        with self._begin() as db:
            found = db.execute(
                sa.select(
                    deliveries.c.object, deliveries.c.replaced_object, deliveries.c.sent_object
                )
                .where(deliveries.c.bucket == bucket)
                .where(deliveries.c.object.startswith(prefix, autoescape=True))
            ).all()
        return {name for row in found for name in row if name is not None}

    # --- runs ----------------------------------------------------------------------------

    def run_key(self, run: Run) -> str:
        """Return the key under which a run holds batches, the same in all of its tasks.

        A run of the same id that was made anew gets another key: it started at another time,
        and was not cleared more often than the earlier one.
        """
        start = {str(run.clears): run.started}
        with self._begin() as db:
            known = db.execute(
                sa.select(runs)
                .where(runs.c.dag_id == run.dag_id)
                .where(runs.c.run_id == run.run_id)
                .where(runs.c.created == run.created)
                .order_by(runs.c.first_seen_at.desc())
                .with_for_update()
            ).all()
            found = next((row for row in known if run.started in row.starts.values()), None)
            if found is None and known and max(map(int, known[0].starts)) < run.clears:
                found = known[0]
            if found is not None:
                if found.starts | start != found.starts:
                    db.execute(
                        runs.update()
                        .where(runs.c.key == found.key)
                        .values(starts=found.starts | start)
                    )
                return str(found.key)
            text = "\0".join((run.dag_id, run.run_id, run.created, run.started))
            key = f"r{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            db.execute(
                _insert(db, runs)
                .values(
                    key=key, dag_id=run.dag_id, run_id=run.run_id, created=run.created,
                    starts=start, first_seen_at=time.time(),
                )
                .on_conflict_do_nothing(index_elements=["key"])
            )  # fmt: skip
            return key

    def runs(self, keys: Iterable[str]) -> list[Holder]:
        """Return the runs that keys stand for."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(runs.c.key, runs.c.dag_id, runs.c.run_id).where(
                    runs.c.key.in_(sorted(set(keys)))
                )
            ).all()
        return [Holder(*row) for row in rows]

    def is_latest(self, holder: Holder) -> bool:
        """Whether no run of the same id was made after this one."""
        with self._begin() as db:
            latest = db.execute(
                sa.select(runs.c.key)
                .where(runs.c.dag_id == holder.dag_id)
                .where(runs.c.run_id == holder.run_id)
                .order_by(runs.c.first_seen_at.desc())
                .limit(1)
            ).scalar()
        return latest in {None, holder.key}

    def holders(self) -> list[Holder]:
        """Return the runs that hold batches which are under way."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(batches.c.holder, runs.c.dag_id, batches.c.run_id)
                .outerjoin(runs, runs.c.key == batches.c.holder)
                .where(batches.c.status.in_(UNDER_WAY))
                .distinct()
            ).all()
        return [Holder(*row) for row in rows]

    def take_up(
        self, ended: Iterable[str], run_id: str, holder: str
    ) -> tuple[list[str], list[str]]:
        """Take from runs that have ended what they left under way.

        A batch goes back to its place in the queue, for this or another run to go on with; one
        that was taken up `MAX_TAKE_UPS` times before fails, as a batch of this run.

        Returns
        -------
        tuple of list of str
            Batch ids: those in the queue again, and those given up.
        """
        queued: list[str] = []
        given_up: list[str] = []
        with self._begin() as db:
            rows = db.execute(
                sa.select(batches.c.id, batches.c.take_ups, batches.c.errors, batches.c.run_id)
                .where(batches.c.status.in_(UNDER_WAY))
                .where(batches.c.holder.in_(list(ended)))
                .order_by(batches.c.queued_at, batches.c.id)
                .with_for_update()
            ).all()
            for row in rows:
                values: dict[str, Any] = {"take_ups": row.take_ups + 1}
                if row.take_ups < MAX_TAKE_UPS:
                    queued.append(row.id)
                    values |= {"status": Status.QUEUE, "run_id": None, "holder": None}
                else:
                    given_up.append(row.id)
                    reason = (
                        f"{row.take_ups + 1} runs in a row ended before it was finished, the last "
                        f"of them {row.run_id}; see in Airflow how they ended, then queue it "
                        "again: sendit requeue"
                    )
                    values |= {
                        "status": Status.ERROR,
                        "run_id": run_id,
                        "holder": holder,
                        "finished_at": time.time(),
                        "has_error": True,
                        "errors": [*row.errors, asdict(BatchError("run task", reason))],
                    }
                db.execute(batches.update().where(batches.c.id == row.id).values(**values))
        return queued, given_up

    def _hold(self, db: sa.Connection, batch_id: str) -> None:
        """Lock a batch for what follows in this transaction, if this run holds it.

        Raises
        ------
        TakenOver
            It does not: another run, or a person, has taken the batch.
        """
        if self._holder is None:
            return
        holder = db.execute(
            sa.select(batches.c.holder).where(batches.c.id == batch_id).with_for_update()
        ).scalar()
        if holder != self._holder:
            raise TakenOver(
                f"batch {batch_id} was taken over by another run, or queued again: nothing more "
                "is done with it here"
            )

    def check_held(self, batch_id: str) -> None:
        """Raise `TakenOver` unless the run that this ledger is used by holds the batch."""
        with self._begin() as db:
            self._hold(db, batch_id)

    # --- what a lane puts down on its way ----------------------------------------------------

    def put_stage(self, lane: int, bucket: str, collection: str) -> None:
        """Write down that a lane of this run is about to put something down."""
        with self._begin() as db:
            values = {"holder": self._holder, "lane": lane, "bucket": bucket}
            db.execute(
                _insert(db, stages)
                .values(**values, collection=collection)
                .on_conflict_do_update(
                    index_elements=["holder", "lane", "bucket", "collection"],
                    set_={"dropped_at": None},
                )
            )

    def stages(self) -> list[StageLeft]:
        """Return what lanes have put down and is not known to be gone."""
        with self._begin() as db:
            rows = db.execute(sa.select(stages).order_by(stages.c.holder, stages.c.lane)).all()
        return [StageLeft(**row._mapping) for row in rows]

    def put_stage_dropped(self, stage: StageLeft, *, for_good: bool) -> None:
        """Write down that a lane's things were removed; unless ``for_good``, they are looked
        for once more, since a load job that nobody waits for may bring its table back."""
        with self._begin() as db:
            here = (
                (stages.c.holder == stage.holder)
                & (stages.c.lane == stage.lane)
                & (stages.c.bucket == stage.bucket)
                & (stages.c.collection == stage.collection)
            )
            if for_good:
                db.execute(stages.delete().where(here))
            else:
                db.execute(stages.update().where(here).values(dropped_at=time.time()))

    # --- discovery -----------------------------------------------------------------------

    def put_input(self, digest: str, mark: InputMark) -> None:
        """Write down what an input folder that holds something is."""
        values = asdict(mark)
        with self._begin() as db:
            db.execute(
                _insert(db, inputs)
                .values(digest=digest, **values)
                .on_conflict_do_update(index_elements=["digest"], set_=values)
            )

    def input(self, digest: str) -> InputMark | None:
        """Return what an input folder was when it last held something."""
        with self._begin() as db:
            row = db.execute(
                sa.select(inputs.c.device, inputs.c.inode, inputs.c.mounted).where(
                    inputs.c.digest == digest
                )
            ).first()
        return None if row is None else InputMark(*row)

    def params_of(self, batch_ids: Iterable[str]) -> dict[str, BatchParams]:
        """Return what batches were queued with, by batch."""
        with self._begin() as db:
            rows = db.execute(sa.select(batches).where(batches.c.id.in_(list(batch_ids)))).all()
        return {row.id: _params(row) for row in rows}

    def known(self, digests: Iterable[str]) -> dict[str, Known]:
        """Return what is known of those folders that have a batch, by digest."""
        wanted = list(digests)
        found: dict[str, Known] = {}
        with self._begin() as db:
            for start in range(0, len(wanted), 500):
                rows = db.execute(
                    sa.select(
                        batches.c.folder_digest,
                        batches.c.id,
                        batches.c.status,
                        batches.c.set_aside,
                        batches.c.cleaned_at,
                        batches.c.listing,
                    ).where(batches.c.folder_digest.in_(wanted[start : start + 500]))
                )
                for row in rows:
                    found[row.folder_digest] = Known(
                        row.id,
                        Status(row.status),
                        row.set_aside,
                        row.cleaned_at is not None,
                        row.listing,
                    )
        return found

    def enqueue(self, folders: Iterable[tuple[str, str]], params: BatchParams) -> int:
        """Put folders, as (digest, path), in the queue; return how many came to it.

        A folder that is known comes again: under its own batch if that came to nothing (ERROR,
        EMPTY), as a new batch if that was delivered (DONE), so that what was delivered stays
        told apart from what comes now. One that is under way is left alone.

        Only a new folder gets ``params``. One that comes again keeps the study, collection,
        recipe and subfolder of its batch, whichever run finds it; a new batch of it takes
        ``revise`` from the run, since what that would replace was delivered after it was set.
        """
        came = 0
        with self._begin() as db:
            for digest, path in folders:
                held = db.execute(
                    sa.select(batches).where(batches.c.folder_digest == digest).with_for_update()
                ).first()
                if held is not None and held.status not in FINAL:
                    continue
                if held is not None and held.status != Status.DONE:
                    batch_id = held.id
                    _requeue(db, batch_id)
                else:
                    kept = params
                    if held is not None:
                        kept = replace(_params(held), revise=params.revise)
                        db.execute(
                            batches.update()
                            .where(batches.c.id == held.id)
                            .values(folder_digest=f"before {held.id}", set_aside=False)
                        )
                    batch_id = new_batch_id()
                    if not _new_batch(db, batch_id, digest, kept):
                        continue
                _put_identifier(db, batch_id, "folder", path)
                came += 1
        return came

    def queued(self, within: set[str] | None = None) -> int:
        """Return how many batches wait in the queue (of the folder digests ``within``)."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(batches.c.folder_digest).where(batches.c.status == Status.QUEUE)
            )
            return sum(1 for row in rows if within is None or row.folder_digest in within)

    def waiting(self, within: set[str] | None = None) -> list[tuple[str, str | None]]:
        """Return the batches in the queue, oldest first, as (id, path of the folder); of the
        folder digests ``within``."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(batches.c.id, batches.c.folder_digest, identifiers.c.value)
                .outerjoin(
                    identifiers,
                    (identifiers.c.batch_id == batches.c.id) & (identifiers.c.kind == "folder"),
                )
                .where(batches.c.status == Status.QUEUE)
                .order_by(batches.c.queued_at, batches.c.id)
            ).all()
        return [
            (row.id, row.value) for row in rows if within is None or row.folder_digest in within
        ]

    def claim(
        self,
        run_id: str,
        limit: int,
        among: Iterable[str] | None = None,
        *,
        holder: str | None = None,
    ) -> list[str]:
        """Take up to ``limit`` queued batches (``among`` those) for a run, oldest first.

        ``holder`` is the run's key (`run_key`); a caller without Airflow is known by its id.

        Returns
        -------
        list of str
            Batch ids. A run that has claimed before gets the same batches again and no
            others, so that a cleared discover ends in the same run.
        """
        allowed = None if among is None else set(among)
        with self._begin() as db:
            mine = sa.select(batches.c.id).where(_claimed_by(holder or run_id))
            again = [row.id for row in db.execute(mine.order_by(batches.c.queued_at, batches.c.id))]
            if again:
                return again
            waiting = (
                sa.select(batches.c.id)
                .where(batches.c.status == Status.QUEUE)
                .order_by(batches.c.queued_at, batches.c.id)
                .with_for_update(skip_locked=True)
            )
            taken = [row.id for row in db.execute(waiting) if allowed is None or row.id in allowed][
                :limit
            ]
            for batch_id in taken:
                db.execute(
                    batches.update()
                    .where(batches.c.id == batch_id)
                    .values(run_id=run_id, holder=holder or run_id, same_as=None, status=Status.NEW)
                )
            return taken

    def requeue(self, batch_id: str) -> None:
        """Put a batch that is in ERROR, or was withdrawn, or was left under way by a run that
        has ended, back into the queue.

        If its run is at work after all, it is refused whatever else it writes about the batch.
        """
        with self._begin() as db:
            row = db.execute(
                sa.select(batches.c.status).where(batches.c.id == batch_id).with_for_update()
            ).first()
            withdrawn = db.execute(
                sa.select(deliveries.c.withdrawn_at).where(deliveries.c.batch_id == batch_id)
            ).scalar()
            again = row is not None and (row.status == Status.ERROR or row.status in UNDER_WAY)
            if not again and withdrawn is None:
                raise FailBatch(
                    f"batch {batch_id} is neither in ERROR, nor left under way, nor withdrawn: "
                    "nothing to queue again"
                )
            _requeue(db, batch_id)

    def put_params(self, batch_id: str, params: BatchParams) -> None:
        """Give a batch that no run is at work on other params than it was queued with.

        Raises
        ------
        FailBatch
            A run is at work on it, or an archive of it lies in the bucket for another study.
        """
        with self._begin() as db:
            row = db.execute(
                sa.select(batches).where(batches.c.id == batch_id).with_for_update()
            ).first()
            if row is None or row.status not in (Status.QUEUE, *FINAL):
                raise FailBatch(
                    f"batch {batch_id} is not in the ledger, or a run is at work on it: nothing "
                    "was changed"
                )
            in_bucket = db.execute(
                sa.select(deliveries.c.batch_id)
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.generation.is_not(None))
                .where(deliveries.c.withdrawn_at.is_(None))
            ).first()
            held = _params(row)
            if in_bucket and (held.study, held.collection) != (params.study, params.collection):
                raise FailBatch(
                    f"batch {batch_id} has an archive in the collection {held.collection}: "
                    "withdraw it before the batch gets another study"
                )
            db.execute(batches.update().where(batches.c.id == batch_id).values(**asdict(params)))

    # --- one batch -----------------------------------------------------------------------

    def batch(self, batch_id: str) -> Batch:
        """Return a batch; an unknown id fails it."""
        with self._begin() as db:
            row = db.execute(sa.select(batches).where(batches.c.id == batch_id)).first()
        if row is None:
            raise FailBatch(
                f"batch {batch_id} is not in this ledger: look for its id with sendit batches, and "
                "whether the connection sendit_ledger leads to the right one"
            )
        return _batch(row)

    def batches_of_run(self, run_id: str) -> list[Batch]:
        """Return the batches of all runs of an id, oldest first."""
        return self._select(batches.c.run_id == run_id)

    def batches_held_by(self, key: str) -> list[Batch]:
        """Return the batches of a run, oldest first, also those that it has finished."""
        return self._select(batches.c.holder == key)

    def claimed_by(self, key: str) -> list[Batch]:
        """Return the batches that a run has claimed; not those that it gave up at once."""
        return self._select(_claimed_by(key))

    def all_batches(self, errors_only: bool = False) -> list[Batch]:
        """Return every batch, oldest first; or those with an error, and those under way."""
        wrong = batches.c.has_error | batches.c.status.in_(UNDER_WAY)
        return self._select(wrong if errors_only else sa.true())

    def not_clean(self) -> list[Batch]:
        """Return the batches that have ended and of which cleanup may have left something:
        those never cleaned, and those with identifiers."""
        held = sa.select(identifiers.c.batch_id).distinct()
        return self._select(
            batches.c.status.in_(FINAL) & (batches.c.cleaned_at.is_(None) | batches.c.id.in_(held))
        )

    def has_identifiers(self, batch_id: str) -> bool:
        """Whether anything of a patient is stored for a batch."""
        with self._begin() as db:
            query = sa.select(sa.func.count()).select_from(identifiers)
            return bool(db.execute(query.where(identifiers.c.batch_id == batch_id)).scalar())

    def _select(self, where: sa.ColumnElement[bool]) -> list[Batch]:
        with self._begin() as db:
            rows = db.execute(
                sa.select(batches).where(where).order_by(batches.c.queued_at, batches.c.id)
            ).all()
        return [_batch(row) for row in rows]

    def start(self, batch_id: str) -> None:
        """Begin a batch anew: PROCESSING, earlier counts, errors and an archive that was never
        sent to the bucket forgotten."""
        with self._begin() as db:
            self._hold(db, batch_id)
            db.execute(
                deliveries.delete()
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.generation.is_(None))
                .where(deliveries.c.sent_at.is_(None))
            )
            db.execute(
                batches.update()
                .where(batches.c.id == batch_id)
                .values(
                    status=Status.PROCESSING,
                    started_at=time.time(),
                    finished_at=None,
                    cleaned_at=None,
                    has_error=False,
                    errors=[],
                    reasons={},
                    actions={},
                    bytes_in=0,
                    **asdict(Counts()),
                )
            )

    def record(
        self,
        batch_id: str,
        *,
        status: Status | None = None,
        counts: Counts | None = None,
        reasons: dict[str, int] | None = None,
        actions: dict[str, int] | None = None,
        bytes_in: int | None = None,
        listing: str | None = None,
        errors: Sequence[BatchError] | None = None,
        stage: str | None = None,
    ) -> None:
        """Write down what a stage found; a final status also stamps the time.

        ``errors`` replace those of the same ``stage`` and leave the other stages' alone.
        """
        values: dict[str, Any] = {}
        if status is not None:
            values["status"] = status
            if status in FINAL:
                values["finished_at"] = time.time()
        if counts is not None:
            values |= asdict(counts)
        for name, value in (
            ("reasons", reasons),
            ("actions", actions),
            ("bytes_in", bytes_in),
            ("listing", listing),
        ):
            if value is not None:
                values[name] = value
        with self._begin() as db:
            self._hold(db, batch_id)
            if errors is not None:
                held = db.execute(
                    sa.select(batches.c.errors).where(batches.c.id == batch_id).with_for_update()
                ).scalar_one()
                kept = [entry for entry in held if entry["stage"] != stage]
                values["errors"] = kept + [asdict(error) for error in errors]
                values["has_error"] = bool(values["errors"])
            if values:
                db.execute(batches.update().where(batches.c.id == batch_id).values(**values))

    # --- identifiers: the only rows with something of a patient in them --------------------

    def put_identifier(self, batch_id: str, kind: str, value: Any) -> None:
        """Store real identifiers (``folder``, ``header``, ``request``, ``answer``)."""
        with self._begin() as db:
            self._hold(db, batch_id)
            _put_identifier(db, batch_id, kind, value)

    def identifier(self, batch_id: str, kind: str) -> Any | None:
        """Return what is stored of a kind, or None."""
        with self._begin() as db:
            return db.execute(
                sa.select(identifiers.c.value)
                .where(identifiers.c.batch_id == batch_id)
                .where(identifiers.c.kind == kind)
            ).scalar()

    def forget(self, batch_id: str, *, set_aside: bool = False) -> bool:
        """Delete the identifiers of a batch that has ended; ``set_aside`` says that its folder
        is now ``.err``.

        Returns
        -------
        bool
            False if the batch is at work again: then they stay.
        """
        with self._begin() as db:
            status = db.execute(
                sa.select(batches.c.status).where(batches.c.id == batch_id).with_for_update()
            ).scalar()
            if status not in FINAL:
                return False
            db.execute(identifiers.delete().where(identifiers.c.batch_id == batch_id))
            db.execute(
                batches.update()
                .where(batches.c.id == batch_id)
                .values(cleaned_at=time.time(), set_aside=set_aside)
            )
        self._scrub()
        return True

    def _scrub(self) -> None:
        """Have the database give up the deleted rows' bytes, not only the rows."""
        try:
            if self._engine.dialect.name == "postgresql":
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
                    db.execute(sa.text("VACUUM identifiers"))
            else:  # not in a transaction, which this engine begins by itself
                with self._engine.connect() as db:
                    db.rollback()
                    db.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sa.exc.DBAPIError:
            raise RetryLater("the ledger could not be scrubbed; clear cleanup to retry") from None

    # --- deliveries ------------------------------------------------------------------------

    def put_archive(self, delivery: Delivery) -> None:
        """Write down an archive that is ready; what an earlier archive was answered is dropped
        only when the bytes or the name are others.

        Whether it may be delivered at all was judged before (`sendit.delivery.revisions`); of
        two batches that were judged at the same time, one is refused here.
        """
        with self._begin() as db:
            self._hold(db, delivery.batch_id)
            held = db.execute(
                sa.select(deliveries).where(deliveries.c.batch_id == delivery.batch_id)
            ).first()
            if held and (
                held.crc32c, held.size, held.bucket, held.object, held.revision,
                held.withdrawn_at, held.superseded_by,
            ) == (
                delivery.crc32c, delivery.size, delivery.bucket, delivery.object,
                delivery.revision, None, None,
            ):  # fmt: skip
                return
            other = db.execute(
                sa.select(deliveries.c.batch_id)
                .where(deliveries.c.bucket == delivery.bucket)
                .where(deliveries.c.archive_of == delivery.archive_of)
                .where(deliveries.c.revision == delivery.revision)
                .where(deliveries.c.batch_id != delivery.batch_id)
            ).scalar()
            if other is not None:
                raise FailBatch(
                    f"batch {other} delivers an archive of the same study: two folders hold one "
                    "study; wait for that batch, compare the folders, and keep one"
                )
            values = asdict(delivery)
            if held and held.rows_at is None:
                values |= {name: getattr(held, name) for name in SENT}
            db.execute(
                _insert(db, deliveries)
                .values(**values)
                .on_conflict_do_update(index_elements=["batch_id"], set_=values)
            )

    def drop_archive(self, batch_id: str) -> None:
        """Forget an archive that never came into the bucket."""
        with self._begin() as db:
            db.execute(
                deliveries.delete()
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.generation.is_(None))
            )

    def delivery(self, batch_id: str) -> Delivery | None:
        """Return a batch's archive, or None before there is one."""
        found = self._deliveries(deliveries.c.batch_id == batch_id)
        return found[0] if found else None

    def deliveries_of(self, bucket: str, archive_of: str) -> list[Delivery]:
        """Return all archives of a study, the latest revision first."""
        return self._deliveries(
            (deliveries.c.bucket == bucket) & (deliveries.c.archive_of == archive_of)
        )

    def delivered_to(self, bucket: str, collection: str) -> list[Delivery]:
        """Return all archives that are said to be in place in a collection, with their rows."""
        prefix = f"Collection/{collection}/"
        return self._deliveries(
            (deliveries.c.bucket == bucket)
            & deliveries.c.object.startswith(prefix, autoescape=True)
            & (deliveries.c.rows == 1)
            & deliveries.c.superseded_by.is_(None)
            & deliveries.c.withdrawn_at.is_(None)
        )

    def _deliveries(self, where: sa.ColumnElement[bool]) -> list[Delivery]:
        with self._begin() as db:
            rows = db.execute(
                sa.select(deliveries).where(where).order_by(deliveries.c.revision.desc())
            ).all()
        return [Delivery(**row._mapping) for row in rows]

    def put_sent(self, delivery: Delivery) -> None:
        """Write down that an archive is about to be sent to the bucket: from here on it may lie
        there, whatever becomes of who sends it."""
        with self._begin() as db:
            self._hold(db, delivery.batch_id)
            db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == delivery.batch_id)
                .where(deliveries.c.crc32c == delivery.crc32c)
                .values(
                    sent_at=time.time(), sent_object=delivery.object, sent_crc32c=delivery.crc32c
                )
            )

    def strays(self) -> list[Delivery]:
        """Return what may lie in the bucket of batches that have ended, although it was never
        proven to be delivered."""
        ended = sa.select(batches.c.id).where(batches.c.status.in_(FINAL))
        return self._deliveries(
            deliveries.c.batch_id.in_(ended)
            & deliveries.c.sent_at.is_not(None)
            & deliveries.c.rows_at.is_(None)
        )

    def put_stored(self, delivery: Delivery, stored: Stored) -> None:
        """Write down where Cloud Storage has the archive.

        An archive that was made anew meanwhile, with other bytes, is not the one stored.
        """
        with self._begin() as db:
            self._hold(db, delivery.batch_id)
            db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == delivery.batch_id)
                .where(deliveries.c.crc32c == delivery.crc32c)
                .where(deliveries.c.size == delivery.size)
                .where(deliveries.c.withdrawn_at.is_(None))
                .values(asdict(stored))
            )

    def put_rewritten(self, delivery: Delivery, stored: Stored) -> bool:
        """Write down where Cloud Storage has a delivered archive that was rewritten with the same
        bytes; False if this ledger does not know it as delivered."""
        with self._begin() as db:
            changed = db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == delivery.batch_id)
                .where(deliveries.c.crc32c == delivery.crc32c)
                .where(deliveries.c.object == delivery.object)
                .where(deliveries.c.rows_at.is_not(None))
                .where(deliveries.c.withdrawn_at.is_(None))
                .where(deliveries.c.superseded_by.is_(None))
                .values(asdict(stored))
            ).rowcount
        return bool(changed)

    def put_done(self, batch_id: str, rows: int) -> None:
        """Write down that object and rows of a batch are proven: it is DONE."""
        with self._begin() as db:
            self._hold(db, batch_id)
            db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == batch_id)
                .values(rows=rows, rows_at=time.time())
            )
            db.execute(
                batches.update()
                .where(batches.c.id == batch_id)
                .values(status=Status.DONE, finished_at=time.time())
            )
            _tell(db, batch_id, Event.DELIVERED)

    def put_same(self, batch_id: str, other: str) -> None:
        """Write down that a batch holds what another one delivered: it is DONE without an
        archive of its own. One that it had sent before stays written down until it is removed
        (`strays`)."""
        with self._begin() as db:
            self._hold(db, batch_id)
            own = deliveries.c.batch_id == batch_id
            db.execute(deliveries.delete().where(own).where(deliveries.c.sent_at.is_(None)))
            db.execute(deliveries.update().where(own).values(superseded_by=other))
            db.execute(
                batches.update()
                .where(batches.c.id == batch_id)
                .values(status=Status.DONE, same_as=other, finished_at=time.time())
            )
            _tell(db, batch_id, Event.RECOGNISED, note=other)

    def supersede(self, batch_id: str, by: str) -> None:
        """Write down that a batch's archive was replaced by another's."""
        with self._begin() as db:
            changed = db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.superseded_by.is_(None))
                .values(superseded_by=by)
            ).rowcount
            if changed:
                _tell(db, batch_id, Event.SUPERSEDED, note=by)

    def put_retracted(self, batch_id: str, *, found: bool = True) -> None:
        """Write down that an archive without rows was taken out of the bucket again, or, unless
        ``found``, that it is not there."""
        with self._begin() as db:
            self._hold(db, batch_id)
            if found:
                _tell(db, batch_id, Event.RETRACTED)
            db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == batch_id)
                .values(
                    sent_at=None, sent_object=None, sent_crc32c=None, generation=None, md5=None,
                    updated=None, self_link=None, media_link=None, uploaded_at=None, rows=None,
                    rows_at=None,
                )
            )  # fmt: skip
            same_as = sa.select(batches.c.same_as).where(batches.c.id == batch_id)
            if db.execute(same_as).scalar() is not None:
                db.execute(deliveries.delete().where(deliveries.c.batch_id == batch_id))

    def put_withdrawn(self, batch_id: str, reason: str) -> None:
        """Write down that a delivery was withdrawn; what it was stays to be read."""
        with self._begin() as db:
            changed = db.execute(
                deliveries.update()
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.withdrawn_at.is_(None))
                .values(withdrawn_at=time.time())
            ).rowcount
            if changed:
                _tell(db, batch_id, Event.WITHDRAWN, note=reason)

    def history(self, batch_id: str) -> list[HistoryEntry]:
        """Return what happened to a batch's deliveries, oldest first."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(history).where(history.c.batch_id == batch_id).order_by(history.c.id)
            ).all()
        entries = []
        for row in rows:
            values = dict(row._mapping)
            del values["id"]
            entries.append(HistoryEntry(**values | {"event": Event(values["event"])}))
        return entries

    # --- codes of the local identifier service ----------------------------------------------

    def patient_code(self, digest: str, code: str, jitter: int) -> tuple[str, int]:
        """Return the code and jitter held for a patient's digest, or store the given ones."""
        held, days = self._first(patient_codes, digest, {"code": code, "jitter": jitter})
        return str(held), int(days)

    def study_code(self, digest: str, code: str) -> str:
        """Return the code held for a study's digest, or store the given one."""
        (held,) = self._first(study_codes, digest, {"code": code})
        return str(held)

    def _first(self, table: sa.Table, digest: str, values: dict[str, Any]) -> Any:
        with self._begin() as db:
            db.execute(
                _insert(db, table)
                .values(digest=digest, **values)
                .on_conflict_do_nothing(index_elements=["digest"])
            )
            row = db.execute(
                sa.select(*(table.c[name] for name in values)).where(table.c.digest == digest)
            ).one()
            return tuple(row)

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()


def count_outcomes(outcomes: Iterable[Outcome]) -> Counts:
    """Count files by what became of them."""
    counts = Counts()
    for outcome in outcomes:
        counts.received += 1
        setattr(counts, outcome.value, getattr(counts, outcome.value) + 1)
    return counts


def _feed(db: sa.Connection, bucket: str, collection: str) -> int:
    counter = db.execute(
        sa.select(feeds.c.counter)
        .where(feeds.c.bucket == bucket, feeds.c.collection == collection)
        .with_for_update()
    ).scalar()
    return int(counter or 0)


def _insert(db: sa.Connection, table: sa.Table) -> Any:
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _claimed_by(key: str) -> sa.ColumnElement[bool]:
    """What is a run's: all that it holds, but what it found given up by earlier runs."""
    return (batches.c.holder == key) & (batches.c.take_ups <= MAX_TAKE_UPS)


def _put_identifier(db: sa.Connection, batch_id: str, kind: str, value: Any) -> None:
    db.execute(
        _insert(db, identifiers)
        .values(batch_id=batch_id, kind=kind, value=value)
        .on_conflict_do_update(index_elements=["batch_id", "kind"], set_={"value": value})
    )


def _tell(db: sa.Connection, batch_id: str, event: Event, note: str | None = None) -> None:
    """Add to the history, with the delivery as it is now."""
    row = db.execute(sa.select(deliveries).where(deliveries.c.batch_id == batch_id)).first()
    held = {} if row is None else dict(row._mapping)
    names = ("archive_of", "object", "revision", "generation", "crc32c", "recipe_digest")
    db.execute(
        history.insert().values(
            at=time.time(),
            batch_id=batch_id,
            event=event,
            note=note,
            **{name: held.get(name) for name in names},
        )
    )


def _params(row: sa.Row[Any] | Batch) -> BatchParams:
    return BatchParams(**{each.name: getattr(row, each.name) for each in fields(BatchParams)})


def _new_batch(db: sa.Connection, batch_id: str, digest: str, params: BatchParams) -> bool:
    """Queue a new batch; False if another discover has just done so for the same folder."""
    added = db.execute(
        _insert(db, batches)
        .values(
            id=batch_id,
            folder_digest=digest,
            status=Status.QUEUE,
            **asdict(params),
            take_ups=0,
            has_error=False,
            set_aside=False,
            errors=[],
            reasons={},
            actions={},
            queued_at=time.time(),
        )
        .on_conflict_do_nothing(index_elements=["folder_digest"])
    )
    return bool(added.rowcount)


def _requeue(db: sa.Connection, batch_id: str) -> None:
    db.execute(
        batches.update()
        .where(batches.c.id == batch_id)
        .values(
            status=Status.QUEUE,
            run_id=None,
            holder=None,
            take_ups=0,
            set_aside=False,
            cleaned_at=None,
            queued_at=time.time(),
        )
    )


def _batch(row: sa.Row[Any]) -> Batch:
    values = dict(row._mapping)
    counts = Counts(**{name: values.pop(name) for name in asdict(Counts())})
    values["status"] = Status(values["status"])
    return Batch(counts=counts, **values)


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "secure_delete=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(db: sa.Connection) -> None:
    # Writers queue up at the start; with a deferred transaction two readers that both
    # want to write would fail instead.
    db.exec_driver_sql("BEGIN IMMEDIATE")
