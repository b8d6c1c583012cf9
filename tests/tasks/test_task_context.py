"""The ledger is the one that the site chose, and no other."""

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
    assert task_context.ledger().count_queued() == 0
    assert (tmp_path / "mine.db").exists()


def test_a_connection_that_may_not_be_read_is_for_a_person(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str) -> Connection:
        raise PermissionError(f"Access denied for connection {name}")

    monkeypatch.setattr(Connection, "get", denied)
    with pytest.raises(Misconfigured, match="access to it"):
        task_context.ledger()


def test_the_embedded_ledger_is_used_where_it_is_chosen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDIT_LEDGER", "embedded")
    assert task_context.ledger().count_queued() == 0
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
    with pytest.raises(RetryLater, match="did not say whether earlier runs have ended"):
        task_context.is_active("sendit", "run")


STARTED = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AT, LATER = STARTED.isoformat(), (STARTED + DAY).isoformat()


@pytest.fixture
def own(
    embedded_ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Ledger, dict[str, Any]]:
    """A ledger, and the context of a task of a run."""
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
def test_a_run_is_known_by_all_that_tells_it_from_another(
    own: Any, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], known_as: Run
) -> None:
    ledger, context = own
    vars(context["dag_run"]).update(changed)
    asked: list[Run] = []
    monkeypatch.setattr(ledger, "run_key", lambda run: (asked.append(run), "r0")[1])
    assert task_context.own_run() == Holder("r0", "sendit", "a run")
    assert asked == [known_as]


def test_a_task_s_working_folder_is_its_batch_s(own: Any, tmp_path: Path) -> None:
    assert task_context.workspace("b0").folder == tmp_path / "work" / "b0"


@pytest.mark.parametrize(("number", "last"), [(1, False), (3, False), (4, True), (5, True)])
def test_the_last_try_is_the_one_behind_all_retries(number: int, last: bool) -> None:
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
def test_a_failure_is_written_to_its_batch_alone(own: Any, problem: Any, outside: bool) -> None:
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


def test_a_scheduled_run_takes_all_and_one_by_hand_what_it_says() -> None:
    params = {"number": 4, "subfolder": "1_6", "study": None, "recipe": None, "revise": True}
    by_hand = SimpleNamespace(conf={"number": 4}, run_type="manual")
    scheduled = SimpleNamespace(conf=None, run_type="scheduled")
    found = task_context.run_params({"dag_run": by_hand, "params": params})
    assert (found.number, found.subfolder, found.revise) == (4, "1_6", True)
    found = task_context.run_params({"dag_run": scheduled, "params": params})
    assert (found.number, found.subfolder, found.revise) == (None, "1_6", True)
    mistyped = SimpleNamespace(conf={"numbr": 4}, run_type="manual")
    with pytest.raises(Misconfigured, match="did you mean number"):
        task_context.run_params({"dag_run": mistyped, "params": params})
