"""Cleanup: delete what a finished batch no longer needs, and keep what a failed one does.

Everything here is idempotent, and may be interrupted between any two lines.
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

#: Stages whose errors are about the folder's files, which only a person can fix.
FOLDER_STAGES = frozenset({"import", "anonymize"})

#: Stages among the errors of a batch that import itself failed because of its folder.
STOPPED_BY_IMPORT = frozenset({"import", "import task"})


def to_clean(ledger: Ledger, settings: Settings) -> list[Batch]:
    """Return the ended batches of which something is left, in the ledger or in the working folder,
    whether or not they are marked as cleaned."""
    batches = {batch.id: batch for batch in ledger.not_clean()}
    for batch_id in _working_folders(settings.work):
        if batch_id not in batches:
            try:
                batches[batch_id] = ledger.batch(batch_id)
            except FailBatch:
                logger.warning(
                    "the working folder %s belongs to no batch in the ledger; it is kept", batch_id
                )
    return [batch for batch in batches.values() if _has_ended(batch)]


def _working_folders(work: Path) -> Iterable[str]:
    try:
        return sorted(path.name for path in work.iterdir() if BATCH_ID.fullmatch(path.name))
    except OSError:
        return []


def _has_ended(batch: Batch) -> bool:
    """Whether nothing of a batch is needed any more, not even if a person clears a task."""
    if batch.status is Status.ERROR:
        return {error["stage"] for error in batch.errors} >= STOPPED_BY_IMPORT
    return batch.status in (Status.DONE, Status.EMPTY)


def clean_batch(ledger: Ledger, settings: Settings, keys: Keys, batch_id: str) -> bool:
    """Clean up after one batch.

    For a batch that is DONE or EMPTY, working files and stored identifiers are deleted, and the
    originals if so configured. A folder with a file that could not be delivered keeps all its
    files and is renamed to ``.err``; a container was not a batch, and is left unchanged. A batch
    in ERROR that import did not stop (a service was down) keeps everything, so that its tasks can
    be cleared.

    Returns
    -------
    bool
        Whether anything was done; False for a batch that was clean or must be kept.

    Raises
    ------
    RetryLater
        Something could not be renamed or deleted, or the batch is being processed again.
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
            f"batch {batch_id} is being processed again: it will be cleaned up afterwards"
        )
    reach("cleanup: identifiers deleted")
    logger.info("batch %s: cleaned up%s", batch_id, ", folder renamed to .err" if bad_files else "")
    return True


def _set_aside(ledger: Ledger, settings: Settings, keys: Keys, batch: Batch) -> None:
    folder = _folder(ledger, settings, keys, batch)
    if folder is None or folder.name.endswith(SET_ASIDE):
        return
    target = folder.with_name(folder.name + SET_ASIDE)
    try:
        if target.exists():
            raise RetryLater(
                f"batch {batch.id}: its folder cannot be renamed to {SET_ASIDE}, because a folder "
                "of that name exists; move that one away, then clear cleanup"
            )
        folder.rename(target)
        reach("cleanup: set aside")
    except OSError as error:
        raise RetryLater(
            f"batch {batch.id}: its folder cannot be renamed to {SET_ASIDE} "
            f"({error.strerror}); {_way_out(error)}, then clear cleanup"
        ) from None


def _way_out(error: OSError) -> str:
    """Return advice for the operating system's error about the input folder."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "give sendit write permission for the input folder"
    if error.errno == errno.EROFS:
        return "mount the input folder read-write"
    if error.errno == errno.ENAMETOOLONG:
        return "give the folder a shorter name"
    return "check the input folder's file system"


def _delete_originals(
    ledger: Ledger, settings: Settings, keys: Keys, batch: Batch, workspace: Workspace
) -> None:
    """Delete the files that import read, if unchanged; files that arrived or changed later are
    kept, and so are their folders."""
    folder = _folder(ledger, settings, keys, batch)
    if folder is None:
        return
    try:
        records = workspace.read_instances()
    except FailBatch:
        logger.warning("batch %s: its record of files is gone; originals are kept", batch.id)
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
        logger.warning("batch %s: its folder has files that arrived later; they are kept", batch.id)


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
