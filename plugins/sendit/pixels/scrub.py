"""Blank regions of an image: samples inside become constant, all others stay unchanged.

Native samples are overwritten. In a sequential JPEG of 8 bits only the blocks that a region touches
are replaced (:mod:`sendit.pixels.jpeg_blocks`). Other compressed frames are decoded, blanked and
losslessly re-encoded, so samples outside the regions are what the frame decodes to. A lossless
syntax is kept; a lossy one is replaced by its lossless counterpart, or JPEG-LS.

The blank value is 0 in each sample, as in deid; for luminance and chrominance it is black. If a
chrominance sample covers several pixels, these are blanked together, so a box grows by at most one
pixel on each side.

Only one frame is in memory at a time: large new pixel data is written to an unnamed file in the
working folder.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from sendit.batch import Reason
from sendit.dicom.encode import ITEM_HEAD, SEQUENCE_TAIL, Part, head
from sendit.dicom.pixel_data import MAX_OFFSET, Description, PixelData
from sendit.dicom.scan import EXPLICIT_LITTLE, PIXEL_DATA, UNDEFINED, Header
from sendit.dicom.transfer_syntax import ENCAPSULATED_UNCOMPRESSED, JPEG
from sendit.errors import SkipInstance
from sendit.pixels import codecs
from sendit.pixels.boxes import Blank
from sendit.pixels.jpeg_blocks import blank_blocks
from sendit.pixels.layout import Array, Layout, layout_of, planes

IN_MEMORY: Final = 64 << 20
"""Larger new pixel data, in bytes, is written to a file in the working folder."""

_BLACK_CHROMA: Final = frozenset(
    (b"YBR_FULL", b"YBR_FULL_422", b"YBR_PARTIAL_420", b"YBR_PARTIAL_422", b"YBR_FULL_420")
)


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """New pixel data.

    Attributes
    ----------
    parts
        The complete element.
    syntax
        The transfer syntax of the parts.
    photometric
        Their PhotometricInterpretation if it differs from the header's, else None.
    interleaved
        Whether colours are now interleaved (PlanarConfiguration 0), whatever they were before.
    lossy
        Whether the original frames were lossy.
    """

    parts: list[Part]
    syntax: str
    photometric: bytes | None = None
    interleaved: bool = False
    lossy: bool = False


def scrub(
    header: Header, pixels: PixelData, samples: Sequence[Part], blank: Blank, folder: Path | None
) -> Scrubbed:
    """Blank regions of each frame.

    Parameters
    ----------
    header, pixels
        The image and its checked pixel data.
    samples
        Native samples; not used for compressed frames.
    blank
        The regions to blank.
    folder
        Folder for large temporary files; None for the system's.

    Returns
    -------
    Scrubbed
        The new pixel data element, and what changes in the header.

    Raises
    ------
    SkipInstance
        The frames cannot be decoded, or no lossless syntax can encode such samples.
    """
    if pixels.frames:
        return _compressed(header, pixels, blank, folder)
    layout = layout_of(header, pixels)
    if pixels.description.allocated == 1:
        native: Iterator[bytes] = _bits(layout, samples, blank)
    else:
        native = _frames(layout, samples, blank)
    tag, vr, _, _, _, _ = pixels.element
    with closing(_Spool(folder)) as spool:
        for frame in native:
            spool.write(frame)
        if spool.size % 2:
            spool.write(b"\0")
        first = head(tag, vr, spool.size, header.encoding)
        return Scrubbed([first, spool.part()], header.transfer_syntax)


def _frames(layout: Layout, samples: Sequence[Part], blank: Blank) -> Iterator[bytes]:
    grown = blank.aligned(*layout.subsampled)
    native = memoryview(samples[0]) if len(samples) == 1 else memoryview(b"".join(samples))
    size, count = layout.size, layout.description.frames
    if layout.swapped:  # a word may span two frames
        data = bytearray(native)
        _swap(data)
        for number in range(count):
            frame = bytearray(data[number * size : (number + 1) * size])
            _blank_native(layout, frame, grown)
            data[number * size : (number + 1) * size] = frame
        _swap(data)
        yield bytes(data)
        return
    for number in range(count):
        frame = bytearray(native[number * size : (number + 1) * size])
        _blank_native(layout, frame, grown)
        yield bytes(frame)


def _swap(data: bytearray) -> None:
    if len(data) % 2:
        data += b"\0"
    np.frombuffer(data, np.uint16).byteswap(inplace=True)


def _blank_native(layout: Layout, frame: bytearray, blank: Blank) -> None:
    values = blank_values(layout.description)
    samples = planes(layout, frame)
    chroma_from = len(samples) - 2
    for index, (plane, across, down) in enumerate(samples):
        if layout.subsampled == (1, 1):
            value = values[index]
        else:
            value = values[1] if index >= chroma_from else values[0]
        for x0, y0, x1, y1 in blank.boxes:
            plane[y0 // down : y1 // down, x0 // across : x1 // across] = value


def blank_values(description: Description, photometric: bytes | None = None) -> list[int]:
    """Return the values of a blanked pixel, one per sample."""
    if description.samples == 3 and (photometric or description.photometric) in _BLACK_CHROMA:
        middle = 1 << (description.stored or description.allocated) - 1
        return [0, middle, middle]
    return [0] * description.samples


def _bits(layout: Layout, samples: Sequence[Part], blank: Blank) -> Iterator[bytes]:
    """Blank 1-bit samples, with frames either contiguous or each starting at a byte."""
    description = layout.description
    data = b"".join(samples)
    pixels = description.rows * description.columns * description.samples
    if description.samples != 1:
        raise SkipInstance(Reason.NOT_BLANKED)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    contiguous = (pixels * description.frames + 7) // 8
    step = pixels if len(data) <= contiguous + 1 else (pixels + 7) // 8 * 8
    for number in range(description.frames):
        frame = bits[number * step : number * step + pixels]
        shaped = frame.reshape(description.rows, description.columns)
        for x0, y0, x1, y1 in blank.boxes:
            shaped[y0:y1, x0:x1] = 0
    yield np.packbits(bits, bitorder="little").tobytes()


# Compressed -----------------------------------------------------------------------------


def _compressed(header: Header, pixels: PixelData, blank: Blank, folder: Path | None) -> Scrubbed:
    description, syntax = pixels.description, header.transfer_syntax
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        layout = layout_of(header, pixels)
        one = replace(layout, description=description._replace(frames=1))
        uncompressed = (
            b"".join(_frames(one, [frame.data[: one.size]], blank)) for frame in pixels.frames
        )
        return _encapsulated(uncompressed, folder, syntax)
    if syntax in codecs.DCT and description.allocated == 8:
        with suppress(_NotByBlocksError):
            by_blocks = _encapsulated(_blocks(pixels, blank), folder, syntax)
            return replace(by_blocks, lossy=True)
    target = codecs.lossless_syntax(syntax)
    photometric = description.photometric
    if description.samples == 3 and (
        photometric in codecs.DECODED_TO_RGB
        or (syntax in JPEG and target != syntax and photometric != b"RGB")
    ):
        photometric = b"RGB"
    values = blank_values(description, photometric)

    def frames() -> Iterator[bytes]:
        for frame in pixels.frames:
            decoded = np.array(codecs.decode(frame.data, syntax, description))
            blank_array(decoded, blank, values)
            yield codecs.encode(decoded, target, description)

    return replace(
        _encapsulated(frames(), folder, target),
        photometric=photometric if photometric != description.photometric else None,
        interleaved=target != syntax and description.samples > 1,
        lossy=syntax in codecs.LOSSY,
    )


class _NotByBlocksError(Exception):
    """A JPEG must be encoded again."""


def _blocks(pixels: PixelData, blank: Blank) -> Iterator[bytes]:
    rgb = pixels.description.photometric == b"RGB"
    for frame in pixels.frames:
        blanked = blank_blocks(frame.data, blank, rgb=rgb)
        if blanked is None:
            raise _NotByBlocksError
        yield blanked


def blank_array(samples: Array, blank: Blank, values: Sequence[int]) -> None:
    """Blank boxes of a frame in place.

    Parameters
    ----------
    samples
        The frame, of shape (rows, columns) or (rows, columns, samples).
    blank
        The boxes.
    values
        The blank value of each sample.
    """
    for x0, y0, x1, y1 in blank.boxes:
        samples[y0:y1, x0:x1] = values if samples.ndim == 3 else values[0]


def _encapsulated(frames: Iterator[bytes], folder: Path | None, syntax: str) -> Scrubbed:
    """Encapsulate frames, one fragment each, with a basic offset table."""
    offsets = []
    with closing(_Spool(folder)) as spool:
        for frame in frames:
            offsets.append(spool.size)
            padded = frame if len(frame) % 2 == 0 else frame + b"\0"
            spool.write(ITEM_HEAD[True] + len(padded).to_bytes(4, "little"))
            spool.write(padded)
        coded = spool.part()
    table = b""
    if offsets[-1] <= MAX_OFFSET:
        table = b"".join(offset.to_bytes(4, "little") for offset in offsets)
    first = head(PIXEL_DATA, "OB", UNDEFINED, EXPLICIT_LITTLE)
    first += ITEM_HEAD[True] + len(table).to_bytes(4, "little") + table
    return Scrubbed([first, coded, SEQUENCE_TAIL[True]], syntax)


class _Spool:
    """Collects bytes in memory or in a temporary file, to return them as one part."""

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115 closed by close()
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        self._file.write(data)
        self.size += len(data)

    def part(self) -> Part:
        """Return everything written: as bytes, or as a view of the unnamed file."""
        data: Part
        if self.size <= IN_MEMORY:
            self._file.seek(0)
            data = self._file.read()
        else:
            self._file.flush()
            data = memoryview(mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ))
        return data

    def close(self) -> None:
        """Close the file; a view that :meth:`part` returned stays valid."""
        self._file.close()
