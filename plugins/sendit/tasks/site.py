"""What a task needs of its site: settings, ledger, run, and the batch's working folder."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from sendit.ledger import Ledger
from sendit.settings import Settings, read_settings

LEDGER_CONNECTION = "sendit_ledger"


@cache
def settings() -> Settings:
    """Return the site's settings, read once per process."""
    return read_settings()


@cache
def ledger() -> Ledger:
    """Return the ledger behind the connection ``sendit_ledger``, or the embedded one."""
    try:
        connection = Connection.get(LEDGER_CONNECTION)
    except AirflowNotFoundException:
        return Ledger(settings().ledger_default_url)
    return Ledger(connection.get_uri())


def run_study(params: dict[str, Any]) -> str:
    """Return the study of a run: its param, or the site's."""
    return str(params.get("study") or settings().study)


def run_recipe(params: dict[str, Any]) -> str:
    """Return the recipe of a run: its param, or the site's."""
    return str(params.get("recipe") or settings().recipe)
