"""Batches: queued, claimed, processed, ended; and their identifiers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from sendit.batch import BatchError, Counts, Status, new_batch_id
from sendit.errors import FailBatch, RetryLater
from sendit.ledger.database import Database, insert
from sendit.ledger.records import (
    FINAL,
    MAX_TAKE_UPS,
    UNDER_WAY,
    Batch,
    BatchParams,
    KnownFolder,
    counts_from,
    params_from,
)
from sendit.ledger.schema import batches, deliveries, identifiers


class Batches(Database):
    """Batches from discovery to their end, and their identifiers."""

    def params_of(self, batch_ids: Iterable[str]) -> dict[str, BatchParams]:
        """Return the params that batches were queued with, by batch id."""
        with self._begin() as db:
            rows = db.execute(sa.select(batches).where(batches.c.id.in_(list(batch_ids)))).all()
        return {row.id: params_from(row) for row in rows}

    def batches_by_folder(self, digests: Iterable[str]) -> dict[str, KnownFolder]:
        """Return the batches of known folders, by folder digest."""
        wanted = list(digests)
        known: dict[str, KnownFolder] = {}
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
                    known[row.folder_digest] = KnownFolder(
                        row.id,
                        Status(row.status),
                        row.set_aside,
                        row.cleaned_at is not None,
                        row.listing,
                    )
        return known

    def enqueue(self, folders: Iterable[tuple[str, str]], params: BatchParams) -> int:
        """Queue folders, given as (digest, path); return how many were added.

        A known folder is queued again: as the same batch if that delivered nothing (ERROR, EMPTY),
        as a new batch if it was delivered (DONE), so that the delivery keeps its own record. A
        folder whose batch is in progress is left alone.

        Only a new folder gets ``params``. A known one keeps the study, collection,
        recipe and subfolder of its batch, whichever run finds it; its new batch takes
        ``revise`` from the run, because it concerns what was delivered before.
        """
        added = 0
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
                        kept = replace(params_from(held), revise=params.revise)
                        db.execute(
                            batches.update()
                            .where(batches.c.id == held.id)
                            .values(folder_digest=f"before {held.id}", set_aside=False)
                        )
                    batch_id = new_batch_id()
                    if not _new_batch(db, batch_id, digest, kept):
                        continue
                _put_identifier(db, batch_id, "folder", path)
                added += 1
        return added

    def count_queued(self, within: set[str] | None = None) -> int:
        """Return the number of queued batches, only those with folder digests in ``within`` if
        given."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(batches.c.folder_digest).where(batches.c.status == Status.QUEUE)
            )
            return sum(1 for row in rows if within is None or row.folder_digest in within)

    def waiting(self, within: set[str] | None = None) -> list[tuple[str, str | None]]:
        """Return the batches in the queue, oldest first, as (id, path of the folder), only those
        with folder digests in ``within`` if given."""
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
        """Claim up to ``limit`` queued batches (only ``among`` those, if given) for a run, oldest
        first.

        ``holder`` is the run's key (`run_key`). Default: ``run_id``, for callers without Airflow.

        Returns
        -------
        list of str
            Batch ids. A run that has claimed before gets the same batches again and no
            others, so that clearing discover is idempotent.
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
        """Requeue a batch that is in ERROR, was withdrawn, or was left unfinished by a run that has
        ended.

        If that run is still working after all, its further writes about the batch are refused.

        Raises
        ------
        FailBatch
            The batch is in none of these states.
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
                    f"batch {batch_id} is neither in ERROR, nor unfinished, nor withdrawn: nothing "
                    "to requeue"
                )
            _requeue(db, batch_id)

    def put_params(self, batch_id: str, params: BatchParams) -> None:
        """Change the params of a batch that no run is working on.

        Raises
        ------
        FailBatch
            A run is processing it, or the bucket has an archive of it for a different study.
        """
        with self._begin() as db:
            row = db.execute(
                sa.select(batches).where(batches.c.id == batch_id).with_for_update()
            ).first()
            if row is None or row.status not in (Status.QUEUE, *FINAL):
                raise FailBatch(
                    f"batch {batch_id} is not in the ledger, or a run is processing it: nothing "
                    "was changed"
                )
            in_bucket = db.execute(
                sa.select(deliveries.c.batch_id)
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.generation.is_not(None))
                .where(deliveries.c.withdrawn_at.is_(None))
            ).first()
            held = params_from(row)
            if in_bucket and (held.study, held.collection) != (params.study, params.collection):
                raise FailBatch(
                    f"batch {batch_id} has an archive in the collection {held.collection}: "
                    "withdraw it before changing the batch's study"
                )
            db.execute(batches.update().where(batches.c.id == batch_id).values(**asdict(params)))

    def batch(self, batch_id: str) -> Batch:
        """Return a batch by its id.

        Raises
        ------
        FailBatch
            The ledger has no such batch.
        """
        with self._begin() as db:
            row = db.execute(sa.select(batches).where(batches.c.id == batch_id)).first()
        if row is None:
            raise FailBatch(
                f"batch {batch_id} is not in this ledger: check the id with sendit batches, and "
                "that the connection sendit_ledger points to the right ledger"
            )
        return _batch(row)

    def batches_of_run(self, run_id: str) -> list[Batch]:
        """Return the batches of all runs with an id, oldest first."""
        return self._select(batches.c.run_id == run_id)

    def batches_held_by(self, key: str) -> list[Batch]:
        """Return the batches that a run holds, finished ones included, oldest first."""
        return self._select(batches.c.holder == key)

    def claimed_by(self, key: str) -> list[Batch]:
        """Return the batches that a run claimed, except those that failed at take-up."""
        return self._select(_claimed_by(key))

    def all_batches(self, errors_only: bool = False) -> list[Batch]:
        """Return all batches, oldest first; with ``errors_only``, those with an error and those in
        progress."""
        wrong = batches.c.has_error | batches.c.status.in_(UNDER_WAY)
        return self._select(wrong if errors_only else sa.true())

    def not_clean(self) -> list[Batch]:
        """Return the ended batches that still need cleanup: never cleaned, or with identifiers
        stored."""
        held = sa.select(identifiers.c.batch_id).distinct()
        return self._select(
            batches.c.status.in_(FINAL) & (batches.c.cleaned_at.is_(None) | batches.c.id.in_(held))
        )

    def has_identifiers(self, batch_id: str) -> bool:
        """Whether any patient identifiers are stored for a batch."""
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
        """Restart a batch: set it to PROCESSING and discard its counts, errors and any archive that
        was never uploaded."""
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
                    wanted={},
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
        wanted: dict[str, int] | None = None,
        bytes_in: int | None = None,
        listing: str | None = None,
        errors: Sequence[BatchError] | None = None,
        stage: str | None = None,
    ) -> None:
        """Record a stage's results; a final status also sets the finish time.

        ``wanted`` counts files by the key, as text, of the rule that they need
        (:class:`sendit.pixels.wanted.RuleKey`). ``errors`` replace those of the same ``stage``
        and leave those of other stages alone.
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
            ("wanted", wanted),
            ("bytes_in", bytes_in),
            ("listing", listing),
        ):
            if value is not None:
                values[name] = value
        with self._begin() as db:
            self._hold(db, batch_id)
            if status is Status.DONE:
                self._check_processed(db, batch_id)
            if errors is not None:
                held = db.execute(
                    sa.select(batches.c.errors).where(batches.c.id == batch_id).with_for_update()
                ).scalar_one()
                kept = [entry for entry in held if entry["stage"] != stage]
                values["errors"] = kept + [asdict(error) for error in errors]
                values["has_error"] = bool(values["errors"])
            if values:
                db.execute(batches.update().where(batches.c.id == batch_id).values(**values))

    def put_identifier(self, batch_id: str, kind: str, value: Any) -> None:
        """Store real identifiers (``folder``, ``header``, ``request``, ``answer``)."""
        with self._begin() as db:
            self._hold(db, batch_id)
            _put_identifier(db, batch_id, kind, value)

    def identifier(self, batch_id: str, kind: str) -> Any | None:
        """Return the stored identifier of a kind, or None."""
        with self._begin() as db:
            return db.execute(
                sa.select(identifiers.c.value)
                .where(identifiers.c.batch_id == batch_id)
                .where(identifiers.c.kind == kind)
            ).scalar()

    def delete_identifiers(self, batch_id: str, *, set_aside: bool = False) -> bool:
        """Delete the identifiers of a batch that has ended; ``set_aside`` says that its folder
        was renamed to ``.err``.

        Returns
        -------
        bool
            False if the batch is being processed again: then they are kept.
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
        """Make the database discard the deleted rows' bytes, not only the rows."""
        try:
            if self._engine.dialect.name == "postgresql":
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
                    db.execute(sa.text("VACUUM identifiers"))
            else:  # outside a transaction, which this engine begins automatically
                with self._engine.connect() as db:
                    db.rollback()
                    db.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sa.exc.DBAPIError:
            raise RetryLater(
                "deleted identifiers could not be erased from the ledger's files; clear cleanup to "
                "retry"
            ) from None


def _claimed_by(key: str) -> sa.ColumnElement[bool]:
    """Select the batches that a run claimed: those it holds, except those it failed at take-up."""
    return (batches.c.holder == key) & (batches.c.take_ups <= MAX_TAKE_UPS)


def _put_identifier(db: sa.Connection, batch_id: str, kind: str, value: Any) -> None:
    db.execute(
        insert(db, identifiers)
        .values(batch_id=batch_id, kind=kind, value=value)
        .on_conflict_do_update(index_elements=["batch_id", "kind"], set_={"value": value})
    )


def _new_batch(db: sa.Connection, batch_id: str, digest: str, params: BatchParams) -> bool:
    """Queue a new batch; False if another discover has just done so for the same folder."""
    added = db.execute(
        insert(db, batches)
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
            wanted={},
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
    counted = asdict(Counts())
    values = {name: value for name, value in row._mapping.items() if name not in counted}
    values["status"] = Status(values["status"])
    return Batch(counts=counts_from(row), **values)
