"""What stands around a value's bytes makes it that value, or a part of another."""

from __future__ import annotations

import pytest

from sendit.gate.real_values import Boundary


@pytest.mark.parametrize(
    ("boundary", "before", "value", "after", "alone"),
    [
        # a date, with a time behind it or not; not the end of a number, nor its decimals
        (Boundary.DATE, b"", b"19480720", b"", True),
        (Boundary.DATE, b"on ", b"19480720", b" at noon", True),
        (Boundary.DATE, b"", b"19480720", b"123000.5", True),
        (Boundary.DATE, b"", b"19480720", b"1230 ", True),
        (Boundary.DATE, b"", b"19480720", b"993000", False),
        (Boundary.DATE, b"", b"19480720", b"7", False),
        (Boundary.DATE, b"1", b"19480720", b"", False),
        (Boundary.DATE, b"0.", b"19480720", b"", False),
        (Boundary.DATE, b"x.", b"19480720", b"", True),
        (Boundary.DATE, b"1", b"19480720", b"123000", False),
        # an identifier: a word of its own, with or without a mark behind it
        (Boundary.IDENTIFIER, b"", b"7734512", b"", True),
        (Boundary.IDENTIFIER, b"MRN ", b"7734512", b". Next", True),
        (Boundary.IDENTIFIER, b"", b"7734512", b".0", True),
        (Boundary.IDENTIFIER, b"", b"7734512", b".25", False),
        (Boundary.IDENTIFIER, b"A", b"7734512", b"", False),
        (Boundary.IDENTIFIER, b"", b"7734512", b"A", False),
        (Boundary.IDENTIFIER, b"", b"7734512", b"8", False),
        (Boundary.IDENTIFIER, b"1.", b"7734512", b"", False),
        (Boundary.IDENTIFIER, b"no.", b"7734512", b"", True),
        # a name: no letter beside it, digits do not matter
        (Boundary.NAME, b"", b"quackenbush", b"", True),
        (Boundary.NAME, b"1", b"quackenbush", b"2", True),
        (Boundary.NAME, b"s", b"quackenbush", b"", False),
        (Boundary.NAME, b"", b"quackenbush", b"s", False),
        # a UID begins here; how long it is, is judged by whoever reads on
        (Boundary.UID, b"", b"1.2.826.0.1.36", b".7", True),
        (Boundary.UID, b"=", b"1.2.826.0.1.36", b"8", True),
        (Boundary.UID, b"3", b"1.2.826.0.1.36", b"", False),
        (Boundary.UID, b"3.", b"1.2.826.0.1.36", b"", False),
        # what was cut to be searched for
        (Boundary.ANYTHING, b"1a", b"long", b"1a", True),
    ],
)
def test_a_value_stands_alone(
    boundary: Boundary, before: bytes, value: bytes, after: bytes, alone: bool
) -> None:
    data = before + value + after
    assert boundary.clear(data, len(before), len(before) + len(value)) is alone
