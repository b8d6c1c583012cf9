"""Reads Airflow connections.

Airflow tries one secrets backend after the other and treats an error in any of them as "not
found": an unavailable file, an API server that restarts and a misspelt name all raise the same
exception. So "not found" is never taken to mean "does not exist".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from sendit.errors import Misconfigured, RetryLater

LEDGER = "sendit_ledger"
GOOGLE = "google_cloud_default"
DASHER = "sendit_dasher"

#: How to create a connection that really does not exist.
_MAKE = {
    LEDGER: "a PostgreSQL database; or use a ledger in a file with SENDIT_LEDGER=embedded",
    GOOGLE: "of type Google Cloud, with the project and a service account",
    DASHER: "of type DASHER; all its fields may be empty",
}


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Translate the errors of reading a connection.

    Raises
    ------
    RetryLater
        It could not be read, whatever the cause.
    Misconfigured
        The task may not read it.
    """
    try:
        yield
    except AirflowNotFoundException:
        raise RetryLater(
            f"the Airflow connection {name} cannot be read: either the place where connections are "
            f"stored does not respond, or it does not exist. If so, create it ({_MAKE[name]}), and "
            "clear the task"
        ) from None
    except PermissionError:  # Airflow's own: the API server denies it
        raise Misconfigured(
            f"Airflow does not let this task read the connection {name}: give the DAG's team "
            "access to it, then clear the task"
        ) from None


def read_connection(name: str) -> Any:
    """Return a connection; see ``reading`` for the errors."""
    with reading(name):
        return Connection.get(name)
