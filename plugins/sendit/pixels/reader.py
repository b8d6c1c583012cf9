"""Read the text in a picture by OCR (PP-OCRv4 as shipped with ``rapidocr-onnxruntime``).

The model is loaded once per process, for one core, when the first picture is read. Its logging is
disabled, because the text may be a name.

The detector was trained on text at least 20 pixels high, so pictures are enlarged before they are
searched, as a whole or in overlapping parts. Each line is recognised as it is and, if the score is
low, rotated by 180 degrees; vertical lines are rotated first. So text is read in all four
directions.
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
"""Pictures of up to so many rows and columns are enlarged as a whole."""

FINE: Final = 1280
"""Larger pictures are read at their own size in parts of this size, and enlarged in parts of size
``WHOLE``: up to ``FINE`` rows and columns all of these, above only those with a row of strokes."""

_SCALE: Final = 2.0
_MIN_SIZE: Final = 736
"""Minimum number of rows and columns after enlarging, unless limited by ``_MAX_SCALE``."""

_MAX_SCALE: Final = 4.0
_OVERLAP: Final = {WHOLE: 128, FINE: 192}
_SMALL: Final = 96
_UPRIGHT: Final = 0.95
"""Minimum score of a line that is not also tried upside down."""

_MIN_SCORE: Final = 0.5
_SIDE_MULTIPLE: Final = 32
_LOGGERS: Final = ("RapidOCR", "OrtInferSession", "DownloadModel")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text.

    Attributes
    ----------
    text
        The recognised text; never logged or stored.
    score
        Confidence, from 0 to 1.
    box
        (xmin, ymin, xmax, ymax) in pixels of the picture.
    height
        Height of its characters in pixels of the picture, however the line is turned; 0 if not
        known.
    """

    text: str
    score: float
    box: tuple[int, int, int, int]
    height: float = 0


@dataclass(frozen=True, slots=True)
class _View:
    """A part of a picture, its offset, and the factor by which it is enlarged before reading."""

    left: int
    top: int
    scale: float
    part: Array


@cache
def _engine() -> Any:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(lambda _: False)
    from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415 takes a second to load, and few images need it

    engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
    engine.text_det.limit_side_len = _SIDE_MULTIPLE  # no further resizing
    return engine


def read(picture: Array) -> list[Line]:
    """Return the lines of text in a picture.

    Parameters
    ----------
    picture
        uint8, of shape (rows, columns, 3), in BGR order.
    """
    return [line for view in _views(picture) for line in _read(view)]


def _read(view: _View) -> Iterator[Line]:
    picture = view.part
    if view.scale != 1:
        picture = cv2.resize(
            picture, None, fx=view.scale, fy=view.scale, interpolation=cv2.INTER_CUBIC
        )
    picture = _padded(picture)
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
        if score < _MIN_SCORE:
            continue
        x0, y0 = (int(each / view.scale) for each in quadrangle.min(axis=0))
        x1, y1 = (int(-(-each // view.scale)) for each in quadrangle.max(axis=0))
        box = (x0 + view.left, y0 + view.top, x1 + view.left, y1 + view.top)
        sides = np.linalg.norm(quadrangle[:2] - quadrangle[1:3], axis=1)
        yield Line(text, score, box, float(sides.min()) / view.scale)


def _padded(picture: Array) -> Array:
    """Pad a picture to the detector's minimum size."""
    bottom, right = (max(0, _SMALL - length) for length in picture.shape[:2])
    if bottom or right:
        picture = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(picture)


def _views(picture: Array) -> Iterator[_View]:
    longest = max(picture.shape[:2])
    if longest <= WHOLE:
        scale = max(_SCALE, _MIN_SIZE / min(picture.shape[:2]))
        yield from _parts(picture, WHOLE, min(scale, _MAX_SCALE))
        return
    yield from _parts(picture, FINE, 1)
    for view in _parts(picture, WHOLE, _SCALE):
        if longest <= FINE or has_glyphs(np.ascontiguousarray(view.part.max(axis=2))):
            yield view


def _parts(picture: Array, size: int, scale: float) -> Iterator[_View]:
    rows, columns = picture.shape[:2]
    for top in _starts(rows, size):
        for left in _starts(columns, size):
            part = picture[top : top + size, left : left + size]
            if int(part.max(initial=0)) - int(part.min(initial=0)) >= 2:  # not uniform
                yield _View(left, top, scale, part)


def _starts(length: int, size: int) -> list[int]:
    """Return the offsets of parts that overlap by more than the height of a line."""
    if length <= size:
        return [0]
    overlap = _OVERLAP[size]
    count = -(-(length - overlap) // (size - overlap))
    return [round(index * (length - size) / (count - 1)) for index in range(count)]
