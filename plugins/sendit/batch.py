"""The batch: one folder, one accession number, one study; and what becomes of its files."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

BATCH_ID = re.compile(r"b[0-9a-f]{16}")
#: What a study of the site, and its collection in the store, may be called.
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def new_batch_id() -> str:
    """Return a fresh opaque id: random, so that nothing about the folder can be read from it."""
    return f"b{secrets.token_hex(8)}"


class Status(StrEnum):
    """Where a batch is; the words are the 2017 service's."""

    NEW = "NEW"
    QUEUE = "QUEUE"
    PROCESSING = "PROCESSING"
    DONEPROCESSING = "DONEPROCESSING"
    EMPTY = "EMPTY"
    ERROR = "ERROR"
    DONE = "DONE"


class Outcome(StrEnum):
    """What became of one received file. Each file has exactly one."""

    DELIVERED = "delivered"
    FILTERED = "filtered"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"


class Reason(StrEnum):
    """Why a file was quarantined or is a duplicate (filters give their own label instead)."""

    EMPTY_FILE = "empty file"
    NOT_DICOM = "not DICOM"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    MALFORMED = "malformed DICOM"
    DICOMDIR = "DICOMDIR"
    NOT_A_FILE = "not a regular file"
    LINK = "symbolic link"
    DUPLICATE_INSTANCE = "duplicate SOPInstanceUID"
    CONFLICT = "same SOPInstanceUID as another file, other content"
    MISSING_UID = "missing study, series or instance UID"
    SEVERAL_STUDIES = "more than one study in the folder"
    SEVERAL_FOLDERS = "its folders hold studies of their own"
    SEVERAL_PATIENTS = "more than one patient in the folder"
    UNSUPPORTED = "unsupported transfer syntax"
    NO_PIXELS = "image without pixel data"
    SHORT_PIXELS = "pixel data shorter than declared"
    PIXELS_DIFFER = "pixel data is not what the header declares"
    OTHER_SYNTAX = "pixel data is not of its transfer syntax"
    UNCLEAR_FRAME = "compressed frame cannot be checked"
    MOSAIC = "mosaic whose private geometry cannot be read"
    OVERLAY_BITS = "unused bits of pixels may be an overlay"
    ZERO_FILLED = "filled with zeros"
    OTHER_CLASS = "file meta contradicts the data set"
    INFLATES = "deflated data set inflates to more than 256 MB"
    CHANGED = "changed since import"
    NOT_CLEANABLE = "cannot be proven clean"
    STOPPED = "stopped by the last gate"
    PIXELS_NOT_READ = "pixels cannot be read to be looked at"
    NO_REGIONS = "ultrasound regions do not say what to keep"
    NOT_BLANKED = "its regions cannot be blanked"
    TEXT_IN_PIXELS = "text in the pixels"


@dataclass(slots=True)
class Counts:
    """How many files a batch received, and what became of them."""

    received: int = 0
    delivered: int = 0
    filtered: int = 0
    quarantined: int = 0
    duplicate: int = 0

    @property
    def conserved(self) -> bool:
        """Whether every received file is accounted for."""
        return self.received == (self.delivered + self.filtered + self.quarantined + self.duplicate)


@dataclass(slots=True)
class InstanceRecord:
    """One file of a batch, as import found it. Kept in the working folder only.

    ``path`` is relative to the batch's folder and is PHI; ``number`` (1-based, in
    sorted order of paths) is what logs and errors name the file by.
    ``outcome`` is None while the file is still to be delivered; then ``instance`` is the number
    of the first such file with its SOPInstanceUID, and ``checksum`` that of the header as import
    saw it (:func:`sendit.dicom.scan.header_checksum`). ``wanted`` is the key, as text, of
    the rule that a file waits for (:class:`sendit.pixels.wanted.RuleKey`), if it does.
    """

    number: int
    path: str
    size: int
    mtime_ns: int
    outcome: Outcome | None = None
    reason: str | None = None
    instance: int | None = None
    checksum: int | None = None
    wanted: str | None = None


@dataclass(frozen=True, slots=True)
class BatchError:
    """One thing that went wrong in a batch: safe to show (no paths, no header values).

    ``outside``: the batch has no part in it (a setting, a service that is away), so that any
    other batch would have failed too.
    """

    stage: str
    reason: str
    count: int = 1
    files: tuple[int, ...] = field(default=())
    outside: bool = False
