"""An input folder that was full and now is empty: emptied, or no longer mounted?

Without its mount an input folder is mostly an empty folder of the same name: a run that found
nothing to do there would be green every day. So the ledger remembers, by a keyed digest of the
path, the file system and inode of each input folder that was seen with something in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sendit.errors import Misconfigured
from sendit.keys import Keys
from sendit.ledger import InputMark, Ledger

#: A file of this name in an input folder says that it is the right one, empty or not.
RIGHT_ONE = ".sendit"


def check_inputs(ledger: Ledger, keys: Keys, inputs: Sequence[Path]) -> None:
    """Raise unless every input folder exists and is the same one as when it was last not empty.

    Parameters
    ----------
    inputs
        The folders that a run looks at, resolved.

    Raises
    ------
    Misconfigured
        One cannot be listed, or is empty and another than before; it is named by its number.
    """
    for number, folder in enumerate(inputs, start=1):
        digest = keys.digest("input", os.fsencode(folder))
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
            mark = _mark(folder)
        except OSError as error:
            raise Misconfigured(unlisted(number, error)) from None
        if any(not name.startswith(".") for name in names) or RIGHT_ONE in names:
            ledger.put_input(digest, mark)
        elif (held := ledger.input(digest)) is not None and _is_another(held, mark):
            raise Misconfigured(
                f"input folder {number} is empty, and is not the folder that it was when it last "
                "held anything: it seems that its file system is not mounted. Mount it; or, if it "
                f"is the right one, make an empty file {RIGHT_ONE} in it. Then clear the task"
            )


def unlisted(number: int, error: OSError) -> str:
    """Return the error for an input folder that cannot be listed."""
    return (
        f"input folder {number} cannot be listed ({error.strerror}); "
        "mount it, or correct its rights or SENDIT_INPUT_FOLDERS"
    )


def _mark(folder: Path) -> InputMark:
    status = folder.stat()
    # As text: the numbers take 64 bits, without a sign.
    return InputMark(str(status.st_dev), str(status.st_ino), os.path.ismount(folder))


def _is_another(held: InputMark, now: InputMark) -> bool:
    """Whether the mount is gone. A file system that is mounted anew may have another number, and
    a folder that was made anew another inode; without the mount both are others."""
    if held.mounted and not now.mounted:
        return True
    return held.device != now.device and held.inode != now.inode
