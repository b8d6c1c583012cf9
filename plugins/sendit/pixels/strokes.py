"""Cheap searches for possible text: strokes, and rows of strokes of equal height.

A stroke is what a morphological top-hat leaves: a line a few pixels wide that is lighter (or
darker) than the pixels on both sides. Burned-in text consists of strokes, but so does much else,
so a match only means that the image must be read by OCR.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import cv2
import numpy as np

from sendit.pixels.layout import Array

CONTRAST: Final = 0.05
"""Minimum contrast of strokes that persist in a series, as a fraction of the tissue's range."""

PERSISTENT: Final = 0.7
"""Minimum fraction of a series' images with a stroke at the same pixel."""

MIN_IMAGES: Final = 3
"""Minimum number of images in a series to tell what persists."""

cv2.setNumThreads(1)  # a worker uses one core for one study
_STROKE: Final = np.ones((5, 5), np.uint8)
_STRONG: Final = 0.25
_MIN_GLYPH, _MAX_GLYPH = 4, 64
_MIN_CHAIN: Final = 3
_MAX_GLYPHS: Final = 1500
_RECENT: Final = 15
_JUMP: Final = 1.5
_MAX_BYTE: Final = 255


def _usable(frame: Array) -> Array:
    """Return a contiguous frame of a type that OpenCV's morphology supports."""
    if frame.dtype in (np.uint8, np.uint16, np.int16):
        native = frame if frame.dtype.isnative else frame.astype(frame.dtype.newbyteorder("="))
        return np.ascontiguousarray(native)
    return np.ascontiguousarray(frame, np.float32)


def _above(values: Array, limit: float, marked: int) -> Array:
    """Return bytes: ``marked`` where a value is above the limit, else 0."""
    if values.dtype.kind == "f":
        return np.asarray(cv2.threshold(values, limit, marked, cv2.THRESH_BINARY)[1], np.uint8)
    return np.asarray(values > values.dtype.type(min(limit, np.iinfo(values.dtype).max))).view(
        np.uint8
    )


def tissue_range(frame: Array) -> float:
    """Return the range of nearly all samples of a frame, without outliers such as a bright line."""
    sample = frame[:: max(1, frame.shape[0] // 64), :: max(1, frame.shape[1] // 64)]
    low, high = np.percentile(sample.astype(np.float32), (1, 99))
    return max(float(high - low), 1.0)


class SeriesStrokes:
    """Searches the images of a series for strokes that persist.

    Parameters
    ----------
    first
        The first frame, of shape (rows, columns).
    """

    def __init__(self, first: Array) -> None:
        self._counts = np.zeros(first.shape, np.uint32)
        self._pending = np.zeros(first.shape, np.uint8)
        self._scale = tissue_range(first)
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._top = float(first.max(initial=0))
        self.images = 0

    def see(self, frame: Array) -> bool:
        """Count a frame's strokes.

        Returns
        -------
        bool
            Whether the frame differs from earlier ones in a way that text may explain: by its
            largest value, or by the number of strong strokes.
        """
        usable = _usable(frame)
        raised = cv2.morphologyEx(usable, cv2.MORPH_TOPHAT, _STROKE)
        self._pending += _above(raised, CONTRAST * self._scale, 1)
        self.images += 1
        if self.images % _MAX_BYTE == 0:
            self._flush()
        return self._differs(usable, raised)

    def is_brighter(self, frame: Array) -> bool:
        """Whether a frame's largest value is far above that of earlier frames."""
        top = float(frame.max(initial=0))
        brighter = top > _JUMP * max(self._top, 1.0)
        self._top = max(self._top, top)
        return brighter

    def _flush(self) -> None:
        self._counts += self._pending
        self._pending[:] = 0

    def _differs(self, frame: Array, raised: Array) -> bool:
        strong = cv2.countNonZero(_above(raised, _STRONG * self._scale, 1))
        brighter = self.is_brighter(frame)
        usual = sorted(self._recent)[len(self._recent) // 2] if self._recent else strong
        differs = self.images > MIN_IMAGES and (brighter or strong > 2 * usual + 150)
        self._recent.append(strong)
        return differs

    def suspicious(self) -> bool:
        """Whether persistent strokes look like a line of text."""
        if self.images < MIN_IMAGES:
            return True
        self._flush()
        minimum = max(1, int(PERSISTENT * self.images))
        return has_chain((self._counts >= minimum).astype(np.uint8), _MIN_CHAIN)


def strong_strokes(frame: Array) -> int:
    """Return the number of pixels of a frame in prominent strokes."""
    usable = _usable(frame)
    raised = cv2.morphologyEx(usable, cv2.MORPH_TOPHAT, _STROKE)
    return cv2.countNonZero(_above(raised, _STRONG * tissue_range(usable), 1))


def has_glyphs(frame: Array) -> bool:
    """Whether an image shows a row of strokes of equal height, light or dark."""
    usable = _usable(frame)
    scale = tissue_range(usable)
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        raised = cv2.morphologyEx(usable, operation, np.ones((9, 9), np.uint8))
        for contrast in (0.15, 0.4):
            if has_chain((raised > contrast * scale).astype(np.uint8), 5):
                return True
    return False


def has_chain(strokes: Array, minimum: int) -> bool:
    """Whether at least ``minimum`` glyph-sized components form a horizontal or vertical row."""
    count, _, stats, centres = cv2.connectedComponentsWithStats(strokes, connectivity=8)
    if count <= minimum:
        return False
    left, top, width, height, area = (stats[1:, index] for index in range(5))
    glyph = (
        (np.maximum(width, height) >= _MIN_GLYPH)
        & (np.maximum(width, height) <= _MAX_GLYPH)
        & (area >= _MIN_GLYPH)
        & (area >= 0.12 * width * height)
    )
    if not minimum <= int(glyph.sum()) <= _MAX_GLYPHS:
        return False  # too few for a line, or speckle everywhere
    boxes = np.stack([left, top, width, height], axis=1)[glyph].astype(np.int32)
    middles = centres[1:][glyph]
    return _row(boxes[:, 0], boxes[:, 2], middles[:, 1], boxes[:, 3], minimum) or _row(
        boxes[:, 1], boxes[:, 3], middles[:, 0], boxes[:, 2], minimum
    )


def _row(start: Any, length: Any, across: Any, height: Any, minimum: int) -> bool:
    """Whether enough components form a row along one axis: close, aligned, of similar height."""
    order = np.argsort(start, kind="stable")
    start, length, across, height = (each[order] for each in (start, length, across, height))
    chain = np.ones(len(order), np.int32)
    ends = start + length
    for index in range(1, len(order)):
        first = max(0, index - 40)
        tall = np.maximum(height[first:index], height[index])
        gap = start[index] - ends[first:index]
        fits = (
            (np.abs(across[first:index] - across[index]) <= 0.35 * tall)
            & (np.minimum(height[first:index], height[index]) >= 0.55 * tall)
            & (gap <= 1.2 * tall)
            & (gap >= -1)
        )
        if fits.any():
            chain[index] = 1 + int(chain[first:index][fits].max())
            if chain[index] >= minimum:
                return True
    return False
