"""Look up DICOM attributes by the names that recipes use."""

from __future__ import annotations

from functools import cache

from pydicom.datadict import get_entry, get_private_entry
from pydicom.valuerep import VR

from sendit.dicom.dictionary import DicomDictionary, RepeatersDictionary
from sendit.dicom.scan import CHARACTER_SET

VRS = frozenset(vr.value for vr in VR if len(vr.value) == 2)
DATE_VRS = frozenset({"DA", "DT"})

FIRST_DATA_SET_TAG = 0x00080000
"""The first tag of a data set: groups before it belong to network messages (0000, PS3.7), file
meta (0002, PS3.10 7.1) and media directories (0004, PS3.3 F.3), and are never delivered."""

# The subset of attributes that deid 0.4.13 never changes (its dicom/config.json) without which
# there is no image: pixel data and colour tables.
IMAGE_TAGS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00281201, 0x00281202, 0x00281203})

# Never matched by a pattern; a rule may still name each of them individually. Without
# SpecificCharacterSet, the remaining text could not be decoded.
NEVER_MATCHED = IMAGE_TAGS | {CHARACTER_SET}


@cache
def keywords() -> dict[str, int]:
    """Return the tags of all keywords (in lower case), except those of repeating groups."""
    return {entry[4].lower(): tag for tag, entry in DicomDictionary.items() if entry[4]}


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword (in any case, as in deid), or None."""
    return keywords().get(keyword.lower())


@cache
def _repeating() -> dict[str, str]:
    return {entry[4].lower(): mask for mask, entry in RepeatersDictionary.items() if entry[4]}


def repeating(keyword: str) -> str | None:
    """Return the mask (``60xx3000``) of a keyword in a repeating group, or None."""
    return _repeating().get(keyword.lower())


def repeating_keyword(mask: str) -> str | None:
    """Return the keyword of a repeating group's mask (``60xx3000``), or None."""
    entry = RepeatersDictionary.get(mask)
    return entry[4] or None if entry else None


def is_known(tag: int) -> bool:
    """Whether a recipe may name a tag: in the dictionary, including repeating groups and group
    lengths, or private."""
    if tag >> 16 & 1 or tag & 0xFFFF == 0:
        return True
    try:
        get_entry(tag)
    except KeyError:
        return False
    return True


def keyword_of(tag: int) -> str:
    """Return the keyword of a tag, or ``(gggg,eeee)`` if it has none."""
    try:
        keyword = get_entry(tag)[4]
    except KeyError:
        keyword = ""
    return keyword or tag_text(tag)


def tag_text(tag: int) -> str:
    """Return a tag as ``(gggg,eeee)`` in upper case, as in the standard."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def vrs_of(tag: int) -> tuple[str, ...]:
    """Return the VRs of a tag in the dictionary; UN if it has none."""
    try:
        return tuple(get_entry(tag)[0].split(" or "))
    except KeyError:
        return ("UN",)


def private_vr(tag: int, creator: str) -> str | None:
    """Return the VR of a private attribute in pydicom's dictionary; None if it has none."""
    try:
        vr = get_private_entry(tag, creator)[0]
    except KeyError:
        return None
    return str(vr.partition(" or ")[0])


def has_one_value(tag: int) -> bool:
    """Whether an attribute has VM 1 in the dictionary, and a VR in which a backslash separates."""
    try:
        vr, vm = get_entry(tag)[:2]
    except KeyError:
        return False
    return vm == "1" and vr not in ("LT", "ST", "UR", "UT")


@cache
def standard_tags() -> tuple[int, ...]:
    """Return all attributes of the dictionary except file meta, sorted by tag.

    A repeating group is represented by its first.
    """
    repeating = (int(mask.replace("x", "0"), 16) for mask in RepeatersDictionary)
    return tuple(
        sorted({*DicomDictionary, *repeating} - {t for t in DicomDictionary if t < 0x80000})
    )
