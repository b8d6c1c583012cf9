"""Images that show many slices side by side: Siemens' mosaics and UIH's grids.

OCR reads the same anatomy in each tile as a row of one repeated character: zeros, eights or Ds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from sendit.dicom.scan import IMAGE_TYPE, Header, value_text

if TYPE_CHECKING:
    from sendit.pixels.reader import Line

_MOSAICS: Final = frozenset((b"MOSAIC", b"GRID", b"VFRAME"))

_SIEMENS: Final = (0x0019, b"SIEMENS MR HEADER", 0x0A, "US")
"""NumberOfImagesInMosaic; the tiles form a square."""

_UIH: Final = (0x0065, b"Image Private Header", 0x50, "DS")
"""Number of slices in the image; the tiles form the smallest rectangle as wide as the square."""

_ACQUISITION_MATRIX: Final = 0x00181310
_USUAL_BLOCK: Final = 0x10
_MAX_DIGITS: Final = 4
_MIN_TILES: Final = 2.5
_MAX_PER_TILE: Final = 1.5
"""A line across ``_MIN_TILES`` tiles or more with no more characters per tile is anatomy, because
characters of text would be two thirds of a tile wide."""

_MIN_WIDTH: Final = 24
"""Pixels per character below which a line may be text, however small the tiles are."""

_MAX_DISTINCT: Final = 3
"""Different characters that anatomy is read as, at most: slices next to each other look alike."""

_SURE: Final = 0.8
"""Score from which a line of more different characters is text."""

_MAX_DIFFERENCE: Final = 0.75
_MIN_PITCH: Final = 0.8
"""Distance of characters as a part of their height, above which they are as far apart as tiles."""


def is_mosaic(header: Header) -> bool:
    """Whether an image is a mosaic of slices (Siemens: MOSAIC; UIH: GRID, VFRAME)."""
    values = (header.raw(IMAGE_TYPE) or b"").split(b"\\")
    return not _MOSAICS.isdisjoint(value.strip(b" \0") for value in values)


def tile_shape(header: Header, rows: int, columns: int) -> tuple[float, float] | None:
    """Return the size of a slice in a mosaic.

    Parameters
    ----------
    header
        The image's header.
    rows, columns
        Size of the image in pixels.

    Returns
    -------
    tuple[float, float] or None
        Rows and columns of a slice: from the vendor's number of slices, or else from
        AcquisitionMatrix (0018,1310). None if the image is not a mosaic, or has neither.
    """
    if not is_mosaic(header):
        return None
    for place in (_SIEMENS, _UIH):
        count = _number(header, *place)
        if count > 1:
            across = math.isqrt(count - 1) + 1
            down = across if place is _SIEMENS else -(-count // across)
            return rows / down, columns / across
    matrix = (header.text(_ACQUISITION_MATRIX) or "").split("\\")
    side = max((int(length) for length in matrix if length.isdecimal()), default=0)
    if 0 < side < max(rows, columns) and rows % side == columns % side == 0:
        return side, side
    return None


def is_anatomy(line: Line, tile: tuple[float, float]) -> bool:
    """Whether a line of text in a mosaic has about one character per tile, nearly all alike.

    Characters that differ are anatomy if there is one in each tile, as far from each other as the
    tiles are, and OCR is not sure of them.

    Parameters
    ----------
    line
        The line as read by OCR.
    tile
        Rows and columns of a slice, in pixels.
    """
    x0, y0, x1, y1 = line.box
    tiles = max((x1 - x0) / tile[1], (y1 - y0) / tile[0])
    characters = "".join(line.text.split()).upper()
    length, height = max(x1 - x0, y1 - y0), min(x1 - x0, y1 - y0)
    if (
        tiles < _MIN_TILES
        or len(characters) > _MAX_PER_TILE * tiles
        or len(characters) * _MIN_WIDTH > length
    ):
        return False
    return len(set(characters)) <= _MAX_DISTINCT or (
        line.score < _SURE
        and abs(len(characters) - tiles) <= _MAX_DIFFERENCE
        and length >= _MIN_PITCH * height * len(characters)
    )


def _number(header: Header, group: int, creator: bytes, element: int, vr: str) -> int:
    """Return the number in a private attribute; 0 if there is none.

    The usual block is the vendor's if no creator reserves it (see :mod:`sendit.vendors.blocks`).
    """
    blocks = (
        block
        for block in range(0x10, 0x100)
        if (header.raw(group << 16 | block) or b"").strip(b" \0") == creator
    )
    is_reserved = header.raw(group << 16 | _USUAL_BLOCK) is not None
    block = next(blocks, None if is_reserved else _USUAL_BLOCK)
    if block is None:
        return 0
    tag = group << 16 | block << 8 | element
    raw, location = header.raw(tag), header.element(tag)
    if raw is None or location is None:
        return 0
    written = vr if location[1] == "UN" else location[1]
    text = value_text(tag, written, raw, header.encoding, b"")
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else 0
