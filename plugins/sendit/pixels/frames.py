"""Iterate over the decoded frames of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sendit.batch import Reason
from sendit.dicom.encode import Part
from sendit.dicom.pixel_data import PixelData
from sendit.dicom.scan import Header
from sendit.dicom.transfer_syntax import ENCAPSULATED_UNCOMPRESSED, JPEG
from sendit.errors import SkipInstance
from sendit.pixels import codecs
from sendit.pixels.layout import Array, as_image, layout_of


def displayed_as(header: Header, pixels: PixelData) -> bytes:
    """Return the photometric interpretation of the samples that :func:`frames` yields.

    It is the header's, or RGB if decoding converts to it.
    """
    photometric = pixels.description.photometric
    if pixels.frames and pixels.description.samples == 3:
        lossless = codecs.lossless_syntax(header.transfer_syntax) == header.transfer_syntax
        if photometric in codecs.DECODED_TO_RGB or (
            header.transfer_syntax in JPEG and not lossless
        ):
            return b"RGB"
    return photometric


def frames(header: Header, pixels: PixelData, samples: Sequence[Part]) -> Iterator[Array]:
    """Yield each frame of an image, decoded; only one is in memory at a time.

    Parameters
    ----------
    header, pixels
        The image and its checked pixel data.
    samples
        Native samples; not used for compressed frames.

    Yields
    ------
    Array
        Samples of shape (rows, columns) or (rows, columns, samples).

    Raises
    ------
    SkipInstance
        A frame cannot be decoded.
    """
    description = pixels.description
    if pixels.frames and header.transfer_syntax != ENCAPSULATED_UNCOMPRESSED:
        for frame in pixels.frames:
            yield codecs.decode(frame.data, header.transfer_syntax, description)
        return
    layout = layout_of(header, pixels)
    if pixels.frames:
        for frame in pixels.frames:
            yield as_image(layout, frame.data)
        return
    native = memoryview(samples[0]) if len(samples) == 1 else memoryview(b"".join(samples))
    if description.allocated == 1:
        yield from _one_bit(native, pixels)
        return
    for number in range(description.frames):
        data = native[number * layout.size : (number + 1) * layout.size]
        if layout.swapped:
            first = number * layout.size // 2 * 2
            words = bytes(native[first : first + layout.size + 2])
            if len(words) % 2:
                words += b"\0"
            swapped = np.frombuffer(words, np.uint16).byteswap().tobytes()
            start = number * layout.size - first
            data = memoryview(swapped)[start : start + layout.size]
        yield as_image(layout, data)


def _one_bit(native: memoryview, pixels: PixelData) -> Iterator[Array]:
    description = pixels.description
    if description.samples != 1:
        raise SkipInstance(Reason.PIXELS_NOT_READ)
    size = description.rows * description.columns
    contiguous = (size * description.frames + 7) // 8
    step = size if len(native) <= contiguous + 1 else (size + 7) // 8 * 8
    for number in range(description.frames):
        start = number * step
        first, last = start // 8, (start + size + 7) // 8
        bits = np.unpackbits(np.frombuffer(native[first:last], np.uint8), bitorder="little")
        frame = bits[start % 8 : start % 8 + size]
        yield frame.reshape(description.rows, description.columns) * np.uint8(255)
