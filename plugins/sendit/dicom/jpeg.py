"""Find bytes in compressed frames that do not belong to the image.

Parses JPEG (ISO/IEC 10918-1), JPEG-LS (14495-1) and JPEG 2000 codestreams (15444-1, and 15444-15
for HTJ2K) marker by marker. Comments, application data and bytes after the end are returned as
spans; zeroing them changes no sample, offset or length. Entropy-coded data is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from sendit.batch import Reason
from sendit.dicom.binary import Span
from sendit.errors import SkipInstance


class Codestream(NamedTuple):
    """A compressed frame.

    Attributes
    ----------
    rows
        0 if the frame header of a JPEG does not give it.
    columns, components
        As in the codestream.
    spans
        Offsets of bytes that are not part of the image, the last one after its end.
    """

    rows: int
    columns: int
    components: int
    spans: list[Span]


_EOI, _SOS, _DHT, _DAC, _DQT, _DNL, _DRI = 0xD9, 0xDA, 0xC4, 0xCC, 0xDB, 0xDC, 0xDD
_APP0, _APP8, _APP14, _COM, _JPEG_LS_FRAME, _LSE = 0xE0, 0xE8, 0xEE, 0xFE, 0xF7, 0xF8
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_APPLICATION: Final = range(0xE0, 0xF0)
# The marker that ends a scan: FF followed by anything but stuffing or a restart marker.
_AFTER_SCAN: Final = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_AFTER_JPEG_LS_SCAN: Final = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")

_JFIF_HEAD: Final = 14
_ADOBE: Final = re.compile(rb"Adobe\x00[\x64\x65].{4}[\x00-\x02]", re.DOTALL)
_SPIFF: Final = b"SPIFF\x00"
_SPIFF_LENGTH: Final = 30


def walk_jpeg(frame: bytes, *, jpeg_ls: bool) -> Codestream:
    """Parse a JPEG or JPEG-LS frame.

    Raises
    ------
    SkipInstance
        It is not a JPEG, is incomplete, or contains unknown or malformed segments.
    """
    if frame[:2] != b"\xff\xd8":
        raise SkipInstance(Reason.OTHER_SYNTAX)
    spans: list[Span] = []
    size: tuple[int, int, int] | None = None
    after_scan = _AFTER_JPEG_LS_SCAN if jpeg_ls else _AFTER_SCAN
    frames = frozenset((_JPEG_LS_FRAME,)) if jpeg_ls else _FRAMES
    position = 2
    while True:
        marker, position = _next_marker(frame, position)
        if marker == _EOI:
            break
        start, end = _segment(frame, position)
        if marker in frames:
            if size is not None or end - start < 6 or end - start != 6 + 3 * frame[start + 5]:
                raise SkipInstance(Reason.UNCLEAR_FRAME)
            size = _number(frame, start + 1), _number(frame, start + 3), frame[start + 5]
        elif marker == _SOS:
            if size is None or start == end or end - start != 4 + 2 * frame[start]:
                raise SkipInstance(Reason.UNCLEAR_FRAME)
            marker_after = after_scan.search(frame, end)
            if marker_after is None:
                raise SkipInstance(Reason.SHORT_PIXELS)
            end = marker_after.start()
        elif marker in _APPLICATION or marker == _COM:
            spans += _application(frame, marker, start, end)
        elif not _is_table(frame, marker, start, end, jpeg_ls=jpeg_ls):
            raise SkipInstance(Reason.UNCLEAR_FRAME)
        position = end
    if size is None:
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    spans.append((position, len(frame)))
    return Codestream(*size, spans)


def _next_marker(frame: bytes, position: int) -> tuple[int, int]:
    """Return the marker at an offset and the offset after it; fill bytes FF may precede it."""
    if frame[position : position + 1] not in (b"\xff", b""):
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    while frame[position : position + 1] == b"\xff":
        position += 1
    if position >= len(frame):
        raise SkipInstance(Reason.SHORT_PIXELS)
    return frame[position], position + 1


def _segment(frame: bytes, position: int) -> Span:
    """Return the span of a marker segment's content."""
    length = _number(frame, position)
    end = position + length
    if end > len(frame):
        raise SkipInstance(Reason.SHORT_PIXELS)
    if length < 2:
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    return position + 2, end


def _number(frame: bytes, position: int) -> int:
    return int.from_bytes(frame[position : position + 2])


def _application(frame: bytes, marker: int, start: int, end: int) -> list[Span]:
    """Return the spans to zero in a comment or application segment.

    Only segments that define the colour encoding (JFIF, Adobe, SPIFF) stay, and only in exactly
    their standard form.
    """
    body = frame[start:end]
    if marker == _APP0 and body[:5] == b"JFIF\0" and len(body) >= _JFIF_HEAD:
        thumbnail = 3 * body[12] * body[13]
        if len(body) == _JFIF_HEAD + thumbnail and body[5] <= 2 and body[7] <= 2:
            return [(start + _JFIF_HEAD, end)]
    if marker == _APP14 and _ADOBE.fullmatch(body):
        return []
    if marker == _APP8 and len(body) == _SPIFF_LENGTH and body.startswith(_SPIFF):
        return []
    return [(start, end)]


