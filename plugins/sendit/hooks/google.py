"""Google clients from the provider's hooks, with their errors translated into sendit's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from sendit.errors import Misconfigured, unreadable
from sendit.hooks.connections import GOOGLE, reading
from sendit.hooks.site import settings

if TYPE_CHECKING:
    from google.cloud import bigquery, storage


def provider_errors() -> AbstractContextManager[None]:
    """Translate the errors of the provider's operators and hooks."""
    from sendit.delivery.google_errors import google_errors

    return google_errors(
        "Google Cloud",
        f"bucket {settings().bucket} or the collection's dataset",
        "SENDIT_BUCKET or SENDIT_COLLECTION",
        "roles/storage.objectUser, roles/bigquery.dataEditor and roles/bigquery.jobUser",
    )


@contextmanager
def _credentials() -> Iterator[None]:
    """Translate the errors of creating a client, which reads the service account's key."""
    try:
        yield
    except OSError as error:
        raise unreadable(
            error,
            f"the key file that the Airflow connection {GOOGLE} names (key_path) cannot be read "
            f"({error.strerror}): mount it, or correct key_path or the file's permissions",
        ) from None
    except AirflowNotFoundException:
        raise
    except (ValueError, AirflowException):
        raise Misconfigured(
            f"the key in the Airflow connection {GOOGLE}, or the file that it names, is damaged or "
            "not a service account's: replace it with the JSON file from Google, then clear the "
            "task"
        ) from None


def storage_client() -> storage.Client:
    """Return the Cloud Storage client of the provider's hook.

    Raises
    ------
    Misconfigured
        The connection's key is invalid, or not readable for this task.
    RetryLater
        The connection or its key file is unavailable.
    """
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    with reading(GOOGLE), _credentials(), provider_errors():
        return GCSHook().get_conn()


def bigquery_client() -> bigquery.Client:
    """Return the BigQuery client of the provider's hook; raises as `storage_client` does."""
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    with reading(GOOGLE), _credentials(), provider_errors():
        hook = BigQueryHook(use_legacy_sql=False)
        return hook.get_client(project_id=hook.project_id)
