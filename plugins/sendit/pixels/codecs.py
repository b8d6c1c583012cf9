"""Decode compressed frames to arrays, and encode arrays losslessly.

Decoding a colour JPEG gives RGB; decoding a lossless syntax gives the encoded values. The encoders
are bit-exact.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import imagecodecs
import numpy as np

from sendit.batch import Reason
from sendit.dicom import rle
from sendit.dicom.pixel_data import Description
from sendit.dicom.transfer_syntax import JPEG, JPEG_2000, JPEG_LS, RLE_LOSSLESS
from sendit.errors import SkipInstance
from sendit.pixels.layout import Array, sample_type

_JPEG: Final = "1.2.840.10008.1.2.4."
JPEG_BASELINE: Final = _JPEG + "50"
JPEG_LOSSLESS: Final = _JPEG + "57"
JPEG_LOSSLESS_SV1: Final = _JPEG + "70"
JPEG_LS_LOSSLESS: Final = _JPEG + "80"
JPEG_2000_LOSSLESS: Final = _JPEG + "90"
HTJ2K_LOSSLESS: Final = _JPEG + "201"

_LOSSLESS_OF: Final = {
    RLE_LOSSLESS: RLE_LOSSLESS,
    JPEG_LOSSLESS: JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1: JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS: JPEG_LS_LOSSLESS,
    _JPEG + "81": JPEG_LS_LOSSLESS,
    JPEG_2000_LOSSLESS: JPEG_2000_LOSSLESS,
    _JPEG + "91": JPEG_2000_LOSSLESS,
    HTJ2K_LOSSLESS: HTJ2K_LOSSLESS,
    _JPEG + "202": HTJ2K_LOSSLESS,
    _JPEG + "203": HTJ2K_LOSSLESS,
}
LOSSY: Final = frozenset(_JPEG + number for number in ("50", "51", "81", "91", "203"))
"""Syntaxes whose frames may be lossy."""

DCT: Final = frozenset((JPEG_BASELINE, _JPEG + "51"))
"""JPEG baseline and extended: sequential, in blocks of DCT coefficients."""

DECODED_TO_RGB: Final = frozenset((b"YBR_RCT", b"YBR_ICT"))
"""Photometric interpretations of JPEG 2000 that decoding converts to RGB."""

_LOSSLESS_JPEG: Final = frozenset((JPEG_LOSSLESS, JPEG_LOSSLESS_SV1))


def lossless_syntax(syntax: str) -> str:
    """Return the lossless syntax in which to encode changed frames of a syntax: the syntax itself
    if it is lossless, its lossless counterpart, or JPEG-LS."""
    return _LOSSLESS_OF.get(syntax, JPEG_LS_LOSSLESS)


def decode(frame: bytes, syntax: str, description: Description) -> Array:
    """Decode a compressed frame.

    Parameters
    ----------
    frame
        The compressed bytes.
    syntax
        Transfer syntax UID.
    description
        The header's description of the pixel data.

    Returns
    -------
    Array
        Samples of shape (rows, columns) or (rows, columns, samples).

    Raises
    ------
    SkipInstance
        The frame cannot be decoded, or its size differs from the header.
    """
    try:
        pixels = _decode(frame, syntax, description)
    except SkipInstance:
        raise
    except Exception:  # noqa: BLE001 each codec has its own errors, some of which quote the data
        raise SkipInstance(Reason.PIXELS_NOT_READ) from None
    rows, columns, samples = description[:3]
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    if pixels.shape != shape:
        raise SkipInstance(Reason.PIXELS_NOT_READ)
    return pixels


def _decode(frame: bytes, syntax: str, description: Description) -> Array:
    if syntax == RLE_LOSSLESS:
        return _decode_rle(frame, description)
    samples: Any
    if syntax in _LOSSLESS_JPEG or description.samples == 1:
        space = "GRAYSCALE" if description.samples == 1 else "RGB"
        if syntax in JPEG:
            samples = imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space)
            return _typed(samples, description)
    if syntax in JPEG:
        coded = None if description.photometric != b"RGB" or _has_ybr_marks(frame) else "RGB"
        samples = imagecodecs.jpeg8_decode(frame, colorspace=coded, outcolorspace="RGB")
    elif syntax in JPEG_LS:
        samples = imagecodecs.jpegls_decode(frame)
    else:
        assert syntax in JPEG_2000
        samples = imagecodecs.jpeg2k_decode(frame)
    return _typed(samples, description)


def _has_ybr_marks(frame: bytes) -> bool:
    """Whether a JPEG declares that its colours are YCbCr: by JFIF, or Adobe's transform."""
    head = frame[:4096]
    adobe = head.find(b"Adobe\0")
    return b"JFIF\0" in head[:32] or (adobe > 0 and head[adobe + 11 : adobe + 12] == b"\1")


