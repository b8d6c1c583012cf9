"""Parse the private attributes that stay in an archive into numbers and text, for the last gate.

Vendors store numbers in formats of their own. Checked as text, a b-value of 1000 would match a
patient ID of 1000, and field names of a CSA header would match people's names. The gate therefore
parses the known formats, with code of its own, and checks numbers as numbers.
"""

from __future__ import annotations

import re
import zlib
from functools import cache, lru_cache
from typing import Final

from sendit.deidentify.private_form import ITEMS, candidates, is_of_form
from sendit.recipe.profile import SafePrivate
from sendit.vendors import canon, ge_protocol, siemens_csa

_PAD: Final = b" \0"
_BEGINNINGS: Final = (b"SV10", b"### ASCCONV BEGIN", b"\n### ASCCONV BEGIN")
_STRUCTURES: Final = frozenset(("csa-image", "csa-series", "protocol"))
_MAX_SET: Final = 6
"""Maximum number of nonzero bytes in GE's user data: offset of its header, two of the version,
polarity, echo planar, slice order."""

_MAX_TEXT: Final = 1 << 12
_MAX_CACHED_RUN: Final = 256

_RUN: Final = re.compile(rb"[ -~]{2,}")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0x[0-9a-fA-F]{1,8}")
_LINE: Final = re.compile(r"([^ =]+) *= *([^ ]+)")
_DIMENSIONS: Final = re.compile(r"(?:X|\d{1,4}[ps]?)(?:_\d{1,7}|\*\d{1,4}[ps]?)+")
"""Numbers of slices, echoes and images (ICE_Dims, different in each image), and matrices."""

_DIGITS: Final = re.compile(r"\d+")
_SUBSCRIPT: Final = re.compile(r"\[\d+\]")
_FIXED: Final = frozenset(
    (
        *("SV10", "### ASCCONV BEGIN ###", "### ASCCONV END ###", "ROW", "COL", "NONE"),
        *("DIRECTIONAL", "ISOTROPIC", "BMATRIX"),
        *("CS", "DS", "FD", "FL", "IS", "LO", "LT", "SH", "SL", "SS", "ST", "UL", "UN", "US", "UT"),
    )
)


@cache
def _names() -> frozenset[str]:
    return frozenset(
        (
            *siemens_csa.IMAGE_TAGS,
            *siemens_csa.PROTOCOLS,
            *siemens_csa.protocol_keys(),
            siemens_csa.SEQUENCE,
        )
    )


def numbers_and_text(tag: int, vr: str, raw: bytes) -> tuple[list[str], str] | None:
    """Return the numbers in a vendor's attribute as written, each once in a structure, and its
    remaining text.

    Field names and keywords from closed lists are not returned.

    Parameters
    ----------
    tag, vr
        The attribute.
    raw
        Its value as encoded.

    Returns
    -------
    tuple[list[str], str] or None
        Numbers and text, one value per line; None if the value has none of the forms in the
        list of safe private attributes.
    """
    if tag == canon.IMAGE_COMMENTS:
        text = raw.strip(_PAD).decode("latin-1")
        return ([], "") if canon.gradient(text) == text else None
    for safe in candidates(tag):
        if safe.form == "ge-protocol":
            return _of_ge_protocol(raw)
        if safe.form == "ge-user-data":
            return _of_ge_user_data(raw)
        if safe.form in _STRUCTURES:
            if raw.startswith(_BEGINNINGS):
                return _of_structure(raw)
        elif safe.form != ITEMS and is_of_form(safe, vr, raw):
            return _of_value(safe, raw), ""
    return None


def _of_value(safe: SafePrivate, raw: bytes) -> list[str]:
    if safe.vr not in {"DS", "IS"}:
        return []
    return [value.strip() for value in raw.strip(_PAD).decode("ascii").split("\\")]


def _of_structure(raw: bytes) -> tuple[list[str], str]:
    numbers: list[str] = []
    texts: list[str] = []
    for run in dict.fromkeys(_RUN.findall(raw)):
        read = _of_run if len(run) <= _MAX_CACHED_RUN else _of_run.__wrapped__
        for value, is_number in read(run):
            (numbers if is_number else texts).append(value)
    return numbers, "\n".join(texts)


@lru_cache(1 << 13)
def _of_run(run: bytes) -> tuple[tuple[str, bool], ...]:
    """Return the values in a run of printable bytes, and whether each is a number.

    Cached, because the images of a series share most runs.
    """
    text = run.decode("ascii").strip()
    line = _LINE.fullmatch(text)
    name, value = (line[1], line[2]) if line else (text, "")
    values = []
    if _SUBSCRIPT.sub("[]", name) not in _names() and name not in _FIXED:
        values.append(name)
    if value and value.strip('"') not in siemens_csa.SEQUENCES:
        values.append(value)
    parts = (
        part
        for each in values
        for part in (_DIGITS.findall(each) if _DIMENSIONS.fullmatch(each) else (each,))
    )
    return tuple((each, _NUMBER.fullmatch(each) is not None) for each in parts)


def _of_ge_protocol(raw: bytes) -> tuple[list[str], str] | None:
    """Return the settings of GE's compressed protocol; None if it is malformed."""
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        text = reader.decompress(raw[4:], _MAX_TEXT).decode("latin-1")
    except zlib.error:
        return None
    if not reader.eof or reader.unused_data.strip(_PAD):
        return None
    values: list[str] = []
    for line in filter(None, text.split("\n")):
        name, _, value = line.partition(" ")
        if name not in ge_protocol.NUMBERS and name != ge_protocol.OPTIONS:
            values.append(name)
        values += (
            word
            for word in re.split(r"[,\s]+", value.strip('"'))
            if word and word not in ge_protocol.KNOWN_OPTIONS and word != ge_protocol.MINIMUM
        )
    numbers = [value for value in values if _NUMBER.fullmatch(value)]
    return numbers, "\n".join(value for value in values if not _NUMBER.fullmatch(value))


def _of_ge_user_data(raw: bytes) -> tuple[list[str], str] | None:
    """Return no values for a block that holds only a known version and a few flags."""
    set_bytes = sum(1 for byte in raw if byte)
    return ([], "") if set_bytes <= _MAX_SET and _RUN.search(raw) is None else None
