"""Convert the regions of filter rules to rectangles of an image to blank.

As in deid, regions are painted one after the other over the earlier ones: ``coordinates`` blanks,
``keepcoordinates`` keeps. A box is (xmin, ymin, xmax, ymax) in pixels; its last column and row are
exclusive, as in deid.

The image's own regions (``from:SequenceOfUltrasoundRegions``, PS3.3 C.8.5.5) include their last
column and row; makers that store the number of columns or rows there mean the last ones. They are
kept only if they can be trusted: each is within the frame, at least one declares what it shows
(RegionSpatialFormat is not 0), and together they do not cover practically the entire frame.
Regions that do not declare what they show are not kept. A rule whose regions cannot be trusted is
ignored if another rule matches.
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
"""(xmin, ymin, xmax, ymax) in pixels; xmax and ymax are exclusive."""

Mask = npt.NDArray[np.bool_]

MAX_KEPT: Final = 0.98
"""Maximum fraction of a frame that its own regions may cover: one that misses a few columns or rows
has no place for a banner outside."""

BANNER: Final = 0.12
"""Fraction of the rows above which nearly all banners of ultrasound images end."""

ULTRASOUND_REGIONS: Final = 0x00186011
_SPATIAL_FORMAT: Final = 0x00186012
_CORNERS: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)


@dataclass(frozen=True)
class Blank:
    """The rectangles to blank in each frame of an image.

    Attributes
    ----------
    rows, columns
        Size of the image.
    boxes
        Disjoint rectangles.
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
        """Enlarge the rectangles to whole blocks of ``across`` columns and ``down`` rows."""
        if (across, down) == (1, 1):
            return self
        mask = np.zeros((self.rows, self.columns), np.bool_)
        for x0, y0, x1, y1 in self.boxes:
            mask[y0 - y0 % down : y1 + -y1 % down, x0 - x0 % across : x1 + -x1 % across] = True
        return Blank(self.rows, self.columns, tuple(rectangles(mask)))


@dataclass(frozen=True, slots=True)
class Expected:
    """What to compare a blanked member with: path of the source file, and blanked boxes."""

    path: Path
    boxes: tuple[Box, ...]


def blank_of(
    header: Header, rules: Sequence[Sequence[Region]], text: Sequence[Box] = ()
) -> Blank | None:
    """Return the rectangles that the regions of matching filter rules blank in an image.

    Parameters
    ----------
    header
        The image's header.
    rules
        The regions of each matching rule.
    text
        Boxes of identifying text (``from:TextInPixels``).

    Returns
    -------
    Blank or None
        None if only text is to be blanked, and there is none.

    Raises
    ------
    SkipInstance
        All rules use the image's own regions, and these are missing or cannot be trusted; or no
        region is within the image.
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
        raise SkipInstance(Reason.NOT_BLANKED)  # the rule is for images of another size
    return Blank(rows, columns, tuple(rectangles(mask)))


def filter_reason(header: Header, decision: Decision | None) -> str | None:
    """Return why an image is filtered; None if it passes, possibly with regions blanked."""
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
        raise SkipInstance(Reason.NO_REGIONS)  # outside the frame: the image was cropped
    kept = [
        (x0, y0, min(x1, columns), min(y1, rows)) for (x0, y0, x1, y1), typed in regions if typed
    ]
    mask = np.zeros((rows, columns), np.bool_)
    for x0, y0, x1, y1 in kept:
        mask[y0:y1, x0:x1] = True
    if not kept or mask.mean() > MAX_KEPT:
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


def annotated_regions(header: Header) -> list[Box]:
    """Return where operators type what they see: the trusted regions, but not the banner's place of
    one that begins at the top of the frame."""
    banner = int(BANNER * _number(header, ROWS))
    return [
        (x0, banner if y0 < banner // 4 else y0, x1, y1)
        for x0, y0, x1, y1 in trusted_regions(header)
    ]


def _own_regions(header: Header, source: int) -> list[tuple[Box, bool]]:
    """Return the boxes in the items of a sequence, and whether each declares what it shows."""
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
    """Yield disjoint rectangles that cover a mask: runs of columns over equal rows."""
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
