"""Runs that people end, and the runs that follow: the tasks as Airflow calls them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from sendit.batch import Status
from sendit.errors import RetryLater
from sendit.keys import write_new_key
from sendit.ledger import MAX_TAKE_UPS, Ledger
from sendit.settings import Settings
from sendit.tasks import finish, preflight, process, task_context
from testing.builder import write_study

pytestmark = pytest.mark.airflow

DUE = datetime(2026, 11, 29, tzinfo=UTC)


class Airflow:
    """The runs of a DAG: which are active, and whose task is running."""

    def __init__(self) -> None:
        self.active: set[str] = set()
        self.answers = True
        self.run: dict[str, Any] = {}

    def start(self, run_id: str, *, minute: int = 0) -> None:
        """Start a run; the following calls are made by its tasks."""
        self.active.add(run_id)
        started = DUE + timedelta(minutes=minute)
        ti = SimpleNamespace(
            dag_id="sendit", try_number=1, max_tries=3, get_dr_count=self._count, map_index=0
        )
        run = SimpleNamespace(
            run_after=DUE, start_date=started, clear_number=0, conf={}, run_type="scheduled"
        )
        params = {"number": None, "subfolder": None, "study": None, "recipe": None, "revise": False}
        self.run = {"run_id": run_id, "ti": ti, "dag_run": run, "params": params}

    def _count(self, *, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        if not self.answers:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        return len(self.active & set(run_ids))


@pytest.fixture
def airflow(embedded_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    write_study(tmp_path / "in" / "A1", patient=1, study=1)
    write_new_key(tmp_path / "key")
    settings = Settings(
        home=tmp_path / "home",
        key_file=tmp_path / "key",
        bucket="bucket",
        input_folders=(tmp_path / "in",),
    )
    made = Airflow()
    for module in (process, finish, preflight, task_context):
        monkeypatch.setattr(module, "settings", lambda: settings)
        monkeypatch.setattr(module, "ledger", lambda: embedded_ledger)
    for module in (process, finish, task_context):
        monkeypatch.setattr(module, "get_current_context", lambda: made.run)
    monkeypatch.setattr(process, "Preflight", lambda: lambda _: None)
    return made


def do(batch_id: str, *names: str) -> None:
    for name in names:
        getattr(process, name).function(batch_id)


STEPS = ("import_batch", "dasher", "anonymize")


@pytest.mark.parametrize("done", range(4))
@pytest.mark.parametrize("same_id", [False, True])
def test_the_next_run_continues_unfinished_batches(
    airflow: Airflow, embedded_ledger: Ledger, done: int, same_id: bool
) -> None:
    airflow.start("first")
    (batch_id,) = process.discover.function()
    do(batch_id, *STEPS[:done])
    late = airflow.run
    airflow.active.clear()
    airflow.start("first" if same_id else "second", minute=5)
    assert process.discover.function() == [batch_id]
    next_run = airflow.run
    airflow.run = late  # a process of the first run that Airflow presumes dead
    for step in STEPS:
        with pytest.raises(AirflowSkipException, match="taken over"):
            do(batch_id, step)
    airflow.run = next_run
    do(batch_id, *STEPS)
    batch = embedded_ledger.batch(batch_id)
    assert (batch.status, batch.errors) == (Status.DONEPROCESSING, [])
    assert [lane["batches"] for lane in process.collect.function()] == [[batch_id]]


def test_a_running_run_keeps_its_batch(airflow: Airflow) -> None:
    airflow.start("first")
    (batch_id,) = process.discover.function()
    first = airflow.run
    airflow.start("second")
    assert process.discover.function() == []
    airflow.run = first
    do(batch_id, *STEPS)


def test_nothing_is_taken_over_while_airflow_does_not_respond(
    airflow: Airflow, embedded_ledger: Ledger
) -> None:
    airflow.start("first")
    (batch_id,) = process.discover.function()
    airflow.active.clear()
    airflow.start("second")
    airflow.answers = False
    with pytest.raises(RetryLater, match="did not say"):
        process.discover.function()
    assert embedded_ledger.batch(batch_id).status is Status.NEW
    airflow.answers = True
    assert process.discover.function() == [batch_id]


def test_a_batch_abandoned_too_often_fails_the_run(
    airflow: Airflow, embedded_ledger: Ledger
) -> None:
    for number in range(MAX_TAKE_UPS + 1):
        airflow.start(f"run {number}")
        (batch_id,) = process.discover.function()
        airflow.active.clear()
    airflow.start("last")
    assert process.discover.function() == []
    assert process.discover.function() == []  # cleared
    (batch,) = embedded_ledger.batches_held_by(task_context.own_run().key)
    assert (batch.id, batch.status) == (batch_id, Status.ERROR)
    assert f"{MAX_TAKE_UPS + 1} runs in a row" in batch.errors[-1]["reason"]


def test_the_next_run_cleans_up_after_an_ended_run(
    airflow: Airflow, embedded_ledger: Ledger
) -> None:
    airflow.start("first")
    (batch_id,) = process.discover.function()
    do(batch_id, "import_batch")
    embedded_ledger.record(batch_id, status=Status.EMPTY)
    folder = task_context.workspace(batch_id).folder
    assert folder.exists()
    first = airflow.run
    airflow.start("second")
    finish.cleanup.function()
    assert folder.exists()  # the first run may still clean it up itself
    airflow.active = {"second"}
    finish.cleanup.function()
    assert not folder.exists()
    assert not embedded_ledger.has_identifiers(batch_id)
    # Its import is cleared manually, which restores everything.
    airflow.active.add("first")
    airflow.run = first
    do(batch_id, "import_batch")
    assert folder.exists()
    embedded_ledger.record(batch_id, status=Status.EMPTY)
    airflow.active.clear()
    airflow.start("third")
    finish.cleanup.function()
    assert not folder.exists()
    assert not embedded_ledger.has_identifiers(batch_id)
