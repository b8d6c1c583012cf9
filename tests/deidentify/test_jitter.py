"""Dates move by whole days, or not at all."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.deidentify.jitter import shift

DAYS = st.integers(-36500, 36500)
DATES = st.dates(date(1900, 1, 1), date(2100, 12, 31))


def day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


@given(st.lists(DATES, min_size=2, max_size=6), DAYS)
def test_intervals_are_kept(dates: list[date], days: int) -> None:
    text = "\\".join(f"{one:%Y%m%d}" for one in dates)
    moved = shift("DA", text, days)
    assert moved is not None
    assert [day(one) for one in moved.split("\\")] == [one + timedelta(days) for one in dates]


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from([8, 10, 12, 14, 16, 21]),
    st.sampled_from(["", "-0800", "+1400"]),
    DAYS,
)
def test_a_date_time_keeps_its_precision_its_time_and_its_offset(
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
    ],
)
def test_what_moves(vr: str, text: str, moved: str) -> None:
    assert shift(vr, text, 3) == moved


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("DA", "2020"),
        ("DA", "202002"),
        ("DA", "20200231"),
        ("DA", "20200228-20200301"),
        ("DA", "28 Feb 2020"),
        ("DA", "20200228\\28.2.20"),
        ("DA", "99991231"),
        ("DA", "00000000"),
        ("DT", "202002"),
        ("DT", "2020022825"),
        ("DT", "20200228103000+9900"),
        ("DT", "20200228 1030"),
        ("TM", "Tuesday"),
        ("TM", "2500"),
        ("LO", "born 20200228"),
        ("DA", "٢٠٢٠٠٢٢٨"),
    ],
)
def test_what_cannot_be_moved_is_never_guessed(vr: str, text: str) -> None:
    assert shift(vr, text, 3) is None
