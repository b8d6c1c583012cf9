"""The table in BigQuery: created on demand, read back, and rows deleted from it.

The provider's operators load and merge rows; see `sendit.tasks.upload`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as api
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from sendit.delivery.google_errors import google_errors
from sendit.delivery.names import TABLE, dataset_name
from sendit.delivery.rows import COLUMNS, TABLE_DESCRIPTION, schema_fields
from sendit.errors import Misconfigured
from sendit.ledger import Delivery

#: Seconds for one call, and for one query.
TIMEOUT = 60.0
QUERY_TIMEOUT = 300.0
#: Limits the library's own retries, which would last ten minutes; after that Airflow retries the
#: task.
RETRY = DEFAULT_RETRY.with_timeout(60.0)
COLLECTION_LABEL = "sendit-collection"
ROLE = "roles/bigquery.dataEditor on the dataset and roles/bigquery.jobUser on the project"
SETTING = "SENDIT_COLLECTION and the connection's project"


@dataclass(frozen=True, slots=True)
class HeldRow:
    """An archive's row as held in the table."""

    bucket: str
    name: str
    generation: int
    size: int
    crc32c: str
    md5: str | None
    images: int

    def describes(self, delivery: Delivery) -> bool:
        """Whether the row describes this archive as it is in the bucket."""
        return (
            self.bucket == delivery.bucket
            and self.name == delivery.object
            and self.generation == delivery.generation
            and self.size == delivery.size
            and self.crc32c == delivery.crc32c
            and self.md5 == delivery.md5
            and self.images == delivery.members
        )


def ensure_table(client: bigquery.Client, collection: str, location: str) -> None:
    """Create the collection's dataset and table if they do not exist; add missing columns.

    Parameters
    ----------
    client
        BigQuery.
    collection
        IRB or collection name.
    location
        Location of a new dataset.

    Raises
    ------
    Misconfigured
        The dataset belongs to another collection, the table's columns have different types, or
        access is refused.
    RetryLater
        BigQuery failed.
    """
    name = dataset_name(collection)
    label = collection.lower()
    with dataset_errors(name):
        reference = bigquery.DatasetReference(client.project, name)
        try:
            dataset = client.get_dataset(reference, retry=RETRY, timeout=TIMEOUT)
        except api.NotFound:
            new = bigquery.Dataset(reference)
            new.location = location
            new.description = f"De-identified DICOM of the collection {collection}, by sendit."
            new.labels = {COLLECTION_LABEL: label}
            dataset = client.create_dataset(new, exists_ok=True, retry=RETRY, timeout=TIMEOUT)
        if dataset.labels.get(COLLECTION_LABEL, label) != label:
            raise Misconfigured(
                f"the BigQuery dataset {name} belongs to the collection "
                f"{dataset.labels[COLLECTION_LABEL]}, not {label}: give the collection "
                "(SENDIT_COLLECTION, or the run's study) a name that differs in more than - and _"
            )
        table = bigquery.Table(reference.table(TABLE), schema=_schema())
        table.description = TABLE_DESCRIPTION
        held = client.create_table(table, exists_ok=True, retry=RETRY, timeout=TIMEOUT)
        _fit(client, held, name)


def _schema() -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField.from_api_repr(field) for field in schema_fields()]


def _fit(client: bigquery.Client, table: bigquery.Table, dataset: str) -> None:
    """Add columns that an older sendit did not have; reject a table that is not sendit's."""
    types = {"INT64": "INTEGER"}
    held = {field.name: types.get(field.field_type, field.field_type) for field in table.schema}
    other = [c.name for c in COLUMNS if held.get(c.name, c.type) != c.type]
    if other:
        raise Misconfigured(
            f"the BigQuery table {dataset}.{TABLE} has different types from sendit's in "
            f"{', '.join(other)}: rename that table, or deliver to another collection"
        )
    new = [field for field in _schema() if field.name not in held]
    if new:
        # BigQuery can only add nullable columns.
        added = [
            bigquery.SchemaField(f.name, f.field_type, "NULLABLE", description=f.description)
            for f in new
        ]
        table.schema = [*table.schema, *added]
        client.update_table(table, ["schema"], retry=RETRY, timeout=TIMEOUT)


def exists(client: bigquery.Client, dataset: str) -> bool:
    """Whether a collection's table exists."""
    with dataset_errors(dataset):
        try:
            client.get_table(
                bigquery.DatasetReference(client.project, dataset).table(TABLE),
                retry=RETRY,
                timeout=TIMEOUT,
            )
        except api.NotFound:
            return False
        return True


def held_rows(
    client: bigquery.Client, dataset: str, bucket: str, names: Iterable[str] | None = None
) -> dict[str, list[HeldRow]]:
    """Return the rows of archives by name: of these names, or of the whole bucket."""
    wanted = None if names is None else sorted(set(names))
    if wanted == []:
        return {}
    sql = (
        "SELECT bucket, name, generation, size, crc32c, md5Hash, sendit_images "
        f"FROM `{dataset}.{TABLE}` WHERE bucket = @bucket"
        + ("" if wanted is None else " AND name IN UNNEST(@names)")
    )
    rows: dict[str, list[HeldRow]] = {}
    for row in _query(client, dataset, sql, bucket, wanted):
        held = HeldRow(*row.values())
        rows.setdefault(held.name, []).append(held)
    return rows


def delete_rows(client: bigquery.Client, dataset: str, bucket: str, names: Sequence[str]) -> None:
    """Delete the rows of archives; idempotent."""
    if names:
        sql = f"DELETE FROM `{dataset}.{TABLE}` WHERE bucket = @bucket AND name IN UNNEST(@names)"
        _query(client, dataset, sql, bucket, names)


def drop_table(client: bigquery.Client, dataset: str, table: str) -> None:
    """Drop a staging table; idempotent."""
    with dataset_errors(dataset):
        client.delete_table(
            bigquery.DatasetReference(client.project, dataset).table(table),
            not_found_ok=True,
            retry=RETRY,
            timeout=TIMEOUT,
        )


def _query(
    client: bigquery.Client, dataset: str, sql: str, bucket: str, names: Sequence[str] | None
) -> list[Any]:
    parameters: list[Any] = [bigquery.ScalarQueryParameter("bucket", "STRING", bucket)]
    if names is not None:
        parameters.append(bigquery.ArrayQueryParameter("names", "STRING", list(names)))
    with dataset_errors(dataset):
        return run_query(client, sql, parameters)


def run_query(
    client: bigquery.Client, sql: str, parameters: Sequence[Any] = ()
) -> list[bigquery.Row]:
    """Run a statement to completion, and return its rows.

    The library does not rerun a failed job, which it would otherwise do for forty minutes.
    """
    job = client.query(
        sql,
        job_config=bigquery.QueryJobConfig(
            query_parameters=list(parameters), use_query_cache=False, labels={"sendit": "delivery"}
        ),
        retry=RETRY,
        job_retry=None,
        timeout=TIMEOUT,
    )
    return list(job.result(retry=RETRY, job_retry=None, timeout=QUERY_TIMEOUT))


def dataset_errors(dataset: str) -> AbstractContextManager[None]:
    """Translate the errors of calls to a dataset."""
    return google_errors("BigQuery", f"dataset {dataset}", SETTING, ROLE)
