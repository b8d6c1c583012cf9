"""The ledger is the one that the site chose, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk import Connection

from sendit.errors import Misconfigured, RetryLater
from sendit.tasks import site

pytestmark = pytest.mark.airflow


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("SENDIT_LEDGER", "SENDIT_ENV_FILE", "AIRFLOW_CONN_SENDIT_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SENDIT_HOME", str(tmp_path / "home"))
    site.settings.cache_clear()
    site.ledger.cache_clear()
    yield tmp_path / "home"
    site.settings.cache_clear()
    site.ledger.cache_clear()


def test_a_connection_that_is_not_found_is_not_taken_for_none(home: Path) -> None:
    with pytest.raises(RetryLater, match="connection sendit_ledger cannot be read"):
        site.ledger()
    assert not home.exists()


def test_once_the_connection_is_back_it_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RetryLater):
        site.ledger()
    monkeypatch.setenv("AIRFLOW_CONN_SENDIT_LEDGER", f"sqlite:///{tmp_path}/mine.db")
    assert site.ledger().queued() == 0
    assert (tmp_path / "mine.db").exists()


def test_a_connection_that_may_not_be_read_is_for_a_person(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str) -> Connection:
        raise PermissionError(f"Access denied for connection {name}")

    monkeypatch.setattr(Connection, "get", denied)
    with pytest.raises(Misconfigured, match="right to it"):
        site.ledger()


def test_the_embedded_ledger_is_used_where_it_is_chosen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDIT_LEDGER", "embedded")
    assert site.ledger().queued() == 0
    assert (home / "ledger.db").exists()
