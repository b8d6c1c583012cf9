"""Names in Google Cloud: archives, datasets, and a lane's staging data.

Every part of a name is validated: a code with other than plain characters could escape
its folder or contain something about a patient, so it fails the batch instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from sendit.batch import STUDY_NAME
from sendit.digests import short_digest
from sendit.errors import FailBatch, Misconfigured

#: The only permanent table in a collection's dataset.
TABLE = "dicom"
#: Replaces the jittered date in the name if the study's images have no date.
NO_DATE = "nodate"
#: A valid code: DASHER's characters, never empty.
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
        The coded ids from the identifier service.
    item_date
        Jittered study date, yyyymmdd; None if no image has a date
        (written as ``nodate``).

    Raises
    ------
    FailBatch
        A part is not valid in a name. The text does not quote it.
    Misconfigured
        The collection's name is not valid.
    """
    _check_collection(collection)
    for what, code in (("patient", patient_code), ("study", study_code)):
        if not CODE.fullmatch(code):
            raise FailBatch(
                f"the {what} code from the identifier service is not valid in a name: "
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
        It is not a name that ``object_name`` makes.
    """
    parts = _OBJECT.fullmatch(name)
    if parts is None:
        raise ValueError("not the name of an archive of sendit")
    day = parts["date"]
    return ObjectName(
        parts["collection"], parts["patient"], None if day == NO_DATE else day, parts["study"]
    )


def study_key(name: str) -> str:
    """Return the study's key for an archive's name, without the date: a study must not have two
    archives."""
    parts = parse_object_name(name)
    return f"{parts.collection}/{parts.patient_code}/{parts.study_code}"


def dataset_name(collection: str) -> str:
    """Return the BigQuery dataset of a collection: its name, with ``_`` for ``-``.

    Two collections whose names differ only in that are distinguished by the dataset's label
    (`sendit.delivery.table.ensure_table`).

    Raises
    ------
    Misconfigured
        The collection's name is not valid.
    """
    _check_collection(collection)
    return collection.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Stage:
    """The staging data of one lane of a run for one collection.

    The names consist of a digest of the run's id (which may contain characters that names may
    not), the lane, and the collection: two runs, lanes or collections never share a name, and a
    retry finds its own data again.
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
        """The rows' file, relative to the working folder."""
        return f"lanes/{self.run}/{self.collection}/{self.lane}.ndjson"

    @property
    def object(self) -> str:
        """The rows' object in the bucket."""
        return f"Stage/{self.run}/{self.collection}/{self.lane}.ndjson"

    @property
    def table(self) -> str:
        """The staging table that the rows are loaded into, in the collection's dataset."""
        return f"stage_{self.run}_{self.lane}"


def _check_collection(collection: str) -> None:
    if not STUDY_NAME.fullmatch(collection):
        raise Misconfigured(
            "SENDIT_COLLECTION (or the study) may contain only letters, digits, - and _, at most 63"
        )


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}", text):
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
