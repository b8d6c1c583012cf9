"""Dates moved by whole days (PS3.5 6.2 DA, DT, TM).

All dates of a patient move by the same number of days, so every interval between them is
kept, and so is the time of day. A value is moved only if it says the day without doubt:
nothing is guessed, completed from today's date, or left as it was. A placeholder is never
moved: it is known to everyone, so that its moved form would tell the shift. ``None`` means that
the value cannot be moved, and the caller takes it away.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from sendit.dicom.placeholder import is_placeholder

_DATE: Final = re.compile(r"(\d{4})(?:(\d\d)(\d\d)|([.\-/])(\d\d)\4(\d\d))", re.ASCII)
_DATE_TIME: Final = re.compile(
    r"(\d{8})((?:(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)"
    r"((?:[+-](?:0\d|1[0-4])[0-5]\d)?)",
    re.ASCII,
)
_TIME: Final = re.compile(
    r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?", re.ASCII
)
_PADDING: Final = " \0"


def shift_date(text: str, days: int) -> str | None:
    """Move one date (``yyyymmdd``, or ACR-NEMA's ``yyyy.mm.dd``); the result is a DA."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    month, day = found[2] or found[5], found[3] or found[6]
    try:
        original = date(int(found[1]), int(month), int(day))
        moved = original + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    if is_placeholder(original):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def shift_date_time(text: str, days: int) -> str | None:
    """Move one DT; its precision and its offset from UTC stay. It must say the day."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    moved = shift_date(found[1], days)
    return None if moved is None else moved + found[2] + found[3]


def keep_time(text: str) -> str | None:
    """Return a time of day as a TM (ACR-NEMA's colons taken out), or None if it is none."""
    return text.replace(":", "") if _TIME.fullmatch(text) else None


def shift_text(text: str, days: int) -> str | None:
    """Move a date in an attribute whose VR does not say that it holds one."""
    moved = shift_date(text, days)
    return shift_date_time(text, days) if moved is None else moved


_BY_VR: Final = {"DA": shift_date, "DT": shift_date_time}


def shift(vr: str, text: str, days: int) -> str | None:
    """Move all values of an element.

    Parameters
    ----------
    vr
        DA, DT, TM, or any VR of text.
    text
        The value, several joined by a backslash; empty values stay empty.
    days
        Whole days, negative for earlier.

    Returns
    -------
    str or None
        The new value; None if one of the values cannot be moved.
    """
    moved: list[str] = []
    for part in text.split("\\"):
        value = part.strip(_PADDING)
        if not value:
            moved.append("")
            continue
        new = keep_time(value) if vr == "TM" else _BY_VR.get(vr, shift_text)(value, days)
        if new is None:
            return None
        moved.append(new)
    return "\\".join(moved)
