"""Safe private attributes, and checks that a value has the listed form.

A private element on PS3.15 Table E.3.10-1 or on our own list is safe only if its value is what
the list describes: so many numbers of a VR, one of a few words, numbers with fixed letters around
them. The same element may also hold a name, or bytes that spell one, and is then refused.
Vendors' own structures are rebuilt from the parts that are understood (:mod:`sendit.vendors`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Final

from sendit.dicom.binary import NUMBER_FORMATS, order_of
from sendit.recipe.profile import SafePrivate, safe_private
from sendit.vendors import NotUnderstood, ge_protocol, siemens_csa
from sendit.vendors.blocks import usual_creators

_WORDS: Final = "words:"
ITEMS: Final = "items"
"""The form of sequences, whose items are checked element by element."""

_NUMBERS: Final = {vr: (struct.calcsize(f"={form}"), form) for vr, form in NUMBER_FORMATS.items()}
_WRITTEN: Final = {
    "DS": re.compile(rb"[ ]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?[ ]*"),
    "IS": re.compile(rb"[ ]*[+-]?\d{1,10}[ ]*"),
}
_TEXTS: Final = frozenset(("CS", "LO", "SH"))
_MAX_DECIMAL: Final = 16
_DATE_OR_NUMBER: Final = rb"\d{6}|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_PRINTABLE: Final = re.compile(
    rb"(?=.*(?:[A-Za-z]{2}|" + _DATE_OR_NUMBER + rb"))[ -~]+[\0 ]?", re.DOTALL
)
_DIGITS: Final = re.compile(_DATE_OR_NUMBER)
_MAX_NUMBER: Final = {"number": 1e7, "large-number": 1e10}
"""No listed quantity exceeds this, but dates, long identifiers, and four lower-case letters read
as a FL do."""

_MIN_NUMBER: Final = 1e-30
"""A FL or FD closer to zero is uninitialised memory, or digits stored as text."""

_REWRITTEN: Final[dict[str, Callable[[bytes], bytes]]] = {
    "csa-image": siemens_csa.clean_image_header,
    "csa-series": siemens_csa.clean_series_header,
    "protocol": siemens_csa.clean_series_protocol,
    "ge-protocol": ge_protocol.clean_protocol_block,
    "ge-user-data": ge_protocol.clean_user_data,
}


@cache
def _listed() -> dict[tuple[int, str, int], SafePrivate]:
    return {(safe.group, safe.creator, safe.element): safe for safe in safe_private()}


def listed(tag: int, creator: str) -> SafePrivate | None:
    """Return the entry of the list for a private attribute, or None."""
    return _listed().get((tag >> 16, creator, tag & 0xFF))


def usual_creator(tag: int, manufacturer: str) -> str:
    """Return the creator of a private attribute whose block no element of the file reserves.

    Parameters
    ----------
    tag
        The attribute.
    manufacturer
        Manufacturer (0008,0070) of the file.

    Returns
    -------
    str
        The creator whose blocks the manufacturer's scanners have there, if the attribute is on the
        list; otherwise an empty string.
    """
    creator = usual_creators(manufacturer).get(tag & 0xFFFFFF00, "")
    return creator if creator and listed(tag, creator) else ""


@cache
def creators() -> frozenset[str]:
    """Return the private creators on the list: constants that vendors define."""
    return frozenset(safe.creator for safe in safe_private())


@cache
def candidates(tag: int) -> tuple[SafePrivate, ...]:
    """Return the entries of the list for a private tag, whatever its creator."""
    return tuple(
        safe
        for safe in safe_private()
        if (safe.group, safe.element) == (tag >> 16, tag & 0xFF) and tag & 0xFFFF > 0xFF
    )


_GROUPS: Final[tuple[frozenset[tuple[int, str, int]], ...]] = tuple(
    frozenset(
        (group, creator, element) for group, creator, elements in blocks for element in elements
    )
    for blocks in (
        # a b-value is meaningless without its direction
        ((0x0019, "SIEMENS MR HEADER", (0x0C, 0x0D, 0x0E, 0x27)),),
        ((0x0021, "SIEMENS MR SDI 02", (0x05, 0x21, 0x23, 0x46)),),
        ((0x0043, "GEMS_PARM_01", (0x39,)), (0x0019, "GEMS_ACQU_01", (0xBB, 0xBC, 0xBD))),
        (
            (0x2001, "Philips Imaging DD 001", (0x03, 0x04)),
            (0x2005, "Philips MR Imaging DD 001", (0xB0, 0xB1, 0xB2)),
        ),
        ((0x0065, "Image Private Header", (0x09, 0x37)),),
        # a number of slices is meaningless without their direction
        ((0x0021, "SIEMENS MR SDI 02", (0x01, 0x02, 0x62)),),
    )
)
_IMAGE_HEADER: Final = (0x0029, "SIEMENS CSA HEADER", 0x10)
_WITH_IMAGE_HEADER: Final = frozenset(
    (
        *((0x0029, "SIEMENS CSA HEADER", element) for element in (0x08, 0x10, 0x18, 0x20)),
        *((0x0019, "SIEMENS MR HEADER", element) for element in (0x0A, 0x29)),
    )
)
_SLICES: Final = frozenset(
    (
        _IMAGE_HEADER,
        (0x0021, "SIEMENS MR SDI 02", 0x01),
        (0x0021, "SIEMENS MR SDI 02", 0x02),
        (0x0021, "SIEMENS MR SDI 02", 0xFE),
        (0x0065, "Image Private Header", 0x50),
    )
)


def with_dependents(refused: set[tuple[int, str, int]]) -> set[tuple[int, str, int]]:
    """Return refused attributes (group, creator, element) and all that depend on them.

    Incomplete groups make a wrong image look right: the number of a mosaic's slices without their
    direction, a b-value without its gradient.
    """
    removed = set(refused)
    for group in _GROUPS:
        if not group.isdisjoint(refused):
            removed |= group
    return removed | _WITH_IMAGE_HEADER if _IMAGE_HEADER in refused else removed


def is_geometry(safe: SafePrivate) -> bool:
    """Whether an attribute is needed to place the slices of a mosaic in space."""
    return (safe.group, safe.creator, safe.element) in _SLICES


def clean(safe: SafePrivate, vr: str, value: bytes, *, little: bool = True) -> bytes | None:
    """Check a value against the list and rebuild vendors' structures.

    Parameters
    ----------
    safe
        The list's entry, with a form other than :data:`ITEMS`.
    vr
        The VR in the file; UN (all private elements in Implicit VR) matches any.
    value
        The bytes of the value, padded or not.
    little
        Whether numbers are little endian.

    Returns
    -------
    bytes or None
        The value, unchanged or rebuilt; None if it must be removed.
    """
    if safe.form.startswith(_WORDS) and safe.vm.endswith("n"):
        value = _known_words(safe, value)
    rewrite = _REWRITTEN.get(safe.form)
    if rewrite is None or not value.strip(b" \0"):
        return value if is_of_form(safe, vr, value, little=little) else None
    if vr not in {safe.vr, "UN"}:
        return None
    try:
        return rewrite(value) or None
    except NotUnderstood:
        return None


def _known_words(safe: SafePrivate, value: bytes) -> bytes:
    """Return the values of a list that are among the words of its form; at least the first."""
    first, *others = value.split(b"\\")
    words = frozenset(safe.form[len(_WORDS) :].encode().split(b"|"))
    known = [other for other in others if other.strip(b" \0") in words]
    return value if len(known) == len(others) else b"\\".join([first, *known])


def is_of_form(safe: SafePrivate, vr: str, value: bytes, *, little: bool = True) -> bool:
    """Whether a value matches the list: VR, number of values, range, and no text in numbers.

    An empty value matches. See :func:`clean` for the parameters.
    """
    if vr not in {safe.vr, "UN"} and not (vr in _TEXTS and safe.vr in _TEXTS):
        return False
    if not value.strip(b" \0"):
        return True
    if safe.form not in _MAX_NUMBER:
        return _is_text_of_form(safe, value)
    largest = _MAX_NUMBER[safe.form]
    if safe.vr in _NUMBERS:
        size, code = _NUMBERS[safe.vr]
        if len(value) % size or not safe.has(len(value) // size):
            return False
        numbers = struct.unpack(f"{order_of(little)}{len(value) // size}{code}", value)
        return all(_is_plausible(number, largest) for number in numbers) and not _spells(
            safe.vr, value
        )
    form = _WRITTEN.get(safe.vr)
    parts = value.rstrip(b" \0").split(b"\\")
    return (
        form is not None
        and safe.has(len(parts))
        and all(
            form.fullmatch(part)
            and len(part.strip()) <= _MAX_DECIMAL
            and abs(float(part)) < largest
            for part in parts
        )
    )


def _is_plausible(number: float, largest: float) -> bool:
    return number == 0 or (isfinite(number) and _MIN_NUMBER < abs(number) < largest)


def _is_text_of_form(safe: SafePrivate, value: bytes) -> bool:
    try:
        values = value.rstrip(b" \0").decode("ascii").split("\\")
    except UnicodeDecodeError:
        return False
    expression = _expression(safe.form)
    return (
        expression is not None
        and safe.has(len(values))
        and all(expression.fullmatch(one.strip(" ")) is not None for one in values)
    )


@cache
def _expression(form: str) -> re.Pattern[str] | None:
    """Return the pattern of a form; None if the form is not one of texts."""
    kind, _, text = form.partition(":")
    match kind:
        case "words":
            return re.compile("|".join(map(re.escape, text.split("|"))))
        case "like":
            return re.compile(text, re.ASCII)
        case _:
            return None


def _spells(vr: str, value: bytes) -> bool:
    """Whether the bytes of binary numbers spell a text.

    A single number of two bytes is undecidable. For numbers of four bytes the range check already
    refuses letters (but 13.4 as a FL is "ffVA"), so only digits count.
    """
    size = _NUMBERS[vr][0]
    if _PRINTABLE.fullmatch(value) is None:
        return False
    return len(value) > size if size == 2 else size == 8 or _DIGITS.search(value) is not None
