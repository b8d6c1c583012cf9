"""Render frames as 8-bit pictures for OCR.

8 bits cannot show the full range of 16: burned-in text may be at the largest value while all
tissue is below a hundredth of it, or be a shade of grey within the tissue's range. A frame may
therefore be rendered twice: over its full range, and over the range of nearly all its samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from sendit.dicom.scan import Header
from sendit.pixels.layout import Array

_PALETTES: Final = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))
_PERCENTILES: Final = (0.5, 99.5)
_MUCH_WIDER: Final = 1.5
_GAP: Final = 8
_LUMINANCE_FIRST: Final = (b"YBR_FULL", b"YBR_FULL_422", b"YBR_PARTIAL_420", b"YBR_PARTIAL_422")


def pictures(header: Header, frame: Array, photometric: bytes) -> Iterator[Array]:
    """Render a frame as one or two pictures.

    Parameters
    ----------
    header
        The image's header, for the palette.
    frame
        The samples, of shape (rows, columns) or (rows, columns, samples).
    photometric
        PhotometricInterpretation of these samples.

    Yields
    ------
    Array
        uint8, of shape (rows, columns, 3), in BGR order.
    """
    if photometric == b"PALETTE COLOR" and frame.ndim == 2:
        frame = _through_palette(header, frame)
    if frame.ndim == 3 and frame.shape[2] >= 3:
        colours = np.ascontiguousarray(_to_bytes(frame[:, :, :3]))
        if photometric in _LUMINANCE_FIRST:
            order = np.ascontiguousarray(colours[:, :, [0, 2, 1]])
            yield cv2.cvtColor(order, cv2.COLOR_YCrCb2BGR)
        else:
            yield cv2.cvtColor(colours, cv2.COLOR_RGB2BGR)
        return
    grey = frame[:, :, 0] if frame.ndim == 3 else frame
    yield from grey_pictures(grey)


def save_side_by_side(path: Path, before: Array, after: Array) -> None:
    """Write two pictures of equal size side by side as a PNG.

    Raises
    ------
    ValueError
        OpenCV cannot encode them.
    """
    gap = np.full((before.shape[0], _GAP, 3), 255, np.uint8)
    written, data = cv2.imencode(".png", np.hstack([before, gap, after]))
    if not written:
        raise ValueError("the pictures cannot be encoded as PNG")
    path.write_bytes(data.tobytes())


def grey_pictures(grey: Array) -> Iterator[Array]:
    """Render a frame with one sample per pixel as one or two pictures."""
    for picture in _greys(grey):
        yield cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


def _greys(grey: Array) -> Iterator[Array]:
    if grey.dtype.itemsize == 1 and grey.dtype.kind != "i" and int(grey.max(initial=0)) > 64:
        yield np.ascontiguousarray(grey)
        return
    values = grey.astype(np.float32)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    yield _stretched(values, low, high)
    sample = values[:: max(1, len(values) // 512), :: max(1, values.shape[1] // 512)]
    inner_low, inner_high = (float(each) for each in np.percentile(sample, _PERCENTILES))
    if inner_high > inner_low and high - low > _MUCH_WIDER * (inner_high - inner_low):
        yield _stretched(values, inner_low, inner_high)


def _stretched(values: Array, low: float, high: float) -> Array:
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.clip((values - low) * scale, 0, 255).astype(np.uint8)


def _to_bytes(colours: Array) -> Array:
    if colours.dtype.itemsize == 1:
        return colours.view(np.uint8)
    top = max(int(colours.max(initial=0)), 1)
    return (colours.astype(np.float32) * (255.0 / top)).astype(np.uint8)


def _through_palette(header: Header, frame: Array) -> Array:
    """Apply the palette of an image; return the frame unchanged if the palette is unreadable."""
    order = "<" if header.encoding.little else ">"
    planes = []
    for described, data in _PALETTES:
        head, raw = header.raw(described), header.raw(data)
        if head is None or raw is None or len(head) < 6:
            return frame
        entries, first, bits = np.frombuffer(bytes(head[:6]), order + "u2").tolist()
        entries = entries or 1 << 16
        packed = bits <= 8 and len(raw) < 2 * entries
        table = np.frombuffer(bytes(raw), np.uint8 if packed else np.dtype(order + "u2"))
        if not len(table):
            return frame
        shift = max(0, bits - 8)
        index = np.clip(frame.astype(np.int64) - first, 0, min(entries, len(table)) - 1)
        planes.append((table[index] >> shift).astype(np.uint8))
    return np.stack(planes, axis=2)
