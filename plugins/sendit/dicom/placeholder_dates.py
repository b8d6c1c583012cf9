"""Placeholder dates, which must not be shifted because everyone knows the original.

A placeholder identifies nobody, but from one shifted by a patient's jitter anyone can compute the
jitter, and with it all real dates of that patient.
"""

from __future__ import annotations

from datetime import date
from typing import Final

EARLIEST: Final = 1900
LATEST: Final = 2099
"""Plausible years for events in the life of a patient with digital images."""

PLACEHOLDERS: Final = frozenset(
    date(year, month, day)
    for year, month, day in (
        (1900, 1, 1),  # spreadsheets, SQL Server, and people who must fill in a form
        (1901, 1, 1),
        (1904, 1, 1),  # Macintosh
        (1911, 11, 11),  # people again
        (1960, 1, 1),  # SAS, Stata
        (1969, 12, 31),  # Unix, west of Greenwich
        (1970, 1, 1),  # Unix
        (1979, 12, 31),
        (1980, 1, 1),  # DOS, FAT, and PCs whose clock has no battery
        (1980, 1, 6),  # GPS
        (2000, 1, 1),  # clocks of embedded systems, PostgreSQL
        (2036, 2, 7),  # NTP overflows
        (2038, 1, 19),  # Unix overflows
        (2079, 6, 6),  # the last smalldatetime of SQL Server
        (2099, 12, 31),
    )
)
"""First and last dates of clocks and calendars of software, within the plausible years.

Studies that were really acquired on such a day lose their date, so a day is listed only if
software does write it in place of a missing date: 31 December 1999 and 1 January 2001 (Cocoa's
epoch) are not.
"""


def is_placeholder(day: date) -> bool:
    """Whether a date is one that software or people write in place of a missing one.

    All dates before the year ``EARLIEST`` (00010101, 11111111, 18991230) and after ``LATEST``
    (99991231) are placeholders.
    """
    return not EARLIEST <= day.year <= LATEST or day in PLACEHOLDERS
