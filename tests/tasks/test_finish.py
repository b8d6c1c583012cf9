"""Cleanup and report: a failing batch does not affect the others, and every failure is reported."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from sendit.batch import BatchError, Counts, Status
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.ledger import BatchParams, Holder, Ledger
from sendit.pipeline import cleanup as cleaning
from sendit.pipeline import metrics
from sendit.pipeline.discover import QUEUE_STAGE
from sendit.settings import Settings
from sendit.tasks import finish, task_context

pytestmark = pytest.mark.airflow

RUN = "manual__2026-11-22T12:00:00+00:00"


@pytest.fixture
def three_batches(
    embedded_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Ledger, list[str], Path]:
    """A run of three batches: the first DONE, the second in ERROR, the third still running."""
    key = tmp_path / "key"
    key.write_text("k" * 64)
    key.chmod(0o600)
    settings = Settings(home=tmp_path / "home", key_file=key)
    for module in (finish, task_context):
        monkeypatch.setattr(module, "settings", lambda: settings)
        monkeypatch.setattr(module, "ledger", lambda: embedded_ledger)
    ti = SimpleNamespace(dag_id="sendit", task_id="report", get_task_states=lambda **_: {RUN: {}})
    monkeypatch.setattr(
        finish, "get_current_context", lambda: {"run_id": RUN, "ti": ti, "params": {}}
    )
    monkeypatch.setattr(task_context, "own_run", lambda: Holder(RUN, "sendit", RUN))
    monkeypatch.setattr(finish, "own_run", task_context.own_run)
    embedded_ledger.enqueue(
        [(f"{n:064d}", f"/nowhere/{n}") for n in range(3)], BatchParams("s", "c", "default")
    )
    ids = embedded_ledger.claim(RUN, 3)
    for batch_id in ids:
        embedded_ledger.start(batch_id)
        embedded_ledger.record(batch_id, counts=Counts(received=2, delivered=2))
    embedded_ledger.record(ids[0], status=Status.DONE)
    errors = [BatchError("upload task", "no")]
    embedded_ledger.record(ids[1], status=Status.ERROR, errors=errors, stage="upload task")
    return embedded_ledger, ids, tmp_path / "home" / "metrics"


def test_report_names_failed_and_unfinished_batches(three_batches: Any) -> None:
    ledger, ids, folder = three_batches
    with pytest.raises(AirflowFailException) as failed:
        finish.report.function()
    text = str(failed.value)
    assert text.startswith("2 of 3 batches failed: ")
    assert ids[0] not in text and ids[1] in text and ids[2] in text
    assert [error["reason"] for error in ledger.batch(ids[2]).errors] == [
        "the run ended while it was PROCESSING"
    ]
    assert ledger.batch(ids[2]).errors[0]["stage"] == "run task"
    (written,) = folder.iterdir()
    assert len(written.read_text().splitlines()) == 4
    assert ledger.batch(ids[0]).tally["delivered"] == 2
    assert [ledger.batch(each).tally["delivered"] for each in ids[1:]] == [0, 0]
    assert [ledger.batch(each).tally["undelivered"] for each in ids] == [0, 2, 2]


def test_unwritable_metrics_do_not_hide_failed_batches(
    three_batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, ids, folder = three_batches
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file in the folder's place")
    with pytest.raises(AirflowFailException, match=r"2 of 3 .*the metrics cannot be written"):
        finish.report.function()
    for batch_id in ids[1:]:
        ledger.record(batch_id, status=Status.DONE)
    with pytest.raises(RetryLater, match="the metrics cannot be written"):
        finish.report.function()

    def broken(*_: Any) -> int:
        raise ValueError("MRN7")

    monkeypatch.setattr(metrics, "write_metrics", broken)
    with pytest.raises(AirflowFailException, match=r"builtins\.ValueError") as failed:
        finish.report.function()
    assert "MRN7" not in str(failed.value)


def test_report_succeeds_without_failures(three_batches: Any) -> None:
    ledger, ids, _ = three_batches
    for batch_id in ids:
        ledger.record(batch_id, status=Status.EMPTY)
    finish.report.function()


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (RetryLater("a folder is away"), RetryLater, "a folder is away"),
        (FailBatch("a file is damaged"), AirflowFailException, "a file is damaged"),
        (Misconfigured("input folder 1"), AirflowFailException, "input folder 1"),
        (ValueError("MRN7"), AirflowFailException, "builtins.ValueError"),
    ],
)
def test_a_failed_cleanup_does_not_stop_the_others(
    three_batches: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
    text: str,
) -> None:
    ledger, ids, _ = three_batches
    for batch_id in ids:
        ledger.record(batch_id, status=Status.EMPTY)
    cleaned = []

    def clean(known: Any, settings: Any, keys: Any, batch_id: str) -> bool:
        assert known is ledger and settings is finish.settings() and keys is not None
        if batch_id == ids[0]:
            raise error
        cleaned.append(batch_id)
        return True

    monkeypatch.setattr(cleaning, "clean_batch", clean)
    with pytest.raises(raised, match=text) as caught:
        finish.cleanup.function()
    assert sorted(cleaned) == sorted(ids[1:])
    assert "MRN7" not in str(caught.value)


def test_cleanup_is_retried_if_any_batch_raises_retry_later(
    three_batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, ids, _ = three_batches
    for batch_id in ids:
        ledger.record(batch_id, status=Status.EMPTY)
    errors = {ids[0]: FailBatch("one"), ids[1]: RetryLater("two"), ids[2]: FailBatch("one")}

    def clean(ledger: Any, settings: Any, keys: Any, batch_id: str) -> bool:
        raise errors[batch_id]

    monkeypatch.setattr(cleaning, "clean_batch", clean)
    with pytest.raises(RetryLater) as caught:
        finish.cleanup.function()
    assert sorted(str(caught.value).split("; ")) == ["one", "two"]


@pytest.mark.parametrize(
    ("scheduled", "number", "taken", "waits", "expected"),
    [
        (True, None, 3, True, None),
        (False, 5, 3, True, 2),
        (False, 3, 3, True, "skipped"),
        (False, 5, 3, False, "skipped"),
        (False, 5, 0, True, "skipped"),
        (False, None, 3, True, None),
        (True, 2, 3, True, None),
    ],
)
def test_follow_on_run_takes_the_remaining_number(  # noqa: PLR0917
    three_batches: Any,
    monkeypatch: pytest.MonkeyPatch,
    scheduled: bool,
    number: int | None,
    taken: int,
    waits: bool,
    expected: int | str | None,
) -> None:
    from airflow.providers.standard.operators import trigger_dagrun
    from airflow.sdk.exceptions import AirflowSkipException

    ledger, _, _ = three_batches
    if waits:
        ledger.enqueue([("9" * 64, "/nowhere/9")], BatchParams("s", "c", "default"))
    seen: list[dict[str, Any]] = []

    class Trigger:
        def __init__(self, **arguments: Any) -> None:
            seen.append(arguments)

        def execute(self, context: Any) -> None:
            seen[-1]["executed"] = True

    monkeypatch.setattr(trigger_dagrun, "TriggerDagRunOperator", Trigger)
    context = {
        "run_id": RUN if taken else "a run that took nothing",
        "params": {"number": number, "study": "s"},
        "dag_run": SimpleNamespace(run_type="scheduled" if scheduled else "manual", conf={}),
        "dag": SimpleNamespace(dag_id="sendit"),
    }
    monkeypatch.setattr(finish, "get_current_context", lambda: context)
    own = Holder(context["run_id"], "sendit", context["run_id"])
    monkeypatch.setattr(finish, "own_run", lambda: own)
    if expected == "skipped":
        with pytest.raises(AirflowSkipException):
            finish.follow_on.function()
        assert seen == []
        return
    finish.follow_on.function()
    finish.follow_on.function()
    first, second = seen
    assert (first["conf"]["number"], first["conf"]["study"]) == (expected, "s")
    assert first["trigger_dag_id"] == "sendit" and first["executed"]
    assert first["skip_when_already_exists"]
    # When cleared and repeated, it triggers the same run.
    assert first["trigger_run_id"] == second["trigger_run_id"]
    assert first["trigger_run_id"].startswith("follow_on__")


def failed(*errors: tuple[str, str, bool], status: Status = Status.ERROR) -> Any:
    """Return a batch with errors: stage, reason, whether the cause is outside the batch."""
    recorded = [{"stage": stage, "reason": why, "outside": out} for stage, why, out in errors]
    return SimpleNamespace(status=status, errors=recorded)


OWN = failed(("upload task", "its archive is gone", False))
SETTING = failed(("dasher task", "no token", True))
FILE = failed(("import", "truncated", False))


@pytest.mark.parametrize(
    ("batches", "all_from_outside"),
    [
        ([SETTING], True),
        ([SETTING, SETTING], True),
        ([SETTING, failed(("upload task", "no bucket", True))], True),
        ([OWN], False),  # a single failure says nothing about the next batch
        ([OWN, OWN], True),  # the same reason for all: the cause is outside
        ([OWN, failed(("anonymize task", "its archive is gone", False))], False),
        ([OWN, failed(("upload task", "another", False))], False),
        ([OWN, SETTING], False),
        ([FILE, FILE], False),  # file errors, not task errors
        ([OWN, OWN, FILE], False),
        ([SETTING, failed(status=Status.DONE)], False),
        ([failed(("import", "truncated", True))], False),
    ],
)
def test_all_failed_from_outside(batches: list[Any], all_from_outside: bool) -> None:
    assert finish.all_failed_from_outside(batches) is all_from_outside


def test_failed_tasks_of_the_run_are_listed() -> None:
    expected: list[dict[str, Any]] = []
    states = {
        "report": "failed",
        "discover": "success",
        "process.import_0": "failed",
        "process.import_11": "failed",
        "upload.archives_2": "failed",
        "cleanup": "upstream_failed",
    }

    def get_task_states(**what: Any) -> dict[str, dict[str, str]]:
        expected.append(what)
        return {RUN: states, "another run": {"cleanup": "failed"}}

    ti = SimpleNamespace(dag_id="sendit", task_id="report", get_task_states=get_task_states)
    messages = finish._failed_tasks({"ti": ti, "run_id": RUN})
    assert expected == [{"dag_id": "sendit", "run_ids": [RUN]}]
    assert messages == [
        "tasks of the run failed, see their logs: process.import (2 times), upload.archives"
    ]
    assert finish._failed_tasks({"ti": ti, "run_id": "a third"}) == []


def waiting(reason: str, subfolder: str | None = None, **changed: Any) -> Any:
    error = {"stage": QUEUE_STAGE, "reason": reason} | changed.pop("error", {})
    return SimpleNamespace(
        status=changed.get("status", Status.QUEUE), errors=[error], subfolder=subfolder
    )


@pytest.mark.parametrize(
    ("subfolder", "messages"),
    [
        (None, ["2 batches stay in the queue: no key", "1 batches stay in the queue: no bucket"]),
        ("", ["2 batches stay in the queue: no key", "1 batches stay in the queue: no bucket"]),
        ("1_6", ["1 batches stay in the queue: no key"]),
        ("1_7", []),
    ],
)
def test_blocked_batches_are_counted_by_reason(subfolder: str | None, messages: list[str]) -> None:
    every = [
        waiting("no key"),
        waiting("no key", "1_6"),
        waiting("no bucket"),
        waiting("delivered", status=Status.DONE),
        waiting("of its import", error={"stage": "import"}),
    ]
    assert finish._blocked(every, subfolder) == messages


@pytest.mark.parametrize(
    ("strays", "stages", "expected"), [([], [], False), (["d"], [], True), ([], ["s"], True)]
)
def test_google_is_called_only_if_there_are_leftovers(
    three_batches: Any, monkeypatch: pytest.MonkeyPatch, strays: Any, stages: Any, expected: bool
) -> None:
    from sendit.delivery import leftovers

    ledger, _, folder = three_batches
    seen: list[tuple[Any, ...]] = []

    def stages_left(*given: Any) -> Any:
        seen.append(("left", *given))
        return stages

    monkeypatch.setattr(leftovers, "stages_left", stages_left)
    monkeypatch.setattr(leftovers, "remove_stages", lambda *given: seen.append(("stages", *given)))
    monkeypatch.setattr(leftovers, "retract_strays", lambda *given: seen.append(("strays", *given)))
    monkeypatch.setattr(finish, "storage_client", lambda: "storage")
    monkeypatch.setattr(finish, "bigquery_client", lambda: "bigquery")
    finish._clean_stores(strays, {"an ended run"})
    assert seen[0] == ("left", ledger, {"an ended run"})
    work = folder.parent / "work"
    done = [
        ("strays", ledger, strays, "storage", "bigquery"),
        ("stages", ledger, work, stages, "storage", "bigquery"),
    ]
    assert seen[1:] == (done if expected else [])
