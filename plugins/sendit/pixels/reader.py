"""Reads the text in a picture: PP-OCRv4 as ``rapidocr-onnxruntime`` ships it. Loaded once in a
process, on one core, and only when something is to be read. It writes no log: what it reads may
be a name.

The detector was trained on text of 20 pixels and more, so pictures are enlarged before they are
searched: whole, or in parts that overlap. Each line is recognised as it is and,
unless it is read with confidence, rotated by 180 degrees; a vertical line is rotated
first. So text is read in all four directions.
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
from sendit.pixels.strokes import has_glyphs

WHOLE: Final = 640
"""Rows and columns up to which a picture is enlarged as a whole."""

FINE: Final = 1280
"""Rows and columns up to which all of a larger picture is read enlarged, in parts of ``WHOLE``; of
one that is larger still, the parts that show a row of strokes. All of it is read at its own size,
in parts of this size."""

_ENLARGED: Final = 2.0
_LEAST: Final = 736
"""Rows and columns that a picture is enlarged to at least, within ``_MOST_ENLARGED``."""

_MOST_ENLARGED: Final = 4.0
_OVERLAP: Final = {WHOLE: 128, FINE: 192}
_SMALL: Final = 96
_UPRIGHT: Final = 0.95
"""Score from which on a line stands as it was read."""

_LEAST_SCORE: Final = 0.5
_SIDE_MULTIPLE: Final = 32
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


@dataclass(frozen=True, slots=True)
class _View:
    """A part of a picture, where it lies, and how much larger it is made before it is read."""

    left: int
    top: int
    scale: float
    part: Array


@cache
def _engine() -> Any:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(lambda _: False)
    from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415 a second to load, most need none

    engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
    engine.text_det.limit_side_len = _SIDE_MULTIPLE  # it comes enlarged
    return engine


def read(picture: Array) -> list[Line]:
    """Return the lines of text in a picture (uint8, of shape (rows, columns, 3))."""
    return [line for view in _views(picture) for line in _read(view)]


def _read(view: _View) -> Iterator[Line]:
    picture = view.part
    if view.scale != 1:
        picture = cv2.resize(
            picture, None, fx=view.scale, fy=view.scale, interpolation=cv2.INTER_CUBIC
        )
    picture = _framed(picture)
    engine = _engine()
    corners, _ = engine.text_det(picture)
    if corners is None or not len(corners):
        return
    crops = engine.get_crop_img_list(picture, corners)
    read_upright, _ = engine.text_rec(crops)
    lines = [(str(text), float(score)) for text, score, *_ in read_upright]
    unsure = [index for index, (_, score) in enumerate(lines) if score < _UPRIGHT]
    if unsure:
        turned, _ = engine.text_rec(
            [np.ascontiguousarray(crops[index][::-1, ::-1]) for index in unsure]
        )
        for index, (text, score, *_) in zip(unsure, turned, strict=True):
            if float(score) > lines[index][1]:
                lines[index] = str(text), float(score)
    for (text, score), quadrangle in zip(lines, corners, strict=True):
        if score < _LEAST_SCORE:
            continue
        x0, y0 = (int(each / view.scale) for each in quadrangle.min(axis=0))
        x1, y1 = (int(-(-each // view.scale)) for each in quadrangle.max(axis=0))
        yield Line(text, score, (x0 + view.left, y0 + view.top, x1 + view.left, y1 + view.top))


def _framed(picture: Array) -> Array:
    """Return a picture that is not smaller than what the detector takes."""
    below, behind = (max(0, _SMALL - length) for length in picture.shape[:2])
    if below or behind:
        picture = cv2.copyMakeBorder(picture, 0, below, 0, behind, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(picture)


def _views(picture: Array) -> Iterator[_View]:
    longest = max(picture.shape[:2])
    if longest <= WHOLE:
        scale = max(_ENLARGED, _LEAST / min(picture.shape[:2]))
        yield from _parts(picture, WHOLE, min(scale, _MOST_ENLARGED))
        return
    yield from _parts(picture, FINE, 1)
    for view in _parts(picture, WHOLE, _ENLARGED):
        if longest <= FINE or has_glyphs(np.ascontiguousarray(view.part.max(axis=2))):
            yield view


def _parts(picture: Array, size: int, scale: float) -> Iterator[_View]:
    rows, columns = picture.shape[:2]
    for top in _starts(rows, size):
        for left in _starts(columns, size):
            part = picture[top : top + size, left : left + size]
            if int(part.max(initial=0)) - int(part.min(initial=0)) >= 2:  # else nothing stands out
                yield _View(left, top, scale, part)


def _starts(length: int, size: int) -> list[int]:
    """Return where parts start that overlap by more than a line's height."""
    if length <= size:
        return [0]
    overlap = _OVERLAP[size]
    count = -(-(length - overlap) // (size - overlap))
    return [round(index * (length - size) / (count - 1)) for index in range(count)]
