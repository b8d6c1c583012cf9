"""The schema before there were migrations: what sendit made and numbered 6."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = None


def upgrade() -> None:
    """Make the tables. A ledger that has them from before there were migrations keeps them."""
    op.create_table(
        "schema_info",
        sa.Column("version", sa.Integer, primary_key=True),
        if_not_exists=True,
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.String(32), primary_key=True),
        if_not_exists=True,
    )
    op.create_table(
        "inputs",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(20), nullable=False),
        sa.Column("inode", sa.String(20), nullable=False),
        sa.Column("mounted", sa.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "feeds",
        sa.Column("bucket", sa.String(222), primary_key=True),
        sa.Column("collection", sa.String(64), primary_key=True),
        sa.Column("counter", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "runs",
        sa.Column("key", sa.String(17), primary_key=True),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("starts", sa.JSON, nullable=False),
        sa.Column("first_seen_at", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_runs_run_id", "runs", ["run_id"], if_not_exists=True)
    op.create_table(
        "batches",
        sa.Column("id", sa.String(17), primary_key=True),
        sa.Column("folder_digest", sa.String(64), nullable=False, unique=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("run_id", sa.String(250)),
        sa.Column("holder", sa.String(250)),
        sa.Column("take_ups", sa.Integer, nullable=False),
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("revise", sa.Boolean, nullable=False),
        sa.Column("subfolder", sa.Text),
        sa.Column("same_as", sa.String(17)),
        sa.Column("has_error", sa.Boolean, nullable=False),
        sa.Column("set_aside", sa.Boolean, nullable=False),
        sa.Column("errors", sa.JSON, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("actions", sa.JSON, nullable=False),
        sa.Column("received", sa.Integer, nullable=False),
        sa.Column("delivered", sa.Integer, nullable=False),
        sa.Column("filtered", sa.Integer, nullable=False),
        sa.Column("quarantined", sa.Integer, nullable=False),
        sa.Column("duplicate", sa.Integer, nullable=False),
        sa.Column("bytes_in", sa.BigInteger, nullable=False),
        sa.Column("listing", sa.String(64)),
        sa.Column("queued_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("cleaned_at", sa.Float),
        if_not_exists=True,
    )
    op.create_index("ix_batches_status", "batches", ["status"], if_not_exists=True)
    op.create_index("ix_batches_run_id", "batches", ["run_id"], if_not_exists=True)
    op.create_index("ix_batches_holder", "batches", ["holder"], if_not_exists=True)
    op.create_table(
        "identifiers",
        sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "deliveries",
        sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("bucket", sa.String(222), nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("archive_of", sa.String(200), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("replaces", sa.String(17)),
        sa.Column("replaced_object", sa.Text),
        sa.Column("replaced_generation", sa.BigInteger),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("crc32c", sa.String(16), nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("engine", sa.String(32), nullable=False),
        sa.Column("sent_at", sa.Float),
        sa.Column("sent_object", sa.Text),
        sa.Column("sent_crc32c", sa.String(16)),
        sa.Column("generation", sa.BigInteger),
        sa.Column("md5", sa.String(32)),
        sa.Column("updated", sa.String(40)),
        sa.Column("self_link", sa.Text),
        sa.Column("media_link", sa.Text),
        sa.Column("uploaded_at", sa.Float),
        sa.Column("rows", sa.Integer),
        sa.Column("rows_at", sa.Float),
        sa.Column("superseded_by", sa.String(17)),
        sa.Column("withdrawn_at", sa.Float),
        sa.UniqueConstraint("bucket", "archive_of", "revision", name="one_archive_per_study"),
        if_not_exists=True,
    )
    op.create_index("ix_deliveries_archive_of", "deliveries", ["archive_of"], if_not_exists=True)
    op.create_table(
        "stages",
        sa.Column("holder", sa.String(250), primary_key=True),
        sa.Column("lane", sa.Integer, primary_key=True),
        sa.Column("bucket", sa.String(222), primary_key=True),
        sa.Column("collection", sa.String(64), primary_key=True),
        sa.Column("dropped_at", sa.Float),
        if_not_exists=True,
    )
    op.create_table(
        "history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("archive_of", sa.String(200)),
        sa.Column("object", sa.Text),
        sa.Column("revision", sa.Integer),
        sa.Column("generation", sa.BigInteger),
        sa.Column("crc32c", sa.String(16)),
        sa.Column("recipe_digest", sa.String(64)),
        sa.Column("note", sa.Text),
        if_not_exists=True,
    )
    op.create_index("ix_history_batch_id", "history", ["batch_id"], if_not_exists=True)
    op.create_table(
        "patient_codes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("code", sa.String(64), nullable=False, unique=True),
        sa.Column("jitter", sa.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "study_codes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("code", sa.String(64), nullable=False, unique=True),
        if_not_exists=True,
    )
    db = op.get_bind()
    schema_info = sa.table("schema_info", sa.column("version", sa.Integer))
    if db.execute(sa.select(schema_info.c.version)).first() is None:
        db.execute(schema_info.insert().values(version=6))
    identity = sa.table("identity", sa.column("id", sa.String))
    if db.execute(sa.select(identity.c.id)).first() is None:
        db.execute(identity.insert().values(id=secrets.token_hex(16)))
