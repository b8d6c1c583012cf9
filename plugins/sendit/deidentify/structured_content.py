"""Content items of structured reports: what their concept names imply (PS3.3 C.17.3; PS3.15 E.3.4).

A content item has a concept name, which is a code, a value type and a value. The type usually
decides: numbers, coordinates and codes of the standard identify nobody, texts may. For some
concepts the name matters: a text may be the accession number, a number the patient's age.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sendit.dicom.dates import PADDING
from sendit.dicom.scan import Buffer, Element

CODE_VALUES: Final = frozenset((0x00080100, 0x00080119, 0x00080120))
CODING_SCHEME: Final = 0x00080102
CODING_SCHEME_VERSION: Final = 0x00080103
CONCEPT_NAME: Final = 0x0040A043
MEASURED_VALUE: Final = 0x0040A300
MEASURED_NUMBERS: Final = frozenset((0x0040A30A, 0x0040A161))
"""Numeric Value and Floating Point Value."""

_UNITS: Final = 0x004008EA

Code = tuple[str, str]
"""A code value and its coding scheme; empty strings if there is none."""

NO_CODE: Final[Code] = ("", "")

AGES: Final = frozenset(
    (
        ("121033", "DCM"),  # Subject Age
        *(("397669002", "SCT"), ("424144002", "SCT")),  # Age, Current chronological age
        *(("30525-0", "LN"), ("21612-7", "LN")),  # Age, Age - Reported
    )
)
BIRTH_DATES: Final = frozenset(
    (
        ("121031", "DCM"),  # Subject Birth Date
        *(("184099003", "SCT"), ("21112-8", "LN")),  # Date of birth
    )
)
CODED: Final[dict[Code, str]] = {
    ("121022", "DCM"): "item_id",  # Accession Number
    ("121030", "DCM"): "entity_id",  # Subject ID
}
"""Concepts whose text is the study's or the patient's ID, and the variable that replaces it."""

TECHNICAL: Final[dict[Code, str]] = {
    ("111001", "DCM"): "maker",  # Algorithm Name
    ("111003", "DCM"): "version",  # Algorithm Version
    ("113878", "DCM"): "maker",  # Device Manufacturer
    ("113879", "DCM"): "maker",  # Device Model Name
    ("121014", "DCM"): "maker",  # Device Observer Manufacturer
    ("121015", "DCM"): "maker",  # Device Observer Model Name
    ("121194", "DCM"): "maker",  # Device Subject Manufacturer
    ("121195", "DCM"): "maker",  # Device Subject Model Name
    ("122405", "DCM"): "maker",  # Algorithm Manufacturer
}
"""Concepts whose text is set by a device or a program, and its form
(:mod:`sendit.deidentify.forms`)."""

LABELS: Final = frozenset(
    (
        ("112039", "DCM"),  # Tracking Identifier
        ("113605", "DCM"),  # Irradiation Event Label
    )
)
"""Concepts whose text distinguishes findings or events within an object."""

_PER_YEAR: Final = {"a": 1.0, "mo": 12.0, "wk": 365.25 / 7, "d": 365.25, "h": 365.25 * 24}
"""Length of a year in a UCUM unit of time."""


class ItemCodes(NamedTuple):
    """The codes of an item of a sequence, as seen by the functions applied to its elements.

    Attributes
    ----------
    code
        The item's own code.
    concept
        The concept name, if it is a content item.
    unit
        The unit of a measured value.
    """

    code: Code = NO_CODE
    concept: Code = NO_CODE
    unit: Code = NO_CODE


NO_ITEM_CODES: Final = ItemCodes()


def code_of(elements: Sequence[Element], data: Buffer) -> Code:
    """Return the code value and coding scheme in an item of a code sequence."""
    value = scheme = ""
    for tag, _, _, start, end, _ in elements:
        if tag in CODE_VALUES:
            value = bytes(data[start:end]).decode("latin-1").strip(PADDING)
        elif tag == CODING_SCHEME:
            scheme = bytes(data[start:end]).decode("latin-1").strip(PADDING)
    return value, scheme


def item_codes(elements: Sequence[Element], data: Buffer) -> ItemCodes:
    """Return the codes of an item, given its elements."""
    concept = unit = NO_CODE
    for tag, _, _, _, _, items in elements:
        if items and tag == CONCEPT_NAME:
            concept = code_of(items[0][1], data)
        elif items and tag == _UNITS:
            unit = code_of(items[0][1], data)
    return ItemCodes(code_of(elements, data), concept, unit)


def years_in(years: int, unit: Code) -> float | None:
    """Convert years to another unit; None if it is not a UCUM unit of time."""
    per_year = _PER_YEAR.get(unit[0]) if unit[1] == "UCUM" else None
    return None if per_year is None else years * per_year
