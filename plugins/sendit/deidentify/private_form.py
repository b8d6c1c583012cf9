"""Private attributes that are known to be safe, and whether a value is what they hold.

A private element is safe by PS3.15 Table E.3.10-1 or our own list only as what the list says it
is: a number of a VR, so many times. The same tag and creator with a name in it, or with bytes that
spell one, is something else.
"""

from __future__ import annotations

import re
import struct
from functools import cache
from typing import Final

from sendit.recipe.profile import SafePrivate, safe_private

_NUMBERS: Final = {
    "US": (2, "H"),
    "SS": (2, "h"),
    "UL": (4, "L"),
    "SL": (4, "l"),
    "FL": (4, "f"),
    "FD": (8, "d"),
    "UV": (8, "Q"),
    "SV": (8, "q"),
}
_FORMS: Final = {
    "DS": re.compile(rb"[ ]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ ]*"),
    "IS": re.compile(rb"[ ]*[+-]?\d{1,10}[ ]*"),
}
_MAX_DECIMAL: Final = 16
_PRINTABLE: Final = re.compile(rb"(?=.*[A-Za-z]{2})[ -~]+[\0 ]?", re.DOTALL)
_IMPLAUSIBLE: Final = 1e9
"""What no quantity of the list exceeds; four small letters are above 1e20 as a FL."""


@cache
def _listed() -> dict[tuple[int, str, int], SafePrivate]:
    return {(safe.group, safe.creator, safe.element): safe for safe in safe_private()}


def listed(tag: int, creator: str) -> SafePrivate | None:
    """Return what the list says of a private attribute, or None."""
    return _listed().get((tag >> 16, creator, tag & 0xFF))


def is_of_form(safe: SafePrivate, vr: str, value: bytes) -> bool:
    """Whether a value is what the list says: VR, number of values, and no text.

    Parameters
    ----------
    safe
        The list's row.
    vr
        As in the file; UN (all private elements, in Implicit VR) may be any.
    value
        The bytes of the element, padded or not. Nothing is as good as a number.
    """
    if vr not in (safe.vr, "UN"):
        return False
    if not value.strip(b" \0"):
        return True
    if safe.vr in _NUMBERS:
        size = _NUMBERS[safe.vr][0]
        whole = len(value) % size == 0 and safe.has(len(value) // size)
        return whole and not _spells(safe.vr, value)
    form = _FORMS.get(safe.vr)
    parts = value.rstrip(b" \0").split(b"\\")
    return (
        form is not None
        and safe.has(len(parts))
        and all(form.fullmatch(part) and len(part.strip()) <= _MAX_DECIMAL for part in parts)
    )


def _spells(vr: str, value: bytes) -> bool:
    """Whether the bytes of numbers are a text. Of two bytes, nobody can tell."""
    if not _PRINTABLE.fullmatch(value):
        return False
    size, code = _NUMBERS[vr]
    if size == 4:  # 13.4 as a FL is "ffVA"
        numbers: tuple[float, ...] = struct.unpack(f"<{len(value) // size}{code}", value)
        return max(map(abs, numbers)) > _IMPLAUSIBLE
    return len(value) > 2
