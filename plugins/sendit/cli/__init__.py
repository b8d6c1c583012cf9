"""The command ``sendit``: the same engine and ledger, without Airflow."""

from sendit.cli.app import main

__all__ = ["main"]
