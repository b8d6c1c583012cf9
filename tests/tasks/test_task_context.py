"""Task context: the configured ledger, the current run and its params."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from sendit.batch import Status
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.ledger import BatchParams, Holder, Ledger, Run
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


def test_an_unresolved_connection_does_not_fall_back_to_the_embedded_ledger(home: Path) -> None:
    with pytest.raises(RetryLater, match="connection sendit_ledger cannot be read"):
        task_context.ledger()
    assert not home.exists()


def test_the_connection_is_used_once_it_is_available_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RetryLater):
        task_context.ledger()
    monkeypatch.setenv("AIRFLOW_CONN_SENDIT_LEDGER", f"sqlite:///{tmp_path}/mine.db")
    assert task_context.ledger().count_queued() == 0
    assert (tmp_path / "mine.db").exists()


def test_a_forbidden_connection_is_a_configuration_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str) -> Connection:
        raise PermissionError(f"Access denied for connection {name}")

    monkeypatch.setattr(Connection, "get", denied)
    with pytest.raises(Misconfigured, match="access to it"):
        task_context.ledger()


def test_the_embedded_ledger_is_used_if_configured(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDIT_LEDGER", "embedded")
    assert task_context.ledger().count_queued() == 0
    assert (home / "ledger.db").exists()


@pytest.mark.parametrize(("count", "active"), [(0, False), (1, True)])
def test_a_run_is_active_if_airflow_counts_it(
    monkeypatch: pytest.MonkeyPatch, count: int, active: bool
) -> None:
    calls = []
    ti = SimpleNamespace(get_dr_count=lambda **what: (calls.append(what), count)[1])
    monkeypatch.setattr(task_context, "get_current_context", lambda: {"ti": ti})
    assert task_context.is_active("sendit", "run") is active
    assert calls == [{"dag_id": "sendit", "run_ids": ["run"], "states": ["queued", "running"]}]


def test_an_airflow_error_does_not_mean_that_the_run_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: Any) -> int:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    ti = SimpleNamespace(get_dr_count=fail)
    monkeypatch.setattr(task_context, "get_current_context", lambda: {"ti": ti})
    with pytest.raises(RetryLater, match="did not say whether earlier runs have ended"):
        task_context.is_active("sendit", "run")


STARTED = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AT, LATER = STARTED.isoformat(), (STARTED + DAY).isoformat()


@pytest.fixture
def own(
    embedded_ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Ledger, dict[str, Any]]:
    """A ledger, and the context of a run's task."""
    run = SimpleNamespace(run_after=STARTED, start_date=STARTED, clear_number=2, conf=None)
    ti = SimpleNamespace(dag_id="sendit", try_number=1, max_tries=3)
    context = {"run_id": "a run", "dag_run": run, "ti": ti, "params": {}}
    monkeypatch.setattr(task_context, "get_current_context", lambda: context)
    monkeypatch.setattr(task_context, "ledger", lambda: embedded_ledger)
    site = SimpleNamespace(work=tmp_path / "work")
    monkeypatch.setattr(task_context, "settings", lambda: site)
    return embedded_ledger, context


@pytest.mark.parametrize(
    ("changed", "known_as"),
    [
        ({}, Run("sendit", "a run", created=AT, clears=2, started=AT)),
        ({"start_date": None}, Run("sendit", "a run", created=AT, clears=2, started="")),
        ({"clear_number": None}, Run("sendit", "a run", created=AT, clears=0, started=AT)),
        ({"run_after": STARTED + DAY}, Run("sendit", "a run", LATER, clears=2, started=AT)),
        ({"start_date": STARTED + DAY}, Run("sendit", "a run", AT, clears=2, started=LATER)),
    ],
)
def test_run_keys_distinguish_runs(
    own: Any, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], known_as: Run
) -> None:
    ledger, context = own
    vars(context["dag_run"]).update(changed)
    calls: list[Run] = []
    monkeypatch.setattr(ledger, "run_key", lambda run: (calls.append(run), "r0")[1])
    assert task_context.own_run() == Holder("r0", "sendit", "a run")
    assert calls == [known_as]


def test_a_task_uses_the_working_folder_of_its_batch(own: Any, tmp_path: Path) -> None:
    assert task_context.workspace("b0").folder == tmp_path / "work" / "b0"


@pytest.mark.parametrize(("number", "last"), [(1, False), (3, False), (4, True), (5, True)])
def test_is_last_attempt(number: int, last: bool) -> None:
    ti = SimpleNamespace(try_number=number, max_tries=3)
    assert task_context.is_last_try({"ti": ti}) is last


@pytest.mark.parametrize(
    ("problem", "outside"),
    [
        ("a fault", False),
        (FailBatch("its own"), False),
        (Misconfigured("a setting"), True),
        (RetryLater("a service"), True),
    ],
)
def test_a_failure_is_recorded_on_its_batch_only(own: Any, problem: Any, outside: bool) -> None:
    ledger, _ = own
    params = BatchParams("s", "c", "default")
    ledger.enqueue([(f"{n:064d}", f"/nowhere/{n}") for n in range(2)], params)
    failed, other = ledger.claim("a run", 2, holder=task_context.own_run().key)
    task_context.fail_batch(failed, "upload", problem)
    batch = ledger.batch(failed)
    assert batch.status is Status.ERROR
    (error,) = batch.errors
    assert (error["stage"], error["reason"]) == ("upload task", str(problem))
    assert bool(error.get("outside")) is outside
    assert ledger.batch(other).status is not Status.ERROR
    assert ledger.batch(other).errors == []


def test_scheduled_runs_take_all_batches_and_manual_runs_use_their_params() -> None:
    params = {"number": 4, "subfolder": "1_6", "study": None, "recipe": None, "revise": True}
    by_hand = SimpleNamespace(conf={"number": 4}, run_type="manual")
    scheduled = SimpleNamespace(conf=None, run_type="scheduled")
    effective = task_context.run_params({"dag_run": by_hand, "params": params})
    assert (effective.number, effective.subfolder, effective.revise) == (4, "1_6", True)
    effective = task_context.run_params({"dag_run": scheduled, "params": params})
    assert (effective.number, effective.subfolder, effective.revise) == (None, "1_6", True)
    mistyped = SimpleNamespace(conf={"numbr": 4}, run_type="manual")
    with pytest.raises(Misconfigured, match="did you mean number"):
        task_context.run_params({"dag_run": mistyped, "params": params})
