"""Reading Airflow's connections, and what a missing one means.

Airflow asks one secrets backend after the other and takes an error of any of them for "not
here": a file that is away for a moment, an API server that restarts and a name that was mistyped
all end in the same exception. So "not found" is never taken for "there is none".
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

#: What to do where a connection is really missing.
_MAKE = {
    LEDGER: "a PostgreSQL database; or choose the ledger in a file with SENDIT_LEDGER=embedded",
    GOOGLE: "of type Google Cloud, with the project and a service account",
    DASHER: "of type dasher; all its fields may be empty",
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
            f"the Airflow connection {name} cannot be read: either where connections are kept does "
            f"not answer now, or there is none of this name. Then make it ({_MAKE[name]}), and "
            "clear the task"
        ) from None
    except PermissionError:  # Airflow's own: the API server denies it
        raise Misconfigured(
            f"Airflow does not let this task read the connection {name}: give the DAG's team the "
            "right to it, then clear the task"
        ) from None


def read_connection(name: str) -> Any:
    """Return a connection; see ``reading`` for the errors."""
    with reading(name):
        return Connection.get(name)
