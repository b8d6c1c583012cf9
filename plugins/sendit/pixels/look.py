"""Searches the pixels of a study for text that names, dates or numbers a person.

Images of CT and MR get a cheap check: strokes at the same place throughout a series
are counted (:mod:`sendit.pixels.strokes`), and an image that differs from its series is searched
individually. Suspicious images are read by OCR. Everything else is read by OCR directly:
localizers, derived images, colours, and every other kind of image; of several frames, those that
may bring text (:mod:`sendit.pixels.cine`).

Nothing of the text is kept but the kind of the finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sendit.batch import Reason
from sendit.dicom.encode import Part
from sendit.dicom.pixel_data import PixelData
from sendit.dicom.scan import Header
from sendit.errors import SkipInstance
from sendit.pixels.boxes import Blank, trusted_regions
from sendit.pixels.cine import frames_to_read
from sendit.pixels.frames import displayed_as, frames
from sendit.pixels.layout import Array
from sendit.pixels.reader import read
from sendit.pixels.render import pictures
from sendit.pixels.scrub import blank_array, blank_values
from sendit.pixels.strokes import Series, has_glyphs
from sendit.pixels.verdict import Box, Finding, Own, findings, judge

EVERY: Final = 2
"""Of a series' images one in so many is searched for strokes, once there are ``FIRST``."""

FIRST: Final = 8
SMALL: Final = 64
"""Rows and columns up to which an image is read only if it shows a row of strokes."""

LARGE: Final = 1 << 24
"""Pixels of a frame above which it is rendered and read in parts of ``PART`` rows and columns."""

PART: Final = 2048
_OVERLAP: Final = 192

_SECTIONS: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.4")  # CT and MR, enhanced, legacy converted
)
_COMPUTED: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("30", "66.4", "66.7", "481.2")  # parametric maps, segmentations, doses
)
"""Classes whose samples software has computed, voxel by voxel."""

_IMAGE_TYPE: Final = 0x00080008
_NO_SECTION: Final = ("LOCALI", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANO", "PROJECTION", "SCREEN")
_MARGIN: Final = 3

_SeriesKey = tuple[str, str, str, int, int, int]


@dataclass(slots=True)
class _Seen:
    """A series of cross-sections so far: its strokes, and two of its frames to be read."""

    strokes: Series
    header: Header
    frames: list[Array]
    photometric: bytes
    numbers: list[int] = field(default_factory=list)
    images: int = 0


class Look:
    """Searches the images of one study for text.

    Parameters
    ----------
    people
        Words of the names in the study, folded, and its patient's numbers, which each image's
        header says again.
    folder
        The batch folder's name: an accession number, as folders are named.
    """

    def __init__(self, people: frozenset[str], folder: str = "") -> None:
        self._own = Own(words={word for word in people if word.isalpha()})
        self._own.add_number(folder)
        self._judged: dict[int, str | None] = {}
        self._series: dict[_SeriesKey, _Seen] = {}

    def image(
        self,
        number: int,
        header: Header,
        pixels: PixelData,
        samples: Sequence[Part],
        blank: Blank | None,
    ) -> None:
        """Search an image, as it would be delivered, for text.

        Parameters
        ----------
        number
            Number of its source; each is searched once.
        header, pixels
            The image, checked.
        samples
            Native samples, as received.
        blank
            What is blanked of them.

        Raises
        ------
        SkipInstance
            It shows text that must not be delivered, or it cannot be decoded.
        """
        if number not in self._judged:
            self._judged[number] = self._look(number, header, pixels, samples, blank)
        finding = self._judged[number]
        if finding is not None:
            raise SkipInstance(finding)

    def text(self, header: Header, pixels: PixelData, samples: Sequence[Part]) -> list[Box]:
        """Return the boxes of the lines in an image that must not leave, with a margin.

        Raises
        ------
        SkipInstance
            It cannot be read.
        """
        self._own.see(header)
        margins = []
        for x0, y0, x1, y1 in _lines_to_hide(header, pixels, samples, self._own):
            more = max(_MARGIN, (min(x1 - x0, y1 - y0) + 1) // 2)
            margins.append((max(0, x0 - more), max(0, y0 - more), x1 + more, y1 + more))
        return margins

    def close(self) -> dict[int, str]:
        """Return why images of whole series must not leave, by the number of their source."""
        reasons: dict[int, str] = {}
        for seen in self._series.values():
            if not seen.strokes.suspicious():
                continue
            self._own.see(seen.header)
            finding = next(
                filter(
                    None,
                    (self._read(seen.header, each, seen.photometric) for each in seen.frames),
                ),
                None,
            )
            if finding is not None:
                reasons |= dict.fromkeys(seen.numbers, _reason(finding))
        self._series.clear()
        return reasons

    def _look(
        self,
        number: int,
        header: Header,
        pixels: PixelData,
        samples: Sequence[Part],
        blank: Blank | None,
    ) -> str | None:
        if header.sop_class in _COMPUTED:
            return None
        photometric = displayed_as(header, pixels)
        shown = _blanked(frames(header, pixels, samples), pixels, photometric, blank)
        if is_cross_section(header, pixels):
            finding = self._sections(number, header, pixels, photometric, shown)
        else:
            finding = self._whole(header, photometric, shown)
        return None if finding is None else _reason(finding)

    def _sections(
        self,
        number: int,
        header: Header,
        pixels: PixelData,
        photometric: bytes,
        shown: Iterator[Array],
    ) -> Finding | None:
        key = _series_key(header, pixels)
        for frame in shown:
            seen = self._series.get(key)
            if seen is None:
                strokes = Series(frame)
                seen = _Seen(strokes, header, [np.array(frame)], photometric)
                self._series[key] = seen
                differs = True
            else:
                differs = False
            seen.images += 1
            if seen.numbers[-1:] != [number]:
                seen.numbers.append(number)
            if seen.images <= FIRST or seen.images % EVERY == 0:
                differs = seen.strokes.see(frame) or differs
                if seen.images in (2, FIRST):
                    seen.frames[1:] = [np.array(frame)]
            else:
                differs = seen.strokes.is_brighter(frame)
            if differs and has_glyphs(frame):
                self._own.see(header)
                finding = self._read(header, frame, photometric)
                if finding is not None:
                    return finding
        return None

    def _whole(self, header: Header, photometric: bytes, shown: Iterator[Array]) -> Finding | None:
        """Read an image: its first frame, and each that may bring text."""
        self._own.see(header)
        for frame in frames_to_read(shown):
            finding = self._read(header, frame, photometric)
            if finding is not None:
                return finding
        return None

    def _read(self, header: Header, frame: Array, photometric: bytes) -> Finding | None:
        if max(frame.shape[:2]) <= SMALL and not has_glyphs(_grey(frame)):
            return None
        regions = trusted_regions(header)
        for left, top, part in _parts(frame):
            inside = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in regions]
            for picture in pictures(header, part, photometric):
                finding = judge(read(picture), self._own, inside)
                if finding is not None:
                    return finding
        return None


def first_picture(header: Header, pixels: PixelData, samples: Sequence[Part]) -> Array:
    """Return an image's first frame as a picture: uint8, of shape (rows, columns, 3), BGR."""
    frame = next(frames(header, pixels, samples))
    return list(pictures(header, frame, displayed_as(header, pixels)))[-1]


def lines_to_hide(
    header: Header, pixels: PixelData, samples: Sequence[Part], people: frozenset[str]
) -> list[Box]:
    """Return the boxes of the lines in an image that would keep it back, of all its frames that
    may bring text."""
    own = Own(words=set(people))
    own.see(header)
    return _lines_to_hide(header, pixels, samples, own)


def _lines_to_hide(
    header: Header, pixels: PixelData, samples: Sequence[Part], own: Own
) -> list[Box]:
    regions = trusted_regions(header)
    photometric = displayed_as(header, pixels)
    boxes: list[Box] = []
    for frame in frames_to_read(frames(header, pixels, samples)):
        for left, top, part in _parts(frame):
            inside = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in regions]
            for picture in pictures(header, part, photometric):
                boxes += [
                    (x0 + left, y0 + top, x1 + left, y1 + top)
                    for (x0, y0, x1, y1) in (
                        line.box for line, _ in findings(read(picture), own, inside)
                    )
                ]
    return boxes


