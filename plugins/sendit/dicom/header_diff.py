"""Diff a file's header against a structurally identical one, without scanning it.

The files of a series are one another's bytes but for the values of few elements: UIDs,
positions, times. A :class:`HeaderTemplate` records where the elements of one file are; matched
against the bytes of another, it gives a :class:`DiffHeader` with the elements that differ.
Everything else has the same bytes, if at another offset, and so reads the same. A file of
another structure (an element more or less, another VR or transfer syntax) does not match and
must be scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from sendit.dicom.scan import (
    CHARACTER_SET,
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
"""Bytes before the pixel data above which a file is not remembered."""

MAX_DIFFERENCES: Final = 48
"""Elements that may differ before a file counts as another kind."""

_WINDOW: Final = 512  # bytes that are compared at once
_MAYBE_ITEMS: Final = frozenset(("SQ", "UN"))
_UNDEFINED: Final = b"\xff\xff\xff\xff"
_TRANSFER_SYNTAX: Final = 0x00020010
_OF_THE_INSTANCE: Final = (0x00020000, 0x00020003)  # file meta's length and instance UID
_SETTLED: Final = frozenset((CHARACTER_SET, SOP_CLASS))


class HeaderTemplate:
    """Where one file's elements before the pixel data are, and their bytes.

    Attributes
    ----------
    elements
        The top-level elements before the pixel data; offsets are the file's.
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
            items is None and vr not in _MAYBE_ITEMS and data[value - 4 : value] != _UNDEFINED
            for _, vr, _, value, _, items in self.elements
        ]
        self._windows = list(_windows(self.elements, data))
        self._pixels = None if pixels is None else pixels[:2]
        self._meta = _of_the_series(header.meta)

    def match(self, data: Buffer) -> DiffHeader | None:
        """Return the header of a file by its bytes; None if it is not like this one."""
        if data[128:132] != b"DICM":
            return None
        try:
            meta, first = file_meta(data, 132)
            return self._match(data, meta, first) if _of_the_series(meta) == self._meta else None
        except SkipInstance:
            return None  # the scan of the whole says why

    def _match(self, data: Buffer, meta: dict[int, bytes], first: int) -> DiffHeader | None:
        elements, windows, pieces = self.elements, self._windows, self._bytes
        differing: dict[int, Element] = {}
        distance = first - self._first
        number, most = 0, len(elements)
        while number < most:
            behind, end, together = windows[number]
            if data[elements[number][2] + distance : end + distance] == together:
                number = behind
                continue
            for each in range(number, behind):
                _, _, start, _, end, _ = elements[each]
                if data[start + distance : end + distance] == pieces[each]:
                    continue
                element = self._differing(each, data, distance)
                if element is None or len(differing) == MAX_DIFFERENCES:
                    return None
                differing[each] = element
                distance = element[4] - end  # of all that follows, from where it was
            number = behind
        there = self._end + distance
        pixels = None
        if self._pixels is not None:
            pixels = element_at(data, there, self.encoding)
            if pixels is None or pixels[:2] != self._pixels:
                return None
            there = pixels[4]
        if there != len(data):
            return None
        return DiffHeader(
            template=self, data=data, meta=meta, first=first, differing=differing, pixels=pixels
        )

    def _differing(self, number: int, data: Buffer, distance: int) -> Element | None:
        """Return an element that differs; None if it is another one."""
        tag, vr, start, value, end, items = self.elements[number]
        if number == 0 or tag in _SETTLED:  # the first one tells the encoding
            return None
        if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF:  # whose the elements of a block are
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
        alike = (element[0], element[1], element[5] is None) == (tag, vr, items is None)
        return element if alike else None

    def raw(self, number: int) -> bytes:
        """Return an element's value."""
        return self._bytes[number][len(self._heads[number]) :]

    def number(self, tag: int) -> int | None:
        """Return which element has a tag; None if none before the pixel data has."""
        return self._numbers.get(tag)


def _windows(elements: Sequence[Element], data: Buffer) -> Iterator[tuple[int, int, bytes]]:
    """Yield, for each element, the window of elements compared with it: the number of the
    first element after the window, its end offset, and its bytes."""
    behind = 0
    for number, (_, _, start, _, _, _) in enumerate(elements):
        behind = max(behind, number + 1)
        while behind < len(elements) and elements[behind][4] - start <= _WINDOW:
            behind += 1
        end = elements[behind - 1][4]
        yield behind, end, data[start:end]


def template_of(header: Header) -> HeaderTemplate | None:
    """Return a file's layout, or None if similar files cannot be recognised by their bytes alone.

    These are: a deflated file, one without file meta, with elements out of order,
    duplicated, or after the pixel data, with bytes outside any element; and a
    file with more than :data:`MAX_HEADER_BYTES` bytes before the pixel data.
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
    """The header of a file that is like another.

    Attributes
    ----------
    elements
        Only the top-level elements that differ from the other file's.
    layout
        The other file's.
    differing
        ``elements`` by their number in the layout, in order.
    pixels
        The pixel data's element, if there is one.
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
        """Whether an element before the pixel data is another than the other file's."""
        return self.template.number(tag) in self.differing

    def _offset(self, number: int) -> int:
        """Return where an element is that does not differ."""
        elements = self.template.elements
        distance = self._first - elements[0][2]
        for other, element in self.differing.items():
            if other > number:
                break
            distance = element[4] - elements[other][4]
        return elements[number][2] + distance


def _of_the_series(meta: dict[int, bytes]) -> dict[int, bytes]:
    return {tag: value for tag, value in meta.items() if tag not in _OF_THE_INSTANCE}
