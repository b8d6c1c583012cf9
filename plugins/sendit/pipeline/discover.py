"""Discover: find the batch folders that are ready, and claim batches for a run.

A folder that is hidden, or whose name ends in ``.tmp...``, ``.part`` or ``.err``, is not ready
or not ours. A folder is recognised by a keyed digest of its path, the same before and after
it was set aside as ``.err``.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from sendit.batch import BatchError, Status
from sendit.crashpoint import reach
from sendit.errors import FailBatch, Misconfigured, RetryLater, SenditError
from sendit.keys import Keys
from sendit.ledger import BatchParams, KnownFolder, Ledger
from sendit.pipeline.containers import check_subfolder, is_container
from sendit.pipeline.disk_budget import MEBIBYTE, DiskBudget
from sendit.pipeline.inputs import check_inputs, unlisted
from sendit.settings import Settings

logger = logging.getLogger(__name__)

NOT_READY = re.compile(r"\.(tmp[^.]*|part|err)\Z", re.IGNORECASE)
SET_ASIDE = ".err"
#: Folders that a file system or a server keeps for itself.
NOT_OURS = frozenset(
    {"lost+found", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "#recycle", "#snapshot"}
)
#: Stage of the error on a batch that waits because what it needs fails.
QUEUE_STAGE = "queue"


def is_ours(name: str) -> bool:
    """Whether a folder of this name may be a batch."""
    return not name.startswith(".") and name not in NOT_OURS and not NOT_READY.search(name)


def chosen_folders(settings: Settings, subfolder: str | None) -> list[Path]:
    """Return the input folders a run looks at.

    ``subfolder`` names one: a configured input folder by its path or last name, or a folder
    within a configured one. Nothing outside the configured folders is ever read.
    """
    configured = [Path(os.path.realpath(folder)) for folder in settings.input_folders]
    if not configured:
        raise Misconfigured(
            "no input folders: set SENDIT_INPUT_FOLDERS to the folders that hold accession folders"
        )
    for number, folder in enumerate(configured, start=1):
        for other, outer in enumerate(configured, start=1):
            if number != other and folder.is_relative_to(outer):
                raise Misconfigured(
                    f"input folder {number} is, or lies within, input folder {other}: folders in "
                    "it would be taken twice; name in SENDIT_INPUT_FOLDERS only folders that lie "
                    "side by side"
                )
    if not subfolder:
        return configured
    chosen: list[Path] = []
    for folder in configured:
        inside = Path(os.path.realpath(folder / subfolder))
        if subfolder in (folder.name, str(folder)):
            chosen.append(folder)
        elif inside.is_relative_to(folder) and inside != folder and inside.is_dir():
            chosen.append(inside)
    if not chosen:
        raise Misconfigured(
            "the run's subfolder is neither a configured input folder nor a folder within one; "
            "see SENDIT_INPUT_FOLDERS"
        )
    return chosen


def list_folders(inputs: Sequence[Path], settle_seconds: float = 0.0) -> list[Path]:
    """Return the folders that are ready, sorted by path within each input folder.

    Parameters
    ----------
    inputs
        Folders that hold accession folders.
    settle_seconds
        A folder in which anything changed less than this long ago is still being written.
    """
    ready: list[Path] = []
    for number, parent in enumerate(inputs, start=1):
        for folder in _subfolders(number, parent):
            if is_ours(folder.name) and settled(folder, settle_seconds):
                ready.append(folder)
    return ready


def _subfolders(number: int, parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return sorted(
                Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)
            )
    except OSError as error:
        raise Misconfigured(unlisted(number, error)) from None


def settled(folder: Path, seconds: float) -> bool:
    """Whether nothing in a folder has changed for the given number of seconds.

    The change time is looked at and not only the modification time, which copying tools set
    back to the original's. What cannot be read is for import to complain about.
    """
    if seconds <= 0:
        return True
    limit = time.time() - seconds
    for parent, _, names in os.walk(folder):
        for path in [parent, *(os.path.join(parent, name) for name in names)]:  # noqa: PTH118
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if max(status.st_mtime, status.st_ctime) > limit:
                return False
    return True


def list_files(folder: Path) -> list[tuple[str, int, int]]:
    """Return path within the folder, size and modification time (ns) of everything that is no
    folder, in the order of the paths' bytes.

    Raises
    ------
    OSError
        The folder, or one within it, cannot be listed.
    """
    found: list[tuple[bytes, str, int, int]] = []
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    continue
                status = entry.stat(follow_symlinks=False)
                path = os.path.relpath(entry.path, folder)
                found.append((os.fsencode(path), path, status.st_size, status.st_mtime_ns))
    return [entry[1:] for entry in sorted(found)]


def listing_digest(keys: Keys, files: Iterable[tuple[str, int, int]]) -> str:
    """Return the keyed digest of a folder's files as ``list_files`` names them."""
    text = "".join(f"{path}\0{size}\0{changed}\0" for path, size, changed in files)
    return keys.digest("listing", text)


