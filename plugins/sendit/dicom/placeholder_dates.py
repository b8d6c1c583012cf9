"""Placeholder dates, whose original value everyone knows even after they are shifted.

A placeholder says nothing about a person, but anyone who sees one shifted by a patient's jitter can
subtract the original to get the jitter, and with it every real date of that patient.
"""

from __future__ import annotations

from datetime import date
from typing import Final

EARLIEST: Final = 1900
LATEST: Final = 2099
"""Years in which something can have happened to a patient whose images are digital."""

PLACEHOLDERS: Final = frozenset(
    date(year, month, day)
    for year, month, day in (
        (1900, 1, 1),  # spreadsheets, SQL Server, and who types a date in a form that wants one
        (1901, 1, 1),
        (1904, 1, 1),  # Macintosh
        (1960, 1, 1),  # SAS, Stata
        (1969, 12, 31),  # Unix, west of Greenwich
        (1970, 1, 1),  # Unix
        (1979, 12, 31),
        (1980, 1, 1),  # DOS, FAT, and a PC's clock without its battery
        (1980, 1, 6),  # GPS
        (2000, 1, 1),  # clocks of embedded systems, PostgreSQL
        (2036, 2, 7),  # NTP runs over
        (2038, 1, 19),  # Unix runs over
        (2079, 6, 6),  # the last small date of SQL Server
        (2099, 12, 31),
    )
)
"""Where clocks and calendars of software begin or end, within the plausible years.

Each costs the studies that were really made on that day their date, so that a day is listed only
if it is written for want of one: 31 December 1999 and 1 January 2001 (where Cocoa counts from)
are not.
"""


def is_placeholder(day: date) -> bool:
    """Whether a date is one that software or people write for want of a real one.

    Years before ``EARLIEST`` (00010101, 11111111, 18991230) and after ``LATEST`` (99991231)
    are placeholders without being listed.
    """
    return not EARLIEST <= day.year <= LATEST or day in PLACEHOLDERS
