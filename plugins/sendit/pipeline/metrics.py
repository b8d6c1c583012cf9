"""Processing times in the 2017 service's format: one line per batch, tab-separated."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from pathlib import Path

from sendit.atomic_write import atomic_write
from sendit.errors import RetryLater
from sendit.ledger import Batch

COLUMNS = (
    "batch_id",
    "status",
    "size_mb",
    "start_time",
    "finish_time",
    "total_time_sec",
    "total_time_min",
)
MEBIBYTE = 1024 * 1024


def default_name(now: float | None = None) -> str:
    """Return ``sendit-process-time-YYYY-MM-DD.tsv`` for a time (seconds since the epoch; default:
    now), in local time."""
    return f"sendit-process-time-{time.strftime('%Y-%m-%d', time.localtime(now))}.tsv"


def write_metrics(batches: Iterable[Batch], path: Path) -> int:
    """Write one line per batch, atomically; return the number of batches.

    Sizes are those of the files received, in MiB; times are seconds since the epoch, and empty
    for a batch that has not started or finished.

    Raises
    ------
    RetryLater
        The file cannot be written.
    """
    lines = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, mode=0o644) as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(COLUMNS)
            for batch in batches:
                writer.writerow(_line(batch))
                lines += 1
    except OSError as error:
        raise RetryLater(
            f"the metrics cannot be written ({error.strerror}): free disk space, or check "
            "SENDIT_HOME"
        ) from None
    return lines


def _line(batch: Batch) -> list[object]:
    seconds: float | str = ""
    minutes: float | str = ""
    if batch.started_at is not None and batch.finished_at is not None:
        seconds = batch.finished_at - batch.started_at
        minutes = seconds / 60
    return [
        batch.id,
        batch.status.value,
        batch.bytes_in / MEBIBYTE,
        batch.started_at if batch.started_at is not None else "",
        batch.finished_at if batch.finished_at is not None else "",
        seconds,
        minutes,
    ]
