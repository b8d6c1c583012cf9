"""Check that pixel data is exactly the frames that the header declares.

Sources: PS3.3 C.7.6.3, PS3.5 8 and A.4. Every place that can hold other bytes is checked: after
the last native frame, application segments of a JPEG, comments of a JPEG 2000 codestream, unused
fields and gaps of an RLE frame, padding of fragments, offset tables. Bytes that are not samples
are cut off or zeroed; samples and entropy-coded bytes never change. A file whose pixel data does
not match the header, or cannot be parsed, is refused with a reason.

:mod:`sendit.dicom.overlay_bits` checks the samples themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from sendit.batch import Reason
from sendit.dicom import jpeg, rle
from sendit.dicom.binary import TAG_AND_LENGTH, Span
from sendit.dicom.scan import PIXEL_DATA, Element, Header
from sendit.dicom.transfer_syntax import (
    ENCAPSULATED,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    RLE_LOSSLESS,
)
from sendit.errors import SkipInstance

SAMPLES: Final = 0x00280002
PHOTOMETRIC: Final = 0x00280004
FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
ALLOCATED: Final = 0x00280100
STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
REPRESENTATION: Final = 0x00280103
LARGEST_VALUE: Final = 0x00280107
EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002
TOTAL_LENGTH: Final = 0x7FE00003
TABLES: Final = (EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH)
"""The extended offset table and its companions, which precede the pixel data."""

_FLOATS: Final = {0x7FE00008: 32, 0x7FE00009: 64}
_DESCRIBED_BY: Final = (
    *(ROWS, COLUMNS, SAMPLES, FRAMES, ALLOCATED, STORED, HIGH_BIT, REPRESENTATION, PHOTOMETRIC),
)
ITEM_TAG: Final = b"\xfe\xff\x00\xe0"
_STARTS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
MAX_OFFSET: Final = 0xFFFFFFFF
"""The largest offset that a basic offset table can hold."""


class Description(NamedTuple):
    """The header's description of the pixel data (PS3.3 C.7.6.3).

    Attributes
    ----------
    rows, columns
        Size of the image in pixels.
    samples
        Samples per pixel.
    frames
        Number of frames.
    allocated, stored
        Bits of a sample.
    high
        Index of the most significant stored bit.
    signed
        Whether samples are signed.
    photometric
        PhotometricInterpretation.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: bytes


@dataclass(slots=True)
class Frame:
    """A compressed frame: its bytes, and the offsets of its fragments in the file."""

    data: bytes
    fragments: list[Span]

    def in_file(self, span: Span) -> list[Span]:
        """Convert a span of the frame to spans of the file."""
        start, end = span
        spans: list[Span] = []
        done = 0
        for first, last in self.fragments:
            length = last - first
            one, two = max(start - done, 0), min(end - done, length)
            if one < two:
                spans.append((first + one, first + two))
            done += length
        return spans


@dataclass(slots=True)
class PixelData:
    """The checked pixel data of a file.

    Attributes
    ----------
    element
        The pixel data element.
    description
        The header's description of it.
    end
        Offset at which native samples end; the rest of the element is not delivered.
    blank
        Spans of the file to zero.
    frames
        The compressed frames; empty for native pixel data.
    offsets
        The corrected basic offset table; None if it is correct or empty.
    tables_fit
        Whether the extended offset table and its companions are correct, or absent.
    """

    element: Element
    description: Description
    end: int
    blank: list[Span] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    offsets: bytes | None = None
    tables_fit: bool = True


def check_pixel_data(header: Header, element: Element) -> PixelData:
    """Compare pixel data with the header and the transfer syntax.

    Raises
    ------
    SkipInstance
        They do not match, or the pixel data cannot be parsed to the last byte.
    """
    description = _describe(tuple(map(header.raw, _DESCRIBED_BY)), header.encoding.little)
    tag, _, _, start, _, _ = element
    encapsulated = header.data[start - 4 : start] == b"\xff\xff\xff\xff"
    if encapsulated != (header.transfer_syntax in ENCAPSULATED):
        raise SkipInstance(Reason.OTHER_SYNTAX)
    if encapsulated:
        return _encapsulated(header, element, description)
    if tag in _FLOATS:
        description = description._replace(samples=1, allocated=_FLOATS[tag])
    return _native(header, element, description)


