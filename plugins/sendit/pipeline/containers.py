"""Containers: folders whose subfolders are separate studies, and which are not batches.

An input folder may have containers beside accession folders (``1_6/A``, ``1_6/B``); a run with
``subfolder`` processes what is in one. A container is never claimed, renamed or deleted. An
ambiguous folder is left alone, and the run says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sendit.batch import Status
from sendit.dicom.scan import open_instance
from sendit.errors import Misconfigured, SkipInstance
from sendit.ledger import Ledger

#: Number of subfolders, spread over their names, that are examined.
MAX_FOLDERS = 4
#: Number of files in a folder that are tried until one is an image of a study.
MAX_FILES = 8


def is_container(ledger: Ledger, digest: Callable[[Path], str], folder: Path) -> bool:
    """Whether a folder is a container: one of its subfolders is a batch, or two of them begin
    with different studies. Series folders of one accession share its StudyInstanceUID
    (0020,000D; PS3.3 C.7.2.1).

    ``digest`` returns the keyed digest by which the ledger remembers a folder. Unreadable files
    and folders are ignored here: import reports what is wrong with them.
    """
    inside = _folders(folder)
    if not inside:
        return False
    if ledger.batches_by_folder(map(digest, inside)):
        return True
    while len(inside) == 1 and (deeper := _folders(inside[0])):
        inside = deeper
    return len(_studies(inside)) > 1


def check_subfolder(ledger: Ledger, digest: Callable[[Path], str], folder: Path) -> None:
    """Check that a run's ``subfolder`` may hold batches and is not a batch itself.

    Raises
    ------
    Misconfigured
        It is, or looks like, a batch whose subfolders are series of one study: each series would
        be delivered as a study.
    """
    known = next(iter(ledger.batches_by_folder([digest(folder)]).values()), None)
    if known is not None and known.status is not Status.ERROR:
        raise Misconfigured(
            f"the run's subfolder is itself a batch ({known.batch_id}): leave subfolder empty, or "
            "name the folder that holds it"
        )
    inside = _folders(folder)
    if _study_of(_files(folder)) or (len(inside) > 1 and len(_studies(inside)) == 1):
        raise Misconfigured(
            "the run's subfolder looks like an accession folder: it has images of its own, or all "
            "of its subfolders belong to one study. Leave subfolder empty, or name the folder that "
            "holds it; if its subfolders are batches that hold one study more than once, keep one "
            "of them"
        )


def _studies(folders: list[Path]) -> set[str]:
    """Return the studies of the first images in some of the folders; stop at two."""
    studies: set[str] = set()
    step = max(1, (len(folders) - 1) // (MAX_FOLDERS - 1))
    for folder in folders[::step]:
        study = _study_of(_files_below(folder))
        if study:
            studies.add(study)
        if len(studies) > 1:
            break
    return studies


def _study_of(files: Iterable[Path]) -> str | None:
    """Return the StudyInstanceUID of the first file that has one, within `MAX_FILES`."""
    for number, path in enumerate(files):
        if number == MAX_FILES:
            break
        try:
            study = open_instance(path).study_uid
        except (SkipInstance, OSError):
            continue
        if study:
            return study
    return None


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(
                Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))
