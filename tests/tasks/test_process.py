"""The tasks from import to collect, one after the other, twice, and when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sendit.batch import BatchError, Status
from sendit.errors import FailBatch, RetryLater
from sendit.ledger import BatchParams, Holder, Ledger
from sendit.ledger.schema import batches
from sendit.pipeline import anonymize as anonymizing
from sendit.pipeline import identify as identifying
from sendit.pipeline.load_recipe import _load
from sendit.settings import Settings
from sendit.tasks import preflight, process, task_context
from testing.builder import write_study

pytestmark = pytest.mark.airflow

RUN = "manual__2026-11-22T12:00:00+00:00"


@dataclass
class Here:
    """A site with one batch of two images, taken by a run."""

    ledger: Ledger
    settings: Settings
    folder: Path
    id: str
    tries: tuple[int, int] = (1, 5)

    @property
    def status(self) -> Status:
        return self.ledger.batch(self.id).status

    @property
    def stages(self) -> list[str]:
        return [error["stage"] for error in self.ledger.batch(self.id).errors]

    def run(self, *steps: str) -> None:
        for step in steps:
            assert getattr(process, step).function(self.id) == self.id


@pytest.fixture
def here(embedded_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    key = tmp_path / "key"
    key.write_text("k" * 64)
    key.chmod(0o600)
    inputs = tmp_path / "in"
    write_study(inputs / "ACC1", instances=2)
    settings = Settings(
        home=tmp_path / "home", key_file=key, input_folders=(inputs,), bucket="data", lanes=3
    )
    for module in (process, preflight, task_context):
        monkeypatch.setattr(module, "settings", lambda: settings)
        monkeypatch.setattr(module, "ledger", lambda: embedded_ledger)
        monkeypatch.setattr(module, "own_run", lambda: Holder(RUN, "sendit", RUN), raising=False)
    embedded_ledger.enqueue([("0" * 64, str(inputs / "ACC1"))], BatchParams("s", "c", "default"))
    (batch_id,) = embedded_ledger.claim(RUN, 1)
    made = Here(embedded_ledger, settings, inputs / "ACC1", batch_id)
    embedded_ledger.put_identifier(batch_id, "folder", str(inputs / "ACC1"))

    def context() -> dict[str, Any]:
        ti = SimpleNamespace(try_number=made.tries[0], max_tries=made.tries[1], dag_id="sendit")
        return {"run_id": RUN, "ti": ti}

    for module in (process, task_context):
        monkeypatch.setattr(module, "get_current_context", context)
    return made


def test_a_recipe_that_is_edited_in_mid_run_is_not_half_applied(here: Here, tmp_path: Path) -> None:
    recipe = tmp_path / "own.deid"
    bundled = files("sendit.recipe").joinpath("bundled", "default.deid").read_text()
    recipe.write_text(bundled)
    with here.ledger._begin() as db:
        db.execute(batches.update().values(recipe=str(recipe)))
    _load.cache_clear()
    here.run("import_batch", "dasher")
    recipe.write_text(bundled + "\nREMOVE KVP\n")
    _load.cache_clear()  # each task is a process of its own
    with pytest.raises(AirflowFailException, match="recipe was changed after import"):
        here.run("anonymize")
    assert here.status is Status.ERROR
    here.run("import_batch", "dasher", "anonymize")
    assert here.status is Status.DONEPROCESSING


def test_a_batch_goes_from_folder_to_archive_and_to_its_lane(here: Here) -> None:
    here.run("import_batch", "dasher", "anonymize")
    assert here.status is Status.DONEPROCESSING
    assert here.stages == []
    (lane,) = process.collect.function()
    assert lane["batches"] == [here.id]
    assert lane["lane"] in range(3)


@pytest.mark.parametrize("again", ["import_batch", "dasher", "anonymize"])
def test_any_of_them_may_run_again_with_what_follows(here: Here, again: str) -> None:
    steps = ["import_batch", "dasher", "anonymize"]
    here.run(*steps)
    before = here.ledger.delivery(here.id)
    here.run(*steps[steps.index(again) :])
    assert here.ledger.delivery(here.id) == before
    assert here.status is Status.DONEPROCESSING


def test_a_batch_that_is_done_is_left_alone(here: Here) -> None:
    here.run("import_batch", "dasher", "anonymize")
    here.ledger.record(here.id, status=Status.DONE)
    before = here.ledger.batch(here.id)
    for file in here.folder.iterdir():
        file.unlink()
    here.folder.rmdir()
    here.run("import_batch", "dasher", "anonymize")
    assert here.ledger.batch(here.id) == before


def test_a_folder_without_an_image_is_empty_and_skipped(here: Here) -> None:
    for file in here.folder.iterdir():
        file.unlink()
    write_study(here.folder, kind="SC", instances=1)
    with pytest.raises(AirflowSkipException, match="no image is left after filtering"):
        process.import_batch.function(here.id)
    assert here.status is Status.EMPTY
    assert process.collect.function() == []


def test_a_folder_with_two_studies_fails_and_says_so(here: Here) -> None:
    write_study(here.folder, study=2, series=9, instances=1)
    with pytest.raises(AirflowFailException, match="more than one study in the folder"):
        process.import_batch.function(here.id)
    assert here.status is Status.ERROR
    assert set(here.stages) == {"import", "import task"}
    assert process.collect.function() == []


def test_a_folder_that_is_gone_fails_its_batch(here: Here) -> None:
    here.folder.rename(here.folder.with_name(".hidden"))
    with pytest.raises(AirflowFailException, match="no longer in the input folders"):
        process.import_batch.function(here.id)
    assert here.stages == ["import task"]


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (FailBatch("its id is none"), AirflowFailException, "its id is none"),
        (ValueError("MRN7"), Exception, "ValueError in sendit; see the task's log"),
    ],
)
def test_what_a_task_raises_is_on_its_batch(
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
    reason: str,
) -> None:
    def broken(*_: Any) -> None:
        raise error

    here.run("import_batch")
    monkeypatch.setattr(identifying, "identify_batch", broken)
    with pytest.raises(raised) as caught:
        process.dasher.function(here.id)
    assert "MRN7" not in str(caught.value)
    batch = here.ledger.batch(here.id)
    assert (batch.status, batch.has_error) == (Status.ERROR, True)
    assert [(e["stage"], e["reason"]) for e in batch.errors] == [("dasher task", reason)]
    assert process.collect.function() == []


@pytest.mark.parametrize(("tried", "recorded"), [(1, False), (5, False), (6, True)])
def test_what_may_work_later_is_a_failure_after_the_last_try(
    here: Here, monkeypatch: pytest.MonkeyPatch, tried: int, recorded: bool
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise RetryLater("the disk is full")

    here.run("import_batch", "dasher")
    here.tries = (tried, 5)
    with monkeypatch.context() as patch:
        patch.setattr(anonymizing, "anonymize_batch", away)
        with pytest.raises(RetryLater, match="the disk is full"):
            process.anonymize.function(here.id)
    assert here.stages == (["anonymize task"] if recorded else [])
    assert here.status is (Status.ERROR if recorded else Status.PROCESSING)
    # Cleared: the failure is taken back.
    here.run("anonymize")
    assert (here.stages, here.status) == ([], Status.DONEPROCESSING)


def test_only_batches_that_are_ready_or_done_go_to_lanes(here: Here) -> None:
    here.ledger.enqueue(
        [(f"{n:064d}", "/nowhere") for n in range(1, 6)], BatchParams("s", "c", "default")
    )
    with here.ledger._begin() as db:
        from sendit.ledger.schema import batches

        held = db.execute(batches.select().where(batches.c.id == here.id)).mappings().one()
        db.execute(
            batches.update().values(
                **{name: held[name] for name in ("run_id", "holder") if name in held}
            )
        )
        ids = [row.id for row in db.execute(batches.select().where(batches.c.id != here.id))]
    states = [Status.DONE, Status.DONEPROCESSING, Status.ERROR, Status.EMPTY, Status.PROCESSING]
    for batch_id, status in zip(ids, states, strict=True):
        here.ledger.record(batch_id, status=status)
    dealt = [batch_id for lane in process.collect.function() for batch_id in lane["batches"]]
    assert sorted(dealt) == sorted(ids[:2])
    assert all(lane["lane"] < 3 for lane in process.collect.function())


def test_an_error_of_files_alone_does_not_hide_a_task(here: Here) -> None:
    here.run("import_batch")
    here.ledger.record(
        here.id, status=Status.ERROR, errors=[BatchError("dasher task", "no")], stage="dasher task"
    )
    here.run("dasher")
    assert (here.stages, here.status) == ([], Status.PROCESSING)