def folder_digest(keys: Keys, folder: Path) -> str:
    """Return the keyed digest under which the ledger knows a folder."""
    name = folder.name.removesuffix(SET_ASIDE)
    return keys.digest("folder", os.fsencode(folder.with_name(name)))


def discover(
    ledger: Ledger,
    settings: Settings,
    keys: Keys,
    run_id: str,
    params: BatchParams,
    *,
    number: int | None,
    preflight: Callable[[BatchParams], None],
    holder: str | None = None,
) -> list[str]:
    """Queue new folders and claim batches for a run.

    Batches that wait in the queue come first, each with the params it was queued with. If
    fewer wait than wanted, new folders are queued with ``params``: all of them when ``number``
    is None, else up to that number. Only as many are taken as fit the working disk; the others
    wait. ``holder`` is the run's key in the ledger (`Ledger.run_key`), its id if None.

    ``preflight`` tries what a batch with given params will need, and raises if it would fail.
    It is called for ``params`` before anything is queued, and once for all waiting batches with
    others; those for which it fails stay in the queue, with an error that says why.

    Returns
    -------
    list of str
        Batch ids, at most ``settings.batches_per_run``; the same again for the same run.

    Raises
    ------
    SenditError
        What ``preflight`` found wrong for ``params``, or for all batches that wait; the queue is
        as it was.
    """
    already = ledger.claimed_by(holder or run_id)
    if already:
        return [batch.id for batch in already]
    inputs = chosen_folders(settings, params.subfolder)
    check_inputs(ledger, keys, inputs)
    _check_subfolder(ledger, settings, keys, inputs)
    folders = {
        folder_digest(keys, folder): folder
        for folder in list_folders(inputs, settings.settle_seconds)
    }
    within = set(folders) if params.subfolder else None
    waiting = [batch_id for batch_id, _ in ledger.waiting(within)]
    wanted = None if number is None else max(0, number - len(waiting))
    fresh = _fresh(ledger, folders, settings, keys, wanted)
    if not fresh and not waiting:
        return []
    preflight(params)
    blocked = _blocked(ledger, waiting, params, preflight)
    if number is not None and blocked:
        wanted = max(0, number - len(waiting) + len(blocked))
        fresh = _fresh(ledger, folders, settings, keys, wanted)
    ledger.enqueue(fresh, params)
    reach("discover: queued")
    limit = settings.batches_per_run if number is None else min(number, settings.batches_per_run)
    takeable = [each for each in ledger.waiting(within) if each[0] not in blocked]
    if blocked and not takeable:
        raise next(iter(blocked.values()))
    fitting = _fitting(takeable, limit, settings)
    claimed = ledger.claim(run_id, limit, fitting, holder=holder)
    reach("discover: claimed")
    return claimed


def _check_subfolder(
    ledger: Ledger, settings: Settings, keys: Keys, inputs: Iterable[Path]
) -> None:
    configured = {Path(os.path.realpath(folder)) for folder in settings.input_folders}
    for folder in inputs:
        if folder not in configured:
            check_subfolder(ledger, partial(folder_digest, keys), folder)


def _without_containers(
    ledger: Ledger, settings: Settings, keys: Keys, folders: Iterable[tuple[str, Path]]
) -> Iterator[tuple[str, Path]]:
    """Leave out folders that are no batches: containers, and those that sendit itself works in."""
    own = [Path(os.path.realpath(path)) for path in (settings.work, settings.home_folder)]
    left = 0
    for digest, folder in folders:
        if any(path.is_relative_to(folder) for path in own):
            continue
        if is_container(ledger, partial(folder_digest, keys), folder):
            left += 1
            continue
        yield digest, folder
    if left:
        logger.warning(
            "%d folders were left where they are: the folders in each are batches, or of several "
            "studies. If they hold accession folders, name one as the run's subfolder, or list it "
            "in SENDIT_INPUT_FOLDERS in place of the folder around it; if not, sort their files "
            "into one folder per study",
            left,
        )


def _fresh(
    ledger: Ledger, folders: Mapping[str, Path], settings: Settings, keys: Keys, wanted: int | None
) -> list[tuple[str, str]]:
    """Return up to ``wanted`` folders (None: all) that are to be queued, as (digest, path)."""
    if wanted == 0:
        return []
    known = ledger.batches_by_folder(folders)
    fresh = (
        (digest, folder)
        for digest, folder in folders.items()
        if digest not in known or _came_again(known[digest], folder, settings, keys)
    )
    batches = _without_containers(ledger, settings, keys, fresh)
    return [(digest, str(folder)) for digest, folder in islice(batches, wanted)]


