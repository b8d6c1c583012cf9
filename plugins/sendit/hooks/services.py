"""The services that ``sendit doctor`` checks, reached as a task reaches them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.configuration import conf

from sendit.hooks import google, site
from sendit.hooks.dasher import DasherHook

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

    from sendit.ledger import Ledger


class SiteServices:
    """The site's connections and Airflow's configuration."""

    def ledger(self) -> Ledger:
        """Return the ledger."""
        return site.ledger()

    def storage(self) -> storage.Client:
        """Return a client of Cloud Storage."""
        return google.storage_client()

    def bigquery(self) -> bigquery.Client:
        """Return a client of BigQuery."""
        return google.bigquery_client()

    def dasher(self) -> tuple[bool, str]:
        """Return whether DASHER answers and accepts the token, and a sentence that says so."""
        return DasherHook().test_connection()

    def identifiers(self) -> str:
        """Return the identifier service's name, ``local`` or ``dasher at HOST``."""
        return site.service_name()

    def option(self, section: str, name: str) -> str | None:
        """Return an option of Airflow's configuration, or None if it is not set."""
        value = conf.get(section, name, fallback=None)
        return None if value is None else str(value)
