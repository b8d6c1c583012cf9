"""Parse dates and times in any unambiguous form; write them as PS3.5 6.2 requires.

Accepts forms that readers understand, whether conformant or not: ISO 8601, ACR-NEMA's dots and
colons, month names, more than six digits of a second (truncated), an ``&`` before the offset
(PS3.5's placeholder for the sign, which some writers copy), a date and time in a DA or a TM, a
trailing line feed. Ambiguous values (``05/06/2019``) and dates without a day are not dates.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final, NamedTuple

_PLAIN_DATE: Final = re.compile(r"(\d{4})(?:(\d\d)(\d\d)|([.\-/])(\d\d)\4(\d\d))", re.ASCII)
_YEAR_LAST: Final = re.compile(r"(\d{1,2})([.\-/])(\d{1,2})\2(\d{4})", re.ASCII)
_NAMED_MONTH: Final = re.compile(
    r"(\d{1,2})[ \-./]?([A-Z]{3,9})[ \-./]?(\d{4})|([A-Z]{3,9})\.? ?(\d{1,2}),? (\d{4})",
    re.ASCII | re.IGNORECASE,
)
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_CLOCK: Final = r"""
    (?P<hour>[01]\d|2[0-3])
    (?:(?P<colon>:?)(?P<minute>[0-5]\d)
        (?:(?P=colon)(?P<second>[0-5]\d|60)
            (?:[.,](?P<fraction>\d{0,9})|(?P<joined>\d{3}|\d{6,7}))?
        )?
    )?"""
_OFFSET: Final = (
    r"(?P<offset>\ ?&?[+-](?:0\d|1[0-4]):?[0-5]\d|&(?:0\d|1[0-4])[0-5]\d|(?P<zulu>\ ?Z))?"
)
_DATE_TIME: Final = re.compile(
    r"(?P<date>\d{8}|\d{4}([.\-/])\d\d\2\d\d)(?:[T ]?" + _CLOCK + ")?" + _OFFSET,
    re.ASCII | re.VERBOSE,
)
_TIME: Final = re.compile(_CLOCK, re.ASCII | re.VERBOSE)
_SPOKEN_TIME: Final = re.compile(
    r"(\d)(:[0-5]\d(?::[0-5]\d.*)?)|(0?[1-9]|1[0-2])((?::[0-5]\d){1,2}) ?([AP])\.?M\.?",
    re.ASCII | re.IGNORECASE,
)
_MAYBE_DATE_TIME: Final = re.compile(r"(\d{8})\d{2,6}", re.ASCII)
_SECOND_DIGITS: Final = 6
"""Maximum number of digits of fractional seconds in a TM or DT."""

PADDING: Final = " \0\t\r\n\f\v"


class Moment(NamedTuple):
    """A day, with a time of day and an offset from UTC.

    Attributes
    ----------
    day
        The day.
    clock
        HHMMSS.F in the original precision; empty if not given.
    offset
        Offset from UTC; empty if not given.
    joined
        Whether fractional seconds followed without a dot; in a VR that is not one of times they
        may mean something else.
    """

    day: date
    clock: str
    offset: str
    joined: bool


def read_day(text: str) -> date | None:
    """Return the day of a date, or of a date and time; None if there is no unambiguous one."""
    if parts := _PLAIN_DATE.fullmatch(text):
        return _date(int(parts[1]), int(parts[2] or parts[5]), int(parts[3] or parts[6]))
    if parts := _YEAR_LAST.fullmatch(text):
        year, one, two = int(parts[4]), int(parts[1]), int(parts[3])
        readings = {_date(year, one, two), _date(year, two, one)} - {None}
        return readings.pop() if len(readings) == 1 else None
    if parts := _NAMED_MONTH.fullmatch(text):
        written = (parts[2] or parts[4]).lower()
        for month, name in enumerate(_MONTHS, 1):
            if name.startswith(written):
                return _date(int(parts[3] or parts[6]), month, int(parts[1] or parts[5]))
        return None
    moment = _read_moment(text)
    return moment and moment.day


def read_moment(text: str) -> Moment | None:
    """Return the day of a date, or of a date and time, with its time and offset if given."""
    moment = _read_moment(text)
    if moment is not None:
        return moment
    day = read_day(text)
    return None if day is None else Moment(day, "", "", joined=False)


def read_time(text: str) -> str | None:
    """Return a time of day, or the time of a date and time, as a TM; None if there is none.

    Digits that may be a date and time are not read as a time with fractional seconds.
    """
    moment = _read_moment(text)
    if moment is not None and moment.clock:
        sure = not text.isdigit() or len(moment.clock) > len("HHMM")
        return moment.clock if sure and moment.offset != "+0000" else None
    maybe = _MAYBE_DATE_TIME.fullmatch(text)
    if maybe and read_day(maybe[1]):
        return None
    if parts := _TIME.fullmatch(text):
        return _clock(parts)
    spoken = _SPOKEN_TIME.fullmatch(text)
    if spoken is None:
        return None
    if spoken[1]:
        return read_time(f"0{text}")
    hour = int(spoken[3]) % 12 + 12 * (spoken[5] in "Pp")
    return read_time(f"{hour:02d}{spoken[4]}")


def _read_moment(text: str) -> Moment | None:
    parts = _DATE_TIME.fullmatch(text)
    day = None if parts is None else read_day(parts["date"])
    if parts is None or day is None:
        return None
    clock = _clock(parts) if parts["hour"] else ""
    return Moment(day, clock, _offset(parts), joined=bool(parts["joined"]))


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _clock(parts: re.Match[str]) -> str:
    fraction = (parts["fraction"] or parts["joined"] or "")[:_SECOND_DIGITS]
    written = "".join(parts[part] or "" for part in ("hour", "minute", "second"))
    return f"{written}.{fraction}" if fraction else written


def _offset(parts: re.Match[str]) -> str:
    """Return the offset in the form of PS3.5; an offset without a sign is ambiguous and dropped."""
    written = (parts["offset"] or "").strip(" &").replace(":", "")
    if written == "Z":
        return "+0000"
    return written if written[:1] in ("+", "-") else ""
