"""Parse RLE Lossless frames (PS3.5 Annex G): runs, and bytes outside of them."""

from __future__ import annotations

import struct
from typing import Final

from sendit.batch import Reason
from sendit.dicom.binary import Span
from sendit.errors import SkipInstance

Run = tuple[int, int, int]
"""Offsets of a run's bytes in the frame, and how often they are repeated."""

HEADER: Final = 64
_OFFSETS: Final = struct.Struct("<16L")


def segments(frame: bytes, count: int) -> tuple[list[Span], list[Span]]:
    """Return the spans of a frame's segments, and of unused bytes in its header.

    Parameters
    ----------
    frame
        The frame.
    count
        Number of byte planes: samples per pixel times bytes per sample.

    Raises
    ------
    SkipInstance
        The header does not match.
    """
    if len(frame) < HEADER:
        raise SkipInstance(Reason.SHORT_PIXELS)
    declared, *offsets = _OFFSETS.unpack_from(frame)
    starts = offsets[:count]
    if declared != count or starts[0] < HEADER or starts != sorted(set(starts)):
        raise SkipInstance(Reason.OTHER_SYNTAX)
    ends = [*starts[1:], len(frame)]
    if starts[-1] > len(frame):
        raise SkipInstance(Reason.SHORT_PIXELS)
    return list(zip(starts, ends, strict=True)), [(4 + 4 * count, HEADER), (HEADER, starts[0])]


def runs(frame: bytes, segment: Span, size: int) -> tuple[list[Run], Span]:
    """Return the runs of a segment, and the span of unused bytes after them.

    Parameters
    ----------
    frame
        The frame.
    segment
        The segment in it.
    size
        Number of bytes that the segment must decode to: pixels of the frame.

    Raises
    ------
    SkipInstance
        The segment decodes to fewer bytes.
    """
    position, end = segment
    runs: list[Run] = []
    left = size
    while left > 0:
        if position >= end:
            raise SkipInstance(Reason.SHORT_PIXELS)
        code = frame[position]
        position += 1
        if code == 128:  # no operation
            continue
        length, times = (code + 1, 1) if code < 128 else (1, 257 - code)
        if code < 128:
            length = min(length, left)
        else:
            times = min(times, left)
        if position + length > end:
            raise SkipInstance(Reason.SHORT_PIXELS)
        runs.append((position, position + length, times))
        position += length
        left -= length * times
    return runs, (position, end)


def decoded(frame: bytes, runs: list[Run]) -> bytes:
    """Decode runs."""
    return b"".join(
        frame[start:end] if times == 1 else frame[start:end] * times for start, end, times in runs
    )
