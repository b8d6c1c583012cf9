"""Tells an emptied input folder from one that is no longer mounted.

Without its mount an input folder usually is an empty folder of the same name: runs that found
nothing to do there would be green every day. So the ledger remembers, by a keyed digest of the
path, the file system and inode of each input folder that was last seen not empty.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sendit.errors import Misconfigured
from sendit.keys import Keys
from sendit.ledger import InputMark, Ledger

#: A file of this name in an input folder marks it as the right one, even if it is empty.
MARKER = ".sendit"


def check_inputs(ledger: Ledger, keys: Keys, inputs: Sequence[Path]) -> None:
    """Check that every input folder exists and is the same one as when it was last not empty.

    Parameters
    ----------
    inputs
        The run's input folders, resolved.

    Raises
    ------
    Misconfigured
        One cannot be listed, or is empty and not the same folder as before. The text refers to it
        by number.
    """
    for number, folder in enumerate(inputs, start=1):
        digest = keys.digest("input", os.fsencode(folder))
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
            mark = _mark(folder)
        except OSError as error:
            raise Misconfigured(unlisted(number, error)) from None
        if any(not name.startswith(".") for name in names) or MARKER in names:
            ledger.put_input(digest, mark)
        elif (held := ledger.input(digest)) is not None and _is_another(held, mark):
            raise Misconfigured(
                f"input folder {number} is empty, and is not the same folder as when it last had "
                "content: its file system seems not to be mounted. Mount it; or, if it is the "
                f"right folder, create an empty file {MARKER} in it. Then clear the task"
            )


def unlisted(number: int, error: OSError) -> str:
    """Return the error for an input folder that cannot be listed."""
    return (
        f"input folder {number} cannot be listed ({error.strerror}); "
        "mount it, or correct its permissions or SENDIT_INPUT_FOLDERS"
    )


def _mark(folder: Path) -> InputMark:
    status = folder.stat()
    # As text, because the numbers are unsigned 64-bit integers.
    return InputMark(str(status.st_dev), str(status.st_ino), os.path.ismount(folder))


def _is_another(held: InputMark, now: InputMark) -> bool:
    """Whether the mount is gone. Remounting may change the device number, and recreating a folder
    its inode; without the mount both change."""
    if held.mounted and not now.mounted:
        return True
    return held.device != now.device and held.inode != now.inode