def _blocked(
    ledger: Ledger,
    waiting: Sequence[str],
    params: BatchParams,
    preflight: Callable[[BatchParams], None],
) -> dict[str, SenditError]:
    """Return the waiting batches that cannot be taken with the params they have, and why; the
    ledger shows the same."""
    if not waiting:
        return {}
    tried: dict[BatchParams, SenditError | None] = {}
    blocked: dict[str, SenditError] = {}
    marked = {
        batch.id
        for batch in ledger.all_batches(errors_only=True)
        if any(error["stage"] == QUEUE_STAGE for error in batch.errors)
    }
    for batch_id, held in ledger.params_of(waiting).items():
        needs = replace(held, revise=False, subfolder=None)
        if needs not in tried:
            tried[needs] = None
            if needs != replace(params, revise=False, subfolder=None):
                try:
                    preflight(held)
                except SenditError as error:
                    tried[needs] = error
        problem = tried[needs]
        if problem is not None:
            blocked[batch_id] = problem
            reason = BatchError(QUEUE_STAGE, str(problem))
            ledger.record(batch_id, errors=[reason], stage=QUEUE_STAGE)
        elif batch_id in marked:
            ledger.record(batch_id, errors=[], stage=QUEUE_STAGE)
    return blocked


def _came_again(known: KnownFolder, folder: Path, settings: Settings, keys: Keys) -> bool:
    """Whether a known folder is to be taken again: it was set aside and has its name back, or
    is there although its originals were deleted, or holds other files than import found."""
    if known.set_aside:
        return True
    if not known.cleaned or known.status not in (Status.DONE, Status.EMPTY):
        return False
    if known.status is Status.DONE and settings.originals == "delete":
        return True
    try:
        return known.listing != listing_digest(keys, list_files(folder))
    except OSError:  # not to be read now: when it can be again, it is looked at again
        return False


def _fitting(
    waiting: Sequence[tuple[str, str | None]], limit: int, settings: Settings
) -> list[str]:
    """Return those of the waiting batches, oldest first, whose archives fit the disk together.

    Raises
    ------
    RetryLater
        Batches wait, and none of them fits even alone.
    """
    if not waiting:
        return []
    room = DiskBudget(settings.work, settings.disk_margin_mb * MEBIBYTE)
    fitting: list[str] = []
    for batch_id, folder in waiting:
        if len(fitting) == limit:
            break
        # One that does not fit now stops no smaller one; it is the first to be asked next time.
        if folder is None or room.reserve(Path(folder)):
            fitting.append(batch_id)
        else:
            logger.warning("batch %s does not fit the working disk now; it waits", batch_id)
    if not fitting:
        raise RetryLater(
            f"batch {waiting[0][0]} does not fit the working disk, of which "
            f"{max(0, room.free) // MEBIBYTE} MiB may be used (SENDIT_DISK_MARGIN_MB stay free): "
            "free disk space or move SENDIT_WORK_FOLDER, then clear this task; nothing was started"
        )
    return fitting


def locate(ledger: Ledger, settings: Settings, keys: Keys, batch_id: str) -> Path:
    """Return where a batch's folder is now: under its own name, set aside as ``.err``, or,
    when its path is no longer in the ledger, wherever the digest fits."""
    stored = ledger.identifier(batch_id, "folder")
    if stored is not None:
        folder = Path(stored)
        for candidate in (folder, folder.with_name(folder.name + SET_ASIDE)):
            if candidate.is_dir():
                return candidate
    batch = ledger.batch(batch_id)
    digest = batch.folder_digest
    for candidate in _all_folders([*settings.input_folders, *_named(settings, batch.subfolder)]):
        if folder_digest(keys, candidate) == digest:
            return candidate
    raise FailBatch(
        f"batch {batch_id}: its folder is no longer in the input folders; "
        "put it back, then clear this task"
    )


def _named(settings: Settings, subfolder: str | None) -> list[Path]:
    """The folder that the batch's run was given, which may lie deeper than the search looks."""
    if subfolder is None:
        return []
    try:
        return chosen_folders(settings, subfolder)
    except Misconfigured:
        return []


def _all_folders(inputs: Iterable[Path]) -> Iterable[Path]:
    """Every folder at the two levels where a batch can be: below an input folder, or below
    a subfolder of one that a run named."""
    for number, parent in enumerate(inputs, start=1):
        for folder in _subfolders(number, Path(os.path.realpath(parent))):
            yield folder
            try:
                yield from _subfolders(number, folder)
            except Misconfigured:
                continue
