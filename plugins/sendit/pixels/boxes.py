"""Which parts of an image are blanked: a filter's regions as rectangles of that image.

deid's rule: the regions are painted one after the other, ``coordinates`` blank and
``keepcoordinates`` spare, each over what was painted before it. A box is (xmin, ymin, xmax,
ymax) in pixels; the last column and row are not of it, as in deid.

Regions of the image itself (``from:SequenceOfUltrasoundRegions``, PS3.3 C.8.5.5) give their last
column and row inclusively; makers who give the number of columns or rows there mean the last ones.
To keep only such regions they have to be trusted: each is within the frame, at least one says what
it shows (RegionSpatialFormat is not 0), and together they are not the whole frame. Those that do
not say what they show are not kept. A rule whose regions cannot be trusted does not count where
another rule knows what to blank.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from sendit.batch import Reason
from sendit.dicom.binary import order_of
from sendit.dicom.pixel_data import COLUMNS, ROWS
from sendit.dicom.scan import Header, Item
from sendit.errors import SkipInstance

if TYPE_CHECKING:
    from sendit.recipe.filters import Decision
    from sendit.recipe.model import Region

Box = tuple[int, int, int, int]
Mask = npt.NDArray[np.bool_]

ULTRASOUND_REGIONS: Final = 0x00186011
_SPATIAL_FORMAT: Final = 0x00186012
_CORNERS: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)


@dataclass(frozen=True)
class Blank:
    """What is blanked in each frame of an image.

    Attributes
    ----------
    rows, columns
        Of the image.
    boxes
        Rectangles that have no pixel in common.
    """

    rows: int
    columns: int
    boxes: tuple[Box, ...]

    @cached_property
    def mask(self) -> Mask:
        """True where a pixel is blanked; of shape (rows, columns)."""
        mask = np.zeros((self.rows, self.columns), np.bool_)
        for x0, y0, x1, y1 in self.boxes:
            mask[y0:y1, x0:x1] = True
        return mask

    def aligned(self, across: int, down: int) -> Blank:
        """Return the same grown to whole blocks of so many columns and rows, within the image."""
        if (across, down) == (1, 1):
            return self
        mask = np.zeros((self.rows, self.columns), np.bool_)
        for x0, y0, x1, y1 in self.boxes:
            mask[y0 - y0 % down : y1 + -y1 % down, x0 - x0 % across : x1 + -x1 % across] = True
        return Blank(self.rows, self.columns, tuple(rectangles(mask)))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a blanked member is compared with: its original, and the boxes."""

    path: Path
    boxes: tuple[Box, ...]


def blank_of(
    header: Header, rules: Sequence[Sequence[Region]], text: Sequence[Box] = ()
) -> Blank | None:
    """Return what the regions of matching filter rules blank in one image.

    Parameters
    ----------
    header
        The image's.
    rules
        The regions of each matching rule.
    text
        Boxes of text that must be blanked where it is read (``from:TextInPixels``).

    Returns
    -------
    Blank or None
        None if only text was to be blanked, and there is none.

    Raises
    ------
    SkipInstance
        The image's own regions are to be kept and cannot be trusted, or there are none where a
        rule takes its boxes from them, and no other rule matched; or no region is within the image.
    """
    rows, columns = _number(header, ROWS), _number(header, COLUMNS)
    if not rows or not columns:
        raise SkipInstance(Reason.PIXELS_DIFFER)
    mask = np.zeros((rows, columns), np.bool_)
    known = 0
    for regions in rules:
        try:
            painted = [
                (box, region.keep)
                for region in regions
                for box in (text if region.text else _boxes(header, region, rows, columns))
            ]
        except SkipInstance:
            continue
        known += 1
        for (x0, y0, x1, y1), keep in painted:
            mask[y0:y1, x0:x1] = not keep
    if not known:
        raise SkipInstance(Reason.NO_REGIONS)
    if not mask.any():
        if any(region.text for regions in rules for region in regions):
            return None
        raise SkipInstance(Reason.NOT_BLANKED)  # a rule for images of another size
    return Blank(rows, columns, tuple(rectangles(mask)))


