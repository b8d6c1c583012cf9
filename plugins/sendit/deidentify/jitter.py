"""Move dates by whole days (PS3.5 6.2: DA, DT, TM).

All dates of a patient move by the same number of days, so every interval between them is
kept, and so is the time of day. A value is moved only if it says the day without doubt, in
whatever form (:mod:`sendit.dicom.dates`): nothing is guessed, completed from today's date, or
left as it was. A placeholder is never moved: it is known to everyone, so that its moved form
would tell the shift. ``None`` means that the value cannot be moved, and the caller takes it away.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from sendit.dicom.dates import PADDING, read_day, read_moment, read_time
from sendit.dicom.placeholder_dates import is_placeholder


def shift_date(text: str, days: int) -> str | None:
    """Move one date; the result is a DA, without any time of day that followed it."""
    day = read_day(text)
    return None if day is None else _moved(day, days)


def shift_date_time(text: str, days: int) -> str | None:
    """Move one DT, keeping its precision and UTC offset. It must include a day."""
    moment = read_moment(text)
    moved = None if moment is None else _moved(moment.day, days)
    return None if moment is None or moved is None else moved + moment.clock + moment.offset


def shift_text(text: str, days: int) -> str | None:
    """Move a date in an attribute whose VR does not say that it holds one."""
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
        value = part.strip(PADDING)
        if not value:
            moved.append("")
            continue
        new = read_time(value) if vr == "TM" else _BY_VR.get(vr, shift_text)(value, days)
        if new is None:
            return None
        moved.append(new)
    return "\\".join(moved)
