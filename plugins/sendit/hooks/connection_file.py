"""Airflow connections from a single file, with no fallback."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import yaml
from airflow.sdk.bases.secrets_backend import BaseSecretsBackend
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied

from sendit.errors import Misconfigured

logger = logging.getLogger(__name__)

FIELDS = frozenset({"conn_type", "description", "host", "login", "password"}) | frozenset(
    {"schema", "port", "extra"}
)


class NotInFile(AirflowSecretsBackendAccessDenied, AirflowNotFoundException):
    """The file does not define the connection, and no other backend is asked.

    It is Airflow's "access denied" for the lookup, which would try the next backend after any
    other exception, and "not found" for the caller.
    """


class ConnectionFile(BaseSecretsBackend):
    """An Airflow secrets backend that reads a YAML file and never falls through to the next
    backend.

    By default, Airflow looks in its own database for a connection that a backend does not have,
    and everyone with the role Op may create one there, such as a DASHER of their own that would
    receive patients' identifiers. With this backend a connection is in the file or does not exist.

    Parameters
    ----------
    connections_file_path
        A YAML file that maps connection ids to a URI or to fields, as in Airflow's local files.
    """

    def __init__(self, connections_file_path: str) -> None:
        super().__init__()
        self.path = Path(connections_file_path)

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str:  # noqa: ARG002
        """Return a connection's URI, or its fields as JSON.

        Raises
        ------
        NotInFile
            The file does not have the connection, or cannot be read; the log says why.
        """
        try:
            value = read_connections(self.path).get(conn_id)
        except Misconfigured as problem:
            logger.error("%s", problem)
            value = None
        if not value:
            raise NotInFile(f"the connection {conn_id} is not in {self.path.name}")
        return value if isinstance(value, str) else json.dumps(value)


def read_connections(path: Path) -> dict[str, str | dict[str, object]]:
    """Return the connections that a file defines, by connection id.

    Raises
    ------
    Misconfigured
        The file is unreadable or invalid; the text quotes nothing of it, because it is secret.
    """
    try:
        connections = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path.name} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise Misconfigured(f"{path.name} is not YAML{place}") from None
    if not isinstance(connections, dict):
        raise Misconfigured(f"{path.name} must map each connection to its URI or its fields")
    for number, value in enumerate(connections.values(), start=1):
        if not (isinstance(value, str) or (isinstance(value, dict) and value.keys() <= FIELDS)):
            raise Misconfigured(
                f"{path.name}: connection {number} must be a URI, or have only these fields: "
                + ", ".join(sorted(FIELDS))
            )
    return connections
