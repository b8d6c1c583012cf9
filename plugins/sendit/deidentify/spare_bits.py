"""Bits of pixel samples that no sample value uses.

A sample of 16 allocated bits of which 12 are stored has four bits to spare. The retired way
to keep an overlay (PS3.5 8.1.2 of before 2004) was to put it there, so burned-in text can
sit in a CT image that looks clean. These bits shall be zero (PS3.5 8.1.1), or repeat the
sign; where they are neither, they are cleared, and nothing else of the pixels changes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sendit.batch import Reason
from sendit.deidentify.values import Part
from sendit.dicom.scan import Buffer, Element, Header
from sendit.errors import SkipInstance

BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
SIGNED: Final = 0x00280103
PIXEL_DATA: Final = 0x7FE00010

_SAMPLE: Final = {8: "u1", 16: "u2", 32: "u4"}
_AT_ONCE: Final = 1 << 22  # samples looked at together: bounds memory for large objects
_OVERLAYS: Final = tuple(0x60000102 + (group << 17) for group in range(16))


def pixel_value(header: Header, element: Element) -> list[Part] | None:
    """Return the pixel data's value with spare bits cleared; None if none had to be.

    Raises
    ------
    SkipInstance
        An overlay is in the spare bits of compressed pixels, where it cannot be cleared.
    """
    if element[0] != PIXEL_DATA:
        return None
    allocated, stored, high = (
        _number(header, tag) for tag in (BITS_ALLOCATED, BITS_STORED, HIGH_BIT)
    )
    if allocated not in _SAMPLE or not 0 < stored < allocated:
        return None
    if not stored - 1 <= high < allocated:
        high = stored - 1
    _, vr, _, start, end, _ = element
    if bytes(header.data[start - 4 : start]) == b"\xff\xff\xff\xff":
        if any(_in_spare_bits(header, tag, stored) for tag in _OVERLAYS):
            raise SkipInstance(Reason.NOT_CLEANABLE)
        return None
    # Words are swapped in big-endian files; bytes written as OB are in the order of PS3.5 D.
    order = "<" if header.encoding.little or vr == "OB" else ">"
    sample = np.dtype(f"{order}{_SAMPLE[allocated]}")
    signed = _number(header, SIGNED) == 1
    return _cleared(header.data, start, end, sample, stored, high + 1 - stored, signed=signed)


def _number(header: Header, tag: int) -> int:
    raw = header.raw(tag)
    if raw is None or len(raw) < 2:
        return 0
    return int.from_bytes(raw[:2], "little" if header.encoding.little else "big")


def _in_spare_bits(header: Header, tag: int, stored: int) -> bool:
    """Whether an overlay says that it is in the pixel data: a bit position, no data of its own."""
    return _number(header, tag) >= stored and header.element(tag - 0x0102 + 0x3000) is None


def _cleared(  # noqa: PLR0917 what pixel_value has read
    data: Buffer,
    start: int,
    end: int,
    sample: np.dtype[np.unsignedinteger],
    stored: int,
    shift: int,
    *,
    signed: bool,
) -> list[Part] | None:
    mask = ((1 << stored) - 1) << shift
    parts: list[Part] = []
    changed = False
    for offset in range(start, end, _AT_ONCE * sample.itemsize):
        stop = min(offset + _AT_ONCE * sample.itemsize, end)
        count = (stop - offset) // sample.itemsize
        samples = np.frombuffer(data, sample, count, offset)
        if _is_clean(samples, mask, stored, shift, signed=signed):
            parts.append(memoryview(data)[offset:stop])
            continue
        changed = True
        low = samples & mask
        if signed and shift == 0:  # the sign goes on where the mask ends
            negative = (low >> (stored - 1)) & 1
            low |= (negative * (np.iinfo(low.dtype).max ^ mask)).astype(low.dtype)
        parts.append(low.astype(sample).tobytes())
        parts.append(bytes(data[offset + count * sample.itemsize : stop]))
    return parts if changed else None


def _is_clean(
    samples: NDArray[np.unsignedinteger], mask: int, stored: int, shift: int, *, signed: bool
) -> bool:
    if samples.size == 0:
        return True
    if shift:
        return not int(np.bitwise_or.reduce(samples)) & ~mask
    if int(samples.max()) <= mask:  # several times as fast as looking at the bits
        return True
    if not signed:
        return False
    values = samples.view(samples.dtype.str.replace("u", "i"))
    limit = 1 << (stored - 1)
    return bool(int(values.min()) >= -limit and int(values.max()) < limit)