def _reason(finding: Finding) -> str:
    return f"{Reason.TEXT_IN_PIXELS}: {finding}"


def is_cross_section(header: Header, pixels: PixelData) -> bool:
    """Whether an image is an original cross-section of CT or MR: nothing of a screen, no
    localizer, nothing that software has made of others."""
    if header.sop_class not in _SECTIONS or pixels.description.samples != 1:
        return False
    if pixels.description.rows * pixels.description.columns > LARGE:
        return False
    if pixels.description.allocated <= 8 or pixels.description.photometric == b"PALETTE COLOR":
        return False
    kind = (header.text(_IMAGE_TYPE) or "").upper()
    first, *others = kind.split("\\")
    return first.strip() != "DERIVED" and not any(
        sign in value for value in others for sign in _NO_SECTION
    )


def _series_key(header: Header, pixels: PixelData) -> _SeriesKey:
    description = pixels.description
    return (
        header.series_uid,
        header.sop_class,
        header.text(_IMAGE_TYPE) or "",
        description.rows,
        description.columns,
        description.allocated,
    )


def _blanked(
    shown: Iterator[Array], pixels: PixelData, photometric: bytes, blank: Blank | None
) -> Iterator[Array]:
    for frame in shown:
        if blank is None:
            yield frame
        else:
            copy = np.array(frame)
            blank_array(copy, blank, blank_values(pixels.description, photometric))
            yield copy


def _parts(frame: Array) -> Iterator[tuple[int, int, Array]]:
    """Yield a frame, or the parts of a large one that are not of one shade, with their places."""
    if frame.shape[0] * frame.shape[1] <= LARGE:
        yield 0, 0, frame
        return
    step = PART - _OVERLAP
    for top in range(0, frame.shape[0], step):
        for left in range(0, frame.shape[1], step):
            part = frame[top : top + PART, left : left + PART]
            if (part != part[0, 0]).any():
                yield left, top, part


def _grey(frame: Array) -> Array:
    return frame if frame.ndim == 2 else np.ascontiguousarray(frame[:, :, : frame.shape[2]].max(2))
