"""The ledger's database: engine, transactions, and which run may write."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sendit.batch import Status
from sendit.errors import Misconfigured, RetryLater, TakenOver
from sendit.ledger.records import counts_from
from sendit.ledger.schema import SCHEMA_VERSION, VERSION_TABLE, batches, identity

_log = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 60


_SCHEMA_LOCK = 0x5E4D17  # an arbitrary advisory lock: one process migrates at a time
_MIGRATING = threading.Lock()  # and one thread in it, since alembic's ``op`` is global


class Database:
    """The ledger's database.

    Parameters
    ----------
    uri
        ``postgresql://user:password@host/database`` or ``sqlite:////path``.

    Raises
    ------
    Misconfigured
        It is not a URI of one of these.
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

    def of_run(self, key: str) -> Self:
        """Return this ledger bound to a run by its key. Writing about a batch then raises
        `TakenOver` once the run no longer holds it."""
        ledger = copy.copy(self)
        ledger._holder = key
        return ledger

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """Begin a transaction, migrating the ledger first if necessary."""
        if not self._ready:
            self.migrate()
        with _errors_without_values(), self._engine.begin() as db:
            yield db

    def migrate(self) -> str | None:
        """Create the tables, or migrate those of an earlier version. Idempotent. One process
        migrates while others wait; a failure leaves the ledger unchanged.

        Returns
        -------
        str or None
            The version that was migrated; None if there was nothing to migrate.

        Raises
        ------
        Misconfigured
            This sendit cannot migrate the ledger's version.
        RetryLater
            The database does not respond, or the migration failed.
        """
        before: str | None = None
        with _errors_without_values():
            if not self._is_current():
                with _MIGRATING, self._engine.begin() as db:
                    if db.dialect.name == "postgresql":
                        db.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
                    before = _upgrade(db)
        self._ready = True
        if before in {None, SCHEMA_VERSION}:
            return None
        _log.info("migrated the ledger from schema %s to %s", before, SCHEMA_VERSION)
        return before

    def _is_current(self) -> bool:
        """Whether the ledger has this version's tables: one query, without alembic."""
        version = sa.table(VERSION_TABLE, sa.column("version_num"))
        with self._engine.connect() as db:
            db.begin()  # fails for an unreachable or locked database, which is not a new one
            try:
                versions = db.execute(sa.select(version)).scalars().all()
            except sa.exc.DBAPIError:  # the table does not exist
                return False
        return list(versions) == [SCHEMA_VERSION]

    def id(self) -> str:
        """Return this ledger's identity, which its copies and backups share."""
        with self._begin() as db:
            return str(db.execute(sa.select(identity.c.id)).scalar_one())

    def _hold(self, db: sa.Connection, batch_id: str) -> None:
        """Lock a batch for this transaction, provided that this run holds it.

        Raises
        ------
        TakenOver
            Another run has taken the batch over, or a person has requeued it.
        """
        if self._holder is None:
            return
        holder = db.execute(
            sa.select(batches.c.holder).where(batches.c.id == batch_id).with_for_update()
        ).scalar()
        if holder != self._holder:
            raise TakenOver(
                f"batch {batch_id} was taken over by another run, or requeued: this run leaves it "
                "alone"
            )

    def _check_processed(
        self, db: sa.Connection, batch_id: str, statuses: Container[str] = frozenset(Status)
    ) -> None:
        """Check that a batch may end as DONE: it has one of these statuses, and every file that
        it received is accounted for.

        Raises
        ------
        TakenOver
            A person cleared its import while a later task was still at work on it.
        """
        row = db.execute(sa.select(batches).where(batches.c.id == batch_id).with_for_update()).one()
        if row.status not in statuses or not counts_from(row).conserved:
            raise TakenOver(
                f"batch {batch_id} was imported again meanwhile: nothing more is done with the "
                "archive that was made before"
            )

    def check_held(self, batch_id: str) -> None:
        """Raise `TakenOver` unless the run that this ledger is bound to holds the batch."""
        with self._begin() as db:
            self._hold(db, batch_id)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def ledger_url(uri: str) -> sa.URL:
    """Convert an Airflow connection URI to a SQLAlchemy URL.

    Raises
    ------
    Misconfigured
        It is not a URI of PostgreSQL or SQLite.
    """
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


@contextmanager
def _errors_without_values() -> Iterator[None]:
    """Turn database errors into RetryLater without their text, which may quote a statement's
    values."""
    try:
        yield
    except sa.exc.OperationalError:
        raise RetryLater(
            "the ledger's database does not respond; check the connection sendit_ledger"
        ) from None
    except sa.exc.DBAPIError as error:
        kind = type(error.orig).__name__
        raise RetryLater(
            f"the ledger's database rejected a statement ({kind}); if this happens again, see its "
            "own log: the disk may be full, or the tables changed by hand"
        ) from None


def _upgrade(db: sa.Connection) -> str | None:
    from sendit.ledger import migrations  # noqa: PLC0415 - loads alembic, which few processes need

    try:
        return migrations.upgrade(db)
    except sa.exc.DBAPIError as error:
        kind = type(error.orig).__name__
        raise RetryLater(
            f"the ledger could not be migrated to schema {SCHEMA_VERSION} and is unchanged "
            f"({kind}): see its database's own log; the role must own the ledger's tables, "
            "and the disk have space for a second copy of them"
        ) from None


def insert(db: sa.Connection, table: sa.Table) -> Any:
    """Return the dialect's INSERT, which supports ON CONFLICT."""
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # _sqlite_begin begins transactions, not the driver
    for pragma in ("journal_mode=WAL", "secure_delete=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(db: sa.Connection) -> None:
    # Writers wait at the start; with deferred transactions, two readers that both
    # want to write would fail instead.
    db.exec_driver_sql("BEGIN IMMEDIATE")
