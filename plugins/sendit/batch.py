"""The batch: one folder, one accession number, one study; its statuses and its files' outcomes."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

BATCH_ID = re.compile(r"b[0-9a-f]{16}")
#: A valid name of a study, and of its collection in the bucket.
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def new_batch_id() -> str:
    """Return a new opaque id: random, so that it reveals nothing about the folder."""
    return f"b{secrets.token_hex(8)}"


class Status(StrEnum):
    """The state of a batch; the names are those of the 2017 service."""

    NEW = "NEW"
    QUEUE = "QUEUE"
    PROCESSING = "PROCESSING"
    DONEPROCESSING = "DONEPROCESSING"
    EMPTY = "EMPTY"
    ERROR = "ERROR"
    DONE = "DONE"


class Outcome(StrEnum):
    """What happened to one received file. Each file has exactly one outcome."""

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
    CONFLICT = "same SOPInstanceUID as another file, different content"
    MISSING_UID = "missing study, series or instance UID"
    SEVERAL_STUDIES = "more than one study in the folder"
    SEVERAL_FOLDERS = "its folders hold studies of their own"
    SEVERAL_PATIENTS = "more than one patient in the folder"
    UNSUPPORTED = "unsupported transfer syntax"
    NO_PIXELS = "image without pixel data"
    SHORT_PIXELS = "pixel data shorter than declared"
    PIXELS_DIFFER = "pixel data does not match the header"
    OTHER_SYNTAX = "pixel data does not match the transfer syntax"
    UNCLEAR_FRAME = "compressed frame cannot be checked"
    MOSAIC = "mosaic whose private geometry cannot be read"
    OVERLAY_BITS = "unused bits of pixel data may be an overlay"
    ZERO_FILLED = "filled with zeros"
    OTHER_CLASS = "file meta contradicts the data set"
    INFLATES = "deflated data set inflates to more than 256 MB"
    CHANGED = "changed since import"
    NOT_CLEANABLE = "cannot be proven clean"
    STOPPED = "stopped by the last gate"
    PIXELS_NOT_READ = "pixel data cannot be decoded to search for text"
    NO_REGIONS = "ultrasound regions do not say what to keep"
    NOT_BLANKED = "regions cannot be blanked"
    TEXT_IN_PIXELS = "text in the pixels"


@dataclass(slots=True)
class Counts:
    """The number of files that a batch received, in total and by outcome."""

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
    """Import's record of one file of a batch. Kept in the working folder only.

    Attributes
    ----------
    number
        1-based, in sorted order of paths. Logs and errors refer to the file by it.
    path
        Relative to the batch's folder. PHI.
    size, mtime_ns
        In bytes; in nanoseconds since the epoch.
    outcome
        None while the file is still to be delivered.
    reason
        Why it was filtered, quarantined or is a duplicate.
    instance
        For a file to be delivered: the number of the first such file with its SOPInstanceUID.
    checksum
        For a file to be delivered: its header's checksum at import
        (:func:`sendit.dicom.scan.header_checksum`).
    wanted
        The key, as text, of the rule that the file needs (:class:`sendit.pixels.wanted.RuleKey`),
        if any.
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
    """One error of a batch; safe to show (no paths, no header values).

    ``outside`` says that the cause is outside the batch (a setting, an unavailable service), so
    any other batch would have failed too.
    """

    stage: str
    reason: str
    count: int = 1
    files: tuple[int, ...] = field(default=())
    outside: bool = False
