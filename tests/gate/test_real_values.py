"""The bytes around a value decide whether it is that value or part of another."""

from __future__ import annotations

import pytest

from sendit.dicom.scan import read_header
from sendit.gate.real_values import Boundary, Matcher, RealValueKind, RealValues, decode
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import plan_of


@pytest.mark.parametrize(
    ("boundary", "before", "value", "after", "alone"),
    [
        # a date, optionally followed by a time; not the end of a number, nor its decimals
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
        # an identifier: a word of its own, optionally followed by punctuation
        (Boundary.IDENTIFIER, b"", b"7734512", b"", True),
        (Boundary.IDENTIFIER, b"MRN ", b"7734512", b". Next", True),
        (Boundary.IDENTIFIER, b"", b"7734512", b".0", True),
        (Boundary.IDENTIFIER, b"", b"7734512", b".25", False),
        (Boundary.IDENTIFIER, b"A", b"7734512", b"", False),
        (Boundary.IDENTIFIER, b"", b"7734512", b"A", False),
        (Boundary.IDENTIFIER, b"", b"7734512", b"8", False),
        (Boundary.IDENTIFIER, b"1.", b"7734512", b"", False),
        (Boundary.IDENTIFIER, b"no.", b"7734512", b"", True),
        # a name: no adjacent letter; digits do not matter
        (Boundary.NAME, b"", b"quackenbush", b"", True),
        (Boundary.NAME, b"1", b"quackenbush", b"2", True),
        (Boundary.NAME, b"s", b"quackenbush", b"", False),
        (Boundary.NAME, b"", b"quackenbush", b"s", False),
        (Boundary.NAME, b"", b"quackenbush", b"s1", False),
        (Boundary.NAME, b"1s", b"quackenbush", b"", False),
        # start of a UID; its length is checked by the caller
        (Boundary.UID, b"", b"1.2.826.0.1.36", b".7", True),
        (Boundary.UID, b"=", b"1.2.826.0.1.36", b"8", True),
        (Boundary.UID, b"3", b"1.2.826.0.1.36", b"", False),
        (Boundary.UID, b"3.", b"1.2.826.0.1.36", b"", False),
        # a value cut to the maximum pattern length
        (Boundary.ANYTHING, b"1a", b"long", b"1a", True),
    ],
)
def test_value_boundaries(
    boundary: Boundary, before: bytes, value: bytes, after: bytes, alone: bool
) -> None:
    data = before + value + after
    assert boundary.clear(data, len(before), len(before) + len(value)) is alone


PATIENT_ID, PATIENT_NAME, STATION = 0x00100020, 0x00100010, 0x00081010


def matcher(*, names: tuple[bytes, ...] = (), identifiers: tuple[str, ...] = ()) -> Matcher:
    """Return a matcher for these values of a patient, under a recipe that removes them."""
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
        ("AB77", False),  # short: searched in identifying attributes, not everywhere
        ("QUACKENBUSHX", True),  # letters alone are distinctive from twelve on
        ("QUACKENBUSH", False),
        ("QUACK", False),
        ("000000000", False),
    ],
)
def test_identifiers_searched_everywhere(identifier: str, looked_for: bool) -> None:
    matches = matcher(identifiers=(identifier,)).read(f"seen as {identifier}", identifying=False)
    assert [match.kind for match in matches] == [RealValueKind.IDENTIFIER] * looked_for


def test_short_identifiers_are_found_in_named_attributes() -> None:
    known = matcher(identifiers=("AB77",))
    (match,) = known.read("seen as ab77", identifying=True)
    assert (match.kind, match.sources) == (RealValueKind.IDENTIFIER, {PATIENT_ID})


def test_leading_zeros_are_ignored() -> None:
    known = matcher(identifiers=("7734512",))
    for text in ("007734512", "00-7734512", "773 4512", "0-0-7734-512"):
        assert known.read(text, identifying=False), text
    assert not known.read("77345120", identifying=False)


def test_a_number_that_a_spreadsheet_has_written_is_the_number() -> None:
    known = matcher(identifiers=("7734512.0", "AB-1234567.00"))
    for text in ("7734512", "7734512.0", "seen 773-4512", "AB1234567", "1234567"):
        assert known.read(text, identifying=False), text
    assert not known.read("1.2.7734512", identifying=False)


def test_numbers_are_not_searched_for_among_samples() -> None:
    needles = matcher(identifiers=("7734512", "AB-77345")).needles
    in_samples = {needle.value: needle.in_samples for needle in needles}
    assert in_samples[b"7734512"] is False
    assert in_samples[b"ab77345"] is True


