"""RLE Lossless frames (PS3.5 Annex G): where their runs are, and what else they contain."""

from __future__ import annotations

import struct
from typing import Final

from sendit.batch import Reason
from sendit.errors import SkipInstance

Span = tuple[int, int]
Run = tuple[int, int, int]
"""Where a run's bytes start and end in the frame, and how often they count."""

HEADER: Final = 64
_OFFSETS: Final = struct.Struct("<16L")


def segments(frame: bytes, count: int) -> tuple[list[Span], list[Span]]:
    """Return where a frame's segments are, and the spans of its header that are unused.

    Parameters
    ----------
    count
        Byte planes of a frame: samples per pixel times bytes per sample.

    Raises
    ------
    SkipInstance
        The header is of another form.
    """
    if len(frame) < HEADER:
        raise SkipInstance(Reason.SHORT_PIXELS)
    said, *offsets = _OFFSETS.unpack_from(frame)
    starts = offsets[:count]
    if said != count or starts[0] < HEADER or starts != sorted(set(starts)):
        raise SkipInstance(Reason.OTHER_SYNTAX)
    ends = [*starts[1:], len(frame)]
    if starts[-1] > len(frame):
        raise SkipInstance(Reason.SHORT_PIXELS)
    return list(zip(starts, ends, strict=True)), [(4 + 4 * count, HEADER), (HEADER, starts[0])]


def runs(frame: bytes, segment: Span, size: int) -> tuple[list[Run], Span]:
    """Return the runs of a segment that decode to so many bytes, and the span after them.

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
