"""Search the pixels of a study for identifying text: names, dates, numbers.

CT and MR images get a cheap check: strokes that persist throughout a series are counted
(:mod:`sendit.pixels.strokes`), and an image that differs from its series is searched individually.
Suspicious images are read by OCR. All other images are read by OCR directly: localizers, derived
and colour images, and every other kind; of several frames, those that may show new text
(:mod:`sendit.pixels.cine`).

Only the kind of a finding is kept, never the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sendit.batch import Reason
from sendit.dicom.encode import Part
from sendit.dicom.pixel_data import PixelData
from sendit.dicom.scan import IMAGE_TYPE, Header
from sendit.errors import SkipInstance
from sendit.pixels.boxes import Blank, Box, annotated_regions
from sendit.pixels.cine import frames_to_read
from sendit.pixels.frames import displayed_as, frames
from sendit.pixels.layout import Array
from sendit.pixels.mosaic import is_anatomy, tile_shape
from sendit.pixels.reader import Line, read
from sendit.pixels.render import pictures
from sendit.pixels.scrub import blank_array, blank_values
from sendit.pixels.strokes import SeriesStrokes, has_glyphs
from sendit.pixels.verdict import BatchValues, TextKind, findings, judge

EVERY: Final = 2
"""After the first ``FIRST`` images of a series, every so many-th is searched for strokes."""

FIRST: Final = 8
SMALL: Final = 64
"""Images of up to so many rows and columns are read only if they show a row of strokes."""

LARGE: Final = 1 << 24
"""Frames of more pixels are rendered and read in parts of ``PART`` rows and columns."""

PART: Final = 2048
_OVERLAP: Final = 192

_SECTIONS: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.4")  # CT and MR, enhanced, legacy converted
)
_SINGLE_FRAME: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4"))
_PLACES: Final = (0x00200032, 0x00200030)
"""Image Position (Patient), and the retired Image Position."""

_COMPUTED: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("30", "66.4", "66.7", "481.2")  # parametric maps, segmentations, doses
)
"""SOP classes whose samples were computed by software, voxel by voxel."""

_NO_SECTION: Final = ("LOCALI", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANO", "PROJECTION", "SCREEN")
_MARGIN: Final = 3

_LARGE_LETTERS: Final = 8
"""In CT and MR, letters higher than this part of the image are read for sure if they are any: with
a score below ``_MIN_SCORE``, they are anatomy."""

_MIN_SCORE: Final = 0.6

_SeriesKey = tuple[str, str, str, int, int, int]


@dataclass(slots=True)
class _Seen:
    """What was seen of a series of cross-sections: its strokes, and two frames to read by OCR."""

    strokes: SeriesStrokes
    header: Header
    frames: list[Array]
    photometric: bytes
    numbers: list[int] = field(default_factory=list)
    images: int = 0
    first_read: bool = False


class TextDetector:
    """Searches the images of one study for identifying text.

    Parameters
    ----------
    people
        Words of the names in the study, folded, and its patient's numbers; only the words are used,
        because each image's header has the numbers.
    folder
        Name of the batch's folder, which usually is an accession number.
    """

    def __init__(self, people: frozenset[str], folder: str = "") -> None:
        self._own = BatchValues(words={word for word in people if word.isalpha()})
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
        """Search an image, as it would be delivered, for identifying text.

        Parameters
        ----------
        number
            Number of the source file; each is searched once.
        header, pixels
            The image and its checked pixel data.
        samples
            Native samples, before blanking.
        blank
            The regions that are blanked.

        Raises
        ------
        SkipInstance
            It shows identifying text, or it cannot be decoded.
        """
        if number not in self._judged:
            self._judged[number] = self._search(number, header, pixels, samples, blank)
        finding = self._judged[number]
        if finding is not None:
            raise SkipInstance(finding)

    def text(self, header: Header, pixels: PixelData, samples: Sequence[Part]) -> list[Box]:
        """Return the boxes of identifying lines of text in an image, with a margin.

        Parameters
        ----------
        header, pixels
            The image and its checked pixel data.
        samples
            Native samples.

        Raises
        ------
        SkipInstance
            It cannot be decoded.
        """
        self._own.see(header)
        enlarged = []
        for x0, y0, x1, y1 in _lines_to_hide(header, pixels, samples, self._own):
            margin = max(_MARGIN, (min(x1 - x0, y1 - y0) + 1) // 2)
            enlarged.append((max(0, x0 - margin), max(0, y0 - margin), x1 + margin, y1 + margin))
        return enlarged

    def close(self) -> dict[int, str]:
        """Finish all series; return why images of a series must not be delivered.

        Returns
        -------
        dict[int, str]
            Reasons by number of the source file.
        """
        reasons: dict[int, str] = {}
        for seen in self._series.values():
            if not seen.strokes.suspicious():
                continue
            self._own.see(seen.header)
            unread = seen.frames[1:] if seen.first_read else seen.frames
            kinds = (self._read(seen.header, each, seen.photometric) for each in unread)
            finding = next(filter(None, kinds), None)
            if finding is not None:
                reasons |= dict.fromkeys(seen.numbers, _reason(finding))
        self._series.clear()
        return reasons

    def _search(
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
            finding = self._read_frames(header, photometric, shown)
        return None if finding is None else _reason(finding)

    def _sections(
        self,
        number: int,
        header: Header,
        pixels: PixelData,
        photometric: bytes,
        shown: Iterator[Array],
    ) -> TextKind | None:
        key = _series_key(header, pixels)
        for frame in shown:
            seen = self._series.get(key)
            if seen is None:
                strokes = SeriesStrokes(frame)
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
                seen.first_read = seen.first_read or seen.images == 1
        return None

    def _read_frames(
        self, header: Header, photometric: bytes, shown: Iterator[Array]
    ) -> TextKind | None:
        """Read an image: its first frame, and each that may show new text."""
        self._own.see(header)
        for frame in frames_to_read(shown):
            finding = self._read(header, frame, photometric)
            if finding is not None:
                return finding
        return None

    def _read(self, header: Header, frame: Array, photometric: bytes) -> TextKind | None:
        if max(frame.shape[:2]) <= SMALL and not has_glyphs(_grey(frame)):
            return None
        regions = annotated_regions(header)
        for left, top, part in _parts(frame):
            inside = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in regions]
            for picture in pictures(header, part, photometric):
                finding = judge(_lines(header, frame, picture), self._own, inside)
                if finding is not None:
                    return finding
        return None


def first_picture(header: Header, pixels: PixelData, samples: Sequence[Part]) -> Array:
    """Render an image's first frame.

    Parameters
    ----------
    header, pixels
        The image and its checked pixel data.
    samples
        Native samples; not used for compressed frames.

    Returns
    -------
    Array
        uint8, of shape (rows, columns, 3), in BGR order.
    """
    frame = next(frames(header, pixels, samples))
    return list(pictures(header, frame, displayed_as(header, pixels)))[-1]


def lines_to_hide(
    header: Header, pixels: PixelData, samples: Sequence[Part], people: frozenset[str]
) -> list[Box]:
    """Return the boxes of identifying lines of text in an image, over all frames that may show
    new text.

    Parameters
    ----------
    header, pixels
        The image and its checked pixel data.
    samples
        Native samples.
    people
        Words of the names in the study, folded.
    """
    own = BatchValues(words={word for word in people if word.isalpha()})
    own.see(header)
    return _lines_to_hide(header, pixels, samples, own)


def _lines_to_hide(
    header: Header, pixels: PixelData, samples: Sequence[Part], own: BatchValues
) -> list[Box]:
    regions = annotated_regions(header)
    photometric = displayed_as(header, pixels)
    boxes: list[Box] = []
    for frame in frames_to_read(frames(header, pixels, samples)):
        for left, top, part in _parts(frame):
            inside = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in regions]
            for picture in pictures(header, part, photometric):
                boxes += [
                    (x0 + left, y0 + top, x1 + left, y1 + top)
                    for (x0, y0, x1, y1) in (
                        line.box
                        for line, _ in findings(_lines(header, frame, picture), own, inside)
                    )
                ]
    return boxes


def _lines(header: Header, frame: Array, picture: Array) -> list[Line]:
    """Return the lines of text in a picture of a frame, or of a part of it, without lines that are
    anatomy."""
    rows, columns = frame.shape[:2]
    tile = tile_shape(header, rows, columns)
    lines = read(picture)
    if header.sop_class in _SECTIONS:
        large = min(rows, columns) / _LARGE_LETTERS
        lines = [line for line in lines if line.height <= large or line.score >= _MIN_SCORE]
    return [line for line in lines if tile is None or not is_anatomy(line, tile)]


def _reason(finding: TextKind) -> str:
    return f"{Reason.TEXT_IN_PIXELS}: {finding}"


def is_cross_section(header: Header, pixels: PixelData) -> bool:
    """Whether an image is an original cross-section of CT or MR: not a screen capture, a localizer
    or a derived image, and somewhere in the patient."""
    if header.sop_class in _SINGLE_FRAME and not any(map(header.raw, _PLACES)):
        return False
    if header.sop_class not in _SECTIONS or pixels.description.samples != 1:
        return False
    if pixels.description.rows * pixels.description.columns > LARGE:
        return False
    if pixels.description.allocated <= 8 or pixels.description.photometric == b"PALETTE COLOR":
        return False
    kind = (header.text(IMAGE_TYPE) or "").upper()
    first, *others = kind.split("\\")
    return first.strip() != "DERIVED" and not any(
        sign in value for value in others for sign in _NO_SECTION
    )


def _series_key(header: Header, pixels: PixelData) -> _SeriesKey:
    description = pixels.description
    return (
        header.series_uid,
        header.sop_class,
        header.text(IMAGE_TYPE) or "",
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
    """Yield a frame, or the parts of a large one that are not uniform, with their offsets."""
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
