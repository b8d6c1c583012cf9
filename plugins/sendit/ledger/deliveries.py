"""Deliveries: archives registered, sent, confirmed, replaced, withdrawn; their history."""

from __future__ import annotations

import time
from dataclasses import asdict

import sqlalchemy as sa

from sendit.batch import Status
from sendit.errors import FailBatch
from sendit.ledger.database import Database, insert
from sendit.ledger.records import FINAL, SENT, Delivery, Event, HistoryEntry, Stored
from sendit.ledger.schema import batches, deliveries, history


class Deliveries(Database):
    """Archives: registered, sent, confirmed, replaced, withdrawn."""

    def put_archive(self, delivery: Delivery) -> None:
        """Register a finished archive, and set its batch to DONEPROCESSING; an earlier archive's
        upload state is discarded only if bytes or name differ. What is proven meanwhile stays DONE.

        `sendit.delivery.revisions` has decided before that it may be delivered; of
        two batches for which it decided at the same time, one is refused here.

        Raises
        ------
        FailBatch
            Another batch delivers an archive of the same study.
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
                if held.rows_at is None:
                    _put_ready(db, delivery.batch_id)
                return
            other = db.execute(
                sa.select(deliveries.c.batch_id)
                .where(deliveries.c.bucket == delivery.bucket)
                .where(deliveries.c.study_key == delivery.study_key)
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
                insert(db, deliveries)
                .values(**values)
                .on_conflict_do_update(index_elements=["batch_id"], set_=values)
            )
            _put_ready(db, delivery.batch_id)

    def drop_archive(self, batch_id: str) -> None:
        """Discard an archive that was never uploaded."""
        with self._begin() as db:
            db.execute(
                deliveries.delete()
                .where(deliveries.c.batch_id == batch_id)
                .where(deliveries.c.generation.is_(None))
            )

    def delivery(self, batch_id: str) -> Delivery | None:
        """Return a batch's archive, or None before there is one."""
        rows = self._deliveries(deliveries.c.batch_id == batch_id)
        return rows[0] if rows else None

    def deliveries_of(self, bucket: str, study_key: str) -> list[Delivery]:
        """Return all archives of a study, the latest revision first."""
        return self._deliveries(
            (deliveries.c.bucket == bucket) & (deliveries.c.study_key == study_key)
        )

    def delivered_to(self, bucket: str, collection: str) -> list[Delivery]:
        """Return all archives recorded as delivered to a collection, with their rows."""
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
        """Record that an upload is about to start: from here on the object may exist, even if the
        uploader dies."""
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
        """Return possibly uploaded archives of ended batches that were never confirmed."""
        ended = sa.select(batches.c.id).where(batches.c.status.in_(FINAL))
        return self._deliveries(
            deliveries.c.batch_id.in_(ended)
            & deliveries.c.sent_at.is_not(None)
            & deliveries.c.rows_at.is_(None)
        )

    def put_stored(self, delivery: Delivery, stored: Stored) -> None:
        """Record the uploaded object's metadata.

        Nothing is recorded if the archive was made again meanwhile, with different bytes.
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
        """Record the metadata of a delivered archive that was rewritten with the same bytes; return
        False if this ledger does not have it as delivered."""
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
        """Set a batch to DONE: its object and rows are confirmed.

        Raises
        ------
        TakenOver
            The batch was imported again meanwhile: what was confirmed is an earlier archive.
        """
        with self._begin() as db:
            self._hold(db, batch_id)
            self._check_processed(db, batch_id, (Status.DONEPROCESSING, Status.ERROR))
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

    def mark_duplicate_of(self, batch_id: str, other: str) -> None:
        """Record that a batch has the same content as one that was delivered: it is DONE without
        an archive of its own. An archive that it uploaded before stays recorded until it is
        deleted (`strays`).

        Raises
        ------
        TakenOver
            The batch was imported again meanwhile.
        """
        with self._begin() as db:
            self._hold(db, batch_id)
            self._check_processed(db, batch_id)
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
        """Record that a batch's archive was replaced by another's."""
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
        """Record that an archive without rows was deleted from the bucket or, unless ``found``,
        did not exist."""
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
        """Record that a delivery was withdrawn; its history remains."""
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
        """Return the events of a batch's deliveries, oldest first."""
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


def _put_ready(db: sa.Connection, batch_id: str) -> None:
    ready = batches.update().where(batches.c.id == batch_id)
    db.execute(ready.values(status=Status.DONEPROCESSING))


def _tell(db: sa.Connection, batch_id: str, event: Event, note: str | None = None) -> None:
    """Append an event to the history, with a snapshot of the delivery."""
    row = db.execute(sa.select(deliveries).where(deliveries.c.batch_id == batch_id)).first()
    held = {} if row is None else dict(row._mapping)
    names = ("study_key", "object", "revision", "generation", "crc32c", "recipe_digest")
    db.execute(
        history.insert().values(
            at=time.time(),
            batch_id=batch_id,
            event=event,
            note=note,
            **{name: held.get(name) for name in names},
        )
    )
