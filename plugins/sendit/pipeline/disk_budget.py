"""Disk budget: a run claims only batches whose archives will fit on the working disk.

An archive is never larger than the files it is made of by more than a sliver, and most are
half as large; a run's archives all lie on the disk until they are uploaded. What does not fit
waits in the queue for a later run, when the earlier archives are gone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sendit.errors import RetryLater

#: What compression may add to files that do not compress, and tar to small ones.
GROWTH = 1.02
PER_FILE = 2048
MEBIBYTE = 1024 * 1024


def archive_bytes(folder: Path) -> int:
    """Return the maximum size of a folder's archive, in bytes.

    What cannot be read counts nothing: import will say what is wrong with it.
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
        Working folder; made if it is not there.
    margin
        Bytes that are to stay free.
    """

    def __init__(self, work: Path, margin: int) -> None:
        try:
            work.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.free = shutil.disk_usage(work).free - margin
        except OSError as error:
            raise RetryLater(
                f"the working folder cannot be made or measured ({error.strerror}); "
                "see to SENDIT_WORK_FOLDER"
            ) from None

    def reserve(self, folder: Path) -> bool:
        """Reserve space for a folder's archive; return False, and reserve nothing, if it does not
        fit."""
        needed = archive_bytes(folder)
        if needed > self.free:
            return False
        self.free -= needed
        return True
