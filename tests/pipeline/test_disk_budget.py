"""Space on the working disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sendit.errors import RetryLater
from sendit.pipeline.disk_budget import PER_FILE, DiskBudget, archive_bytes


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))


def folder_of(path: Path, size: int) -> Path:
    path.mkdir(parents=True)
    (path / "a").write_bytes(bytes(size // 2))
    (path / "nested").mkdir()
    (path / "nested" / "b").write_bytes(bytes(size - size // 2))
    return path


def test_archive_size_estimate_exceeds_its_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "ACC1", 100_000)
    assert 100_000 + 2 * PER_FILE < archive_bytes(folder) < 110_000
    (folder / "link").symlink_to("/etc/passwd")
    assert archive_bytes(folder) < 115_000
    assert archive_bytes(tmp_path / "gone") == 0


@pytest.mark.usefixtures("disk")
def test_space_is_reserved_until_the_disk_is_full(tmp_path: Path) -> None:
    room = DiskBudget(tmp_path / "work", margin=200_000)
    large, small = folder_of(tmp_path / "large", 500_000), folder_of(tmp_path / "small", 200_000)
    assert room.reserve(large)
    assert not room.reserve(large)
    assert room.reserve(small)
    assert not room.reserve(small)


def test_a_working_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryLater, match="SENDIT_WORK_FOLDER"):
        DiskBudget(tmp_path / "file" / "work", 0)


def test_a_working_folder_is_created_with_its_parents(tmp_path: Path) -> None:
    work = tmp_path / "a" / "b" / "work"
    assert DiskBudget(work, margin=0).free > 0
    assert work.is_dir()
    assert DiskBudget(work, margin=0).free > 0  # already exists
