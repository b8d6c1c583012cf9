"""Locate the elements of a DICOM file, and refuse inconsistent files.

The scanner parses the entire structure (PS3.5 chapter 7, PS3.10 chapter 7) without decoding
values: file meta, nested sequences, fragments of encapsulated pixel data, elements after the pixel
data, trailing bytes. It returns offsets, so values that are not needed are never copied and pixel
bytes pass unchanged.

Invalid input raises :class:`~sendit.errors.SkipInstance` with a :class:`~sendit.batch.Reason`, and
never any other exception. Work and memory are bounded: nesting by :data:`MAX_DEPTH`, elements by
:data:`MAX_IN_DATA_SET` and :data:`MAX_ELEMENTS`, an inflated data set by :data:`MAX_INFLATED`.

Tolerated, as in pydicom: a missing preamble or file meta, a wrong or missing group length of file
meta, items in implicit VR in an explicit data set, UN elements that contain sequences (implicit VR
little endian, PS3.5 6.2.2), private sequences of defined length in implicit VR, elements out of
order. Not tolerated, unlike in pydicom: elements that extend past the end of the file or of their
item, unknown VRs, a data set in two encodings.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from isal import isal_zlib

from sendit.batch import Reason
from sendit.dicom import charset
from sendit.dicom.binary import (
    LENGTH,
    NUMBER_FORMATS,
    SHORT_HEAD,
    TAG,
    TAG_AND_LENGTH,
    order_of,
)
from sendit.dicom.dictionary import DicomDictionary, RepeatersDictionary
from sendit.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    NATIVE,
    SUPPORTED,
)
from sendit.errors import SkipInstance

Buffer = bytes | mmap.mmap

MAX_DEPTH: Final = 64
"""Maximum nesting of sequences."""

MAX_ELEMENTS: Final = 2_000_000
"""Maximum number of elements and items in a file (an enhanced object with 10,000 frames has about
a million)."""

MAX_IN_DATA_SET: Final = 1 << 16
"""Maximum number of elements in a data set or item, not counting those in its sequences."""

MAX_INFLATED: Final = 256 << 20
"""Maximum size of an inflated data set in bytes."""

HEAD: Final = 128 << 10
"""Bytes that import reads first; most headers are shorter."""

MAX_READ: Final = 64 << 20
"""Larger files, in bytes, are memory-mapped instead of read."""

UNDEFINED: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
DIRECTORY_RECORDS: Final = 0x00041220
CHARACTER_SET: Final = 0x00080005
IMAGE_TYPE: Final = 0x00080008
SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
STUDY_UID: Final = 0x0020000D
SERIES_UID: Final = 0x0020000E
TRAILING_PADDING: Final = 0xFFFCFFFC
PIXEL_DATA_TAGS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

_SHORT = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT"),
    *("PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
)
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SHORT_VRS: Final = frozenset(_SHORT)
LONG_VRS: Final = frozenset(_LONG)
MAYBE_ITEMS: Final = frozenset(("SQ", "UN"))
"""VRs whose values may be items."""

_SHORT_OF_BYTES: Final[dict[bytes, str]] = {vr.encode(): vr for vr in _SHORT}
_LONG_OF_BYTES: Final[dict[bytes, str]] = {vr.encode(): vr for vr in _LONG}
_VR_OF_BYTES: Final[dict[bytes, str]] = _SHORT_OF_BYTES | _LONG_OF_BYTES

PUBLIC_VR: Final[dict[int, str]] = {tag: entry[0] for tag, entry in DicomDictionary.items()}
"""VR of each attribute in the dictionary; alternatives are given as ``"US or SS"``."""

_REPEATER_VR: Final[dict[int, str]] = {
    int(key[4:], 16): entry[0]
    for key, entry in RepeatersDictionary.items()
    if key[2:4] == "xx" and "x" not in key[4:]
}


class Encoding(NamedTuple):
    """The encoding of a data set: explicit or implicit VR, byte order."""

    explicit: bool
    little: bool


IMPLICIT_LITTLE: Final = Encoding(explicit=False, little=True)
EXPLICIT_LITTLE: Final = Encoding(explicit=True, little=True)
EXPLICIT_BIG: Final = Encoding(explicit=True, little=False)

# tag, VR, offsets of the element, of its value and of its end (including delimiters), items
Element = tuple[int, str, int, int, int, "list[Item] | None"]
# A plain tuple, because a NamedTuple takes four times as long to create, 200 times per file.
Item = tuple[Encoding, list[Element]]

_DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"

_ZEROS: Final = bytes(1 << 16)


def vr_of(tag: int) -> str:
    """Return the VR of a tag in the dictionary; LO for private creators, UN if unknown."""
    vr = PUBLIC_VR.get(tag)
    if vr is not None:
        return vr
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "UL"
    if group & 1:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    if group & 0xFF00 in (0x5000, 0x6000):
        return _REPEATER_VR.get(element, "UN")
    return "UN"


class _Walk:
    """A scan of one data set; holds the state that recursive calls share."""

    __slots__ = ("_left", "data", "end")

    def __init__(self, data: Buffer, size: int) -> None:
        self.data = data
        self.end = size
        self._left = MAX_ELEMENTS

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise SkipInstance(Reason.MALFORMED)

    def _limit(self, position: int, last: int, count: int) -> int:
        """Return the offset up to which elements need not be counted.

        An element takes at least eight bytes, so the elements before that offset cannot exceed
        the remaining budget.
        """
        left = min(self._left, MAX_IN_DATA_SET - count)
        if left < 0:
            raise SkipInstance(Reason.MALFORMED)
        return min(last, position + 8 * left)

    def _overrun(self, after: int) -> SkipInstance:
        return SkipInstance(Reason.TRUNCATED if after > self.end else Reason.MALFORMED)

    def _misread(self, length_at: int, tag: int, before: Sequence[Element]) -> bool:
        """Whether an implicit VR element that extends past the end has another encoding: its
        length spells a VR, or its tag is out of order."""
        return bytes(self.data[length_at : length_at + 2]) in _VR_OF_BYTES or (
            bool(before) and tag <= before[-1][0]
        )

    def elements(
        self, position: int, end: int, encoding: Encoding, depth: int, *, until_delimiter: bool
    ) -> tuple[list[Element], int]:
        """Return the elements of an item, and the offset after it and its delimiter.

        Raises
        ------
        SkipInstance
            The item is malformed or extends past the end.
        """
        if depth > MAX_DEPTH:
            raise SkipInstance(Reason.MALFORMED)
        members: list[Element] = []
        position = (self.explicit if encoding.explicit else self.implicit)(
            members, position, end, encoding, depth, nested=True
        )
        if position == end:
            if until_delimiter:
                raise self._overrun(self.end + 1 if end == self.end else end)
            return members, position
        if position + 8 > end:
            raise self._overrun(position + 8)
        group, element, _ = TAG_AND_LENGTH[encoding.little].unpack_from(self.data, position)
        # A delimiter after an item of defined length is superfluous but harmless.
        if group << 16 | element == ITEM_END and (until_delimiter or position + 8 == end):
            return members, position + 8
        raise SkipInstance(Reason.MALFORMED)

    def explicit(
        self,
        elements: list[Element],
        position: int,
        end: int,
        encoding: Encoding,
        depth: int,
        *,
        nested: bool,
    ) -> int:
        """Append explicit VR elements; return the offset of the end, a delimiter or other bytes.

        Raises
        ------
        SkipInstance
            An element is malformed, or in an item extends past the end.
        """
        data = self.data
        head = SHORT_HEAD[encoding.little].unpack_from
        long_length = LENGTH[encoding.little].unpack_from
        short, long = _SHORT_OF_BYTES.get, _LONG_OF_BYTES.get
        append = elements.append
        before = len(elements)
        last = end - 8
        while position <= last:
            limit = self._limit(position, last, len(elements))
            while position <= limit:
                group, element, vr_bytes, length = head(data, position)
                vr = short(vr_bytes)
                items = None
                if vr is not None:
                    value = position + 8
                    after = value + length
                else:
                    vr = long(vr_bytes)
                    if vr is None or position > end - 12:
                        # An item delimiter, or not an element: the caller decides.
                        if nested and vr is None and group != 0xFFFE:
                            raise SkipInstance(Reason.MALFORMED)
                        self._spend(len(elements) - before)
                        return position
                    (length,) = long_length(data, position + 8)
                    value = position + 12
                    if length == UNDEFINED or vr in MAYBE_ITEMS:
                        tag = group << 16 | element
                        after, items = self._long(tag, vr, value, length, end, encoding, depth)
                    else:
                        after = value + length
                if after > end:
                    if nested:
                        raise self._overrun(after)
                    self._spend(len(elements) - before)
                    return position
                append((group << 16 | element, vr, position, value, after, items))
                position = after
            self._spend(len(elements) - before)
            before = len(elements)
        return position

    def implicit(
        self,
        elements: list[Element],
        position: int,
        end: int,
        encoding: Encoding,
        depth: int,
        *,
        nested: bool,
    ) -> int:
        """Append implicit VR elements, with VRs from the dictionary; see :meth:`explicit`.

        Raises
        ------
        SkipInstance
            An element is malformed, or in an item extends past the end.
        """
        data = self.data
        head = TAG_AND_LENGTH[encoding.little].unpack_from
        public = PUBLIC_VR.get
        append = elements.append
        before = len(elements)
        last = end - 8
        while position <= last:
            limit = self._limit(position, last, len(elements))
            while position <= limit:
                group, element, length = head(data, position)
                if group == 0xFFFE or not group:  # a delimiter, or zeros
                    self._spend(len(elements) - before)
                    return position
                tag = group << 16 | element
                vr = public(tag) or vr_of(tag)
                value = position + 8
                items = None
                if length == UNDEFINED or vr in MAYBE_ITEMS:
                    after, items = self._long(tag, vr, value, length, end, encoding, depth)
                else:
                    after = value + length
                if after > end:
                    if nested:
                        misread = self._misread(position + 4, tag, elements)
                        raise SkipInstance(Reason.MALFORMED) if misread else self._overrun(after)
                    self._spend(len(elements) - before)
                    return position
                append((tag, vr, position, value, after, items))
                position = after
            self._spend(len(elements) - before)
            before = len(elements)
        return position

    def _long(  # noqa: PLR0917 hot: called for each long element
        self, tag: int, vr: str, value: int, length: int, end: int, encoding: Encoding, depth: int
    ) -> tuple[int, list[Item] | None]:
        """Scan an element that may be a sequence or encapsulated; return its end and its items."""
        if length == UNDEFINED:
            if vr[0] == "O":  # OB, OW, and the dictionary's "OB or OW"
                if tag != PIXEL_DATA:  # no other element may have fragments (PS3.5 A.4)
                    raise SkipInstance(Reason.MALFORMED)
                return self._fragments(value, end, encoding), None
            if encoding.explicit and vr not in ("SQ", "UN"):
                raise SkipInstance(Reason.MALFORMED)
            inner = IMPLICIT_LITTLE if vr == "UN" else encoding  # PS3.5 6.2.2
            return self._items(value, end, inner, depth, defined=False)
        after = value + length
        if after > end or length < 8:
            if vr == "SQ" and 0 < length < 8:
                raise SkipInstance(Reason.MALFORMED)
            return after, [] if vr == "SQ" else None
        if vr == "SQ":
            _, items = self._items(value, after, encoding, depth, defined=True)
            return after, items
        return after, self._unknown(value, after, depth)

    def _unknown(self, value: int, after: int, depth: int) -> list[Item] | None:
        """Return the items of a UN value if it is a sequence, else None."""
        if bytes(self.data[value : value + 4]) != b"\xfe\xff\x00\xe0":
            return None
        try:
            return self._items(value, after, IMPLICIT_LITTLE, depth, defined=True)[1]
        except SkipInstance:
            if self._left < 0:
                raise
            return None

    def _items(
        self, position: int, end: int, encoding: Encoding, depth: int, *, defined: bool
    ) -> tuple[int, list[Item]]:
        items: list[Item] = []
        data = self.data
        head = TAG_AND_LENGTH[encoding.little].unpack_from
        while True:
            if defined and position == end:
                return position, items
            if position + 8 > end:
                raise self._overrun(position + 8)
            group, element, length = head(data, position)
            tag = group << 16 | element
            position += 8
            if tag == SEQUENCE_END and (not defined or position == end):
                return position, items
            if tag != ITEM:
                raise SkipInstance(Reason.MALFORMED)
            self._spend(1)
            inner = self._encoding_of_item(position, end, encoding)
            if length == UNDEFINED:
                elements, position = self.elements(
                    position, end, inner, depth + 1, until_delimiter=True
                )
            else:
                after = position + length
                if after > end:
                    raise self._overrun(after)
                elements, position = self.elements(
                    position, after, inner, depth + 1, until_delimiter=False
                )
            items.append((inner, elements))

    def _encoding_of_item(self, position: int, end: int, encoding: Encoding) -> Encoding:
        """Return implicit VR for an item whose first element has no VR, as pydicom does."""
        if not encoding.explicit or position + 8 > end:
            return encoding
        group, _, vr, _ = SHORT_HEAD[encoding.little].unpack_from(self.data, position)
        if group == 0xFFFE or vr.isupper() or not encoding.little:
            return encoding
        return IMPLICIT_LITTLE

    def _fragments(self, position: int, end: int, encoding: Encoding) -> int:
        """Return the offset after encapsulated pixel data (PS3.5 A.4)."""
        head = TAG_AND_LENGTH[encoding.little].unpack_from
        data = self.data
        count = 0
        while True:
            if position + 8 > end:
                raise self._overrun(position + 8)
            group, element, length = head(data, position)
            position += 8
            if group != 0xFFFE:
                raise SkipInstance(Reason.MALFORMED)
            if element == 0xE0DD:
                self._spend(count)
                return position
            if element != 0xE000 or length == UNDEFINED or count >= self._left:
                raise SkipInstance(Reason.MALFORMED)
            position += length
            if position > end:
                raise self._overrun(position)
            count += 1

    def dataset(self, position: int, encoding: Encoding) -> tuple[list[Element], int]:
        """Return the top-level elements and the offset of their end.

        Bytes after that count as trailing if they are eight or more zeros or, after pixel data,
        anything but the beginning of an element that is in the dictionary and in tag order.
        """
        elements: list[Element] = []
        end = self.end
        position = (self.explicit if encoding.explicit else self.implicit)(
            elements, position, end, encoding, 0, nested=False
        )
        if position < end:
            self._check_trailing(elements, position, encoding)
        return elements, position

    def one(self, position: int, encoding: Encoding) -> Element | None:
        """Return the top-level element at an offset; None if there is no complete one."""
        data, end = self.data, self.end
        if position + 8 > end:
            return None
        items = None
        if encoding.explicit:
            group, element, vr_bytes, length = SHORT_HEAD[encoding.little].unpack_from(
                data, position
            )
            vr, value = _VR_OF_BYTES.get(vr_bytes, ""), position + 8
            long = vr in LONG_VRS
            if long:
                if position + 12 > end:
                    return None
                (length,) = LENGTH[encoding.little].unpack_from(data, value)
                value += 4
        else:
            group, element, length = TAG_AND_LENGTH[encoding.little].unpack_from(data, position)
            vr, value = vr_of(group << 16 | element), position + 8
            long = True
        if not vr or group in {0, 0xFFFE}:
            return None
        if long and (length == UNDEFINED or vr in MAYBE_ITEMS):
            tag = group << 16 | element
            after, items = self._long(tag, vr, value, length, end, encoding, 0)
        else:
            after = value + length
        return None if after > end else (group << 16 | element, vr, position, value, after, items)

    def _check_trailing(self, elements: list[Element], position: int, encoding: Encoding) -> None:
        """Raise SkipInstance if the remaining bytes may be part of the data set."""
        left = self.end - position
        if left >= 8 and _all_zero(self.data, position):
            return
        pixels = any(element[0] in PIXEL_DATA_TAGS for element in reversed(elements))
        if left >= 8:
            group, element, _ = TAG_AND_LENGTH[encoding.little].unpack_from(self.data, position)
            tag = group << 16 | element
            if not pixels:
                if not encoding.explicit:
                    misread = not group or self._misread(position + 4, tag, elements)
                    raise SkipInstance(Reason.MALFORMED if misread else Reason.TRUNCATED)
                known = bytes(self.data[position + 4 : position + 6]) in _VR_OF_BYTES
                raise SkipInstance(Reason.TRUNCATED if known else Reason.MALFORMED)
            if tag in PUBLIC_VR and tag > elements[-1][0]:
                raise SkipInstance(Reason.TRUNCATED)
        elif not pixels:
            raise SkipInstance(Reason.TRUNCATED)


def element_at(data: Buffer, position: int, encoding: Encoding) -> Element | None:
    """Scan one top-level element.

    Parameters
    ----------
    data
        The bytes of the file.
    position
        Offset of the element.
    encoding
        Encoding of the data set.

    Returns
    -------
    Element or None
        None if there is no complete element at this offset.

    Raises
    ------
    SkipInstance
        Its content is malformed or extends past its end.
    """
    return _Walk(data, len(data)).one(position, encoding)


def _all_zero(data: Buffer, position: int) -> bool:
    end = len(data)
    while end - position > len(_ZEROS):
        if data[position : position + len(_ZEROS)] != _ZEROS:
            return False
        position += len(_ZEROS)
    return data[position:end] == _ZEROS[: end - position]


class Header:
    """The elements of one file, with their offsets.

    Attributes
    ----------
    data
        The buffer that offsets refer to: the file, or the inflated data set.
    encoding
        Encoding of the top-level data set.
    elements
        Top-level elements in file order: (tag, VR, offset of the element, offset of the value,
        offset of the end, items or None).
    meta
        Values of file meta by tag (group 0002 only; empty if there is none).
    transfer_syntax
        UID of the transfer syntax. As in pydicom, the first element decides if file meta has none
        or contradicts it.
    size
        Size of the file in bytes.
    trailing
        Number of bytes after the last element.
    """

    __slots__ = (
        "_index",
        "data",
        "elements",
        "encoding",
        "meta",
        "size",
        "trailing",
        "transfer_syntax",
    )

    def __init__(
        self,
        *,
        data: Buffer,
        encoding: Encoding,
        elements: list[Element],
        meta: dict[int, bytes],
        transfer_syntax: str,
        size: int,
        trailing: int,
    ) -> None:
        self.data = data
        self.encoding = encoding
        self.elements = elements
        self.meta = meta
        self.transfer_syntax = transfer_syntax
        self.size = size
        self.trailing = trailing
        self._index: dict[int, Element] | None = None

    def __enter__(self) -> Header:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close a memory-mapped file."""
        if isinstance(self.data, mmap.mmap):
            self.data.close()

    @property
    def deflated(self) -> bool:
        """Whether ``data`` is an inflated copy."""
        return self.transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN

    def element(self, tag: int) -> Element | None:
        """Return a top-level element; the last one if the tag is duplicated, as in pydicom."""
        if self._index is None:
            self._index = {element[0]: element for element in self.elements}
        return self._index.get(tag)

    def raw(self, tag: int) -> bytes | None:
        """Return the value of a top-level element as bytes; None if absent."""
        value = self.meta.get(tag) if tag >> 16 == 2 else None
        if value is not None:
            return value
        element = self.element(tag)
        return None if element is None else bytes(self.data[element[3] : element[4]])

    @property
    def character_set(self) -> bytes:
        """Value of (0008,0005) without padding; empty for the default repertoire."""
        return (self.raw(CHARACTER_SET) or b"").strip(b" \0")

    def text(self, tag: int) -> str | None:
        """Return a top-level value as text.

        Text is decoded in the file's character set; values are stripped of padding and separated
        by backslashes. Numbers are formatted as by pydicom.

        Returns
        -------
        str or None
            ``""`` for sequences and values that are not text; None if the element is absent.
        """
        raw = self.raw(tag)
        if raw is None:
            return None
        if tag >> 16 == 2:
            return raw.strip(b" \0").decode("ascii", "replace") if tag != 0x00020001 else ""
        element = self.element(tag)
        vr = element[1] if element else "UN"
        if element is not None and element[5] is not None:
            return ""
        return value_text(tag, vr, raw, self.encoding, self.character_set)

    def uid(self, tag: int) -> str:
        """Return a UID value (``""`` if absent or empty)."""
        return (self.raw(tag) or b"").strip(b" \0").decode("ascii", "replace")

    @property
    def sop_class(self) -> str:
        """SOPClassUID (0008,0016), or ``""``."""
        return self.uid(SOP_CLASS)

    @property
    def sop_instance(self) -> str:
        """SOPInstanceUID (0008,0018), or ``""``."""
        return self.uid(SOP_INSTANCE)

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID (0020,000D), or ``""``."""
        return self.uid(STUDY_UID)

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID (0020,000E), or ``""``."""
        return self.uid(SERIES_UID)


