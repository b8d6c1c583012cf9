"""What stands around a value's bytes makes it that value, or a part of another."""

from __future__ import annotations

import pytest

from sendit.gate.real_values import Boundary, Matcher, RealValueKind, RealValues
from tests.deidentify.engine import plan_of


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


PATIENT_ID, PATIENT_NAME, COMMENTS = 0x00100020, 0x00100010, 0x00104000


def matcher(*, names: tuple[bytes, ...] = (), identifiers: tuple[str, ...] = ()) -> Matcher:
    """Return what recognises these values of a patient, under a recipe that removes them."""
    plan = plan_of("REMOVE PatientName\nREMOVE PatientID")
    real = RealValues(plan)
    for name in names:
        real.names[name, b"", True] = {PATIENT_NAME}
    for identifier in identifiers:
        real.identifiers[identifier] = {PATIENT_ID}
    return Matcher(real, plan, -5)


@pytest.mark.parametrize(
    ("identifier", "looked_for"),
    [
        ("7734512", True),
        ("AB77", False),  # short: told in attributes that identify, not everywhere
        ("QUACKENBUSHX", True),  # letters alone tell something from twelve on
        ("QUACKENBUSH", False),
        ("QUACK", False),
        ("000000000", False),
    ],
)
def test_which_identifiers_are_looked_for_everywhere(identifier: str, looked_for: bool) -> None:
    found = matcher(identifiers=(identifier,)).read(f"seen as {identifier}", identifying=False)
    assert [match.kind for match in found] == [RealValueKind.IDENTIFIER] * looked_for


def test_short_identifiers_are_told_where_a_rule_names_the_attribute() -> None:
    known = matcher(identifiers=("AB77",))
    (found,) = known.read("seen as ab77", identifying=True)
    assert (found.kind, found.sources) == (RealValueKind.IDENTIFIER, {PATIENT_ID})


def test_zeros_in_front_of_any_part_of_a_number_do_not_matter() -> None:
    known = matcher(identifiers=("7734512",))
    for text in ("007734512", "00-7734512", "773 4512", "0-0-7734-512"):
        assert known.read(text, identifying=False), text
    assert not known.read("77345120", identifying=False)


def test_numbers_are_not_searched_for_among_samples() -> None:
    needles = matcher(identifiers=("7734512", "AB-77345")).needles
    in_samples = {needle.value: needle.in_samples for needle in needles}
    assert in_samples[b"7734512"] is False
    assert in_samples[b"ab77345"] is True


def test_pairs_of_short_parts_are_searched_for_in_bytes_past_a_pair_of_common_words() -> None:
    """Chest and Head are words of radiology: together they are nobody's name."""
    needles = {needle.value for needle in matcher(names=(b"Head^Chest^Qua^Zet",)).needles}
    assert {b"qua^zet", b"zet qua", b"qua, head"} <= needles
    assert not {b"head^chest", b"chest head"} & needles
