"""The ledger's tables."""

from __future__ import annotations

import sqlalchemy as sa

#: The version of these tables: the newest of `sendit.ledger.migrations`.
SCHEMA_VERSION = "0008"

#: Alembic's table with the ledger's version. It has its own name because a site's database may
#: also hold Airflow's tables.
VERSION_TABLE = "alembic_version_sendit"

metadata = sa.MetaData()


# The version table from before there were migrations. Versions of sendit from that time read it, to
# refuse a later ledger.
schema_info = sa.Table(
    "schema_info",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
)


identity = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
)


inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(20), nullable=False),
    sa.Column("inode", sa.String(20), nullable=False),
    sa.Column("mounted", sa.Boolean, nullable=False),
)


feeds = sa.Table(
    "feeds",
    metadata,
    sa.Column("bucket", sa.String(222), primary_key=True),
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
)


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("key", sa.String(17), primary_key=True),
    sa.Column("dag_id", sa.String(250), nullable=False),
    sa.Column("run_id", sa.String(250), nullable=False, index=True),
    sa.Column("created", sa.String(40), nullable=False),
    sa.Column("starts", sa.JSON, nullable=False),
    sa.Column("first_seen_at", sa.Float, nullable=False),
)


batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(17), primary_key=True),
    sa.Column("folder_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("status", sa.String(16), nullable=False, index=True),
    sa.Column("run_id", sa.String(250), index=True),
    sa.Column("holder", sa.String(250), index=True),
    sa.Column("take_ups", sa.Integer, nullable=False, default=0),
    sa.Column("study", sa.String(64), nullable=False),
    sa.Column("collection", sa.String(64), nullable=False),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("revise", sa.Boolean, nullable=False),
    sa.Column("subfolder", sa.Text),
    sa.Column("same_as", sa.String(17)),
    sa.Column("has_error", sa.Boolean, nullable=False, default=False),
    sa.Column("set_aside", sa.Boolean, nullable=False, default=False),
    sa.Column("errors", sa.JSON, nullable=False, default=list),
    sa.Column("reasons", sa.JSON, nullable=False, default=dict),
    sa.Column("actions", sa.JSON, nullable=False, default=dict),
    sa.Column("wanted", sa.JSON, nullable=False, default=dict, server_default="{}"),
    sa.Column("received", sa.Integer, nullable=False, default=0),
    sa.Column("delivered", sa.Integer, nullable=False, default=0),
    sa.Column("filtered", sa.Integer, nullable=False, default=0),
    sa.Column("quarantined", sa.Integer, nullable=False, default=0),
    sa.Column("duplicate", sa.Integer, nullable=False, default=0),
    sa.Column("bytes_in", sa.BigInteger, nullable=False, default=0),
    sa.Column("listing", sa.String(64)),
    sa.Column("queued_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("cleaned_at", sa.Float),
)


identifiers = sa.Table(
    "identifiers",
    metadata,
    sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)


deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("bucket", sa.String(222), nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("study_key", sa.String(200), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("replaces", sa.String(17)),
    sa.Column("replaced_object", sa.Text),
    sa.Column("replaced_generation", sa.BigInteger),
    sa.Column("content_digest", sa.String(64), nullable=False),
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
    sa.UniqueConstraint("bucket", "study_key", "revision", name="one_archive_per_study"),
)


stages = sa.Table(
    "stages",
    metadata,
    sa.Column("holder", sa.String(250), primary_key=True),
    sa.Column("lane", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.String(222), primary_key=True),
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("dropped_at", sa.Float),
)


history = sa.Table(
    "history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("batch_id", sa.String(17), sa.ForeignKey("batches.id"), nullable=False, index=True),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("study_key", sa.String(200)),
    sa.Column("object", sa.Text),
    sa.Column("revision", sa.Integer),
    sa.Column("generation", sa.BigInteger),
    sa.Column("crc32c", sa.String(16)),
    sa.Column("recipe_digest", sa.String(64)),
    sa.Column("note", sa.Text),
)


patient_codes = sa.Table(
    "patient_codes",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("code", sa.String(64), nullable=False, unique=True),
    sa.Column("jitter", sa.Integer, nullable=False),
)


study_codes = sa.Table(
    "study_codes",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("code", sa.String(64), nullable=False, unique=True),
)
