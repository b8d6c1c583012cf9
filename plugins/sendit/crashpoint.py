"""Crash points: places where the fault harness may kill sendit, one between any two statements
that change something outside the process.

Nothing happens unless ``SENDIT_CRASH_AT`` names a folder that contains an armed point's file.
Then the process removes that file, so that a retry gets past the point, and kills itself as the
kernel would. Production never sets the variable.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "SENDIT_CRASH_AT"

#: All crash points, named by what has just been done.
POINTS = (
    "feeder: counted",
    "feeder: written",
    "discover: taken up",
    "discover: queued",
    "discover: claimed",
    "import: folder remembered",
    "import: started",
    "import: instances written",
    "import: header stored",
    "import: recorded",
    "dasher: answered",
    "dasher: request stored",
    "dasher: answer stored",
    "anonymize: archive made",
    "anonymize: counts recorded",
    "anonymize: result written",
    "anonymize: accepted",
    "archives: table ready",
    "archives: about to send",
    "archives: uploaded",
    "archives: stored",
    "archives: superseded",
    "archives: rows written",
    "stage: ran",
    "load: ran",
    "merge: ran",
    "confirm: errors taken back",
    "confirm: superseded",
    "confirm: done",
    "confirm: retracted",
    "confirm: stage table dropped",
    "confirm: stage object removed",
    "take back: row deleted",
    "take back: object deleted",
    "withdraw: written down",
    "manifest: written",
    "cleanup: set aside",
    "cleanup: originals deleted",
    "cleanup: working folder removed",
    "cleanup: identifiers deleted",
)


def reach(point: str) -> None:
    """Pass a crash point; if the harness has armed it, kill the process."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return
    try:
        Path(folder, point).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def arm(folder: Path, point: str) -> None:
    """Make the next process that reaches a point die there."""
    if point not in POINTS:
        raise ValueError("no such crash point")
    Path(folder, point).touch()
