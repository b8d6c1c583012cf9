"""Which frames of a cine are read: the first, and each that may bring text.

Moving tissue changes everywhere in every frame, and its speckle looks like strokes. So a place that
changes from frame to frame is taken for tissue; text that appears there shows by the number of
strong strokes, which jumps, or as a row of glyphs that are as bright as anything. Text that appears
where nothing moved shows by its strokes alone. Beside these, one frame in :data:`EVERY` is read
whatever it shows.
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
"""Of a frame's range: a pixel that changes by more has changed."""

_NEW_STROKES: Final = 24
_AROUND: Final = np.ones((15, 15), np.uint8)
_RECENT: Final = 15
_LEAST_JUMP: Final = 120
"""Pixels of strong strokes that a short word adds."""

_DEVIATIONS: Final = 5.0
_BRIGHT: Final = 0.92
_MIN_CHAIN: Final = 5


def frames_to_read(shown: Iterator[Array]) -> Iterator[Array]:
    """Yield the frames that are to be read, each as it came.

    Parameters
    ----------
    shown
        The frames, of shape (rows, columns) or (rows, columns, samples), in their order. Two of
        them are in memory.
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
    def __init__(self, first: Array) -> None:
        grey = _grey(first)
        self._read = self._last = grey
        self._moving = np.zeros(grey.shape, np.bool_)
        self._strong = deque([strong_strokes(grey)], maxlen=_RECENT)

    def was_read(self, frame: Array) -> None:
        """Remember the frame that was read last."""
        self._read = _grey(frame)

    def may_bring_text(self, frame: Array) -> bool:
        """Whether a frame may show text that none before it did."""
        grey = _grey(frame)
        limit = _CHANGE * max(float(np.ptp(grey)), 1.0)
        changed = np.abs(grey - self._last) > limit
        if not changed.any() and not (np.abs(grey - self._read) > limit).any():
            return False  # the same again
        jumps = self._jumps(grey)  # always counted
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
        """Whether a row of glyphs as bright as anything stands where the frame that was read last
        was darker."""
        bright = _BRIGHT * float(grey.max(initial=0))
        return has_chain(((grey >= bright) & (self._read < bright)).view(np.uint8), _MIN_CHAIN)

    def _jumps(self, grey: Array) -> bool:
        strong = strong_strokes(grey)
        usual = float(np.median(self._strong))
        spread = float(np.median(np.abs(np.array(self._strong) - usual)))
        self._strong.append(strong)
        return strong > usual + max(_LEAST_JUMP, _DEVIATIONS * spread)


def _grey(frame: Array) -> Array:
    grey = frame if frame.ndim == 2 else frame.max(axis=2)
    return grey.astype(np.float32)
