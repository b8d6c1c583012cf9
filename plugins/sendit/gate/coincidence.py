"""Coincidences: values that equal a real value of the batch but mean something else.

A scanner's station name is often its model name, a procedure's ID its description; an accession
number of six digits may equal a time of day, and patients are called Chest, Norm or Philips.
Where the attribute gives such a value another meaning, it identifies nobody and the study is
correct. The last gate checks this for every match before it reports a finding.
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
"""Attributes that identify the institution, the device or the procedure, not the patient.

Sites often fill them with values of other attributes: the model name, the description.
"""

PLACES: Final = frozenset((0x00080080, 0x00081010, 0x00081040, 0x00100021))
"""The subset that identifies a place: InstitutionName, StationName, InstitutionalDepartmentName,
and IssuerOfPatientID, which usually is the institution."""

NAMED_ALIKE: Final = frozenset(
    (
        # the device: maker, model, software, coils
        *(0x00080070, 0x00081090, 0x00181020, 0x00181250, 0x00181251),
        # the procedure: descriptions (cleaned by rules of their own), codes, sequences
        *(0x00081030, 0x0008103E, 0x00181030, 0x00321060, 0x00400007, 0x00400254),
        *(0x00080100, 0x00080102, 0x00080104, 0x00080119, 0x00180015, 0x00180024),
    )
)
"""Attributes that describe the device or the procedure, whose values may be the same."""

MAX_COINCIDENCE: Final = 6
"""Numbers of up to so many digits occur by chance among the numbers of a study."""

MIN_CODE_STRING_WORD: Final = 6
"""Words of fewer letters may also be a Defined Term (VR CS) or part of an AE title."""

WRITTEN_NUMBER_VRS: Final = frozenset(("AS", "DS", "IS", "TM"))
"""VRs of numbers, times and ages written as text."""

_TIME: Final = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-6]\d(?:\.\d{1,6})?)?)?")
_AGE: Final = re.compile(r"\d{3}[DWMY]")
_NUMBER: Final = re.compile(r"[+-]?\d*\.?\d*(?:[eE][+-]?\d+)?")


def is_plain_number(vr: str, value: str) -> bool:
    """Whether a value is a time, age or number that is valid for its VR."""
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
    """Whether a matched identifier means something else in the attribute that holds it.

    Parameters
    ----------
    sources
        The attributes that the identifier comes from; 0 is the folder's name.
    key
        The identifier in the form of :func:`~sendit.deidentify.spellings.key`.
    tag, vr
        The attribute with the match.
    """
    if tag in CODE_VALUES and codes.is_published(key):
        return True
    of_the_place = sources <= PLACES_AND_STEPS
    if vr in {"DS", "IS"}:
        return of_the_place or len(key) <= MAX_COINCIDENCE
    return of_the_place and tag in NAMED_ALIKE


def name_is_coincidence(letters: int, vr: str) -> bool:
    """Whether a match of a single word of a name is rather a term of the attribute's VR."""
    return vr in {"AE", "CS"} and letters < MIN_CODE_STRING_WORD