def test_pairs_of_short_name_parts_are_searched_in_bytes() -> None:
    """Chest and Head are radiology terms: together they are nobody's name."""
    needles = {needle.value for needle in matcher(names=(b"Head^Chest^Qua^Zet",)).needles}
    assert {b"qua^zet", b"zet qua", b"qua, head"} <= needles
    assert not {b"head^chest", b"chest head"} & needles


def test_an_identifier_in_two_attributes_belongs_to_both() -> None:
    """Whether it may occur there depends on all attributes with that value."""
    plan = plan_of("REMOVE PatientName\nREMOVE PatientID")
    real = RealValues(plan)
    real.identifiers = {"7734512": {PATIENT_ID}, "773-4512": {STATION}, "99887766": {STATION}}
    known = Matcher(real, plan, -5)
    (match,) = known.read("7734512", identifying=False)
    assert match.sources == {PATIENT_ID, STATION}
    (match,) = known.read("99887766", identifying=False)
    assert match.sources == {STATION}


def test_long_values_are_searched_by_their_beginning() -> None:
    long = "Q" * 63 + "7" + "Z" * 5
    around = {
        needle.value: needle.around for needle in matcher(identifiers=(long, "7734512")).needles
    }
    assert around[b"7734512"] is Boundary.IDENTIFIER
    assert around[long[:64].encode()] is Boundary.ANYTHING
    assert long[:65].encode() not in around


def test_accented_identifiers_are_searched_in_every_encoding() -> None:
    needles = {needle.value for needle in matcher(identifiers=("Würde-7734",)).needles}
    assert {
        *("Würde-7734".encode("latin-1"), "Würde-7734".encode(), "WÜRDE-7734".encode("latin-1")),
        *(b"Wurde-7734", b"Wuerde-7734"),
    } <= needles


def test_identifiers_are_encoded_in_the_character_sets_of_the_batch() -> None:
    plan = plan_of("REMOVE PatientID")
    real = RealValues(plan)
    real.identifiers = {"Иванов-7734": {PATIENT_ID}}
    real.character_sets = {b"ISO_IR 144"}
    needles = {needle.value for needle in Matcher(real, plan, -5).needles}
    assert {"Иванов-7734".encode("iso8859-5"), "Иванов-7734".encode()} <= needles


@pytest.mark.parametrize(("length", "searched_for"), [(11, False), (12, True), (13, True)])
def test_names_with_escape_sequences_are_searched_as_bytes(length: int, searched_for: bool) -> None:
    group = b"\x1b$B" + b";3ED^B@O:"[: length - 3].ljust(length - 3, b"E")
    assert len(group) == length
    real = RealValues(plan_of("REMOVE PatientName"))
    real.names[b"Yamada^Tarou=" + group, b"\\ISO 2022 IR 87", True] = {PATIENT_NAME}
    known = Matcher(real, plan_of("REMOVE PatientName"), -5)
    needles = [needle for needle in known.needles if needle.value == group]
    assert [needle.around for needle in needles] == [Boundary.ANYTHING] * searched_for


def test_a_name_that_is_a_radiology_term_is_found_where_a_rule_removes_it() -> None:
    known = matcher(names=(b"Stone^Ada",))
    assert not known.read("kidney stone", identifying=False)
    (match,) = known.read("kidney stone", identifying=False, cleaned=True)
    assert (match.kind, match.sources, match.key) == (
        RealValueKind.NAME_PART,
        {PATIENT_NAME},
        "stone",
    )


@pytest.mark.parametrize("keyword", ["AcquisitionDate", "AcquisitionDateTime"])
def test_a_kept_date_may_occur_elsewhere(keyword: str) -> None:
    ds = make_dataset(AcquisitionDate="20120229", AcquisitionDateTime="20120229101101")
    rest = {"AcquisitionDate", "AcquisitionDateTime"} - {keyword}
    plan = plan_of("\n".join((f"KEEP {keyword}", *(f"REMOVE {one}" for one in rest))))
    real = RealValues(plan)
    real.see(read_header(to_bytes(ds)))
    assert "20120229" in real.kept_dates
    assert not Matcher(real, plan, -5).read("seen 2012-02-29", identifying=False)


