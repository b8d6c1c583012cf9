"""Containers: folders that hold folders with studies of their own, and are no batches.

An input folder may have them beside accession folders (``1_6/A``, ``1_6/B``); a run with
``subfolder`` takes what is in one. A container is never taken, renamed or deleted. What could
be either stays where it is, and the run says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sendit.batch import Status
from sendit.dicom.scan import open_instance
from sendit.errors import Misconfigured, SkipInstance
from sendit.ledger import Ledger

#: So many of a folder's folders, spread over their names, are looked into.
MAX_FOLDERS = 4
#: So many files of a folder are tried until one is an image of a study.
MAX_FILES = 8


def is_container(ledger: Ledger, digest: Callable[[Path], str], folder: Path) -> bool:
    """Whether a folder is a container: a folder in it is a batch, or two of its folders begin
    with different studies. Series folders of one accession share its StudyInstanceUID
    (0020,000D; PS3.3 C.7.2.1).

    ``digest`` gives the keyed digest that the ledger remembers a folder by. What cannot be read
    is not looked at: import will say what is wrong with it.
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
    """Raise unless a run's ``subfolder`` may hold batches: it is no batch itself, whose folders
    are series of one study.

    Raises
    ------
    Misconfigured
        It is, or looks like one: half of its study would be delivered as a whole.
    """
    known = next(iter(ledger.batches_by_folder([digest(folder)]).values()), None)
    if known is not None and known.status is not Status.ERROR:
        raise Misconfigured(
            f"the run's subfolder is a batch itself ({known.batch_id}): leave subfolder empty, or "
            "name the folder that holds it"
        )
    inside = _folders(folder)
    if _study_of(_files(folder)) or (len(inside) > 1 and len(_studies(inside)) == 1):
        raise Misconfigured(
            "the run's subfolder looks like an accession folder: it has images of its own, or its "
            "folders are all of one study. Leave subfolder empty, or name the folder that holds "
            "it; if its folders are batches that hold one study more than once, keep one of them"
        )


def _studies(folders: list[Path]) -> set[str]:
    """Return the studies that some of the folders begin with; two are enough."""
    found: set[str] = set()
    step = max(1, (len(folders) - 1) // (MAX_FOLDERS - 1))
    for folder in folders[::step]:
        study = _study_of(_files_below(folder))
        if study:
            found.add(study)
        if len(found) > 1:
            break
    return found


def _study_of(files: Iterable[Path]) -> str | None:
    """Return the study of the first of some files that is of one."""
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