def _typed(samples: Any, description: Description) -> Array:
    """Convert samples to the type that the header declares: codecs return unsigned numbers."""
    array: Array = np.asarray(samples)
    wanted = sample_type(description)
    if array.dtype == wanted:
        return array
    if array.dtype.kind == "u" and description.signed:
        bits = min(description.stored or description.allocated, description.allocated)
        spare = wanted.itemsize * 8 - bits
        return (array.astype(wanted.str.replace("i", "u")) << spare).view(wanted) >> spare
    return array.astype(wanted)


def _decode_rle(frame: bytes, description: Description) -> Array:
    size = description.allocated // 8
    segments, _ = rle.segments(frame, description.samples * size)
    pixels = description.rows * description.columns
    planes = np.empty((description.samples, size, pixels), np.uint8)
    for index, (start, end) in enumerate(segments):
        plane = np.frombuffer(imagecodecs.packbits_decode(frame[start:end]), np.uint8)
        planes[index // size, index % size] = plane[:pixels]
    wanted = sample_type(description, little=False)
    samples = planes.transpose(0, 2, 1).copy().view(wanted)[:, :, 0]
    shaped = samples.reshape(description.samples, description.rows, description.columns)
    shaped = shaped.astype(wanted.newbyteorder("<"))
    return shaped[0] if description.samples == 1 else shaped.transpose(1, 2, 0)


def encode(samples: Array, syntax: str, description: Description) -> bytes:
    """Encode a frame losslessly and pad it to even length.

    Parameters
    ----------
    samples
        Samples of shape (rows, columns) or (rows, columns, samples).
    syntax
        UID of a lossless transfer syntax.
    description
        The header's description of the pixel data.

    Raises
    ------
    SkipInstance
        The syntax cannot encode such samples.
    """
    try:
        frame = _encode(np.ascontiguousarray(samples), syntax, description)
    except Exception:  # noqa: BLE001 as decode
        raise SkipInstance(Reason.NOT_BLANKED) from None
    return frame + b"\0" * (len(frame) % 2)


def _encode(samples: Array, syntax: str, description: Description) -> bytes:
    if syntax == RLE_LOSSLESS:
        return _encode_rle(samples)
    bits = max(description.stored, 2)
    encoded: Any
    if samples.dtype.kind == "i" and syntax != JPEG_2000_LOSSLESS:  # which supports signed samples
        mask = (1 << description.stored) - 1
        samples = samples.view(samples.dtype.str.replace("i", "u")) & mask
    if samples.dtype.itemsize > 2:
        raise ValueError("too many bits")
    if syntax in _LOSSLESS_JPEG:
        space = "RGB" if samples.ndim == 3 else None
        encoded = imagecodecs.jpeg8_encode(
            samples,
            lossless=True,
            predictor=1,
            bitspersample=bits,
            colorspace=space,
            outcolorspace=space,
        )
    elif syntax == JPEG_LS_LOSSLESS:
        encoded = imagecodecs.jpegls_encode(samples)
    elif syntax == JPEG_2000_LOSSLESS:
        encoded = imagecodecs.jpeg2k_encode(
            samples, codecformat="j2k", reversible=True, level=0, bitspersample=bits, mct=False
        )
    else:
        assert syntax == HTJ2K_LOSSLESS
        encoded = imagecodecs.htj2k_encode(samples, reversible=True, rgb=False)
    return bytes(encoded)


def _encode_rle(samples: Array) -> bytes:
    """Encode a frame as run-length encoded byte planes, the most significant first (PS3.5 G)."""
    rows, columns = samples.shape[:2]
    size = samples.dtype.itemsize
    order = samples.astype(samples.dtype.newbyteorder(">"), copy=False)
    each = np.ascontiguousarray(order).view(np.uint8).reshape(rows, columns, -1, size)
    segments = []
    for sample in range(each.shape[2]):
        for byte in range(size):
            plane = np.ascontiguousarray(each[:, :, sample, byte])
            packed = bytes(imagecodecs.packbits_encode(plane, axis=-1))
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    head = struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(offsets)))
    return head + b"".join(segments)