def test_kept_text_is_decoded_with_its_character_set() -> None:
    plan = plan_of("REMOVE PatientName\nKEEP ReferringPhysicianName\nKEEP InstitutionName")
    ds = make_dataset(
        SpecificCharacterSet="ISO_IR 144",
        PatientName="Петров^Иван",
        ReferringPhysicianName="Иванов^Пётр",
        InstitutionName="Иванов",
    )
    real = RealValues(plan)
    real.see(read_header(to_bytes(ds)))
    assert "иванов^пётр" in real.left_names
    assert {"иванов", "иванов^пётр"} <= real.kept
    assert {text for _, text, _ in _texts(real)} == {"Петров^Иван"}


def _texts(real: RealValues) -> list[tuple[bytes, str, bool]]:
    return [(raw, decode(raw, set_), patient) for raw, set_, patient in real.names]


DATED, UNDATED = "1.2.826.0.1.20190623.101112.4", "1.2.826.0.1.3680043.8.498.77"


@pytest.mark.parametrize(
    ("rule", "looked_for"),
    [
        ("REPLACE FrameOfReferenceUID func:remap_uid", {DATED, UNDATED}),
        ("REPLACE FrameOfReferenceUID func:undated_uid", {DATED}),
        ("KEEP FrameOfReferenceUID", set()),
    ],
)
def test_kept_uids_are_not_searched(rule: str, looked_for: set[str]) -> None:
    real = RealValues(plan_of(rule))
    for uid in (DATED, UNDATED, "1.2.3", "1.2.840.10008.1.4.1.1"):
        real.see(read_header(to_bytes(make_dataset(private=False, FrameOfReferenceUID=uid))))
    assert set(real.uids) & {DATED, UNDATED, "1.2.3", "1.2.840.10008.1.4.1.1"} == looked_for


@pytest.mark.parametrize(
    ("identifier", "text", "matches"),
    [
        ("MRN7734512X", "7734512", True),  # its only run of digits
        ("MRN0007734512", "7734512", True),
        ("A12B7734512", "7734512", False),  # one of two
        ("QUACKENBUSHXYZ", "quackenbushxyz", True),
        ("MRN7734512X", "7734513", False),
    ],
)
def test_digits_of_an_identifier_are_searched_alone(
    identifier: str, text: str, matches: bool
) -> None:
    known = matcher(identifiers=(identifier,))
    assert bool(known.read(f"seen as {text}", identifying=False)) is matches


def test_numbers_match_as_a_whole() -> None:
    known = matcher(identifiers=("7734512",))
    for written in ("7734512", "+7734512", "-0007734512", "7734512.0", "7734512."):
        assert known.read_number(written), written
    for written in ("7734512.5", "77345120", "7.734512", "7734512e1", ""):
        assert not known.read_number(written), written


def test_private_names_are_searched_if_their_attribute_is_removed() -> None:
    ds = make_dataset(private=False)
    for creator, name in (("ACME", "Stays^Ada"), ("OTHER", "Goes^Bo")):
        block = ds.private_block(0x0019, creator, create=True)
        block.add_new(0x01, "PN", name)
    real = RealValues(plan_of('KEEP (0019,"ACME",01)'))
    real.see(read_header(to_bytes(ds)))
    assert b"Goes^Bo" in {name for name, _, _ in real.names}
    assert b"Stays^Ada" not in {name for name, _, _ in real.names}
    assert "stays^ada" in real.left_names


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("quackenbushz", True),  # family name and initial
        ("zquackenbush", True),
        ("quackenbushx", False),
        ("zebediahquackenbush", True),
        ("quackenb", True),  # truncated to a field of eight characters
        ("quacken", False),
    ],
)
def test_name_variants_are_found(text: str, matches: bool) -> None:
    known = matcher(names=(b"Quackenbush^Zebediah",))
    assert bool(known.read(f"seen as {text} 7", identifying=False)) is matches


def test_values_differing_in_case_share_a_pattern() -> None:
    plan = plan_of("REMOVE PatientName\nREMOVE PatientID")
    real = RealValues(plan)
    real.identifiers = {"MRN7734512": {0x00100020}, "mrn7734512": {0x00101000}}
    needles = [needle for needle in Matcher(real, plan, -17).needles if b"7734512" in needle.value]
    assert {needle.value.lower() for needle in needles} == {b"mrn7734512", b"7734512"}
    assert len(needles) == 2
    (whole,) = (needle for needle in needles if len(needle.value) == 10)
    assert whole.sources == {0x00100020, 0x00101000}
    assert whole.in_samples
