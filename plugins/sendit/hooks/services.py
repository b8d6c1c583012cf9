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
        """Return whether DASHER answers and takes the token, and a sentence."""
        return DasherHook().test_connection()

    def identifiers(self) -> str:
        """Return what the identifier service is called, ``local`` or ``dasher at HOST``."""
        return site.service_name()

    def option(self, section: str, name: str) -> str | None:
        """Return an option of Airflow's configuration, or None where it is not set."""
        found = conf.get(section, name, fallback=None)
        return None if found is None else str(found)
