"""Disks that are full or read-only, and files that may not be read: the real ones.

Mounting and becoming another user needs root; elsewhere these are skipped or run as who one is.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sendit.batch import Reason
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source, deidentify_study
from sendit.errors import FailBatch, RetryLater
from sendit.intake import import_folder
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_recipe
from sendit.workspace import Workspace
from tests.builder import write_study
from tests.deidentify.engine import IDENTIFIERS, KEYS

NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="sendit-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(work: Callable[[], Any]) -> Any:
    """Return what a function returns for a user whom rights hold back."""
    if os.geteuid():
        return work()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def child() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            answers.put((True, work()))
        except Exception as error:  # noqa: BLE001 for the parent to raise
            answers.put((False, error))

    process = context.Process(target=child)
    process.start()
    good, answer = answers.get(timeout=60)
    process.join()
    if not good:
        raise answer
    return answer


def deidentify(study: Path, archive: Path) -> None:
    sources = []
    for number, path in enumerate(sorted(study.iterdir()), 1):
        state = path.stat()
        sources.append(Source(number, path, state.st_size, state.st_mtime_ns))
    deidentify_study(
        sources,
        plan=compile_plan(read_recipe("default")),
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=archive,
    )


def test_an_archive_that_fills_the_disk_is_for_later_and_leaves_nothing(
    tmp_path: Path, small_disk: Path
) -> None:
    study = write_study(tmp_path / "in", instances=6, rows=512, columns=512)
    with pytest.raises(RetryLater, match="the working disk is full: free space") as raised:
        deidentify(study.folder, small_disk / "secret.tar.gz")
    assert "secret" not in str(raised.value)
    assert list(small_disk.iterdir()) == []
    # With room, the same files make an archive.
    deidentify(study.folder, tmp_path / "room.tar.gz")


def test_what_a_task_writes_fills_the_disk(small_disk: Path) -> None:
    batch = Workspace(small_disk, "b0123456789abcdef")
    batch.make()
    batch.write("result.json", {"header": "good"})
    with pytest.raises(RetryLater, match="No space left on device"):
        batch.write("result.json", {"header": "x" * (2 << 20)})
    assert batch.read("result.json") == {"header": "good"}


def test_a_disk_that_became_read_only(tmp_path: Path, small_disk: Path) -> None:
    study = write_study(tmp_path / "in", instances=1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(RetryLater, match=r"SENDIT_WORK_FOLDER: Read-only file system"):
        deidentify(study.folder, small_disk / "secret.tar.gz")


def test_a_file_that_may_not_be_read_is_quarantined(open_folder: Path) -> None:
    study = write_study(open_folder / "ACC1", instances=3)
    study.files[1].chmod(0)
    filters = compile_filters(read_recipe("default"))
    intake = as_nobody(lambda: import_folder(open_folder / "ACC1", filters))
    assert [record.reason for record in intake.records] == [None, Reason.UNREADABLE, None]


def test_folders_that_may_not_be_read_fail_the_batch(open_folder: Path) -> None:
    write_study(open_folder / "ACC1", instances=1)
    write_study(open_folder / "ACC2" / "below", instances=1)
    write_study(open_folder / "ACC3", instances=1)
    (open_folder / "ACC1").chmod(0)
    (open_folder / "ACC2" / "below").chmod(0)
    filters = compile_filters(read_recipe("default"))
    for name in ("ACC1", "ACC2"):
        with pytest.raises(FailBatch, match="cannot be read") as raised:
            as_nobody(lambda name=name: import_folder(open_folder / name, filters))
        assert "ACC" not in str(raised.value)
    assert len(as_nobody(lambda: import_folder(open_folder / "ACC3", filters)).records) == 1
