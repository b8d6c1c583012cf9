"""Run by alembic for each command, on the caller's connection and in its transaction."""

from __future__ import annotations

from alembic import context

from sendit.ledger.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
