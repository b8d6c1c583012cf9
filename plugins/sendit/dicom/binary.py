"""The binary layouts of elements, items and numbers (PS3.5 7.1 to 7.5, 6.2).

Each mapping is keyed by whether the encoding is little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

Layouts = Mapping[bool, struct.Struct]

Span = tuple[int, int]
"""Offsets of the first byte of a range and of the byte after it."""


def _both(layout: str) -> Layouts:
    return {True: struct.Struct(f"<{layout}"), False: struct.Struct(f">{layout}")}


#: Explicit VR, short: group, element, VR, 16-bit length.
SHORT_HEAD: Final = _both("HH2sH")
#: Explicit VR, long: group, element, VR, two reserved bytes, 32-bit length.
LONG_HEAD: Final = _both("HH2sHL")
#: Implicit VR, items and delimiters: group, element, 32-bit length.
TAG_AND_LENGTH: Final = _both("HHL")
#: A 32-bit length.
LENGTH: Final = _both("L")
#: A pair of 16-bit numbers: the group and element of an AT.
TAG: Final = _both("HH")

#: The format character of each VR of binary numbers.
NUMBER_FORMATS: Final[Mapping[str, str]] = {
    "US": "H",
    "SS": "h",
    "UL": "L",
    "SL": "l",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}


def order_of(little: bool) -> str:
    """Return the byte order character for :mod:`struct`."""
    return "<" if little else ">"