_NUMBERS: Final[Mapping[str, str]] = {**NUMBER_FORMATS, "US or SS": "H"}


def value_text(tag: int, vr: str, raw: bytes, encoding: Encoding, character_set: bytes) -> str:
    """Return an element's value as text; see :meth:`Header.text`."""
    if vr == "UN":
        vr = vr_of(tag)
    numbers = number_values(vr, raw, encoding)
    if numbers is not None:
        return "\\".join(map(str, numbers))
    if vr == "AT":
        return _tags_text(raw, encoding)
    if vr[0] == "O" or vr in ("SQ", "UN"):
        return ""
    if vr in ("LT", "ST", "UT"):  # a single value with significant leading spaces
        return charset.decode(raw, character_set).rstrip(" \0")
    governed = vr in charset.TEXT_VRS
    text = charset.decode(raw, character_set) if governed else raw.decode("latin-1")
    return "\\".join(part.strip(" \0") for part in text.split("\\"))


def number_values(vr: str, raw: bytes, encoding: Encoding) -> list[int | float] | None:
    """Decode the numbers of a binary VR.

    Returns
    -------
    list[int or float] or None
        None if the VR is not one of binary numbers (AT is not).
    """
    form = _NUMBERS.get(vr)
    if form is None:
        return None
    size = struct.calcsize("=" + form)
    complete = raw[: len(raw) // size * size]
    return [value for (value,) in struct.iter_unpack(order_of(encoding.little) + form, complete)]


def _tags_text(raw: bytes, encoding: Encoding) -> str:
    pairs = TAG[encoding.little].iter_unpack(raw[: len(raw) // 4 * 4])
    return "\\".join(f"({group:04X},{element:04X})" for group, element in pairs)


def file_meta(data: Buffer, position: int) -> tuple[dict[int, bytes], int]:
    """Return the values of file meta and the offset after it; the group length is ignored.

    Of duplicate elements the first counts: the other belongs to a second group 0002 that some
    software leaves at the beginning of the data set.

    Raises
    ------
    SkipInstance
        It is truncated.
    """
    meta: dict[int, bytes] = {}
    end = len(data)
    head = SHORT_HEAD[True].unpack_from
    while position + 8 <= end:
        group, element, vr, length = head(data, position)
        if group != 2:
            break
        known = _VR_OF_BYTES.get(vr)
        value = position + 8
        if known is None:
            (length,) = LENGTH[True].unpack_from(data, position + 4)  # implicit VR
        elif known in LONG_VRS:
            if position + 12 > end:
                raise SkipInstance(Reason.TRUNCATED)
            (length,) = LENGTH[True].unpack_from(data, position + 8)
            value = position + 12
        position = value + length
        if position > end:
            raise SkipInstance(Reason.TRUNCATED)
        meta.setdefault(0x00020000 | element, bytes(data[value:position]))
    return meta, position


def _guess(data: Buffer, position: int) -> tuple[str, Encoding]:
    """Guess the transfer syntax from the first element, as pydicom does (its issue 258)."""
    if position + 8 > len(data):
        raise SkipInstance(Reason.TRUNCATED)
    group, _, vr, _ = SHORT_HEAD[True].unpack_from(data, position)
    if vr not in _VR_OF_BYTES:
        return IMPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_LITTLE
    if group >= 0x0400:  # group 0008 in the other byte order
        return EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_BIG
    return EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_LITTLE


def _encoding_of(syntax: str, data: Buffer, position: int) -> tuple[str, Encoding]:
    """Return the actual transfer syntax and its encoding.

    As in pydicom, the first element decides if it contradicts file meta.
    """
    if syntax not in SUPPORTED:
        raise SkipInstance(Reason.UNSUPPORTED)
    if syntax == EXPLICIT_VR_BIG_ENDIAN:
        return syntax, EXPLICIT_BIG
    if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN or position + 8 > len(data):
        return syntax, EXPLICIT_LITTLE
    vr = SHORT_HEAD[True].unpack_from(data, position)[2]
    if vr in _VR_OF_BYTES:
        implied = syntax == IMPLICIT_VR_LITTLE_ENDIAN
        return EXPLICIT_VR_LITTLE_ENDIAN if implied else syntax, EXPLICIT_LITTLE
    if syntax not in NATIVE:
        raise SkipInstance(Reason.MALFORMED)  # compressed pixels need explicit VRs
    return IMPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_LITTLE


def _inflate(data: Buffer, position: int) -> bytes:
    """Inflate a deflated data set, up to one byte more than allowed."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(memoryview(data)[position:], MAX_INFLATED + 1)
    except zlib.error:
        raise SkipInstance(Reason.MALFORMED) from None
    if len(inflated) > MAX_INFLATED:
        raise SkipInstance(Reason.INFLATES)
    if not inflater.eof:
        raise SkipInstance(Reason.TRUNCATED)
    return inflated


def read_header(data: Buffer) -> Header:
    """Scan the bytes of one file.

    Parameters
    ----------
    data
        The complete file. Offsets of the result refer to it (or to an inflated copy), so it must
        outlive the result.

    Raises
    ------
    SkipInstance
        With a :class:`~sendit.batch.Reason`: empty, not DICOM, truncated, malformed, an
        unsupported transfer syntax, a DICOMDIR. Nothing else is raised, whatever the bytes.
    """
    return _read_header(data, len(data))


def _read_header(data: Buffer, size: int) -> Header:
    if size == 0:
        raise SkipInstance(Reason.EMPTY_FILE)
    if bytes(data[128:132]) == b"DICM":
        return _scan(data, 132, size)
    # A file without preamble must be valid to its end and declare its SOP class.
    first = bytes(data[:2])
    if first not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        raise SkipInstance(Reason.NOT_DICOM)
    try:
        header = _scan(data, 0, size)
    except SkipInstance as error:
        if first == b"\x02\x00" and error.reason != Reason.MALFORMED:
            raise
        raise SkipInstance(Reason.NOT_DICOM) from None
    if not (header.sop_class and header.sop_instance):
        raise SkipInstance(Reason.NOT_DICOM)
    return header


def _scan(data: Buffer, position: int, file_size: int) -> Header:
    size = file_size
    meta, position = file_meta(data, position)
    if position >= size:
        raise SkipInstance(Reason.TRUNCATED)
    if meta.get(0x00020002, b"").strip(b" \0") == _DIRECTORY_CLASS.encode():
        raise SkipInstance(Reason.DICOMDIR)
    syntax = meta.get(0x00020010, b"").strip(b" \0").decode("latin-1")
    syntax, encoding = _encoding_of(syntax, data, position) if syntax else _guess(data, position)
    if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        data, position = _inflate(data, position), 0
        size = len(data)
    walk = _Walk(data, size)
    elements, after = walk.dataset(position, encoding)
    if not elements:
        raise SkipInstance(Reason.MALFORMED)
    tags = [element[0] for element in elements]
    if DIRECTORY_RECORDS in tags:
        raise SkipInstance(Reason.DICOMDIR)
    if min(tags) < 0x00030000:
        raise SkipInstance(Reason.MALFORMED)
    return Header(
        data=data,
        encoding=encoding,
        elements=elements,
        meta=meta,
        transfer_syntax=syntax,
        size=file_size,
        trailing=walk.end - after,
    )


def read_file(path: Path) -> tuple[Buffer, os.stat_result]:
    """Return a regular file's bytes and its ``stat`` result, from the same file descriptor.

    Files over :data:`MAX_READ` bytes are memory-mapped. (If another process truncates a mapped
    file, this process is killed by SIGBUS; the next attempt notices the change.)

    Raises
    ------
    SkipInstance
        It is a symbolic link (as the last component of the path), pipe, device or folder, is empty
        or unreadable, or its size differs from ``stat``.
    """
    with _opened(path) as (handle, status):
        if status.st_size > MAX_READ:
            return mmap.mmap(handle, 0, access=mmap.ACCESS_READ), status
        data = _read(handle, status.st_size + 1)
        if len(data) != status.st_size:
            raise SkipInstance(Reason.CHANGED)
        return data, status


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    try:
        mode = path.lstat().st_mode  # before opening, because opening a device can have effects
        if stat.S_ISLNK(mode):
            raise SkipInstance(Reason.LINK)
        if not stat.S_ISREG(mode):
            raise SkipInstance(Reason.NOT_A_FILE)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise SkipInstance(Reason.NOT_A_FILE)
            if status.st_size == 0:
                raise SkipInstance(Reason.EMPTY_FILE)
            yield handle, status
        finally:
            os.close(handle)
    except (OSError, ValueError):
        raise SkipInstance(Reason.UNREADABLE) from None


def _read(handle: int, size: int) -> bytes:
    """Read up to ``size`` bytes from the file's current position."""
    data = os.read(handle, size)
    while len(data) < size:
        more = os.read(handle, size - len(data))
        if not more:
            break
        data += more
    return data


def open_instance(path: Path) -> Header:
    """Scan a file's entire structure, reading no more of it than necessary.

    For most files, these are the first :data:`HEAD` bytes: native pixel data after them has a
    defined length, which shows whether the file is complete. Other files are read in full.
    ``data`` of the result ends where reading ended.

    Raises
    ------
    SkipInstance
        See :func:`read_file` and :func:`read_header`.
    """
    with _opened(path) as (handle, status):
        if status.st_size > HEAD:
            header = _from_head(_read(handle, HEAD), status.st_size)
            if header is not None:
                return header
    data, _ = read_file(path)
    return read_header(data)


def _from_head(head: bytes, size: int) -> Header | None:
    """Return a file's header from its first bytes; None if these are not sufficient."""
    try:
        header = _read_header(head, size)
    except (SkipInstance, struct.error):
        return None  # malformed, or only truncated here: reading the entire file decides
    tag, _, _, value, _, _ = header.elements[-1]
    complete = tag in PIXEL_DATA_TAGS and value + 8 <= len(head) and header.trailing == 0
    return header if complete and not header.deflated else None


def header_checksum(header: Header) -> int:
    """Return the CRC-32 of a file without its pixel samples.

    It is the same whether the entire file was read or only its first bytes
    (:func:`open_instance`). For a deflated file it is that of the inflated data set.
    """
    data = header.data
    pixels = next(filter(None, map(header.element, PIXEL_DATA_TAGS)), None)
    if pixels is None:
        return isal_zlib.crc32(data)
    return isal_zlib.crc32(data[pixels[4] :], isal_zlib.crc32(data[: pixels[3]]))
