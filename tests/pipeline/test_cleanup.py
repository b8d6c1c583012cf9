"""Cleanup: what goes, what stays, and that stopping halfway harms nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sendit.batch import BatchError, InstanceRecord, Outcome, Reason, Status
from sendit.errors import RetryLater
from sendit.keys import Keys
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline.cleanup import clean_batch, to_clean
from sendit.pipeline.discover import discover
from sendit.settings import Settings
from sendit.workspace import Workspace


def ready(_: BatchParams) -> None:
    """A preflight that finds nothing wrong."""


PARAMS = BatchParams("test", "IRB1", "default")


class Case:
    """One batch of two files that went through import."""

    def __init__(self, ledger: Ledger, keys: Keys, root: Path, originals: str = "keep") -> None:
        self.ledger, self.keys = ledger, keys
        self.folder = root / "in" / "ACC1"
        (self.folder / "series").mkdir(parents=True)
        self.files = [self.folder / "a.dcm", self.folder / "series" / "b.dcm"]
        for file in self.files:
            file.write_bytes(b"image")
        self.settings = Settings(
            home=root / "home", input_folders=(root / "in",), settle_seconds=0, originals=originals
        )
        (self.batch,) = discover(
            ledger, self.settings, keys, "run-1", PARAMS, number=1, preflight=ready
        )
        self.workspace = Workspace(self.settings.work, self.batch)
        self.workspace.make()
        self.records = [
            InstanceRecord(
                number,
                str(file.relative_to(self.folder)),
                file.stat().st_size,
                file.stat().st_mtime_ns,
            )
            for number, file in enumerate(self.files, start=1)
        ]
        self.workspace.write_instances(self.records)
        ledger.put_identifier(self.batch, "header", {"00100020": "MRN"})

    def finish(self, status: Status, errors: list[BatchError] | None = None) -> None:
        self.ledger.record(self.batch, status=status, errors=errors or [], stage="import")

    def clean(self) -> bool:
        return clean_batch(self.ledger, self.settings, self.keys, self.batch)

    @property
    def identifiers_are_gone(self) -> bool:
        return all(
            self.ledger.identifier(self.batch, kind) is None
            for kind in ("folder", "header", "request", "answer")
        )


@pytest.fixture
def case(embedded_ledger: Ledger, keys: Keys, tmp_path: Path) -> Case:
    return Case(embedded_ledger, keys, tmp_path)


@pytest.fixture
def deleting(embedded_ledger: Ledger, keys: Keys, tmp_path: Path) -> Iterator[Case]:
    yield Case(embedded_ledger, keys, tmp_path, originals="delete")


@pytest.mark.parametrize("status", [Status.DONE, Status.EMPTY])
def test_working_files_and_identifiers_go_and_originals_stay(case: Case, status: Status) -> None:
    case.finish(status)
    assert case.clean()
    assert not case.workspace.folder.exists()
    assert case.identifiers_are_gone
    assert all(file.exists() for file in case.files)
    assert not case.clean()


def test_originals_go_when_so_configured(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    assert deleting.clean()
    assert not deleting.folder.exists()
    assert deleting.folder.parent.exists()


def test_originals_of_an_empty_batch_stay_always(deleting: Case) -> None:
    deleting.finish(Status.EMPTY)
    assert deleting.clean()
    assert all(file.exists() for file in deleting.files)


def test_files_that_came_or_changed_after_import_stay(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    late = deleting.folder / "late.dcm"
    late.write_bytes(b"late")
    deleting.files[1].write_bytes(b"changed")
    assert deleting.clean()
    assert late.exists()
    assert deleting.files[1].exists()
    assert not deleting.files[0].exists()


def test_deletion_stopped_halfway_goes_on(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    deleting.files[0].unlink()
    assert deleting.clean()
    assert not deleting.folder.exists()


def test_originals_stay_when_the_record_of_files_is_gone(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    deleting.workspace.remove()
    assert deleting.clean()
    assert all(file.exists() for file in deleting.files)


@pytest.mark.parametrize("originals", ["keep", "delete"])
@pytest.mark.parametrize("status", [Status.DONE, Status.EMPTY, Status.ERROR])
def test_a_folder_with_a_bad_file_keeps_all_and_is_set_aside(
    embedded_ledger: Ledger, keys: Keys, tmp_path: Path, status: Status, originals: str
) -> None:
    case = Case(embedded_ledger, keys, tmp_path, originals)
    case.records[0].outcome, case.records[0].reason = Outcome.QUARANTINED, Reason.TRUNCATED
    case.workspace.write_instances(case.records)
    case.finish(status, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    if status is Status.ERROR:
        embedded_ledger.record(
            case.batch, errors=[BatchError("import task", "more")], stage="import task"
        )
    assert case.clean()
    aside = case.folder.with_name("ACC1.err")
    assert sorted(path.name for path in aside.rglob("*.dcm")) == ["a.dcm", "b.dcm"]
    assert not case.folder.exists()
    assert case.identifiers_are_gone
    batch = embedded_ledger.batch(case.batch)
    assert (batch.set_aside, batch.status, batch.has_error) == (True, status, True)
    assert not case.clean()


def test_a_batch_that_failed_elsewhere_keeps_everything(case: Case) -> None:
    case.ledger.record(
        case.batch,
        status=Status.ERROR,
        errors=[BatchError("dasher task", "DASHER does not answer")],
        stage="dasher task",
    )
    assert not case.clean()
    assert case.workspace.folder.exists()
    assert not case.identifiers_are_gone
    assert case.folder.exists()


def test_so_does_one_with_a_bad_file_whose_upload_failed(case: Case) -> None:
    case.finish(Status.ERROR, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    case.ledger.record(
        case.batch, errors=[BatchError("upload task", "no bucket")], stage="upload task"
    )
    assert not case.clean()
    assert case.workspace.folder.exists()
    assert not case.identifiers_are_gone


def test_a_batch_under_way_is_left_alone(case: Case) -> None:
    case.ledger.start(case.batch)
    assert not case.clean()
    assert case.workspace.folder.exists()


def test_set_aside_stopped_after_the_rename_goes_on(case: Case) -> None:
    case.finish(Status.DONE, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    case.folder.rename(case.folder.with_name("ACC1.err"))
    assert case.clean()
    assert case.folder.with_name("ACC1.err").exists()


def test_never_over_an_older_folder_that_was_set_aside(case: Case) -> None:
    case.finish(Status.DONE, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    case.folder.with_name("ACC1.err").mkdir()
    with pytest.raises(RetryLater, match=r"cannot be renamed to \.err") as caught:
        case.clean()
    assert "ACC1" not in str(caught.value)
    assert case.folder.exists()
    assert not case.identifiers_are_gone


def test_input_that_cannot_be_written_is_said(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.finish(Status.DONE, [BatchError("import", Reason.TRUNCATED, 1, (1,))])

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(case.folder))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(RetryLater, match=r"Permission denied.*write permission") as caught:
        case.clean()
    assert "ACC1" not in str(caught.value)
    assert case.workspace.folder.exists()


@pytest.mark.parametrize("errors", [[], [BatchError("import", "truncated")]])
def test_what_clearing_import_brought_back_goes_again(case: Case, errors: list[BatchError]) -> None:
    case.finish(Status.EMPTY, errors)
    assert case.clean()
    assert to_clean(case.ledger, case.settings) == []
    case.ledger.start(case.batch)
    case.workspace.make()
    case.ledger.put_identifier(case.batch, "header", {"00100020": "MRN"})
    case.finish(Status.EMPTY, errors)
    assert [batch.id for batch in to_clean(case.ledger, case.settings)] == [case.batch]
    assert case.clean()
    assert case.identifiers_are_gone
    assert not case.workspace.folder.exists()


def test_a_working_folder_that_came_back_goes_again(case: Case) -> None:
    case.finish(Status.EMPTY)
    assert case.clean()
    case.workspace.make()  # by a task that was thought dead
    assert [batch.id for batch in to_clean(case.ledger, case.settings)] == [case.batch]
    assert case.clean()
    assert not case.workspace.folder.exists()


def test_a_working_folder_that_the_ledger_does_not_know_stays(case: Case) -> None:
    unknown = Workspace(case.settings.work, "b" + "0" * 16)
    unknown.make()
    assert to_clean(case.ledger, case.settings) == []
    assert unknown.folder.exists()


def test_a_batch_that_is_at_work_again_keeps_its_identifiers(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.finish(Status.EMPTY)
    monkeypatch.setattr(Workspace, "remove", lambda _: case.ledger.start(case.batch))
    with pytest.raises(RetryLater, match="being processed again"):
        case.clean()
    assert not case.identifiers_are_gone
