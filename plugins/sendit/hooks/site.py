"""The site's settings, and its ledger."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sendit.hooks.connections import LEDGER, read_connection
from sendit.settings import Settings, read_settings

if TYPE_CHECKING:
    from sendit.ledger import Ledger


@cache
def settings() -> Settings:
    """Return the site's settings, read once per process."""
    return read_settings()


@cache
def ledger() -> Ledger:
    """Return the configured ledger: the one behind the connection, or the embedded one."""
    from sendit.ledger import Ledger  # loads SQLAlchemy, which DAG parsing must not

    if settings().ledger == "embedded":
        return Ledger(settings().embedded_ledger_url)
    return Ledger(read_connection(LEDGER).get_uri())


def service_name() -> str:
    """Return the identifier service's name, with its host if it is DASHER: another DASHER assigns
    different codes."""
    if settings().identifiers != "dasher":
        return settings().identifiers
    from urllib.parse import urlsplit

    from sendit.hooks.dasher import DasherHook

    return f"dasher at {urlsplit(DasherHook().get_settings().base).hostname}"
