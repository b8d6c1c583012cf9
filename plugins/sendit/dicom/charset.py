"""Text of DICOM values in the character sets of PS3.3 C.12.1.1.2.

``character_set`` is always the raw value of (0008,0005) without padding, because that is
what is at hand and what caches are keyed by.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes

TEXT_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs that (0008,0005) governs; all others are ASCII."""

_DELIMITERS: Final = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_ESCAPE: Final = b"\x1b"
# Sets in which bytes below 0x80 are ASCII on their own, so that ASCII text is right as it is
_NOT_ASCII: Final = frozenset((b"ISO_IR 13", b"ISO 2022 IR 13"))


@lru_cache(maxsize=256)
def encodings(character_set: bytes) -> tuple[str, ...]:
    """Return the Python codecs of a character set; unknown terms read as the default."""
    terms = [part.strip(" ") for part in character_set.decode("latin-1").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the value
        try:
            return tuple(convert_encodings(terms if len(terms) > 1 else terms[0]))
        except (LookupError, ValueError):
            return ("iso8859",)


def decode(value: bytes, character_set: bytes) -> str:
    """Return a value's text; bytes that the set does not have become U+FFFD."""
    if value.isascii() and _ESCAPE not in value and character_set not in _NOT_ASCII:
        return value.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(value, encodings(character_set), _DELIMITERS)
        except (LookupError, ValueError):
            return value.decode("latin-1")


def encode(text: str, character_set: bytes) -> bytes:
    """Return text as bytes that are valid in a character set.

    What the set cannot hold is written as ``?``. Only the first, single-byte or
    self-contained set is used: no code extension is ever needed for what sendit writes.
    """
    if text.isascii():
        return text.encode("ascii")
    first = encodings(character_set)[0]
    if first in ("utf8", "utf-8", "UTF8"):
        return text.encode("utf-8", "replace")
    if not character_set or first.startswith("iso2022"):
        first = "ascii"
    try:
        return text.encode(first, "replace")
    except LookupError:
        return text.encode("ascii", "replace")
