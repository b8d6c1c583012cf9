"""Diff a file's header against a structurally identical one, without scanning it.

The headers of a series differ only in the values of few elements: UIDs, positions, times. A
:class:`HeaderTemplate` records the elements of one file; matched against the bytes of another, it
returns a :class:`DiffHeader` with the elements that differ. All others have the same bytes,
possibly at another offset, and need not be parsed. A file with another structure (additional or
missing elements, another VR or transfer syntax) does not match and must be scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from sendit.dicom.scan import (
    CHARACTER_SET,
    MAYBE_ITEMS,
    PIXEL_DATA_TAGS,
    SOP_CLASS,
    Buffer,
    Element,
    Header,
    element_at,
    file_meta,
)
from sendit.errors import SkipInstance

MAX_HEADER_BYTES: Final = 1 << 18
"""Maximum size of a template: bytes before the pixel data."""

MAX_DIFFERENCES: Final = 48
"""Maximum number of elements that may differ for a file to match."""

_WINDOW: Final = 512  # bytes that are compared at once
_UNDEFINED: Final = b"\xff\xff\xff\xff"
_TRANSFER_SYNTAX: Final = 0x00020010
_INSTANCE_ELEMENTS: Final = (0x00020000, 0x00020003)  # file meta's length and instance UID
_MANUFACTURER: Final = 0x00080070  # of private elements without a creator
_FIXED: Final = frozenset((CHARACTER_SET, SOP_CLASS, _MANUFACTURER))


class HeaderTemplate:
    """The elements of one file before the pixel data, with their offsets and bytes.

    Attributes
    ----------
    elements
        The top-level elements before the pixel data; offsets refer to the file.
    encoding, transfer_syntax
        As in the file's header.
    """

    __slots__ = (
        "_bytes",
        "_end",
        "_first",
        "_heads",
        "_meta",
        "_numbers",
        "_pixels",
        "_plain",
        "_windows",
        "elements",
        "encoding",
        "transfer_syntax",
    )

    def __init__(self, header: Header, pixels: Element | None) -> None:
        data = header.data
        self.encoding = header.encoding
        self.transfer_syntax = header.transfer_syntax
        self.elements = header.elements[: len(header.elements) - (pixels is not None)]
        self._first = self.elements[0][2]
        self._end = self.elements[-1][4]
        self._numbers = {element[0]: number for number, element in enumerate(self.elements)}
        self._bytes = [data[element[2] : element[4]] for element in self.elements]
        self._heads = [data[element[2] : element[3]] for element in self.elements]
        self._plain = [
            items is None and vr not in MAYBE_ITEMS and data[value - 4 : value] != _UNDEFINED
            for _, vr, _, value, _, items in self.elements
        ]
        self._windows = list(_windows(self.elements, data))
        self._pixels = None if pixels is None else pixels[:2]
        self._meta = _without_instance(header.meta)

    def match(self, data: Buffer) -> DiffHeader | None:
        """Return the header of a file, given its bytes; None if its structure differs."""
        if data[128:132] != b"DICM":
            return None
        try:
            meta, first = file_meta(data, 132)
            return self._match(data, meta, first) if _without_instance(meta) == self._meta else None
        except SkipInstance:
            return None  # scanning the file determines the reason

    def _match(self, data: Buffer, meta: dict[int, bytes], first: int) -> DiffHeader | None:
        elements, windows, pieces = self.elements, self._windows, self._bytes
        differing: dict[int, Element] = {}
        distance = first - self._first
        number, most = 0, len(elements)
        while number < most:
            next_number, end, window = windows[number]
            if data[elements[number][2] + distance : end + distance] == window:
                number = next_number
                continue
            for each in range(number, next_number):
                _, _, start, _, end, _ = elements[each]
                if data[start + distance : end + distance] == pieces[each]:
                    continue
                element = self._differing(each, data, distance)
                if element is None or len(differing) == MAX_DIFFERENCES:
                    return None
                differing[each] = element
                distance = element[4] - end  # shift of all elements that follow
            number = next_number
        position = self._end + distance
        pixels = None
        if self._pixels is not None:
            pixels = element_at(data, position, self.encoding)
            if pixels is None or pixels[:2] != self._pixels:
                return None
            position = pixels[4]
        if position != len(data):
            return None
        return DiffHeader(
            template=self, data=data, meta=meta, first=first, differing=differing, pixels=pixels
        )

    def _differing(self, number: int, data: Buffer, distance: int) -> Element | None:
        """Return an element with another value; None if the file does not match."""
        tag, vr, start, value, end, items = self.elements[number]
        if number == 0 or tag in _FIXED:  # the first element determines the encoding
            return None
        if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF:  # private creator
            return None
        if (
            self._plain[number]
            and data[start + distance : value + distance] == self._heads[number]
            and end + distance <= len(data)
        ):
            return tag, vr, start + distance, value + distance, end + distance, None
        element = element_at(data, start + distance, self.encoding)
        if element is None:
            return None
        matches = (element[0], element[1], element[5] is None) == (tag, vr, items is None)
        return element if matches else None

    def raw(self, number: int) -> bytes:
        """Return the value of an element, given by its index."""
        return self._bytes[number][len(self._heads[number]) :]

    def number(self, tag: int) -> int | None:
        """Return the index of the element with a tag; None if none before the pixel data has it."""
        return self._numbers.get(tag)


def _windows(elements: Sequence[Element], data: Buffer) -> Iterator[tuple[int, int, bytes]]:
    """Yield for each element the window of elements that is compared at once from there.

    A window is the index of the first element after it, its end offset, and its bytes.
    """
    next_number = 0
    for number, (_, _, start, _, _, _) in enumerate(elements):
        next_number = max(next_number, number + 1)
        while next_number < len(elements) and elements[next_number][4] - start <= _WINDOW:
            next_number += 1
        end = elements[next_number - 1][4]
        yield next_number, end, data[start:end]


def template_of(header: Header) -> HeaderTemplate | None:
    """Return the template of a file; None if its structure cannot be recognised from bytes alone.

    These are files that are deflated, without file meta, with elements out of order, duplicated or
    after the pixel data, with trailing bytes, or with more than :data:`MAX_HEADER_BYTES` bytes
    before the pixel data.
    """
    elements = header.elements
    pixels = elements[-1] if elements[-1][0] in PIXEL_DATA_TAGS else None
    before = elements if pixels is None else elements[:-1]
    if (
        not before
        or header.deflated
        or header.trailing
        or _TRANSFER_SYNTAX not in header.meta
        or header.data[128:132] != b"DICM"
        or any(element[0] in PIXEL_DATA_TAGS for element in before)
        or any(one[0] >= two[0] for one, two in pairwise(elements))
        or before[-1][4] - before[0][2] > MAX_HEADER_BYTES
    ):
        return None
    return HeaderTemplate(header, pixels)


class DiffHeader(Header):
    """The header of a file that matches a template.

    Attributes
    ----------
    elements
        Only the top-level elements that differ from the template.
    template
        The template.
    differing
        ``elements`` by their index in the template, in order.
    pixels
        The pixel data element, if there is one.
    """

    __slots__ = ("_first", "differing", "pixels", "template")

    def __init__(
        self,
        *,
        template: HeaderTemplate,
        data: Buffer,
        meta: dict[int, bytes],
        first: int,
        differing: dict[int, Element],
        pixels: Element | None,
    ) -> None:
        super().__init__(
            data=data,
            encoding=template.encoding,
            elements=list(differing.values()),
            meta=meta,
            transfer_syntax=template.transfer_syntax,
            size=len(data),
            trailing=0,
        )
        self.template = template
        self.differing = differing
        self.pixels = pixels
        self._first = first

    def element(self, tag: int) -> Element | None:
        """Return a top-level element, whether it differs or not."""
        number = self.template.number(tag)
        if number is None:
            return self.pixels if self.pixels is not None and self.pixels[0] == tag else None
        scanned = self.differing.get(number)
        return scanned or element_at(self.data, self._offset(number), self.encoding)

    def raw(self, tag: int) -> bytes | None:
        """Return the value of a top-level element as bytes; None if absent."""
        number = self.template.number(tag)
        if number is None or number in self.differing:
            return super().raw(tag)
        return self.template.raw(number)

    def differs(self, tag: int) -> bool:
        """Whether an element before the pixel data differs from the template."""
        return self.template.number(tag) in self.differing

    def _offset(self, number: int) -> int:
        """Return the offset of an element that does not differ, given by its index."""
        elements = self.template.elements
        distance = self._first - elements[0][2]
        for other, element in self.differing.items():
            if other > number:
                break
            distance = element[4] - elements[other][4]
        return elements[number][2] + distance


def _without_instance(meta: dict[int, bytes]) -> dict[int, bytes]:
    return {tag: value for tag, value in meta.items() if tag not in _INSTANCE_ELEMENTS}
