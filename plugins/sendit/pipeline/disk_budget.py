"""Disk budget: a run claims only batches whose archives will fit on the working disk.

An archive is at most marginally larger than its files, and usually half as large. A run's
archives stay on the disk until they are uploaded. Batches that do not fit wait in the queue for a
later run, when the earlier archives are gone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sendit.errors import RetryLater

#: Upper bounds for the growth of incompressible files, and for tar's overhead per file (bytes).
GROWTH = 1.02
PER_FILE = 2048
MEBIBYTE = 1024 * 1024


def archive_bytes(folder: Path) -> int:
    """Return the maximum size of a folder's archive, in bytes.

    Unreadable files are not counted: import reports them.
    """
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size = os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - hot
            except OSError:
                continue
            total += int(size * GROWTH) + PER_FILE
    return total


class DiskBudget:
    """The free space on the working disk, reserved batch by batch.

    Parameters
    ----------
    work
        Working folder; created if it does not exist.
    margin
        Bytes to leave free.

    Raises
    ------
    RetryLater
        The folder cannot be created or measured.
    """

    def __init__(self, work: Path, margin: int) -> None:
        try:
            work.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.free = shutil.disk_usage(work).free - margin
        except OSError as error:
            raise RetryLater(
                f"the working folder cannot be created or measured ({error.strerror}); "
                "check SENDIT_WORK_FOLDER"
            ) from None

    def reserve(self, folder: Path) -> bool:
        """Reserve space for a folder's archive; return whether it fits."""
        needed = archive_bytes(folder)
        if needed > self.free:
            return False
        self.free -= needed
        return True
