"""Cleanup and report: one batch's trouble is that batch's, and all of it is told."""

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
from sendit.settings import Settings
from sendit.tasks import finish, task_context

pytestmark = pytest.mark.airflow

RUN = "manual__2026-11-22T12:00:00+00:00"


@pytest.fixture
def here(
    embedded_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Ledger, list[str], Path]:
    """A run of three batches: the first DONE, the second in ERROR, the third still at work."""
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


def test_the_report_names_what_failed_and_what_was_left(here: Any) -> None:
    ledger, ids, folder = here
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


def test_metrics_that_cannot_be_written_do_not_hide_what_failed(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, ids, folder = here
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


def test_a_run_without_failures_is_quiet(here: Any) -> None:
    ledger, ids, _ = here
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
def test_a_batch_that_cannot_be_cleaned_stops_no_other(
    here: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
    text: str,
) -> None:
    ledger, ids, _ = here
    for batch_id in ids:
        ledger.record(batch_id, status=Status.EMPTY)
    cleaned = []

    def clean(ledger: Any, settings: Any, keys: Any, batch_id: str) -> bool:
        if batch_id == ids[0]:
            raise error
        cleaned.append(batch_id)
        return True

    monkeypatch.setattr(cleaning, "clean_batch", clean)
    with pytest.raises(raised, match=text) as caught:
        finish.cleanup.function()
    assert sorted(cleaned) == sorted(ids[1:])
    assert "MRN7" not in str(caught.value)


def test_cleanup_is_tried_again_if_any_batch_asks_for_it(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, ids, _ = here
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
    ("scheduled", "number", "taken", "waits", "asked"),
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
def test_the_next_run_takes_what_is_left_of_the_number(  # noqa: PLR0917
    here: Any,
    monkeypatch: pytest.MonkeyPatch,
    scheduled: bool,
    number: int | None,
    taken: int,
    waits: bool,
    asked: int | str | None,
) -> None:
    from airflow.providers.standard.operators import trigger_dagrun
    from airflow.sdk.exceptions import AirflowSkipException

    ledger, _, _ = here
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
    if asked == "skipped":
        with pytest.raises(AirflowSkipException):
            finish.follow_on.function()
        assert seen == []
        return
    finish.follow_on.function()
    finish.follow_on.function()
    first, second = seen
    assert (first["conf"]["number"], first["conf"]["study"]) == (asked, "s")
    assert first["trigger_dag_id"] == "sendit" and first["executed"]
    assert first["skip_when_already_exists"]
    # Cleared and run again, it asks for the same run.
    assert first["trigger_run_id"] == second["trigger_run_id"]
    assert first["trigger_run_id"].startswith("follow_on__")
