"""The ledger is the one that the site chose, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from sendit.errors import Misconfigured, RetryLater
from sendit.tasks import task_context

pytestmark = pytest.mark.airflow


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("SENDIT_LEDGER", "SENDIT_ENV_FILE", "AIRFLOW_CONN_SENDIT_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SENDIT_HOME", str(tmp_path / "home"))
    task_context.settings.cache_clear()
    task_context.ledger.cache_clear()
    yield tmp_path / "home"
    task_context.settings.cache_clear()
    task_context.ledger.cache_clear()


def test_a_connection_that_is_not_found_is_not_taken_for_none(home: Path) -> None:
    with pytest.raises(RetryLater, match="connection sendit_ledger cannot be read"):
        task_context.ledger()
    assert not home.exists()


def test_once_the_connection_is_back_it_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RetryLater):
        task_context.ledger()
    monkeypatch.setenv("AIRFLOW_CONN_SENDIT_LEDGER", f"sqlite:///{tmp_path}/mine.db")
    assert task_context.ledger().queued() == 0
    assert (tmp_path / "mine.db").exists()


def test_a_connection_that_may_not_be_read_is_for_a_person(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str) -> Connection:
        raise PermissionError(f"Access denied for connection {name}")

    monkeypatch.setattr(Connection, "get", denied)
    with pytest.raises(Misconfigured, match="right to it"):
        task_context.ledger()


def test_the_embedded_ledger_is_used_where_it_is_chosen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDIT_LEDGER", "embedded")
    assert task_context.ledger().queued() == 0
    assert (home / "ledger.db").exists()


@pytest.mark.parametrize(("count", "active"), [(0, False), (1, True)])
def test_a_run_is_active_while_airflow_counts_it(
    monkeypatch: pytest.MonkeyPatch, count: int, active: bool
) -> None:
    asked = []
    ti = SimpleNamespace(get_dr_count=lambda **what: (asked.append(what), count)[1])
    monkeypatch.setattr(task_context, "get_current_context", lambda: {"ti": ti})
    assert task_context.is_active("sendit", "run") is active
    assert asked == [{"dag_id": "sendit", "run_ids": ["run"], "states": ["queued", "running"]}]


def test_a_run_that_airflow_cannot_say_anything_of_is_not_taken_for_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: Any) -> int:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    ti = SimpleNamespace(get_dr_count=fail)
    monkeypatch.setattr(task_context, "get_current_context", lambda: {"ti": ti})
    with pytest.raises(RetryLater, match="did not answer whether earlier runs have ended"):
        task_context.is_active("sendit", "run")