def _is_table(frame: bytes, marker: int, start: int, end: int, *, jpeg_ls: bool) -> bool:
    """Whether a segment consists only of tables or parameters that a decoder needs."""
    length = end - start
    if marker == _DQT:
        return _adds_up(frame, start, end, _quantization)
    if marker == _DHT:
        return _adds_up(frame, start, end, _huffman)
    if marker == _LSE:
        return jpeg_ls and length > 0 and (frame[start] != 1 or length == 11)
    if marker == _DAC:
        return length % 2 == 0
    return (marker == _DNL and length == 2) or (
        marker == _DRI and (length == 2 or (jpeg_ls and length in {3, 4}))
    )


def _adds_up(frame: bytes, start: int, end: int, length: _Length) -> bool:
    while start < end:
        start += length(frame, start)
    return start == end


def _quantization(frame: bytes, start: int) -> int:
    return 129 if frame[start] >> 4 else 65


def _huffman(frame: bytes, start: int) -> int:
    return 17 + sum(frame[start + 1 : start + 17])


class _Length(Protocol):
    def __call__(self, frame: bytes, start: int) -> int: ...


# JPEG 2000 -------------------------------------------------------------------------------

_SOT, _SOD, _EOC, _SIZ, _COMMENT = 0xFF90, 0xFF93, 0xFFD9, 0xFF51, 0xFF64
_MAIN: Final = frozenset(
    (
        *(0xFF50, 0xFF51, 0xFF52, 0xFF53, 0xFF55, 0xFF56, 0xFF57, 0xFF59, 0xFF5C),
        *(0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF63),
    )
)
"""CAP, SIZ, COD, COC, TLM, PRF, PLM, CPF, QCD, QCC, RGN, POC, PPM, CRG."""

_TILE_PART: Final = frozenset((0xFF52, 0xFF53, 0xFF58, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF61))
"""COD, COC, PLT, QCD, QCC, RGN, POC, PPT."""


def walk_jpeg_2000(frame: bytes) -> Codestream:
    """Parse a JPEG 2000 or HTJ2K codestream.

    Raises
    ------
    SkipInstance
        It is not a codestream (JP2 files are not allowed, PS3.5 A.4.4), is incomplete, or contains
        unknown or malformed segments.
    """
    if frame[:4] != b"\xff\x4f\xff\x51":
        raise SkipInstance(Reason.OTHER_SYNTAX)
    spans: list[Span] = []
    position = 2
    size: tuple[int, int, int] | None = None
    for marker, start, end in _markers(frame, position, _MAIN):
        position = end
        if marker == _COMMENT:
            spans.append((min(start + 2, end), end))
        elif marker == _SIZ:
            size = _image_size(frame, start, end)
    if size is None:
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    while _number(frame, position) == _SOT:
        position = _tile_part(frame, position, spans)
    if _number(frame, position) == _EOC:
        position += 2
    elif position < len(frame) and any(frame[position:]):
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    else:
        raise SkipInstance(Reason.SHORT_PIXELS)
    spans.append((position, len(frame)))
    return Codestream(*size, spans)


def _markers(frame: bytes, position: int, known: frozenset[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the segments up to the first delimiting marker (SOT, SOD, EOC)."""
    while True:
        marker = _number(frame, position)
        if marker in (_SOT, _SOD, _EOC):
            return
        if marker not in known and marker != _COMMENT:
            short = position + 2 > len(frame)
            raise SkipInstance(Reason.SHORT_PIXELS if short else Reason.UNCLEAR_FRAME)
        start, end = _segment(frame, position + 2)
        yield marker, start, end
        position = end


def _image_size(frame: bytes, start: int, end: int) -> tuple[int, int, int]:
    """Return rows, columns and components of a SIZ segment (15444-1 A.5.1)."""
    if end - start < 36 or end - start != 36 + 3 * _number(frame, start + 34):
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    columns, rows, left, top = (
        int.from_bytes(frame[start + at : start + at + 4]) for at in (2, 6, 10, 14)
    )
    return rows - top, columns - left, _number(frame, start + 34)


def _tile_part(frame: bytes, position: int, spans: list[Span]) -> int:
    """Add a tile-part's comments to ``spans``; return the offset after it."""
    start, header = _segment(frame, position + 2)
    if header - start != 8:
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    length = int.from_bytes(frame[start + 2 : start + 6])
    end = position + length if length else _end_of_codestream(frame, header)
    if end > len(frame):
        raise SkipInstance(Reason.SHORT_PIXELS)
    for marker, inside, header in _markers(frame, header, _TILE_PART):  # noqa: B020 ends after the last segment
        if marker == _COMMENT:
            spans.append((min(inside + 2, header), header))
    if _number(frame, header) != _SOD or header + 2 > end:
        raise SkipInstance(Reason.UNCLEAR_FRAME)
    return end


def _end_of_codestream(frame: bytes, position: int) -> int:
    """Return the end of a last tile-part without length; FFD9 cannot occur in its data."""
    end = frame.find(b"\xff\xd9", position)
    if end < 0:
        raise SkipInstance(Reason.SHORT_PIXELS)
    return end
