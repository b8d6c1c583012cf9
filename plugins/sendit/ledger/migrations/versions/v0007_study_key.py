"""Name columns by what they hold: ``study_key`` and ``content_digest``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Rename ``archive_of`` and ``content``, and what is named after them."""
    op.drop_index("ix_deliveries_archive_of", "deliveries")
    for table in ("deliveries", "history"):
        op.alter_column(table, "archive_of", new_column_name="study_key")
    op.alter_column("deliveries", "content", new_column_name="content_digest")
    op.create_index("ix_deliveries_study_key", "deliveries", ["study_key"])
    # All that sendit looked at before there were migrations: it refuses a number that it does not
    # know, rather than trip over a column that is gone.
    schema_info = sa.table("schema_info", sa.column("version", sa.Integer))
    op.execute(schema_info.update().values(version=7))
