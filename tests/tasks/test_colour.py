"""The last tasks: the run's state reflects its failures, and failures stop follow-on runs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sendit.batch import BatchError, Status
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.ledger import BatchParams, Holder, Ledger
from sendit.settings import Settings
from sendit.tasks import finish, task_context

pytestmark = pytest.mark.airflow

RUN = "manual__2026-11-29T12:00:00+00:00"
PARAMS = BatchParams("test", "test", "default")


class Run:
    """A run whose tasks have given states, and its ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.states: dict[str, str | None] = {"discover": "success", "report": "running"}
        self.params: dict[str, Any] = {"number": None}
        self.triggered: list[dict[str, Any]] = []
        self._made = 0

    def batches(self, count: int) -> list[str]:
        first, self._made = self._made, self._made + count
        folders = [(f"{number:064d}", f"/in/{number}") for number in range(first, self._made)]
        self.ledger.enqueue(folders, PARAMS)
        return self.ledger.claim(RUN, count)

    def wait_in_queue(self) -> str:
        self.ledger.enqueue([("f" * 64, "/in/waits")], PARAMS)
        return next(b.id for b in self.ledger.all_batches() if b.status is Status.QUEUE)

    def context(self) -> dict[str, Any]:
        ti = SimpleNamespace(
            dag_id="sendit",
            task_id="report",
            get_task_states=lambda dag_id, run_ids: {run_ids[0]: self.states},
        )
        run = SimpleNamespace(run_type="manual", conf=self.params)
        params = {"subfolder": None, "study": None, "recipe": None, "revise": False}
        return {
            "run_id": RUN,
            "ti": ti,
            "dag_run": run,
            "dag": SimpleNamespace(dag_id="sendit"),
            "params": params | self.params,
        }


@pytest.fixture
def run(embedded_ledger: Ledger, tmp_path, monkeypatch) -> Run:
    made = Run(embedded_ledger)
    for module in (finish, task_context):
        monkeypatch.setattr(module, "ledger", lambda: embedded_ledger)
        monkeypatch.setattr(module, "settings", lambda: Settings(home=tmp_path))
        monkeypatch.setattr(module, "own_run", lambda: Holder(RUN, "sendit", RUN))
    monkeypatch.setattr(finish, "get_current_context", made.context)
    from airflow.providers.standard.operators import trigger_dagrun

    class Trigger:
        def __init__(self, **arguments: Any) -> None:
            self.arguments = arguments

        def execute(self, _: Any) -> None:
            made.triggered.append(self.arguments)

    monkeypatch.setattr(trigger_dagrun, "TriggerDagRunOperator", Trigger)
    return made


def test_a_run_without_failures_succeeds(run: Run) -> None:
    for batch_id in run.batches(2):
        run.ledger.record(batch_id, status=Status.DONE)
    finish.report.function()


@pytest.mark.parametrize("name", ["discover", "collect", "manifest", "cleanup", "follow_on"])
def test_a_failed_task_fails_the_run_and_is_named(run: Run, name: str) -> None:
    run.states[name] = "failed"
    with pytest.raises(AirflowFailException, match=f"tasks of the run failed, .*: {name}$"):
        finish.report.function()


def test_failed_mapped_tasks_are_counted(run: Run) -> None:
    run.states |= {"process.import_0": "failed", "process.import_12": "failed"}
    run.states |= {"process.dasher_0": "upstream_failed", "upload.archives_3": "failed"}
    with pytest.raises(
        AirflowFailException, match=r": process\.import \(2 times\), upload\.archives$"
    ):
        finish.report.function()


def test_failed_and_unfinished_batches_fail_the_run(run: Run) -> None:
    good, bad, left = run.batches(3)
    run.ledger.record(good, status=Status.DONE)
    run.ledger.record(bad, status=Status.ERROR)
    run.ledger.record(left, status=Status.PROCESSING)
    with pytest.raises(AirflowFailException, match=f"2 of 3 batches failed: {bad}, {left}"):
        finish.report.function()
    assert run.ledger.batch(left).status is Status.ERROR


def test_batches_blocked_in_the_queue_fail_the_run(run: Run) -> None:
    (done,) = run.batches(1)
    run.ledger.record(done, status=Status.DONE)
    waits = run.wait_in_queue()
    finish.report.function()
    run.ledger.record(waits, errors=[BatchError("queue", "no recipe x")], stage="queue")
    with pytest.raises(AirflowFailException, match="1 batches stay in the queue: no recipe x"):
        finish.report.function()
    run.params["subfolder"] = "another's"
    finish.report.function()


def test_unwritable_metrics_do_not_hide_failed_tasks(run: Run, tmp_path) -> None:
    (tmp_path / "metrics").write_text("a file in the folder's place")
    run.states["manifest"] = "failed"
    with pytest.raises(AirflowFailException, match=r"manifest; the metrics cannot be written"):
        finish.report.function()


def fail(batch_id: str, problem: Exception | str) -> None:
    task_context.fail_batch(batch_id, "dasher", problem)


@pytest.mark.parametrize(
    "problem",
    [
        lambda _: Misconfigured("no bucket x"),
        lambda number: RetryLater(f"DASHER answered 50{number}"),
        lambda _: "KeyError in sendit; see the task's log",
    ],
)
def test_no_follow_on_run_if_all_batches_failed_for_the_same_reason(
    run: Run, problem: Callable[[int], Exception | str]
) -> None:
    batches = run.batches(3)
    run.wait_in_queue()
    for number, batch_id in enumerate(batches):
        fail(batch_id, problem(number))
    with pytest.raises(AirflowSkipException, match="sendit requeue --run") as caught:
        finish.follow_on.function()
    assert RUN in str(caught.value)
    assert not run.triggered


@pytest.mark.parametrize(
    "problem",
    [
        lambda number: FailBatch(f"batch {number}: DASHER refused its ids"),
        lambda number: Misconfigured("no bucket x") if number else "KeyError in sendit",
    ],
)
def test_failures_specific_to_batches_do_not_stop_the_follow_on_run(
    run: Run, problem: Callable[[int], Exception | str]
) -> None:
    batches = run.batches(3)
    run.wait_in_queue()
    for number, batch_id in enumerate(batches):
        fail(batch_id, problem(number))
    finish.follow_on.function()
    assert len(run.triggered) == 1


def test_one_successful_batch_is_enough_for_a_follow_on_run(run: Run) -> None:
    good, bad = run.batches(2)
    run.wait_in_queue()
    run.ledger.record(good, status=Status.DONE)
    fail(bad, Misconfigured("no bucket x"))
    finish.follow_on.function()
    assert run.triggered[0]["conf"] == {
        "number": None, "subfolder": None, "study": None, "recipe": None, "revise": False,
    }  # fmt: skip


def test_number_is_reduced_in_the_follow_on_run(run: Run) -> None:
    run.params = {"number": 3.0}
    for batch_id in run.batches(1):
        run.ledger.record(batch_id, status=Status.DONE)
    run.wait_in_queue()
    finish.follow_on.function()
    assert run.triggered[0]["conf"]["number"] == 2


@pytest.mark.parametrize(("taken", "waits"), [(0, True), (1, False)])
def test_no_follow_on_run_if_nothing_is_queued_or_was_taken(
    run: Run, taken: int, waits: bool
) -> None:
    run.batches(taken)
    if waits:
        run.wait_in_queue()
    with pytest.raises(AirflowSkipException, match="no follow-on run"):
        finish.follow_on.function()