def withheld(header: Header, decision: Decision | None) -> str | None:
    """Return why an image is filtered, or None if it passes, perhaps with regions blanked."""
    if decision is None:
        return None
    if not decision.blanks:
        return decision.reason
    try:
        blank_of(header, decision.coordinates)
    except SkipInstance as skipped:
        return f"{decision.reason}: {skipped.reason}"
    return None


def _boxes(header: Header, region: Region, rows: int, columns: int) -> list[Box]:
    if region.box is not None:
        return [region.box]
    if region.source is None:
        return [(0, 0, columns, rows)]
    regions = _own_regions(header, region.source)
    if not regions:
        raise SkipInstance(Reason.NO_REGIONS)
    if not region.keep:
        return [box for box, _ in regions]
    return _trusted(regions, rows, columns)


def _trusted(regions: Sequence[tuple[Box, bool]], rows: int, columns: int) -> list[Box]:
    if any(
        x1 > columns + 1 or y1 > rows + 1 or x0 >= x1 or y0 >= y1 for (x0, y0, x1, y1), _ in regions
    ):
        raise SkipInstance(Reason.NO_REGIONS)  # of another frame size: the image was cropped
    kept = [
        (x0, y0, min(x1, columns), min(y1, rows)) for (x0, y0, x1, y1), typed in regions if typed
    ]
    mask = np.zeros((rows, columns), np.bool_)
    for x0, y0, x1, y1 in kept:
        mask[y0:y1, x0:x1] = True
    if not kept or mask.all():
        raise SkipInstance(Reason.NO_REGIONS)
    return kept


def trusted_regions(header: Header) -> list[Box]:
    """Return the image's own ultrasound regions; none if they cannot be trusted."""
    try:
        return _trusted(
            _own_regions(header, ULTRASOUND_REGIONS),
            _number(header, ROWS),
            _number(header, COLUMNS),
        )
    except SkipInstance:
        return []


def _own_regions(header: Header, source: int) -> list[tuple[Box, bool]]:
    """Return the boxes in a sequence's items, and whether each declares what it shows."""
    sequence = header.element(source)
    regions: list[tuple[Box, bool]] = []
    for item in (sequence[5] if sequence is not None else None) or ():
        corners = [_item_number(header, item, tag) for tag in _CORNERS]
        if any(corner is None for corner in corners):
            raise SkipInstance(Reason.NO_REGIONS)
        x0, y0, x1, y1 = (corner or 0 for corner in corners)
        regions.append(
            ((x0, y0, x1 + 1, y1 + 1), bool(_item_number(header, item, _SPATIAL_FORMAT)))
        )
    return regions


def _item_number(header: Header, item: Item, tag: int) -> int | None:
    encoding, elements = item
    for own_tag, _, _, start, end, items in elements:
        if own_tag == tag and items is None and end - start in (2, 4):
            form = order_of(encoding.little) + ("H" if end - start == 2 else "L")
            (number,) = struct.unpack(form, bytes(header.data[start:end]))
            return int(number)
    return None


def _number(header: Header, tag: int) -> int:
    raw = header.raw(tag) or b""
    return int.from_bytes(raw[:2], "little" if header.encoding.little else "big")


def rectangles(mask: Mask) -> Iterator[Box]:
    """Yield rectangles that make up a mask: runs of columns, over equal rows."""
    rows = len(mask)
    changes = np.flatnonzero((mask[1:] != mask[:-1]).any(axis=1)) + 1
    starts = [0, *changes.tolist(), rows]
    for top, bottom in pairwise(starts):
        if top == bottom:
            continue
        line = np.concatenate([[False], mask[top], [False]])
        edges = np.flatnonzero(line[1:] != line[:-1]).tolist()
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            yield left, top, right, bottom
