"""Migrations of the ledger's schema, run by alembic without an ini file.

Each module in ``versions`` is one step, whose revision id is the schema's version: ``0007``
follows ``0006``. To change the schema: change `sendit.ledger.schema`, set its ``SCHEMA_VERSION``
to the next number, and add a step with that revision. There are no downgrades: the way back is a
backup. A released step is never edited.

Imported only if there is something to migrate: alembic takes a third of a second to load.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sendit import __version__
from sendit.errors import Misconfigured
from sendit.ledger.schema import VERSION_TABLE, schema_info

#: The schema from before there were migrations, whose version is in ``schema_info``.
FIRST = 6


def upgrade(db: sa.Connection) -> str | None:
    """Migrate a ledger to the newest schema, or create a new one, in the caller's transaction.

    The caller holds a lock that keeps other processes from migrating.

    Returns
    -------
    str or None
        The version that the ledger had; None if it is new.

    Raises
    ------
    Misconfigured
        A newer sendit has migrated the ledger, or it is older than the first step.
    """
    config = Config()
    config.set_main_option("script_location", "sendit.ledger:migrations")
    config.attributes["connection"] = db
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    before = _version(db)
    if before is not None and before.isdecimal() and int(before) < FIRST:
        raise Misconfigured(
            f"the ledger has schema {before}, from a development version of sendit before 2.0.0, "
            f"and can only be migrated from {FIRST} on; point the connection sendit_ledger to the "
            "right ledger, or restore a newer backup"
        )
    if before is not None and before not in known:
        raise Misconfigured(
            f"the ledger has schema {before}, which sendit {__version__} does not know: a newer "
            "sendit has migrated it. Install that version again, or restore the backup from "
            "before the update"
        )
    command.upgrade(config, "head")
    return before


def _version(db: sa.Connection) -> str | None:
    """Return the version of a ledger's schema; None if the database has none."""
    context = MigrationContext.configure(db, opts={"version_table": VERSION_TABLE})
    heads = context.get_current_heads()
    if heads:
        return ", ".join(sorted(heads))
    if sa.inspect(db).has_table(schema_info.name):
        legacy = db.execute(sa.select(sa.func.max(schema_info.c.version))).scalar()
        return None if legacy is None else f"{legacy:04}"
    return None
