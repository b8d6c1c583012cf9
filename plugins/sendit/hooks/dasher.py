"""The Airflow connection to DASHER."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection

from sendit.errors import SenditError
from sendit.hooks.connections import DASHER, reading

if TYPE_CHECKING:
    from sendit.identifiers.dasher import DasherService, DasherSettings

# Short, because a person is waiting in front of the form.
_CHECK_SECONDS = 20.0
_CHECK_STUDY = "test"


class DasherHook(BaseHook):
    """Provides the identifier service behind an Airflow connection.

    Parameters
    ----------
    dasher_conn_id
        Id of the connection, of type ``dasher``. Its host is DASHER's address (empty:
        Stanford's); its extra may have ``token_file``, ``timeout``, ``deadline`` and
        ``attempts`` (see ``sendit.identifiers.dasher.DasherSettings``). It must exist, even if
        its fields are empty: a connection that is briefly unreadable must not cause real
        identifiers to be sent to an address that the site did not choose.
    """

    conn_name_attr = "dasher_conn_id"
    default_conn_name = DASHER
    conn_type = "dasher"
    hook_name = "DASHER"

    def __init__(self, dasher_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.dasher_conn_id = dasher_conn_id

    def get_settings(self) -> DasherSettings:
        """Return the connection's settings, validated.

        Raises
        ------
        Misconfigured
            A value is invalid; the text names the field.
        RetryLater
            The connection cannot be read.
        """
        # Imported here because the API server and the DAG processor load hooks too.
        from sendit.identifiers.dasher import dasher_settings

        with reading(DASHER):
            connection = self.get_connection(self.dasher_conn_id)
        values: dict[str, Any] = {
            name: value
            for name, value in connection.extra_dejson.items()
            if value is not None and value != ""
        }
        if connection.host:
            values["base"] = _address(connection)
        return dasher_settings(**values)

    def get_service(self, study: str) -> DasherService:
        """Return the service that codes ids for a research study."""
        from sendit.identifiers.dasher import DasherService

        return DasherService(study, self.get_settings())

    def get_conn(self) -> DasherService:
        """Return the service for DASHER's test study."""
        return self.get_service(_CHECK_STUDY)

    def test_connection(self) -> tuple[bool, str]:
        """Check that DASHER answers and accepts the token; no identifiers are sent."""
        from sendit.identifiers.dasher import DasherService

        try:
            settings = self.get_settings()
            quick = settings.model_copy(
                update={
                    "timeout": min(settings.timeout, _CHECK_SECONDS),
                    "deadline": min(settings.deadline, _CHECK_SECONDS),
                    "attempts": 1,
                }
            )
            DasherService(_CHECK_STUDY, quick).check()
        except SenditError as error:
            return False, str(error)
        return True, "DASHER answers and accepts the token"


def _address(connection: Connection) -> str:
    """Return the address in a connection's host, or in its host, port and schema."""
    host = str(connection.host)
    if "://" in host:
        return host
    port = f":{connection.port}" if connection.port else ""
    name, slash, path = host.partition("/")
    return f"{connection.schema or 'https'}://{name}{port}{slash}{path}"
