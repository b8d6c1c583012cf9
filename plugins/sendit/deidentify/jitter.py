"""Shift dates by whole days (PS3.5 6.2: DA, DT, TM).

All dates of a patient are shifted by the same number of days, which preserves intervals and the
time of day. A value is shifted only if it gives the day unambiguously, in whatever form
(:mod:`sendit.dicom.dates`); nothing is guessed, completed from today's date, or passed through.
Placeholder dates are never shifted: everyone knows the original, so the result would disclose the
shift. ``None`` means that the value cannot be shifted, and the caller removes it.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from sendit.dicom.dates import PADDING, read_day, read_moment, read_time
from sendit.dicom.placeholder_dates import is_placeholder


def shift_date(text: str, days: int) -> str | None:
    """Shift one date; the result is a DA, without a time of day that followed it."""
    day = read_day(text)
    return None if day is None else _moved(day, days)


def shift_date_time(text: str, days: int) -> str | None:
    """Shift one DT, keeping its precision and UTC offset. It must include a day."""
    moment = read_moment(text)
    moved = None if moment is None else _moved(moment.day, days)
    return None if moment is None or moved is None else moved + moment.clock + moment.offset


def shift_text(text: str, days: int) -> str | None:
    """Shift a date in an attribute whose VR is not one of dates."""
    moment = read_moment(text)
    if moment is not None and moment.joined:
        return None
    return shift_date_time(text, days)


def _moved(day: date, days: int) -> str | None:
    if is_placeholder(day):
        return None
    try:
        moved = day + timedelta(days=days)
    except OverflowError:
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


_BY_VR: Final = {"DA": shift_date, "DT": shift_date_time}


def shift(vr: str, text: str, days: int) -> str | None:
    """Shift all values of an element.

    Parameters
    ----------
    vr
        DA, DT, TM, or any text VR.
    text
        The values, separated by backslashes; empty values stay empty.
    days
        Number of days, negative for earlier.

    Returns
    -------
    str or None
        The new values; None if one of them cannot be shifted.
    """
    moved: list[str] = []
    for part in text.split("\\"):
        value = part.strip(PADDING)
        if not value:
            moved.append("")
            continue
        new = read_time(value) if vr == "TM" else _BY_VR.get(vr, shift_text)(value, days)
        if new is None:
            return None
        moved.append(new)
    return "\\".join(moved)
