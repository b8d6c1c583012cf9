"""The working folder: private, atomic writes, removable."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from sendit.batch import InstanceRecord, Outcome, Reason
from sendit.errors import FailBatch, RetryLater
from sendit.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "work", "b0123456789abcdef")
    made.make()
    return made


def test_workspace_is_private(workspace: Workspace) -> None:
    workspace.write("import.json", [])
    assert stat.S_IMODE(workspace.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(workspace.folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((workspace.folder / "import.json").stat().st_mode) == 0o600


def test_records_round_trip(workspace: Workspace) -> None:
    records = [
        InstanceRecord(1, "a/b.dcm", 10, 5),
        InstanceRecord(2, "caf\udce9\n", 0, 6, Outcome.QUARANTINED, Reason.EMPTY_FILE),
    ]
    workspace.write_instances(records)
    assert workspace.read_instances() == records


def test_missing_files_name_the_task_that_creates_them(workspace: Workspace) -> None:
    with pytest.raises(FailBatch, match="clear the import task"):
        workspace.read_instances()


def test_a_full_disk_raises_retry_later_and_keeps_the_last_file(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write("result.json", {"good": True})

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RetryLater, match="No space left on device") as caught:
        workspace.write("result.json", {"good": False})
    assert "secret" not in str(caught.value)
    assert workspace.read("result.json") == {"good": True}
    assert [path.name for path in workspace.folder.iterdir()] == ["result.json"]


def test_remove_is_idempotent(workspace: Workspace) -> None:
    workspace.write("import.json", [])
    workspace.remove()
    workspace.remove()
    assert not workspace.folder.exists()


def test_people_round_trip_or_are_unknown(workspace: Workspace) -> None:
    assert workspace.read_people() is None
    workspace.write_people({"winterbottom", "ada"})
    assert workspace.read_people() == {"ada", "winterbottom"}
    assert workspace.read("people.json") == ["ada", "winterbottom"]
    workspace.write_people(())
    assert workspace.read_people() == frozenset()


def test_make_creates_only_what_is_missing(tmp_path: Path) -> None:
    deep = Workspace(tmp_path / "a" / "b" / "work", "b0123456789abcdef")
    deep.make()
    deep.write("result.json", {"kept": 1})
    deep.folder.chmod(0o755)
    deep.make()
    assert deep.read("result.json") == {"kept": 1}
    assert stat.S_IMODE(deep.folder.stat().st_mode) == 0o700
    other = Workspace(tmp_path / "a" / "b" / "work", "b1123456789abcdef")
    other.make()
    assert other.folder.is_dir()


def test_an_impossible_working_folder_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(RetryLater, match="SENDIT_WORK_FOLDER; the task will be retried") as raised:
        Workspace(tmp_path / "work", "b0123456789abcdef").make()
    assert str(tmp_path) not in str(raised.value)
