"""Reads the text in a picture: PP-OCRv4 as ``rapidocr-onnxruntime`` ships it, with its classifier
of text that stands on its head. Loaded once in a process, on one core, and only when something is
to be read. It writes no log: what it reads may be a name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np

from sendit.pixels.layout import Array

TILE: Final = 1280
"""Rows and columns that are read at once: what is larger would be made smaller first, and small
text with it."""

_OVERLAP: Final = 192
_SMALL: Final = 96
_LOGGERS: Final = ("RapidOCR", "OrtInferSession", "DownloadModel")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text.

    Attributes
    ----------
    text
        As it was read; it never leaves the process.
    score
        How sure the reader is, from 0 to 1.
    box
        (xmin, ymin, xmax, ymax) in pixels of the picture.
    """

    text: str
    score: float
    box: tuple[int, int, int, int]


@cache
def _engine() -> Any:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(lambda _: False)
    from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415 a second to load, most need none

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def read(picture: Array) -> list[Line]:
    """Return the lines of text in a picture (uint8, of shape (rows, columns, 3))."""
    found: list[Line] = []
    for left, top, tile in _tiles(picture):
        lines, _ = _engine()(tile)
        for corners, text, score in lines or ():
            xs, ys = [point[0] for point in corners], [point[1] for point in corners]
            box = (int(min(xs)) + left, int(min(ys)) + top, int(max(xs)) + left, int(max(ys)) + top)
            found.append(Line(str(text), float(score), box))
    return found


def _tiles(picture: Array) -> Iterator[tuple[int, int, Array]]:
    rows, columns = picture.shape[:2]
    for top in _starts(rows):
        for left in _starts(columns):
            tile = picture[top : top + TILE, left : left + TILE]
            if int(tile.max(initial=0)) - int(tile.min(initial=0)) < 2:
                continue  # of one shade: nothing stands out
            if min(tile.shape[:2]) < _SMALL:
                below, behind = max(0, _SMALL - tile.shape[0]), max(0, _SMALL - tile.shape[1])
                tile = cv2.copyMakeBorder(tile, 0, below, 0, behind, cv2.BORDER_REPLICATE)
            yield left, top, np.ascontiguousarray(tile)


def _starts(length: int) -> list[int]:
    """Return where tiles start that overlap by more than a line's height."""
    if length <= TILE:
        return [0]
    count = -(-(length - _OVERLAP) // (TILE - _OVERLAP))
    return [round(index * (length - TILE) / (count - 1)) for index in range(count)]
