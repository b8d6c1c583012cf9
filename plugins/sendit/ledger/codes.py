"""Codes and jitters of the built-in identifier service."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sendit.ledger.database import Database, insert
from sendit.ledger.schema import patient_codes, study_codes


class Codes(Database):
    """Codes of the built-in identifier service."""

    def patient_code(self, digest: str, code: str, jitter: int) -> tuple[str, int]:
        """Return the code and jitter (days) stored for a patient's digest, storing the given ones
        if there are none."""
        held, days = self._first(patient_codes, digest, {"code": code, "jitter": jitter})
        return str(held), int(days)

    def study_code(self, digest: str, code: str) -> str:
        """Return the code stored for a study's digest, storing the given one if there is none."""
        (held,) = self._first(study_codes, digest, {"code": code})
        return str(held)

    def _first(self, table: sa.Table, digest: str, values: dict[str, Any]) -> Any:
        with self._begin() as db:
            db.execute(
                insert(db, table)
                .values(digest=digest, **values)
                .on_conflict_do_nothing(index_elements=["digest"])
            )
            row = db.execute(
                sa.select(*(table.c[name] for name in values)).where(table.c.digest == digest)
            ).one()
            return tuple(row)
