"""Decode and encode text in the character sets of PS3.3 C.12.1.1.2.

``character_set`` is always the raw value of (0008,0005) without padding, which is also the key of
caches. Misspelt but unambiguous terms are accepted (:func:`defined_terms`).
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

TEXT_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs to which (0008,0005) applies; all others are ASCII."""

ASCII_VRS: Final = frozenset(("AE", "AS", "CS"))
"""VRs of terms and titles, whose bytes are ASCII in every character set."""

_DELIMITERS: Final = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_ESCAPE: Final = b"\x1b"
# Sets in which bytes below 0x80 are not ASCII: JIS X 0201 has a yen sign and an overline there
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
"""Defined Terms by the letters and digits of their variants."""


@lru_cache(maxsize=256)
def defined_terms(character_set: bytes) -> bytes | None:
    """Return the Defined Terms of a character set; None if it is unknown.

    Unambiguous variants such as ``ISO IR 192``, ``iso_ir_100``, ``ISO 8859-1`` and ``UTF-8`` are
    replaced by their Defined Terms.
    """
    terms = []
    for part in character_set.decode("latin-1").split("\\"):
        term: str | None = part.strip(" \0")
        if term not in python_encoding:
            term = _MEANT.get(_NO_LETTER.sub("", part.upper()))
        if term is None:
            return None
        terms.append(term)
    if len(terms) > 1:  # code extensions have different terms
        extended = [term.replace("ISO_IR ", "ISO 2022 IR ") for term in terms]
        terms = extended if all(term in python_encoding for term in extended) else terms
    return "\\".join(terms).encode("ascii")


@lru_cache(maxsize=256)
def encodings(character_set: bytes) -> tuple[str, ...]:
    """Return the Python codecs of a character set; unknown terms fall back to the default."""
    known = defined_terms(character_set) or b""
    terms = [part.strip(" ") for part in known.decode("latin-1").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the value
        try:
            return tuple(convert_encodings(terms if len(terms) > 1 else terms[0]))
        except (LookupError, ValueError):
            return ("iso8859",)


def decode(value: bytes, character_set: bytes) -> str:
    """Decode a value; invalid bytes become U+FFFD."""
    if value.isascii() and _ESCAPE not in value and character_set not in _NOT_ASCII:
        return value.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(value, encodings(character_set), _DELIMITERS)
        except (LookupError, ValueError):
            return value.decode("latin-1")


def encode(text: str, character_set: bytes) -> bytes:
    """Encode text in a character set; characters that it lacks become ``?``.

    Uses only the first character set, never code extensions, which sendit's texts do not need.
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
    """Whether a value is valid in the character set that its file declares.

    Only ASCII is valid in the default repertoire, in unknown character sets, and in VRs to which
    (0008,0005) does not apply.
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
