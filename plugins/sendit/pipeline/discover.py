"""Discover: find the batch folders that are ready, and claim batches for a run.

A folder that is hidden, or whose name ends in ``.tmp...``, ``.part`` or ``.err``, is not ready
or not ours. A folder is recognised by a keyed digest of its path, which stays the same when it
is renamed to ``.err``.
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
#: Folders that file systems and servers create for their own use.
NOT_OURS = frozenset(
    {"lost+found", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "#recycle", "#snapshot"}
)
#: Stage of the error on a batch that stays in the queue because its preflight fails.
QUEUE_STAGE = "queue"


def is_ours(name: str) -> bool:
    """Whether a folder with this name may be a batch."""
    return not name.startswith(".") and name not in NOT_OURS and not NOT_READY.search(name)


def chosen_folders(settings: Settings, subfolder: str | None) -> list[Path]:
    """Return a run's input folders.

    ``subfolder`` selects one: a configured input folder by its path or last component, or a
    folder within a configured one. Nothing outside the configured folders is ever read.

    Raises
    ------
    Misconfigured
        No input folder is configured, one is inside another, or ``subfolder`` is none of them.
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
                    f"input folder {number} is the same as, or inside, input folder {other}: its "
                    "folders would be processed twice; SENDIT_INPUT_FOLDERS must not list folders "
                    "that contain one another"
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
        A folder in which anything changed less than this many seconds ago is not ready.

    Raises
    ------
    Misconfigured
        An input folder cannot be listed.
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

    The change time counts as well as the modification time, which copying tools set
    to the original's. Unreadable files are ignored here: import reports them.
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
    """List everything that is not a folder, recursively.

    Returns
    -------
    list of tuple
        Path within the folder, size in bytes and modification time in nanoseconds, in the order
        of the paths' bytes.

    Raises
    ------
    OSError
        The folder, or one within it, cannot be listed.
    """
    files: list[tuple[bytes, str, int, int]] = []
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    continue
                status = entry.stat(follow_symlinks=False)
                path = os.path.relpath(entry.path, folder)
                files.append((os.fsencode(path), path, status.st_size, status.st_mtime_ns))
    return [entry[1:] for entry in sorted(files)]


def listing_digest(keys: Keys, files: Iterable[tuple[str, int, int]]) -> str:
    """Return the keyed digest of a folder's files as returned by ``list_files``."""
    text = "".join(f"{path}\0{size}\0{changed}\0" for path, size, changed in files)
    return keys.digest("listing", text)


def folder_digest(keys: Keys, folder: Path) -> str:
    """Return the keyed digest by which the ledger knows a folder."""
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

    Batches waiting in the queue come first, each with the params it was queued with. If there are
    too few, new folders are queued with ``params``: all of them if ``number`` is None, otherwise
    up to that number. Only as many are claimed as fit on the working disk; the others wait.

    Parameters
    ----------
    number
        Maximum number of batches; None: all.
    preflight
        Checks what a batch with given params needs, and raises if it would fail. It is called for
        ``params`` before anything is queued, and once for each other set of params among the
        waiting batches; those for which it fails stay in the queue, with an error that says why.
    holder
        The run's key in the ledger (`Ledger.run_key`). Default: ``run_id``.

    Returns
    -------
    list of str
        Batch ids, at most ``settings.batches_per_run``; the same ids if the same run asks again.

    Raises
    ------
    SenditError
        ``preflight`` failed for ``params``, or for all waiting batches; the queue is unchanged.
    RetryLater
        Batches wait, and none of them fits on the working disk.
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
    """Leave out folders that are not batches: containers, and sendit's own folders."""
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
            "%d folders were skipped because their subfolders are batches or belong to several "
            "studies. If they hold accession folders, give one as the run's subfolder, or list it "
            "in SENDIT_INPUT_FOLDERS instead of its parent folder; if not, sort their files "
            "into one folder per study",
            left,
        )


def _fresh(
    ledger: Ledger, folders: Mapping[str, Path], settings: Settings, keys: Keys, wanted: int | None
) -> list[tuple[str, str]]:
    """Return up to ``wanted`` folders (None: all) to be queued, as (digest, path)."""
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
    """Return the waiting batches whose params fail the preflight, and why; record the reasons in
    the ledger."""
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
    """Whether a known folder is to be processed again: it was renamed to ``.err`` and back, or
    exists although its originals were deleted, or its files differ from those at import."""
    if known.set_aside:
        return True
    if not known.cleaned or known.status not in (Status.DONE, Status.EMPTY):
        return False
    if known.status is Status.DONE and settings.originals == "delete":
        return True
    try:
        return known.listing != listing_digest(keys, list_files(folder))
    except OSError:  # unreadable now: a later run checks again
        return False


def _fitting(
    waiting: Sequence[tuple[str, str | None]], limit: int, settings: Settings
) -> list[str]:
    """Return the waiting batches, oldest first, whose archives fit on the disk together.

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
        # One that does not fit does not block smaller ones; it comes first next time.
        if folder is None or room.reserve(Path(folder)):
            fitting.append(batch_id)
        else:
            logger.warning("batch %s does not fit on the working disk now; it waits", batch_id)
    if not fitting:
        raise RetryLater(
            f"batch {waiting[0][0]} does not fit on the working disk, of which "
            f"{max(0, room.free) // MEBIBYTE} MiB may be used (SENDIT_DISK_MARGIN_MB stays free): "
            "free disk space or move SENDIT_WORK_FOLDER, then clear this task; nothing was started"
        )
    return fitting


def locate(ledger: Ledger, settings: Settings, keys: Keys, batch_id: str) -> Path:
    """Return a batch's folder: under its own name, renamed to ``.err``, or, if its path is no
    longer in the ledger, wherever the digest matches.

    Raises
    ------
    FailBatch
        It is no longer in the input folders.
    """
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
    """Return the subfolder of the batch's run, which may be deeper than `_all_folders` searches."""
    if subfolder is None:
        return []
    try:
        return chosen_folders(settings, subfolder)
    except Misconfigured:
        return []


def _all_folders(inputs: Iterable[Path]) -> Iterable[Path]:
    """Yield every folder at the two levels where a batch can be: in an input folder, or in one of
    its subfolders."""
    for number, parent in enumerate(inputs, start=1):
        for folder in _subfolders(number, Path(os.path.realpath(parent))):
            yield folder
            try:
                yield from _subfolders(number, folder)
            except Misconfigured:
                continue
