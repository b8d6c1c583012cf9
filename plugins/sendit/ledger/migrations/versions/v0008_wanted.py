"""Count, of each batch, the files that wait for a rule that says what to blank in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add ``wanted``: nothing was counted before."""
    op.add_column("batches", sa.Column("wanted", sa.JSON, nullable=False, server_default="{}"))
    schema_info = sa.table("schema_info", sa.column("version", sa.Integer))
    op.execute(schema_info.update().values(version=8))
