"""Cleanup: what goes once a batch is finished, and what stays because something was wrong.

Everything here may be done twice, and may stop between any two lines.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from sendit.batch import BATCH_ID, InstanceRecord, Reason, Status
from sendit.crashpoint import reach
from sendit.errors import FailBatch, RetryLater
from sendit.keys import Keys
from sendit.ledger import Batch, Ledger
from sendit.pipeline.discover import SET_ASIDE, locate
from sendit.settings import Settings
from sendit.workspace import Workspace

logger = logging.getLogger(__name__)

#: Stages whose errors are about the folder's files: only a person can fix those.
FOLDER_STAGES = frozenset({"import", "anonymize"})

#: What a batch's errors hold when import itself failed it, because of its folder.
STOPPED_BY_IMPORT = frozenset({"import", "import task"})


def to_clean(ledger: Ledger, settings: Settings) -> list[Batch]:
    """Return the batches that have ended and of which something is left: found by what is
    there, in the ledger and in the working folder, and not by whether they were cleaned."""
    found = {batch.id: batch for batch in ledger.not_clean()}
    for batch_id in _working_folders(settings.work):
        if batch_id not in found:
            try:
                found[batch_id] = ledger.batch(batch_id)
            except FailBatch:
                logger.warning(
                    "the working folder %s is of no batch in the ledger; it stays", batch_id
                )
    return [batch for batch in found.values() if _has_ended(batch)]


def _working_folders(work: Path) -> Iterable[str]:
    try:
        return sorted(path.name for path in work.iterdir() if BATCH_ID.fullmatch(path.name))
    except OSError:
        return []


def _has_ended(batch: Batch) -> bool:
    """Whether nothing of a batch is needed any more, not even by a person who clears a task."""
    if batch.status is Status.ERROR:
        return {error["stage"] for error in batch.errors} >= STOPPED_BY_IMPORT
    return batch.status in (Status.DONE, Status.EMPTY)


def clean_batch(ledger: Ledger, settings: Settings, keys: Keys, batch_id: str) -> bool:
    """Clean up after one batch.

    A batch that is DONE or EMPTY loses its working files and stored identifiers, and its
    originals as configured. A folder with a file that could not be delivered keeps all its
    files and is renamed to ``.err``; one that holds folders with studies of their own was no
    batch, and is left as it is. A batch in ERROR that import did not stop (a service was
    down) keeps everything, so that its tasks can be cleared.

    Returns
    -------
    bool
        Whether something was done; False for a batch that was clean or must stay.
    """
    batch = ledger.batch(batch_id)
    stages = {error["stage"] for error in batch.errors}
    container = any(error["reason"] == Reason.SEVERAL_FOLDERS for error in batch.errors)
    bad_files = not container and not stages.isdisjoint(FOLDER_STAGES)
    workspace = Workspace(settings.work, batch_id)
    clean = batch.cleaned_at is not None and not ledger.has_identifiers(batch_id)
    if not _has_ended(batch) or (clean and not workspace.folder.exists()):
        return False
    if bad_files:
        _set_aside(ledger, settings, keys, batch)
    elif (
        batch.cleaned_at is None and batch.status is Status.DONE and settings.originals == "delete"
    ):
        _delete_originals(ledger, settings, keys, batch, workspace)
    workspace.remove()
    reach("cleanup: working folder removed")
    if not ledger.delete_identifiers(batch_id, set_aside=bad_files):
        raise RetryLater(
            f"batch {batch_id} is being processed again: it is cleaned up once that has ended"
        )
    reach("cleanup: forgotten")
    logger.info("batch %s: cleaned up%s", batch_id, ", folder set aside" if bad_files else "")
    return True


def _set_aside(ledger: Ledger, settings: Settings, keys: Keys, batch: Batch) -> None:
    folder = _folder(ledger, settings, keys, batch)
    if folder is None or folder.name.endswith(SET_ASIDE):
        return
    target = folder.with_name(folder.name + SET_ASIDE)
    try:
        if target.exists():
            raise RetryLater(
                f"batch {batch.id}: its folder cannot be set aside, a folder with that name "
                f"and {SET_ASIDE} exists; move that one away, then clear cleanup"
            )
        folder.rename(target)
        reach("cleanup: set aside")
    except OSError as error:
        raise RetryLater(
            f"batch {batch.id}: its folder cannot be renamed to {SET_ASIDE} "
            f"({error.strerror}); {_way_out(error)}, then clear cleanup"
        ) from None


def _way_out(error: OSError) -> str:
    """Return what helps against what the system said of the input folder."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "give sendit the right to write the input folder"
    if error.errno == errno.EROFS:
        return "mount the input folder so that it can be written"
    if error.errno == errno.ENAMETOOLONG:
        return "give the folder a shorter name"
    return "see to the input folder's file system"


def _delete_originals(
    ledger: Ledger, settings: Settings, keys: Keys, batch: Batch, workspace: Workspace
) -> None:
    """Delete the files that import saw, as it saw them; anything that came or changed later
    stays, and so does its folder."""
    folder = _folder(ledger, settings, keys, batch)
    if folder is None:
        return
    try:
        records = workspace.read_instances()
    except FailBatch:
        logger.warning("batch %s: its record of files is gone; originals stay", batch.id)
        return
    try:
        for record in records:
            _delete_file(folder, record)
        for parent, _, _ in os.walk(folder, topdown=False):
            if not any(Path(parent).iterdir()):
                Path(parent).rmdir()
                reach("cleanup: originals deleted")
    except OSError as error:
        raise RetryLater(
            f"batch {batch.id}: its originals cannot be deleted ({error.strerror}); "
            f"{_way_out(error)}, or set SENDIT_ORIGINALS=keep, then clear cleanup"
        ) from None
    if folder.exists():
        logger.warning("batch %s: its folder has files that came later; they stay", batch.id)


def _delete_file(folder: Path, record: InstanceRecord) -> None:
    path = folder / record.path
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns):
        path.unlink()


def _folder(ledger: Ledger, settings: Settings, keys: Keys, batch: Batch) -> Path | None:
    try:
        return locate(ledger, settings, keys, batch.id)
    except FailBatch:
        return None
