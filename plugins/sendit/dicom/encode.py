"""Encode elements, values and items (PS3.5 chapter 7); pad values to even length (PS3.5 6.2)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sendit.dicom import charset
from sendit.dicom.binary import (
    LENGTH,
    LONG_HEAD,
    NUMBER_FORMATS,
    SHORT_HEAD,
    TAG_AND_LENGTH,
    order_of,
)
from sendit.dicom.scan import LONG_VRS, SHORT_VRS, UNDEFINED, Encoding

Part = bytes | bytearray | memoryview

PREAMBLE: Final = bytes(128) + b"DICM"
"""Preamble and prefix of a file (PS3.10 7.1)."""

ITEM_HEAD: Final = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
ITEM_TAIL: Final = {
    True: b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    False: b"\xff\xfe\xe0\x0d\x00\x00\x00\x00",
}
SEQUENCE_TAIL: Final = {
    True: b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    False: b"\xff\xfe\xe0\xdd\x00\x00\x00\x00",
}

_ISO_DATE: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:T.*)?", re.ASCII)
POINTER: Final = re.compile(r"\(?\s*([0-9A-Fa-f]{4}),?\s*([0-9A-Fa-f]{4})\s*\)?")
_CHOICES: Final = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}


@dataclass(frozen=True, slots=True)
class NewElement:
    """An element to create; its value is text, or items for a sequence."""

    tag: int
    vr: str
    value: str | tuple[tuple[NewElement, ...], ...]


def one_vr(vr: str) -> str:
    """Return the VR to write where the dictionary leaves a choice."""
    return _CHOICES.get(vr, vr)


@lru_cache(maxsize=65536)
def head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Encode the header of an element: tag, VR and length.

    In explicit VR, a short VR becomes UN if the length does not fit into 16 bits.
    """
    little = encoding.little
    group, element = tag >> 16, tag & 0xFFFF
    if not encoding.explicit:
        return TAG_AND_LENGTH[little].pack(group, element, length)
    if vr in SHORT_VRS and length <= 0xFFFF:
        return SHORT_HEAD[little].pack(group, element, vr.encode(), length)
    written = vr if vr in LONG_VRS else "UN"
    return LONG_HEAD[little].pack(group, element, written.encode(), 0, length)


def padded(value: bytes, vr: str) -> bytes:
    """Pad a value to even length."""
    if len(value) & 1 == 0:
        return value
    return value + (b"\0" if vr == "UI" or vr[0] == "O" or vr == "UN" else b" ")


def element(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """Encode an element with defined length."""
    value = padded(value, vr)
    return head(tag, vr, len(value), encoding) + value


def pack(vr: str, text: str, encoding: Encoding, character_set: bytes) -> bytes | None:
    """Encode text as the value of a VR, without padding.

    Parameters
    ----------
    vr
        The VR.
    text
        The value. A DA also accepts timestamps (``2010-02-09T11:50:00-0800``).
    encoding
        Determines the byte order of binary numbers.
    character_set
        The value of (0008,0005).

    Returns
    -------
    bytes or None
        None if the VR cannot hold the text.
    """
    form = NUMBER_FORMATS.get(vr)
    try:
        if form is not None:
            number = float if form in "fd" else int
            parts = [number(part) for part in text.split("\\")] if text else []
            return struct.pack(f"{order_of(encoding.little)}{len(parts)}{form}", *parts)
        if vr in _OTHERS:
            return _OTHERS[vr](text, encoding)
        if vr[0] == "O" or vr == "UN":
            return text.encode("utf-8")
        if vr == "DA" and (date := _ISO_DATE.fullmatch(text)):
            text = "".join(date.groups())
    except (ValueError, OverflowError, struct.error):
        return None
    return charset.encode(text, character_set if vr in charset.TEXT_VRS else b"")


def _pointer(text: str) -> tuple[int, int] | None:
    """Parse an AT given as text into group and element; None if it is invalid."""
    pointer = POINTER.fullmatch(text)
    return (int(pointer[1], 16), int(pointer[2], 16)) if pointer else None


def _pointers(text: str, encoding: Encoding) -> bytes | None:
    pointers = [_pointer(part) for part in text.split("\\")] if text else []
    numbers = [number for pair in pointers if pair is not None for number in pair]
    if len(numbers) < 2 * len(pointers):
        return None
    return struct.pack(f"{order_of(encoding.little)}{len(numbers)}H", *numbers)


def _no_text(text: str, _: Encoding) -> bytes | None:
    return None if text else b""


_OTHERS: Final = {"AT": _pointers, "SQ": _no_text}


def build(new: NewElement, encoding: Encoding, character_set: bytes) -> bytes:
    """Encode a new element."""
    if isinstance(new.value, str):
        return element(
            new.tag, new.vr, pack(new.vr, new.value, encoding, character_set) or b"", encoding
        )
    return element(new.tag, "SQ", build_items(new.value, encoding, character_set), encoding)


def build_items(
    items: tuple[tuple[NewElement, ...], ...], encoding: Encoding, character_set: bytes
) -> bytes:
    """Encode items with defined length, as the value of a sequence."""
    parts: list[bytes] = []
    for members in items:
        content = b"".join(build(member, encoding, character_set) for member in members)
        parts.append(item(content, encoding))
    return b"".join(parts)


def item(content: bytes, encoding: Encoding, *, undefined: bool = False) -> bytes:
    """Encode an item of a sequence.

    Parameters
    ----------
    content
        Its encoded elements.
    encoding
        Encoding of the sequence.
    undefined
        Whether to write an undefined length and a delimiter.
    """
    length = UNDEFINED if undefined else len(content)
    start = ITEM_HEAD[encoding.little] + LENGTH[encoding.little].pack(length)
    return start + content + (ITEM_TAIL[encoding.little] if undefined else b"")
