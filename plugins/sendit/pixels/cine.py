"""Select the frames of a cine to read by OCR: the first, and each that may show new text.

Moving tissue changes in every frame, and its speckle looks like strokes. Pixels that change from
frame to frame are therefore taken for tissue. Text that appears over tissue shows as a jump in the
number of strong strokes, or as a row of glyphs at maximum brightness; text that appears where
nothing moved shows by its strokes alone. In addition, every :data:`EVERY`-th frame is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from sendit.pixels.layout import Array
from sendit.pixels.strokes import has_chain, has_glyphs, strong_strokes

EVERY: Final = 64
_CHANGE: Final = 0.1
"""Minimum change of a pixel that counts, as a fraction of the frame's range."""

_NEW_STROKES: Final = 24
_AROUND: Final = np.ones((15, 15), np.uint8)
_RECENT: Final = 15
_MIN_JUMP: Final = 120
"""Number of pixels in strong strokes that a short word adds."""

_DEVIATIONS: Final = 5.0
_BRIGHT: Final = 0.92
_MIN_CHAIN: Final = 5


def frames_to_read(shown: Iterator[Array]) -> Iterator[Array]:
    """Yield the frames to read, unchanged.

    Parameters
    ----------
    shown
        The frames, of shape (rows, columns) or (rows, columns, samples), in order. At most two of
        them are in memory at a time.
    """
    first = next(shown, None)
    if first is None:
        return
    yield first
    cine = _Cine(first)
    for number, frame in enumerate(shown, start=1):
        if cine.may_bring_text(frame) or number % EVERY == 0:
            cine.was_read(frame)
            yield frame


class _Cine:
    """Compares each frame with the previous one, and with the last one that was read."""

    def __init__(self, first: Array) -> None:
        grey = _grey(first)
        self._read = self._last = grey
        self._moving = np.zeros(grey.shape, np.bool_)
        self._strong = deque([strong_strokes(grey)], maxlen=_RECENT)

    def was_read(self, frame: Array) -> None:
        """Record the frame that was read last."""
        self._read = _grey(frame)

    def may_bring_text(self, frame: Array) -> bool:
        """Whether a frame may show text that no earlier frame showed."""
        grey = _grey(frame)
        limit = _CHANGE * max(float(np.ptp(grey)), 1.0)
        changed = np.abs(grey - self._last) > limit
        if not changed.any() and not (np.abs(grey - self._read) > limit).any():
            return False  # unchanged
        jumps = self._jumps(grey)  # always, because it updates the statistics
        brings = jumps or self._brings_strokes(grey, limit) or self._brings_bright_glyphs(grey)
        self._moving |= cv2.dilate(changed.view(np.uint8), _AROUND).view(np.bool_)
        self._last = grey
        return brings

    def _brings_strokes(self, grey: Array, limit: float) -> bool:
        new = (np.abs(grey - self._read) > limit) & ~self._moving
        if np.count_nonzero(new) < _NEW_STROKES:
            return False
        around = cv2.dilate(new.view(np.uint8), _AROUND) > 0
        return has_glyphs(np.where(around, grey, np.float32(np.median(grey))))

    def _brings_bright_glyphs(self, grey: Array) -> bool:
        """Whether a row of glyphs at maximum brightness appears where the last read frame was
        darker."""
        bright = _BRIGHT * float(grey.max(initial=0))
        return has_chain(((grey >= bright) & (self._read < bright)).view(np.uint8), _MIN_CHAIN)

    def _jumps(self, grey: Array) -> bool:
        strong = strong_strokes(grey)
        usual = float(np.median(self._strong))
        spread = float(np.median(np.abs(np.array(self._strong) - usual)))
        self._strong.append(strong)
        return strong > usual + max(_MIN_JUMP, _DEVIATIONS * spread)


def _grey(frame: Array) -> Array:
    grey = frame if frame.ndim == 2 else frame.max(axis=2)
    return grey.astype(np.float32)
