"""Runs: the batches that they hold, and their lanes' staging data."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from sendit.batch import BatchError, Status
from sendit.digests import short_digest
from sendit.ledger.database import Database, insert
from sendit.ledger.records import MAX_TAKE_UPS, UNDER_WAY, Holder, Run, StageLeft
from sendit.ledger.schema import batches, runs, stages


class Runs(Database):
    """Runs of the DAG: the batches that they hold, and their lanes' staging data."""

    def run_key(self, run: Run) -> str:
        """Return the key under which a run holds batches, the same in all of its tasks.

        A new run with the same id gets a different key: it started at a different time,
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
            same = next((row for row in known if run.started in row.starts.values()), None)
            if same is None and known and max(map(int, known[0].starts)) < run.clears:
                same = known[0]
            if same is not None:
                if same.starts | start != same.starts:
                    db.execute(
                        runs.update()
                        .where(runs.c.key == same.key)
                        .values(starts=same.starts | start)
                    )
                return str(same.key)
            text = "\0".join((run.dag_id, run.run_id, run.created, run.started))
            key = f"r{short_digest(text)}"
            db.execute(
                insert(db, runs)
                .values(
                    key=key, dag_id=run.dag_id, run_id=run.run_id, created=run.created,
                    starts=start, first_seen_at=time.time(),
                )
                .on_conflict_do_nothing(index_elements=["key"])
            )  # fmt: skip
            return key

    def runs(self, keys: Iterable[str]) -> list[Holder]:
        """Return the runs with the given keys."""
        with self._begin() as db:
            rows = db.execute(
                sa.select(runs.c.key, runs.c.dag_id, runs.c.run_id).where(
                    runs.c.key.in_(sorted(set(keys)))
                )
            ).all()
        return [Holder(*row) for row in rows]

    def is_latest(self, holder: Holder) -> bool:
        """Whether this is the latest run of its id."""
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
        """Return the runs that hold unfinished batches."""
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
        """Take over the unfinished batches of runs that have ended.

        A batch goes back to its place in the queue, for this or another run to claim; one
        that was taken up `MAX_TAKE_UPS` times before fails, as a batch of this run.

        Returns
        -------
        tuple of list of str
            Batch ids: those back in the queue, and those that failed.
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
                        f"of them {row.run_id}; see in Airflow how they ended, then requeue it "
                        "with: sendit requeue"
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

    def put_stage(self, lane: int, bucket: str, collection: str) -> None:
        """Record that a lane of this run is about to create staging data."""
        with self._begin() as db:
            values = {"holder": self._holder, "lane": lane, "bucket": bucket}
            db.execute(
                insert(db, stages)
                .values(**values, collection=collection)
                .on_conflict_do_update(
                    index_elements=["holder", "lane", "bucket", "collection"],
                    set_={"dropped_at": None},
                )
            )

    def stages(self) -> list[StageLeft]:
        """Return staging data that is not known to be gone."""
        with self._begin() as db:
            rows = db.execute(sa.select(stages).order_by(stages.c.holder, stages.c.lane)).all()
        return [StageLeft(**row._mapping) for row in rows]

    def put_stage_dropped(self, stage: StageLeft, *, for_good: bool) -> None:
        """Record that a lane's staging data was deleted. Unless ``for_good``, it is looked for
        once more, because an abandoned load job may recreate its table."""
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
