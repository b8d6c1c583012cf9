"""Names in Google Cloud: of archives, datasets, and a lane's staging data.

Every part of a name is checked: a code that is not made of plain characters could leave
its folder or hold something of a patient, so it fails the batch instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from sendit.batch import STUDY_NAME
from sendit.digests import short_digest
from sendit.errors import FailBatch, Misconfigured

#: The one table of a collection's dataset.
TABLE = "dicom"
#: Stands where the jittered date would, for a study whose images carry no date.
NO_DATE = "nodate"
#: What a code may look like: DASHER's characters, never empty.
CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
SUFFIX = ".tar.gz"

_OBJECT = re.compile(
    r"Collection/(?P<collection>[^/]+)/Entity/(?P<patient>[A-Za-z0-9_-]{1,64})/"
    rf"(?P=patient)_(?P<date>[0-9]{{8}}|{NO_DATE})_(?P<study>[A-Za-z0-9_-]{{1,64}})"
    + re.escape(SUFFIX)
)


@dataclass(frozen=True, slots=True)
class ObjectName:
    """The parts of an archive's name. ``item_date`` is jittered, yyyymmdd, or None."""

    collection: str
    patient_code: str
    item_date: str | None
    study_code: str


def object_name(collection: str, patient_code: str, item_date: str | None, study_code: str) -> str:
    """Return the name of a study's archive in the bucket.

    Parameters
    ----------
    collection
        IRB or collection name.
    patient_code, study_code
        The coded ids that the identifier service gave.
    item_date
        Jittered study date, yyyymmdd; None when no image carries a date
        (spelled ``nodate``).

    Raises
    ------
    FailBatch
        A part cannot stand in a name. The text does not quote it.
    """
    _check_collection(collection)
    for what, code in (("patient", patient_code), ("study", study_code)):
        if not CODE.fullmatch(code):
            raise FailBatch(
                f"the {what} code that the identifier service gave cannot stand in a name: "
                "it must be 1 to 64 letters, digits, - or _"
            )
    if item_date is not None and not _is_date(item_date):
        raise FailBatch("the jittered study date is not a date (yyyymmdd)")
    folder = f"Collection/{collection}/Entity/{patient_code}"
    return f"{folder}/{patient_code}_{item_date or NO_DATE}_{study_code}{SUFFIX}"


def parse_object_name(name: str) -> ObjectName:
    """Parse an archive's name.

    Raises
    ------
    ValueError
        ``object_name`` would not have made it.
    """
    found = _OBJECT.fullmatch(name)
    if found is None:
        raise ValueError("not the name of an archive of sendit")
    day = found["date"]
    return ObjectName(
        found["collection"], found["patient"], None if day == NO_DATE else day, found["study"]
    )


def study_key(name: str) -> str:
    """Return the study's key for an archive's name, whatever its date: there must not be two
    archives of one study."""
    parts = parse_object_name(name)
    return f"{parts.collection}/{parts.patient_code}/{parts.study_code}"


def dataset_name(collection: str) -> str:
    """Return the BigQuery dataset of a collection: its name, with ``_`` for ``-``.

    Two collections that differ only there are kept apart by the dataset's label
    (`sendit.delivery.table.ensure_table`).
    """
    _check_collection(collection)
    return collection.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Stage:
    """The staging data of one lane of a run for one collection.

    The names come from a digest of the run's id, which may hold characters that names may
    not, the lane, and the collection: two runs, lanes or collections never share one, and a
    retry finds its own again.
    """

    run: str
    lane: int
    collection: str

    @classmethod
    def of(cls, run_id: str, lane: int, collection: str) -> Stage:
        """Return the stage of a run's lane for a collection."""
        _check_collection(collection)
        return cls(short_digest(run_id), lane, collection)

    @property
    def file(self) -> str:
        """The rows' file, below the working folder."""
        return f"lanes/{self.run}/{self.collection}/{self.lane}.ndjson"

    @property
    def object(self) -> str:
        """The rows' object in the bucket."""
        return f"Stage/{self.run}/{self.collection}/{self.lane}.ndjson"

    @property
    def table(self) -> str:
        """The table that the rows are loaded into first, in the collection's dataset."""
        return f"stage_{self.run}_{self.lane}"


def _check_collection(collection: str) -> None:
    if not STUDY_NAME.fullmatch(collection):
        raise Misconfigured(
            "SENDIT_COLLECTION (or the study) must be letters, digits, - and _, at most 63"
        )


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}", text):
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
