"""Clear overlays in unused bits of pixel samples.

A sample with 16 bits allocated and 12 bits stored has four unused bits. Before 2004, overlays
could be stored there (PS3.5 8.1.2, retired), so a CT image that looks clean may contain burned-in
text. Such bits are cleared without changing anything else. But bits above the stored ones may
also be part of the numbers: padding of a signed image, or values that a converter changed without
updating the header. A bit is therefore cleared only if an overlay declares it (60xx,0102), or if
it behaves like one: it changes where the image below is smooth. Numbers stay unchanged; undecided
cases are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sendit.batch import Reason
from sendit.dicom import rle
from sendit.dicom.encode import Part
from sendit.dicom.pixel_data import Description, Frame, PixelData
from sendit.dicom.scan import PIXEL_DATA, Header
from sendit.dicom.transfer_syntax import RLE_LOSSLESS
from sendit.errors import SkipInstance

PADDING_VALUE: Final = 0x00280120
MIN_RATIO: Final = 4
"""One interpretation of the bits must give an image this many times smoother than the other."""

_SAMPLE: Final = {8: "u1", 16: "u2", 32: "u4"}
_AT_ONCE: Final = 1 << 22  # samples examined together: bounds memory for large objects
_OVERLAYS: Final = tuple(0x60000102 + (group << 17) for group in range(16))

Samples = NDArray[np.unsignedinteger]
Chunks = Callable[[], Iterable[Samples]]


def native_without_overlays(header: Header, pixels: PixelData) -> list[Part] | None:
    """Return native samples with overlay bits cleared; None if there are none.

    Raises
    ------
    SkipInstance
        Unused bits may be an overlay, but this cannot be decided.
    """
    description = pixels.description
    if not _has_unused_bits(description) or pixels.element[0] != PIXEL_DATA:
        return None
    vr, start = pixels.element[1], pixels.element[3]
    # Big-endian files swap the bytes of words, but not in values with VR OB (PS3.5 D).
    order = "<" if header.encoding.little or vr == "OB" else ">"
    sample = np.dtype(f"{order}{_SAMPLE[description.allocated]}")
    count = (pixels.end - start) // sample.itemsize

    def chunks() -> Iterator[Samples]:
        for first in range(0, count, _AT_ONCE):
            yield np.frombuffer(
                header.data,
                sample,
                min(_AT_ONCE, count - first),
                start + first * sample.itemsize,
            )

    clear = overlay_bits(chunks, description, _declared(header), _padding(header))
    if not clear:
        return None
    return [_cleared(chunk, clear, description).astype(sample).tobytes() for chunk in chunks()]


def compressed_without_overlays(header: Header, pixels: PixelData) -> list[tuple[int, bytes]]:
    """Return changes that clear overlay bits in compressed samples.

    RLE runs are changed in place, without re-encoding. Other compressed pixel data cannot be
    changed.

    Returns
    -------
    list[tuple[int, bytes]]
        Offsets in the file, and the bytes to write there.

    Raises
    ------
    SkipInstance
        There is an overlay that cannot be cleared, or it cannot be decided.
    """
    description = pixels.description
    if not _has_unused_bits(description):
        return []
    declared = _declared(header) & ~_used(description)
    if header.transfer_syntax != RLE_LOSSLESS:
        if declared:
            raise SkipInstance(Reason.OVERLAY_BITS)
        return []
    planes = [_runs_of_planes(frame.data, description) for frame in pixels.frames]
    if not any(
        _some_unused(frame.data, runs, description)
        for frame, runs in zip(pixels.frames, planes, strict=True)
    ):
        return []

    def chunks() -> Iterator[Samples]:
        for frame, runs in zip(pixels.frames, planes, strict=True):
            yield _samples(frame.data, runs, description)

    clear = overlay_bits(chunks, description, declared, _padding(header))
    if not clear:
        return []
    if description.signed:
        raise SkipInstance(Reason.OVERLAY_BITS)  # the sign of a sample is in another run
    changes: list[tuple[int, bytes]] = []
    for frame, runs in zip(pixels.frames, planes, strict=True):
        changes += _cleared_runs(frame, runs, clear, description)
    return changes


def overlay_bits(
    chunks: Chunks, description: Description, declared: int, padding: int | None
) -> int:
    """Return the bits of an image's samples that are overlays, as a mask.

    Parameters
    ----------
    chunks
        Returns the samples as unsigned numbers; may be called repeatedly.
    description
        The header's description of them.
    declared
        Mask of the bits that overlay elements declare.
    padding
        Pixel Padding Value, as the bits of a sample; None if there is none.

    Returns
    -------
    int
        Mask of the bits to clear.

    Raises
    ------
    SkipInstance
        Unused bits are neither numbers nor clearly an overlay.
    """
    used = _used(description)
    if not any(_unused(chunk, description, 0).any() for chunk in _exceeding(chunks, description)):
        return 0
    declared &= ~used
    if _are_numbers(chunks, description, declared, padding):
        return declared
    low, high = _roughness(chunks, description, declared)
    if low * MIN_RATIO <= high:
        bits = 0
        for chunk in chunks():
            bits |= int(np.bitwise_or.reduce(_unused(chunk, description, declared)))
        return declared | bits
    if high * MIN_RATIO <= low:
        return declared
    raise SkipInstance(Reason.OVERLAY_BITS)


def _has_unused_bits(description: Description) -> bool:
    return description.allocated in _SAMPLE and 0 < description.stored < description.allocated


def _shift_of(description: Description) -> int:
    """Return the lowest stored bit; an impossible high bit is ignored."""
    high, stored = description.high, description.stored
    return high + 1 - stored if stored - 1 <= high < description.allocated else 0


def _used(description: Description) -> int:
    return ((1 << description.stored) - 1) << _shift_of(description)


def _exceeding(chunks: Chunks, description: Description) -> Iterator[Samples]:
    """Yield the chunks with samples that exceed the stored bits."""
    shift, stored, used = _shift_of(description), description.stored, _used(description)
    limit = 1 << (stored - 1)
    for chunk in chunks():
        if shift:
            if int(np.bitwise_or.reduce(chunk)) & ~used:
                yield chunk
        elif int(chunk.max()) > used:  # several times faster than testing the bits
            if description.signed:
                values = chunk.view(chunk.dtype.str.replace("u", "i"))
                if int(values.min()) >= -limit and int(values.max()) < limit:
                    continue
            yield chunk


def _unused(chunk: Samples, description: Description, declared: int) -> Samples:
    """Return the bits of each sample that are not stored, sign extension or declared."""
    used = _used(description)
    all_bits = (1 << description.allocated) - 1
    unused = all_bits & ~used & ~declared
    bits = chunk & chunk.dtype.type(unused)
    if description.signed and not _shift_of(description):
        sign = chunk.dtype.type(1 << (description.stored - 1))
        bits[(bits == unused) & (chunk & sign != 0)] = 0
    return bits


def _are_numbers(
    chunks: Chunks, description: Description, declared: int, padding: int | None
) -> bool:
    """Whether unused bits are clearly part of numbers.

    They are if only declared bits are set, if all belong to one padding value, or if the high bit
    is wrong and all values fit into the stored bits.
    """
    all_bits = (1 << description.allocated) - 1
    unused = all_bits & ~_used(description) & ~declared
    values: set[int] = set()
    largest = 0
    for chunk in chunks():
        bits = _unused(chunk, description, declared)
        if len(values) < 2:
            values.update(map(int, np.unique(chunk[bits != 0])[:2]))
        largest = max(largest, int((chunk & chunk.dtype.type(all_bits & ~declared)).max()))
    if not values or (_shift_of(description) and largest < 1 << description.stored):
        return True
    if len(values) > 1:
        return False
    (value,) = values
    return value == padding or (description.signed and value & unused == unused)


def _roughness(chunks: Chunks, description: Description, declared: int) -> tuple[int, int]:
    """Return how much neighbours differ where unused bits change.

    The first number is the sum of differences of the stored bits alone, the second that of all
    bits. The bits that are the image's numbers are smooth.
    """
    keep = (1 << description.allocated) - 1 & ~declared
    used, shift = _used(description), _shift_of(description)
    low = high = 0
    for chunk in chunks():
        bits = _unused(chunk, description, declared)
        edges = np.flatnonzero(bits[1:] != bits[:-1])
        samples = chunk & chunk.dtype.type(keep)
        stored = samples & chunk.dtype.type(used)
        high += _change(_number(samples, description.allocated, description), edges)
        stored_alone = _number(stored >> chunk.dtype.type(shift), description.stored, description)
        low += _change(stored_alone << shift, edges)
    if not high:
        raise SkipInstance(Reason.OVERLAY_BITS)  # the bits never change: undecidable
    return low, high


def _number(samples: Samples, bits: int, description: Description) -> NDArray[np.int64]:
    values = samples.astype(np.int64)
    if description.signed:
        values[values >= 1 << (bits - 1)] -= 1 << bits
    return values


def _change(values: NDArray[np.int64], edges: NDArray[np.intp]) -> int:
    return int(np.abs(values[edges + 1] - values[edges]).sum())


def _cleared(chunk: Samples, clear: int, description: Description) -> Samples:
    low = chunk & chunk.dtype.type((1 << description.allocated) - 1 & ~clear)
    if description.signed and not _shift_of(description):  # restore the sign extension
        sign = chunk.dtype.type(1 << (description.stored - 1))
        low[low & sign != 0] |= chunk.dtype.type(clear)
    return low


def _declared(header: Header) -> int:
    """Return the mask of bits that overlays without data of their own declare."""
    bits = 0
    for tag in _OVERLAYS:
        raw = header.raw(tag)
        if raw is not None and len(raw) >= 2 and header.element(tag - 0x0102 + 0x3000) is None:
            position = int.from_bytes(raw[:2], "little" if header.encoding.little else "big")
            if position < 64:
                bits |= 1 << position
    return bits


def _padding(header: Header) -> int | None:
    raw = header.raw(PADDING_VALUE)
    if raw is None or len(raw) < 2:
        return None
    return int.from_bytes(raw[:2], "little" if header.encoding.little else "big")


# RLE ------------------------------------------------------------------------------------


def _runs_of_planes(frame: bytes, description: Description) -> list[list[rle.Run]]:
    size = description.rows * description.columns
    planes = description.samples * description.allocated // 8
    segments, _ = rle.segments(frame, planes)
    return [rle.runs(frame, segment, size)[0] for segment in segments]


def _cleared_runs(
    frame: Frame, planes: list[list[rle.Run]], clear: int, description: Description
) -> Iterator[tuple[int, bytes]]:
    """Yield the runs of a frame with bits cleared: offset in the file, new bytes."""
    for plane, runs in enumerate(planes):
        mask = clear >> _shift(plane, description) & 0xFF
        if not mask:
            continue
        table = bytes(value & ~mask for value in range(256))
        for start, end, _ in runs:
            new = frame.data[start:end].translate(table)
            done = 0
            for first, last in frame.in_file((start, end)):
                yield first, new[done : done + last - first]
                done += last - first


def _shift(plane: int, description: Description) -> int:
    """Return the lowest bit of a sample in a byte plane; planes start with the most significant."""
    width = description.allocated // 8
    return 8 * (width - 1 - plane % width)


def _some_unused(frame: bytes, runs: list[list[rle.Run]], description: Description) -> bool:
    unused = (1 << description.allocated) - 1 & ~_used(description)
    for plane, plane_runs in enumerate(runs):
        mask = unused >> _shift(plane, description) & 0xFF
        if mask and any(
            frame[start:end].translate(None, _without(mask)) for start, end, _ in plane_runs
        ):
            return True
    return False


def _without(mask: int) -> bytes:
    """Return the bytes that have none of the bits of a mask."""
    return bytes(value for value in range(256) if not value & mask)


def _samples(frame: bytes, runs: list[list[rle.Run]], description: Description) -> Samples:
    sample = np.dtype(f"<{_SAMPLE[description.allocated]}")
    size = description.rows * description.columns
    samples = np.zeros(description.samples * size, sample)
    width = description.allocated // 8
    for plane, plane_runs in enumerate(runs):
        plane_bytes = np.frombuffer(rle.decoded(frame, plane_runs), np.uint8).astype(sample)
        first = plane // width * size
        samples[first : first + size] |= plane_bytes << sample.type(_shift(plane, description))
    return samples
