"""Coincidences: values that an attribute has in its own right, although they equal a real value of
the batch.

A scanner's station name is often its model's name, a procedure's id its description, an
accession number of six digits a time of day, and patients are called Chest, Norm or Philips.
Such a value tells nothing where the attribute means something else by it, and a study that
holds it is correct. The last gate asks here before it counts what it has found.
"""

from __future__ import annotations

import re
from typing import Final

from sendit.deidentify import codes
from sendit.deidentify.structured_content import CODE_VALUES

PLACES_AND_STEPS: Final = frozenset(
    (
        *(0x00080080, 0x00081010, 0x00081040, 0x00100021, 0x00101080, 0x00181000),
        *(0x00181003, 0x00181004, 0x00181008, 0x00200010, 0x00321033, 0x00380300),
        *(0x00400009, 0x00400253, 0x00401001),
    )
)
"""Identifying attributes of the place, the device and the procedure, not of the patient.

Sites fill them in with what other attributes say: the model's name, the description.
"""

PLACES: Final = frozenset((0x00080080, 0x00081010, 0x00081040, 0x00100021))
"""Of these, the place: InstitutionName, StationName, InstitutionalDepartmentName, and
IssuerOfPatientID, which is mostly the institution."""

NAMED_ALIKE: Final = frozenset(
    (
        # the device: maker, model, software, coils
        *(0x00080070, 0x00081090, 0x00181020, 0x00181250, 0x00181251),
        # the procedure: descriptions (cleaned by rules of their own), codes, sequences
        *(0x00081030, 0x0008103E, 0x00181030, 0x00321060, 0x00400007, 0x00400254),
        *(0x00080100, 0x00080102, 0x00080104, 0x00080119, 0x00180015, 0x00180024),
    )
)
"""Attributes that say what the device or the procedure is, and may be called alike."""

MAX_COINCIDENCE: Final = 6
"""Digits up to which a number is found by chance among the numbers of a study."""

MIN_CODE_STRING_WORD: Final = 6
"""Letters of a name below which a Defined Term (VR CS) or AE title may be just so."""

NUMBERS: Final = frozenset(("AS", "DS", "IS", "TM"))
"""VRs of written numbers, times and ages."""

_TIME: Final = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-6]\d(?:\.\d{1,6})?)?)?")
_AGE: Final = re.compile(r"\d{3}[DWMY]")
_NUMBER: Final = re.compile(r"[+-]?\d*\.?\d*(?:[eE][+-]?\d+)?")


def is_plain_number(vr: str, value: str) -> bool:
    """Whether a value is an ordinary time, age or measured number, as its VR says."""
    match vr:
        case "TM":
            return _TIME.fullmatch(value) is not None
        case "AS":
            return _AGE.fullmatch(value) is not None
        case "DS" | "IS":
            return _NUMBER.fullmatch(value) is not None
        case _:
            return False


def identifier_is_coincidence(sources: frozenset[int], key: str, tag: int, vr: str) -> bool:
    """Whether an identifier that was found belongs to the attribute that holds it.

    Parameters
    ----------
    sources
        The attributes whose identifier it is; 0 is the folder's name.
    key
        The identifier as it was found (:func:`~sendit.deidentify.spellings.key`).
    tag, vr
        Where it was found.
    """
    if tag in CODE_VALUES and codes.is_published(key):
        return True
    of_the_place = sources <= PLACES_AND_STEPS
    if vr in {"DS", "IS"}:
        return of_the_place or len(key) <= MAX_COINCIDENCE
    return of_the_place and tag in NAMED_ALIKE


def name_is_coincidence(letters: int, vr: str) -> bool:
    """Whether a single word of a name is a term that belongs to the attribute."""
    return vr in {"AE", "CS"} and letters < MIN_CODE_STRING_WORD
