"""Feeds and inputs: a ledger's state per collection and per input folder."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from sendit.ledger.database import Database, insert
from sendit.ledger.records import InputMark
from sendit.ledger.schema import deliveries, feeds, inputs


class Feeds(Database):
    """The ledger's state per collection that it delivers to, and per input folder."""

    def feed(self, bucket: str, collection: str) -> int:
        """Return this ledger's delivery counter for a collection."""
        with self._begin() as db:
            return _feed(db, bucket, collection)

    def advance_feed(self, bucket: str, collection: str, beyond: int = 0) -> int:
        """Advance the delivery counter of a collection beyond ``beyond``; return the new value."""
        with self._begin() as db:
            db.execute(
                insert(db, feeds)
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
        """Return the names of all archives ever registered for a collection."""
        prefix = f"Collection/{collection}/"
        with self._begin() as db:
            rows = db.execute(
                sa.select(
                    deliveries.c.object, deliveries.c.replaced_object, deliveries.c.sent_object
                )
                .where(deliveries.c.bucket == bucket)
                .where(deliveries.c.object.startswith(prefix, autoescape=True))
            ).all()
        return {name for row in rows for name in row if name is not None}

    def put_input(self, digest: str, mark: InputMark) -> None:
        """Record the identity of a non-empty input folder."""
        values = asdict(mark)
        with self._begin() as db:
            db.execute(
                insert(db, inputs)
                .values(digest=digest, **values)
                .on_conflict_do_update(index_elements=["digest"], set_=values)
            )

    def input(self, digest: str) -> InputMark | None:
        """Return the recorded identity of an input folder from when it was last not empty."""
        with self._begin() as db:
            row = db.execute(
                sa.select(inputs.c.device, inputs.c.inode, inputs.c.mounted).where(
                    inputs.c.digest == digest
                )
            ).first()
        return None if row is None else InputMark(*row)


def _feed(db: sa.Connection, bucket: str, collection: str) -> int:
    counter = db.execute(
        sa.select(feeds.c.counter)
        .where(feeds.c.bucket == bucket, feeds.c.collection == collection)
        .with_for_update()
    ).scalar()
    return int(counter or 0)