@lru_cache(maxsize=256)
def _describe(values: tuple[bytes | None, ...], little: bool) -> Description:
    numbers = [_unsigned(value, little=little) for value in values]
    rows, columns, samples, _, allocated, stored, high, signed, _ = numbers
    text = (values[3] or b"").strip(b" \0")
    frames = int(text) if text.isdigit() else 0 if text else 1
    if not (rows and columns and frames):
        raise SkipInstance(Reason.PIXELS_DIFFER)
    photometric = (values[8] or b"").strip(b" \0")
    return Description(
        rows, columns, samples or 1, frames, allocated, stored, high, signed == 1, photometric
    )


def _unsigned(value: bytes | None, *, little: bool) -> int:
    if value is None or len(value) < 2:
        return 0
    return int.from_bytes(value[:2], "little" if little else "big")


# Native ---------------------------------------------------------------------------------


def _native(header: Header, element: Element, description: Description) -> PixelData:
    _, _, _, start, end, _ = element
    length = end - start
    if _are_fragments(header, start, end):
        raise SkipInstance(Reason.OTHER_SYNTAX)
    expected, frame = _native_length(description, length)
    if not expected:
        raise SkipInstance(Reason.PIXELS_DIFFER)
    if element[1] == "OW" and not header.encoding.little:
        expected += expected % 2  # the last sample is in the second byte of a swapped word
    if length < expected:
        raise SkipInstance(Reason.SHORT_PIXELS)
    data = header.data
    if length - expected >= frame and any(
        data[at : min(at + (1 << 20), end)].strip(b"\0")
        for at in range(start + expected, end, 1 << 20)
    ):
        raise SkipInstance(Reason.PIXELS_DIFFER)  # an additional frame: pixels or header are wrong
    if _unsigned(header.raw(LARGEST_VALUE), little=header.encoding.little) and _is_zero(
        header, start, start + expected
    ):
        raise SkipInstance(Reason.ZERO_FILLED)
    fits = not any(header.element(tag) is not None for tag in TABLES)
    return PixelData(element, description, start + expected, tables_fit=fits)


def _are_fragments(header: Header, start: int, end: int) -> bool:
    """Whether a value of defined length is nevertheless encapsulated: a series of items."""
    tag = header.data[start : start + 4]
    if tag != ITEM_TAG or end - start < 16:
        return False
    second = start + 8 + int.from_bytes(header.data[start + 4 : start + 8], "little")
    return header.data[second : second + 4] == ITEM_TAG


@lru_cache(maxsize=256)
def _native_length(description: Description, length: int) -> tuple[int, int]:
    """Return the size of all samples and of one frame in bytes (PS3.5 8.1.1)."""
    rows, columns, samples, frames, allocated, *_, photometric = description
    pixels = rows * columns
    bits = pixels * samples * allocated
    full = (bits * frames + 7) // 8
    if samples == 3 and not full <= length <= full + 1:
        # Chrominance subsampled by column, or by column and row (PS3.3 C.7.6.3.1.2)
        if photometric.endswith(b"_422"):
            bits = pixels * 2 * allocated
        elif photometric.endswith(b"_420"):
            bits = pixels * 3 * allocated // 2
    aligned = (bits + 7) // 8 * frames
    if allocated == 1 and aligned <= length <= aligned + 1:  # each frame starts at a byte
        return aligned, aligned // frames
    return (bits * frames + 7) // 8, (bits + 7) // 8


def _is_zero(header: Header, start: int, end: int) -> bool:
    return not any(
        header.data[at : min(at + (1 << 16), end)].strip(b"\0") for at in range(start, end, 1 << 16)
    )


# Encapsulated ---------------------------------------------------------------------------


def _encapsulated(header: Header, element: Element, description: Description) -> PixelData:
    if element[0] != PIXEL_DATA:
        raise SkipInstance(Reason.OTHER_SYNTAX)
    fragments = _fragments(header, element)
    if not fragments:
        raise SkipInstance(Reason.SHORT_PIXELS)
    table, *fragments = fragments
    frames = _frames(header, fragments, description.frames)
    pixel_data = PixelData(element, description, element[4], frames=frames)
    for frame in frames:
        for span in _not_image(frame.data, header.transfer_syntax, description):
            if frame.data[span[0] : span[1]].strip(b"\0"):
                pixel_data.blank += frame.in_file(span)
    first = table[1]
    starts = [frame.fragments[0][0] - 8 - first for frame in frames]
    pixel_data.offsets = _offset_table(header.data[table[0] : first], starts)
    pixel_data.tables_fit = _tables_fit(header, frames, starts)
    return pixel_data


