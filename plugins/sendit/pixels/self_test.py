"""Test whether this installation can decode, encode and read images.

A package that lacks one of its libraries fails only at the first image that needs it. This test
puts a synthetic image through every codec that :mod:`sendit.pixels` uses, and draws and reads a
word.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

import cv2
import imagecodecs
import numpy as np
from PIL import Image

from sendit.dicom.pixel_data import Description
from sendit.dicom.transfer_syntax import RLE_LOSSLESS
from sendit.errors import SkipInstance
from sendit.pixels import codecs
from sendit.pixels.layout import Array
from sendit.pixels.reader import read

WORD: Final = "ANATOMY"
_ROWS, _COLUMNS = 64, 96
#: Maximum error of a sample when a JPEG of a smooth image is decoded.
_LOSS: Final = 8
_LOSSLESS: Final = {
    "RLE": RLE_LOSSLESS,
    "lossless JPEG": codecs.JPEG_LOSSLESS_SV1,
    "JPEG-LS": codecs.JPEG_LS_LOSSLESS,
    "JPEG 2000": codecs.JPEG_2000_LOSSLESS,
    "HTJ2K": codecs.HTJ2K_LOSSLESS,
}


def failing_codecs() -> Iterator[str]:
    """Yield the names of codecs that cannot encode and decode."""
    for colours in (1, 3):
        description, samples = _smooth(colours)
        for name, syntax in _LOSSLESS.items():
            if not _comes_back(samples, syntax, description):
                yield f"{name} of {colours * description.allocated} bits"
    if not _jpeg_is_decoded(*_smooth(3)):
        yield "JPEG"


def reads() -> bool:
    """Whether OCR reads a drawn word."""
    picture = np.full((96, 320, 3), 20, np.uint8)
    cv2.putText(picture, WORD, (16, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (235, 235, 235), 3)
    try:
        return any(WORD in line.text.upper() for line in read(picture))
    except Exception:  # noqa: BLE001 a missing model or library raises various errors
        return False


def _smooth(colours: int) -> tuple[Description, Array]:
    """Return a smooth image with one 16-bit sample per pixel, or with three colours."""
    down, across = np.mgrid[0:_ROWS, 0:_COLUMNS]
    if colours == 1:
        samples: Array = (down * 600 + across * 7).astype(np.uint16)
    else:
        planes = [down + across, 2 * down + 40, 200 - down]
        samples = np.stack(planes, axis=-1).astype(np.uint8)
    bits = samples.dtype.itemsize * 8
    photometric = b"MONOCHROME2" if colours == 1 else b"RGB"
    return (
        Description(_ROWS, _COLUMNS, colours, 1, bits, bits, bits - 1, False, photometric),
        samples,
    )


def _comes_back(samples: Array, syntax: str, description: Description) -> bool:
    """Whether samples survive encoding and decoding, also by the codec of the recheck."""
    try:
        coded = codecs.encode(samples, syntax, description)
        decoded = [codecs.decode(coded, syntax, description)]
    except SkipInstance:
        return False
    if syntax == codecs.JPEG_LOSSLESS_SV1 and description.samples == 1:
        try:
            decoded.append(imagecodecs.ljpeg_decode(coded))
        except (RuntimeError, ImportError):
            return False
    return all(np.array_equal(each, samples) for each in decoded)


def _jpeg_is_decoded(description: Description, samples: Array) -> bool:
    """Whether a baseline JPEG is decoded by the codecs for blanking and for the recheck."""
    file = BytesIO()
    Image.fromarray(samples).save(file, "JPEG", quality=95, subsampling=0)
    try:
        decoded = codecs.decode(file.getvalue(), codecs.JPEG_BASELINE, description)
    except SkipInstance:
        return False
    again = np.asarray(Image.open(file))
    return all(int(np.abs(each.astype(int) - samples).max()) <= _LOSS for each in (decoded, again))
