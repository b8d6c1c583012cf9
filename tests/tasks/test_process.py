"""The tasks from import to collect: in order, repeated, and with errors."""

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
class Site:
    """A site with one batch of two images, claimed by a run."""

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
def site(embedded_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
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
    made = Site(embedded_ledger, settings, inputs / "ACC1", batch_id)
    embedded_ledger.put_identifier(batch_id, "folder", str(inputs / "ACC1"))

    def context() -> dict[str, Any]:
        ti = SimpleNamespace(try_number=made.tries[0], max_tries=made.tries[1], dag_id="sendit")
        return {"run_id": RUN, "ti": ti}

    for module in (process, task_context):
        monkeypatch.setattr(module, "get_current_context", context)
    return made


def test_a_recipe_edited_during_a_run_is_not_half_applied(site: Site, tmp_path: Path) -> None:
    recipe = tmp_path / "own.deid"
    bundled = files("sendit.recipe").joinpath("bundled", "default.deid").read_text()
    recipe.write_text(bundled)
    with site.ledger._begin() as db:
        db.execute(batches.update().values(recipe=str(recipe)))
    _load.cache_clear()
    site.run("import_batch", "dasher")
    recipe.write_text(bundled + "\nREMOVE KVP\n")
    _load.cache_clear()  # each task runs in its own process
    with pytest.raises(AirflowFailException, match="recipe was changed after import"):
        site.run("anonymize")
    assert site.status is Status.ERROR
    site.run("import_batch", "dasher", "anonymize")
    assert site.status is Status.DONEPROCESSING


def test_a_batch_is_processed_from_folder_to_lane(site: Site) -> None:
    site.run("import_batch", "dasher", "anonymize")
    assert site.status is Status.DONEPROCESSING
    assert site.stages == []
    (lane,) = process.collect.function()
    assert lane["batches"] == [site.id]
    assert lane["lane"] in range(3)


@pytest.mark.parametrize("again", ["import_batch", "dasher", "anonymize"])
def test_any_task_can_be_repeated_with_its_successors(site: Site, again: str) -> None:
    steps = ["import_batch", "dasher", "anonymize"]
    site.run(*steps)
    before = site.ledger.delivery(site.id)
    site.run(*steps[steps.index(again) :])
    assert site.ledger.delivery(site.id) == before
    assert site.status is Status.DONEPROCESSING


def test_a_finished_batch_is_skipped(site: Site) -> None:
    site.run("import_batch", "dasher", "anonymize")
    site.ledger.record(site.id, status=Status.DONE)
    before = site.ledger.batch(site.id)
    for file in site.folder.iterdir():
        file.unlink()
    site.folder.rmdir()
    site.run("import_batch", "dasher", "anonymize")
    assert site.ledger.batch(site.id) == before


def test_a_folder_without_images_is_empty_and_skipped(site: Site) -> None:
    for file in site.folder.iterdir():
        file.unlink()
    write_study(site.folder, kind="SC", instances=1)
    with pytest.raises(AirflowSkipException, match="no image is left after filtering"):
        process.import_batch.function(site.id)
    assert site.status is Status.EMPTY
    assert process.collect.function() == []


def test_a_folder_with_two_studies_fails(site: Site) -> None:
    write_study(site.folder, study=2, series=9, instances=1)
    with pytest.raises(AirflowFailException, match="more than one study in the folder"):
        process.import_batch.function(site.id)
    assert site.status is Status.ERROR
    assert set(site.stages) == {"import", "import task"}
    assert process.collect.function() == []


def test_a_missing_folder_fails_its_batch(site: Site) -> None:
    site.folder.rename(site.folder.with_name(".hidden"))
    with pytest.raises(AirflowFailException, match="no longer in the input folders"):
        process.import_batch.function(site.id)
    assert site.stages == ["import task"]


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (FailBatch("its id is none"), AirflowFailException, "its id is none"),
        (ValueError("MRN7"), Exception, "ValueError in sendit; see the task's log"),
    ],
)
def test_task_errors_are_recorded_on_the_batch(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
    reason: str,
) -> None:
    def broken(*_: Any) -> None:
        raise error

    site.run("import_batch")
    monkeypatch.setattr(identifying, "identify_batch", broken)
    with pytest.raises(raised) as caught:
        process.dasher.function(site.id)
    assert "MRN7" not in str(caught.value)
    batch = site.ledger.batch(site.id)
    assert (batch.status, batch.has_error) == (Status.ERROR, True)
    assert [(e["stage"], e["reason"]) for e in batch.errors] == [("dasher task", reason)]
    assert process.collect.function() == []


@pytest.mark.parametrize(("attempt", "recorded"), [(1, False), (5, False), (6, True)])
def test_transient_errors_are_recorded_after_the_last_attempt(
    site: Site, monkeypatch: pytest.MonkeyPatch, attempt: int, recorded: bool
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise RetryLater("the disk is full")

    site.run("import_batch", "dasher")
    site.tries = (attempt, 5)
    with monkeypatch.context() as patch:
        patch.setattr(anonymizing, "anonymize_batch", away)
        with pytest.raises(RetryLater, match="the disk is full"):
            process.anonymize.function(site.id)
    assert site.stages == (["anonymize task"] if recorded else [])
    assert site.status is (Status.ERROR if recorded else Status.PROCESSING)
    # Cleared: the failure is removed.
    site.run("anonymize")
    assert (site.stages, site.status) == ([], Status.DONEPROCESSING)


def test_only_ready_or_done_batches_are_assigned_to_lanes(site: Site) -> None:
    site.ledger.enqueue(
        [(f"{n:064d}", "/nowhere") for n in range(1, 6)], BatchParams("s", "c", "default")
    )
    with site.ledger._begin() as db:
        from sendit.ledger.schema import batches

        held = db.execute(batches.select().where(batches.c.id == site.id)).mappings().one()
        db.execute(
            batches.update().values(
                **{name: held[name] for name in ("run_id", "holder") if name in held}
            )
        )
        ids = [row.id for row in db.execute(batches.select().where(batches.c.id != site.id))]
    states = [Status.DONE, Status.DONEPROCESSING, Status.ERROR, Status.EMPTY, Status.PROCESSING]
    for batch_id, status in zip(ids, states, strict=True):
        site.ledger.record(batch_id, status=status)
    dealt = [batch_id for lane in process.collect.function() for batch_id in lane["batches"]]
    assert sorted(dealt) == sorted(ids[:2])
    assert all(lane["lane"] < 3 for lane in process.collect.function())


def test_file_errors_do_not_hide_task_errors(site: Site) -> None:
    site.run("import_batch")
    site.ledger.record(
        site.id, status=Status.ERROR, errors=[BatchError("dasher task", "no")], stage="dasher task"
    )
    site.run("dasher")
    assert (site.stages, site.status) == ([], Status.PROCESSING)