def _fragments(header: Header, element: Element) -> list[Span]:
    """Return the spans of the item values of encapsulated pixel data."""
    data, position, end = header.data, element[3], element[4] - 8
    fragments: list[Span] = []
    while position < end:
        length = TAG_AND_LENGTH[True].unpack_from(data, position)[2]
        position += 8
        fragments.append((position, position + length))
        position += length
    return fragments


def _frames(header: Header, fragments: Sequence[Span], count: int) -> list[Frame]:
    """Group fragments into frames (PS3.5 A.4); a frame starts where a codestream starts."""
    data = header.data
    if count == 1:
        groups = [list(fragments)]
    elif len(fragments) == count:
        groups = [[fragment] for fragment in fragments]
    else:
        groups = []
        for start, end in fragments:
            if not groups or bytes(data[start : start + 4]).startswith(_STARTS):
                groups.append([])
            groups[-1].append((start, end))
    if len(groups) != count or not all(groups):
        raise SkipInstance(Reason.PIXELS_DIFFER)
    return [Frame(b"".join(data[start:end] for start, end in group), group) for group in groups]


def _not_image(frame: bytes, syntax: str, description: Description) -> list[Span]:
    """Return the spans of a compressed frame that are not part of the image."""
    if syntax == RLE_LOSSLESS:
        return _not_rle(frame, description)
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        one = description._replace(frames=1)
        expected, _ = _native_length(one, len(frame))
        if not expected or len(frame) < expected:
            raise SkipInstance(Reason.SHORT_PIXELS)
        return [(expected, len(frame))]
    if syntax in JPEG | JPEG_LS:
        stream = jpeg.walk_jpeg(frame, jpeg_ls=syntax in JPEG_LS)
    else:
        assert syntax in JPEG_2000
        stream = jpeg.walk_jpeg_2000(frame)
    declared = description.rows, description.columns, description.samples
    if (stream.rows or declared[0], stream.columns, stream.components) != declared:
        raise SkipInstance(Reason.PIXELS_DIFFER)
    end = stream.spans[-1][0]
    if frame[end : end + 4].startswith(_STARTS):
        raise SkipInstance(Reason.PIXELS_DIFFER)  # a second image: unclear which one is declared
    return stream.spans


def _not_rle(frame: bytes, description: Description) -> list[Span]:
    planes, odd = divmod(description.samples * description.allocated, 8)
    if odd or not 0 < planes <= 15:
        raise SkipInstance(Reason.PIXELS_DIFFER)
    segments, spans = rle.segments(frame, planes)
    for segment in segments:
        spans.append(rle.runs(frame, segment, description.rows * description.columns)[1])
    return spans


def _offset_table(table: bytes, starts: Sequence[int]) -> bytes | None:
    """Return the corrected basic offset table; None if it is correct or empty."""
    if not table:
        return None
    corrected = b""
    if starts[-1] <= MAX_OFFSET:
        corrected = struct.pack(f"<{len(starts)}L", *starts)
    return None if table == corrected else corrected


def _tables_fit(header: Header, frames: Sequence[Frame], starts: Sequence[int]) -> bool:
    """Whether extended offset table, lengths and total length match the frames."""
    raw = [header.raw(tag) for tag in TABLES]
    if raw == [None, None, None]:
        return True
    offsets, lengths, total = raw
    sizes = [sum(end - start for start, end in frame.fragments) for frame in frames]
    if (offsets is None) != (lengths is None):
        return False
    if offsets is not None and lengths is not None:
        if offsets != struct.pack(f"<{len(starts)}Q", *starts) or len(lengths) != 8 * len(sizes):
            return False
        declared = struct.unpack(f"<{len(sizes)}Q", lengths)
        if any(size - length not in (0, 1) for size, length in zip(sizes, declared, strict=True)):
            return False  # the length of a frame may exclude the padding byte
    return total is None or (
        len(total) == 8 and sum(sizes) - int.from_bytes(total, "little") in (0, 1)
    )
