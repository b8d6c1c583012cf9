"""Classification of text in images."""

from __future__ import annotations

import pytest

from sendit.pixels.reader import Line
from sendit.pixels.verdict import BatchValues, TextKind, distance, judge

OWN = BatchValues(words={"winterbottom", "doe", "li"}, numbers={"4478123", "120903"})


def line(text: str, box: tuple[int, int, int, int] = (0, 0, 10, 10)) -> Line:
    return Line(text, 0.95, box)


@pytest.mark.parametrize(
    "text",
    [
        "WINTERBOTTOM",
        "Winterbottom, A",
        "WlNTERB0TTOM",  # read with two errors
        "WINTERBOTTOMADA",  # blanks get lost
        "DOE^JANE",
        "LI",
        "ID:4478123",
        "44781Z3",
        "44 78 123",
        "120903 F",
    ],
)
def test_values_of_the_batch_are_recognised(text: str) -> None:
    assert judge([line(text)], OWN) is TextKind.BATCH_VALUE


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("07.03.1964", TextKind.DATE),
        ("3/7/64", TextKind.DATE),
        ("1964-03-07", TextKind.DATE),
        ("7 Mar 1964", TextKind.DATE),
        ("07MAR1964", TextKind.DATE),
        ("Mar 7, 1964", TextKind.DATE),
        ("ACC 99887766", TextKind.NUMBER),
        ("99-88-77", TextKind.DATE),
        ("9988-7766", TextKind.NUMBER),
        ("ST MARYS HOSPITAL", TextKind.INSTITUTION),
        ("STMARYSHOSPITAL", TextKind.INSTITUTION),
        ("Klinikum Nord", TextKind.INSTITUTION),
        ("SMITHERS", TextKind.UNKNOWN),
        ("東京太郎", TextKind.UNKNOWN),
    ],
)
def test_identifying_text(text: str, kind: TextKind) -> None:
    verdict = judge([line(text)], BatchValues())
    assert verdict is not None
    assert verdict is kind or (kind is TextKind.DATE and verdict is TextKind.NUMBER)


@pytest.mark.parametrize(
    "text",
    [
        *("L", "R PORTABLE", "LIVERSAG", "120 kV 200 mAs", "TIS0.4 MI 1.4", "12.3456", "4.0cm"),
        *("SIEMENS", "GE Medical", "FR 31Hz", "A", "1024", "||", "wwww"),
    ],
)
def test_non_identifying_text(text: str) -> None:
    assert judge([line(text)], BatchValues()) is None


def test_annotations_in_ultrasound_regions() -> None:
    inside, outside = line("SMITHERS", (20, 20, 40, 30)), line("SMITHERS", (0, 0, 10, 5))
    region = (15, 15, 100, 100)
    assert judge([inside], BatchValues(), [region]) is None
    assert judge([outside], BatchValues(), [region]) is TextKind.UNKNOWN
    assert judge([line("WINTERBOTTOM", inside.box)], OWN, [region]) is TextKind.BATCH_VALUE


def test_frame_counters_are_not_identifiers() -> None:
    inside, region = (20, 20, 40, 30), (15, 15, 100, 100)
    for counter in ("127/1281", "110 / 1112", "9/128"):
        assert judge([line(counter, inside)], BatchValues(), [region]) is None
    assert judge([line("127/1281")], BatchValues(), [region]) is TextKind.NUMBER
    assert judge([line("127/12/81", inside)], BatchValues(), [region]) is not None
    assert judge([line("44781/23", inside)], BatchValues(), [region]) is TextKind.NUMBER


def test_edit_distance() -> None:
    assert distance("kitten", "sitting") == 3
    assert distance("", "abc") == 3
    assert distance("same", "same") == 0
