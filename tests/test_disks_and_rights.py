"""Full and read-only disks, and unreadable files, tested for real.

Mounting and switching users need root. Where nothing can be mounted, a file size limit represents
the full disk, and permissions the read-only one; nothing is skipped.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sendit.batch import Reason
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.errors import FailBatch, RetryLater
from sendit.pipeline.intake import import_folder
from sendit.pipeline.study import deidentify_study
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_recipe
from sendit.workspace import Workspace
from testing.builder import write_study
from tests.deidentify.engine import IDENTIFIERS, KEYS

NOBODY = 65534


SIZE = 1 << 20


@dataclass(frozen=True)
class Disk:
    """A folder in which at most 1 MB can be written."""

    folder: Path
    mounted: bool

    def run(self, work: Callable[[], Any]) -> Any:
        """Run a function there: on a mounted file system if possible, otherwise under a file size
        limit, which needs no privileges (setrlimit(2), RLIMIT_FSIZE).
        """
        if self.mounted:
            return work()

        def limited() -> Any:
            resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
            return work()

        return in_a_child(limited)

    def run_read_only(self, work: Callable[[], Any]) -> Any:
        """Run a function there when nothing can be written any more: the file system became
        read-only, or its permissions are gone.
        """
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)
            return work()
        self.folder.chmod(0o555)
        return as_nobody(work)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 1 MB, or the closest available substitute."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    mounted = (
        not os.geteuid()
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )
    yield Disk(folder, mounted)
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="sendit-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(work: Callable[[], Any]) -> Any:
    """Return a function's result, run as a user to whom permissions apply."""
    if os.geteuid():
        return work()

    def unprivileged() -> Any:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return work()

    return in_a_child(unprivileged)


def in_a_child(work: Callable[[], Any]) -> Any:
    """Return a function's result, run in a subprocess; exceptions are re-raised here."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def child() -> None:
        try:
            answers.put((True, work()))
        except Exception as error:  # noqa: BLE001 for the parent to raise
            answers.put((False, error))

    process = context.Process(target=child)
    process.start()
    good, answer = answers.get(timeout=300)
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


def test_an_archive_on_a_full_disk_raises_retry_later_and_leaves_nothing(
    tmp_path: Path, small_disk: Disk
) -> None:
    study = write_study(tmp_path / "in", instances=6, rows=512, columns=512)
    archive = small_disk.folder / "secret.tar.gz"
    with pytest.raises(RetryLater, match="the working disk is full: free space") as raised:
        small_disk.run(lambda: deidentify(study.folder, archive))
    assert "secret" not in str(raised.value)
    assert list(small_disk.folder.iterdir()) == []
    # With enough space, the same files make an archive.
    deidentify(study.folder, tmp_path / "room.tar.gz")


def test_task_files_on_a_full_disk(small_disk: Disk) -> None:
    batch = Workspace(small_disk.folder, "b0123456789abcdef")
    batch.make()
    batch.write("result.json", {"header": "good"})
    large = {"header": "x" * (2 * SIZE)}
    with pytest.raises(RetryLater, match=r"No space left on device|File too large"):
        small_disk.run(lambda: batch.write("result.json", large))
    assert batch.read("result.json") == {"header": "good"}


def test_read_only_disk(open_folder: Path, small_disk: Disk) -> None:
    study = write_study(open_folder / "in", instances=1)
    archive = small_disk.folder / "secret.tar.gz"
    with pytest.raises(
        RetryLater, match=r"SENDIT_WORK_FOLDER: (Read-only file system|Permission denied)"
    ):
        small_disk.run_read_only(lambda: deidentify(study.folder, archive))


@pytest.mark.parametrize("mounted", [True, False])
def test_disk_limit_with_and_without_a_mount(
    tmp_path: Path, small_disk: Disk, mounted: bool
) -> None:
    """The substitute for a mount behaves like a full disk."""
    disk = small_disk if mounted else Disk(tmp_path, mounted=False)
    with pytest.raises(OSError, match=r"No space left on device|File too large"):
        disk.run(lambda: (disk.folder / "large").write_bytes(bytes(SIZE + 1)))
    (disk.folder / "large").unlink()
    assert disk.run(lambda: (disk.folder / "small").write_bytes(bytes(1000))) == 1000


def test_unreadable_files_are_quarantined(open_folder: Path) -> None:
    study = write_study(open_folder / "ACC1", instances=3)
    study.files[1].chmod(0)
    filters = compile_filters(read_recipe("default"))
    intake = as_nobody(lambda: import_folder(open_folder / "ACC1", filters))
    assert [record.reason for record in intake.records] == [None, Reason.UNREADABLE, None]


def test_unreadable_folders_fail_the_batch(open_folder: Path) -> None:
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
