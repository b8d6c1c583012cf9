"""Text of DICOM values in the character sets of PS3.3 C.12.1.1.2.

``character_set`` is always the raw value of (0008,0005) without padding, because that is
what is at hand and what caches are keyed by. Terms that are misspelt but mean one thing only
are read as what they mean (:func:`defined_terms`).
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

TEXT_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs that (0008,0005) governs; all others are ASCII."""

ASCII_VRS: Final = frozenset(("AE", "AS", "CS"))
"""VRs of terms and titles, whose bytes are ASCII in every character set."""

_DELIMITERS: Final = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_ESCAPE: Final = b"\x1b"
# Sets in which bytes below 0x80 are ASCII on their own, so that ASCII text is right as it is
_NOT_ASCII: Final = frozenset((b"ISO_IR 13", b"ISO 2022 IR 13"))


_NO_LETTER: Final = re.compile(r"[^A-Z0-9]")
_PARTS_OF_8859: Final = {
    1: "100",
    2: "101",
    3: "109",
    4: "110",
    5: "144",
    6: "127",
    7: "126",
    8: "138",
    9: "148",
    11: "166",
}
"""Registration numbers of the parts of ISO/IEC 8859 (PS3.3 Table C.12-2)."""

_MEANT: Final = {
    **{_NO_LETTER.sub("", term): term for term in python_encoding if term},
    **{
        f"{head}8859{part}": f"ISO_IR {number}"
        for part, number in _PARTS_OF_8859.items()
        for head in ("ISO", "ISOIR", "ISOIEC")
    },
    **dict.fromkeys(("LATIN1", "ISOLATIN1"), "ISO_IR 100"),
    **dict.fromkeys(("UTF8", "UNICODEUTF8", "ISO10646", "ISO10646UTF8"), "ISO_IR 192"),
    **dict.fromkeys(("ASCII", "USASCII", "ISO646"), "ISO_IR 6"),
}
"""What a term means by its letters and digits."""


@lru_cache(maxsize=256)
def defined_terms(character_set: bytes) -> bytes | None:
    """Return a character set in the standard's own terms; None if nobody can say which it is.

    ``ISO IR 192``, ``iso_ir_100``, ``ISO 8859-1``, ``UTF-8`` and the like mean one thing only.
    """
    terms = []
    for part in character_set.decode("latin-1").split("\\"):
        term: str | None = part.strip(" \0")
        if term not in python_encoding:
            term = _MEANT.get(_NO_LETTER.sub("", part.upper()))
        if term is None:
            return None
        terms.append(term)
    if len(terms) > 1:  # code extensions have terms of their own
        extended = [term.replace("ISO_IR ", "ISO 2022 IR ") for term in terms]
        terms = extended if all(term in python_encoding for term in extended) else terms
    return "\\".join(terms).encode("ascii")


@lru_cache(maxsize=256)
def encodings(character_set: bytes) -> tuple[str, ...]:
    """Return the Python codecs of a character set; unknown terms read as the default."""
    known = defined_terms(character_set) or b""
    terms = [part.strip(" ") for part in known.decode("latin-1").split("\\")]
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
    if not defined_terms(character_set):
        first = "ascii"
    if first in ("utf8", "utf-8", "UTF8"):
        return text.encode("utf-8", "replace")
    if first in {"iso8859", "ascii"} or first.startswith("iso2022"):
        first = "ascii"
    try:
        return text.encode(first, "replace")
    except LookupError:
        return text.encode("ascii", "replace")


def is_valid(value: bytes, vr: str, character_set: bytes) -> bool:
    """Whether bytes of a text are of the character set that a file declares.

    The default repertoire, a set that nobody knows, and VRs that are not governed by one have
    ASCII only.
    """
    if value.isascii():
        return True
    declared = defined_terms(character_set)
    codecs = encodings(character_set)
    if not declared or vr in ASCII_VRS or codecs == ("iso8859",):
        return False
    if len(codecs) > 1 or codecs[0].startswith("iso2022"):
        return "\ufffd" not in decode(value, character_set)
    try:
        value.decode(codecs[0])
    except (UnicodeDecodeError, LookupError):
        return False
    return True
