"""Dates are shifted by whole days, or not at all."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.deidentify.jitter import shift
from sendit.dicom.placeholder_dates import EARLIEST, LATEST, PLACEHOLDERS, is_placeholder

DAYS = st.integers(-36500, 36500)
DATES = st.dates(date(EARLIEST, 1, 1), date(LATEST, 12, 31)).filter(
    lambda day: not is_placeholder(day)
)


def day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


@given(st.lists(DATES, min_size=2, max_size=6), DAYS)
def test_intervals_are_preserved(dates: list[date], days: int) -> None:
    text = "\\".join(f"{one:%Y%m%d}" for one in dates)
    moved = shift("DA", text, days)
    assert moved is not None
    assert [day(one) for one in moved.split("\\")] == [one + timedelta(days) for one in dates]


@given(
    st.builds(datetime.combine, DATES, st.times()),
    st.sampled_from([8, 10, 12, 14, 16, 21]),
    st.sampled_from(["", "-0800", "+1400"]),
    DAYS,
)
def test_datetime_keeps_precision_time_and_offset(
    when: datetime, length: int, offset: str, days: int
) -> None:
    text = f"{when:%Y%m%d%H%M%S.%f}"[:length]
    moved = f"{when + timedelta(days):%Y%m%d%H%M%S.%f}"[:length]
    assert shift("DT", text + offset, days) == moved + offset


@pytest.mark.parametrize(
    ("vr", "text", "moved"),
    [
        ("DA", "20200228", "20200302"),
        ("DA", "2020.02.28", "20200302"),
        ("DA", " 20200228 ", "20200302"),
        ("DA", "", ""),
        ("DA", "20200228\\\\20200301", "20200302\\\\20200304"),
        ("DT", "20200228103000.123456+0100", "20200302103000.123456+0100"),
        ("DT", "20200228", "20200302"),
        ("TM", "103000.5", "103000.5"),
        ("TM", "10:30:00", "103000"),
        ("LO", "20200228", "20200302"),
        ("LO", "2020-02-28T10:30:00", "20200302103000"),
        # non-standard but unambiguous
        ("DA", "20200228\n", "20200302"),
        ("DA", "2020-02-28", "20200302"),
        ("DA", "20200228103000", "20200302"),
        ("DA", "20200228 10:30", "20200302"),
        ("DA", "2020-02-28T10:30:00.5+01:00", "20200302"),
        ("DA", "28 Feb 2020", "20200302"),
        ("DA", "28-FEB-2020", "20200302"),
        ("DA", "February 28, 2020", "20200302"),
        ("DA", "28.02.2020", "20200302"),
        ("DA", "05.05.2020", "20200508"),
        ("DT", "20200228103000.1234567", "20200302103000.123456"),
        ("DT", "20200228103000.1234567-0500", "20200302103000.123456-0500"),
        ("DT", "20200228103000.12&0200", "20200302103000.12"),
        ("DT", "20200228103000.12&-0200", "20200302103000.12-0200"),
        ("DT", "2020-02-28T10:30:00", "20200302103000"),
        ("DT", "2020-02-28T10:30:00.1234567+01:00", "20200302103000.123456+0100"),
        ("DT", "2020-02-28T10:30:00Z", "20200302103000+0000"),
        ("DT", "20200228103000.000000\n", "20200302103000.000000"),
        ("DT", "20200228103000123", "20200302103000.123"),
        ("DT", "20200228 1030", "202003021030"),
        ("TM", "103000.1234567", "103000.123456"),
        ("TM", "103000123", "103000.123"),
        ("TM", "155431123456", "155431.123456"),
        ("TM", "103000\r\n", "103000"),
        ("TM", "103000.", "103000"),
        ("TM", "9:05:07.5", "090507.5"),
        ("TM", "12:05 am", "0005"),
        ("TM", "3:54:31 PM", "155431"),
        ("TM", "20200228103000", "103000"),
        ("TM", "2020-02-28T10:30", "1030"),
    ],
)
def test_valid_dates_are_shifted(vr: str, text: str, moved: str) -> None:
    assert shift(vr, text, 3) == moved


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("DA", "2020"),
        ("DA", "202002"),
        ("DA", "20200231"),
        ("DA", "20200228-20200301"),
        ("DA", "05/06/2019"),
        ("DA", "28 Foo 2020"),
        ("DA", "28 Feb"),
        ("DA", "Ma 3 2020"),
        ("DA", "20200228\\28.2.20"),
        ("DA", "99991231"),
        ("DA", "00000000"),
        ("DT", "202002"),
        ("DT", "2020022825"),
        ("DT", "20200228103000+9900"),
        ("DT", "20200228-20200301"),
        ("DT", "2020+0100"),
        ("TM", "Tuesday"),
        ("TM", "2500"),
        ("TM", "20190623"),
        ("TM", "2019062315"),
        ("TM", "201906231554"),
        ("TM", "7734512"),
        ("TM", "15:5431"),
        ("TM", "155431Z"),
        ("TM", "13:00 PM"),
        ("LO", "20200228155431123"),
        ("LO", "born 20200228"),
        ("DA", "٢٠٢٠٠٢٢٨"),
    ],
)
def test_invalid_dates_are_never_guessed(vr: str, text: str) -> None:
    assert shift(vr, text, 3) is None


@pytest.mark.parametrize(
    "text",
    [
        *("00010101", "01010101", "10000101", "11111111", "12121212", "15821015", "16010101"),
        *("17530101", "18000101", "18581117", "18991230", "18991231", "19111111", "21000101"),
        *("22220101", "99991231", "9999.12.31", *(f"{day:%Y%m%d}" for day in sorted(PLACEHOLDERS))),
    ],
)
@pytest.mark.parametrize("days", [-17, 0, 3])
def test_placeholder_dates_are_not_shifted(text: str, days: int) -> None:
    assert shift("DA", text, days) is None
    assert shift("LO", text, days) is None
    assert shift("DA", f"20200228\\{text}", days) is None
    if text.isdigit():
        assert shift("DT", f"{text}000000", days) is None
