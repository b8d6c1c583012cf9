"""Cleanup: what is deleted, what is kept, and that an interruption is harmless."""

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


def passing_preflight(_: BatchParams) -> None:
    """A preflight that always passes."""


PARAMS = BatchParams("test", "IRB1", "default")


class Case:
    """One imported batch of two files."""

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
            ledger, self.settings, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
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
def test_working_files_and_identifiers_are_deleted_and_originals_kept(
    case: Case, status: Status
) -> None:
    case.finish(status)
    assert case.clean()
    assert not case.workspace.folder.exists()
    assert case.identifiers_are_gone
    assert all(file.exists() for file in case.files)
    assert not case.clean()


def test_originals_are_deleted_if_configured(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    assert deleting.clean()
    assert not deleting.folder.exists()
    assert deleting.folder.parent.exists()


def test_originals_of_an_empty_batch_are_always_kept(deleting: Case) -> None:
    deleting.finish(Status.EMPTY)
    assert deleting.clean()
    assert all(file.exists() for file in deleting.files)


def test_files_added_or_changed_after_import_are_kept(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    late = deleting.folder / "late.dcm"
    late.write_bytes(b"late")
    deleting.files[1].write_bytes(b"changed")
    assert deleting.clean()
    assert late.exists()
    assert deleting.files[1].exists()
    assert not deleting.files[0].exists()


def test_interrupted_deletion_is_resumed(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    deleting.files[0].unlink()
    assert deleting.clean()
    assert not deleting.folder.exists()


def test_originals_are_kept_if_the_file_list_is_missing(deleting: Case) -> None:
    deleting.finish(Status.DONE)
    deleting.workspace.remove()
    assert deleting.clean()
    assert all(file.exists() for file in deleting.files)


@pytest.mark.parametrize("originals", ["keep", "delete"])
@pytest.mark.parametrize("status", [Status.DONE, Status.EMPTY, Status.ERROR])
def test_a_folder_with_a_bad_file_is_kept_and_set_aside(
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


def test_a_batch_that_failed_in_another_task_keeps_everything(case: Case) -> None:
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


def test_a_batch_with_a_bad_file_whose_upload_failed_keeps_everything(case: Case) -> None:
    case.finish(Status.ERROR, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    case.ledger.record(
        case.batch, errors=[BatchError("upload task", "no bucket")], stage="upload task"
    )
    assert not case.clean()
    assert case.workspace.folder.exists()
    assert not case.identifiers_are_gone


def test_a_running_batch_is_not_cleaned_up(case: Case) -> None:
    case.ledger.start(case.batch)
    assert not case.clean()
    assert case.workspace.folder.exists()


def test_set_aside_interrupted_after_the_rename_is_resumed(case: Case) -> None:
    case.finish(Status.DONE, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    case.folder.rename(case.folder.with_name("ACC1.err"))
    assert case.clean()
    assert case.folder.with_name("ACC1.err").exists()


def test_set_aside_never_overwrites_an_older_folder(case: Case) -> None:
    case.finish(Status.DONE, [BatchError("import", Reason.TRUNCATED, 1, (1,))])
    case.folder.with_name("ACC1.err").mkdir()
    with pytest.raises(RetryLater, match=r"cannot be renamed to \.err") as caught:
        case.clean()
    assert "ACC1" not in str(caught.value)
    assert case.folder.exists()
    assert not case.identifiers_are_gone


def test_a_read_only_input_folder_is_reported(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.finish(Status.DONE, [BatchError("import", Reason.TRUNCATED, 1, (1,))])

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(case.folder))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(RetryLater, match=r"Permission denied.*write permission") as caught:
        case.clean()
    assert "ACC1" not in str(caught.value)
    assert case.workspace.folder.exists()


@pytest.mark.parametrize("errors", [[], [BatchError("import", "truncated")]])
def test_files_restored_by_clearing_import_are_deleted_again(
    case: Case, errors: list[BatchError]
) -> None:
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


def test_a_recreated_working_folder_is_deleted_again(case: Case) -> None:
    case.finish(Status.EMPTY)
    assert case.clean()
    case.workspace.make()  # by a task that was presumed dead
    assert [batch.id for batch in to_clean(case.ledger, case.settings)] == [case.batch]
    assert case.clean()
    assert not case.workspace.folder.exists()


def test_a_working_folder_unknown_to_the_ledger_is_kept(case: Case) -> None:
    unknown = Workspace(case.settings.work, "b" + "0" * 16)
    unknown.make()
    assert to_clean(case.ledger, case.settings) == []
    assert unknown.folder.exists()


def test_a_batch_running_again_keeps_its_identifiers(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.finish(Status.EMPTY)
    monkeypatch.setattr(Workspace, "remove", lambda _: case.ledger.start(case.batch))
    with pytest.raises(RetryLater, match="being processed again"):
        case.clean()
    assert not case.identifiers_are_gone
