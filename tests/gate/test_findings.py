"""Where a finding is located, and what counts as one within an attribute."""

from __future__ import annotations

import pytest

from sendit.gate import check
from sendit.gate.archive_reader import Pixels
from sendit.gate.real_values import Matcher, RealValueKind, RealValueMatch, RealValues
from tests.deidentify.engine import plan_of

PLAN = plan_of("REMOVE PatientName\nREMOVE PatientID")
MODEL, STATION, PATIENT_ID, PATIENT_NAME = 0x00081090, 0x00081010, 0x00100020, 0x00100010


def checking(**values: set[int]) -> check._Check:
    real = RealValues(PLAN)
    real.identifiers = values
    return check._Check(Matcher(real, PLAN, -5), PLAN)


#: Tag, VR, start and end of the value, path; an empty value starts where the next one does.
PLACES = [
    (0x00080016, "UI", 8, 20, ()),
    (0x00080018, "UI", 28, 28, ()),
    (0x00080020, "DA", 36, 44, ()),
]


@pytest.mark.parametrize(
    ("end", "tag"),
    [
        (1, None),
        (8, None),
        (9, 0x00080016),
        (20, 0x00080016),
        (21, None),  # header bytes are not a value
        (29, None),
        (36, None),
        (37, 0x00080020),
        (44, 0x00080020),
        (45, None),
    ],
)
def test_offset_is_located_in_its_element(end: int, tag: int | None) -> None:
    place = check._place(PLACES, end)
    assert (place and place[0]) == tag


def test_a_coincidence_does_not_hide_a_finding_next_to_it() -> None:
    at_work = checking()
    own = RealValueMatch(RealValueKind.IDENTIFIER, frozenset((STATION,)), "galan3t")
    name = RealValueMatch(RealValueKind.NAME_PART, frozenset((PATIENT_NAME,)), "norm")
    real = RealValueMatch(RealValueKind.IDENTIFIER, frozenset((PATIENT_ID,)), "7734512")
    at_work._tell(3, [own, real], MODEL, "LO")
    at_work._tell(4, [name, real], MODEL, "CS")
    assert [(each.member, each.kind, each.tag, each.sources) for each in at_work.findings] == [
        (3, str(RealValueKind.IDENTIFIER), MODEL, {PATIENT_ID}),
        (4, str(RealValueKind.IDENTIFIER), MODEL, {PATIENT_ID}),
    ]


def test_private_creator_names_are_not_findings() -> None:
    """A person with the name of a private creator is not delivered with it."""
    plan = plan_of('REMOVE PatientID\nKEEP (0029,"SIEMENS CSA HEADER",10)')
    real = RealValues(plan)
    real.identifiers = {"SIEMENS CSA HEADER": {PATIENT_ID}}
    at_work = check._Check(Matcher(real, plan, -5), plan)
    assert at_work._known.read("SIEMENS CSA HEADER", identifying=True)
    at_work._judge(1, 0x00290010, "LO", b"SIEMENS CSA HEADER")
    assert at_work.findings == []
    at_work._judge(1, 0x00290010, "LO", b"ANOTHER SIEMENS CSA HEADER")
    assert [each.tag for each in at_work.findings] == [0x00290010]


@pytest.mark.parametrize(
    ("source", "is_finding"), [(PATIENT_ID, False), (STATION, False), (0, False)]
)
def test_small_numbers_in_member_names_are_not_findings(source: int, is_finding: bool) -> None:
    at_work = checking(**{"100012": {source}, "7734512": {source}})
    for name, is_found in (
        ("IR1A1_100012_1.dcm", is_finding),
        ("IR1A1_7734512_1.dcm", source != STATION),
    ):
        at_work.findings.clear()
        at_work._name(type("Head", (), {"number": 5, "name": name}))  # type: ignore[arg-type]
        assert bool(at_work.findings) is is_found
        assert all(each.place == "the member's name" for each in at_work.findings)


@pytest.mark.parametrize(
    ("tag", "vr", "raw"),
    [
        (0x00180050, "DS", b"7734512"),
        (0x00200013, "IS", b"1\\07734512"),
        (0x00081090, "LO", b"seen as 7734512"),
        (0x00104000, "LT", b"seen as 7734512"),
        (0x00091001, "OB", b"seen as 7734512 here"),
        (0x00091001, "OB", b"\x01\x02" * 9 + b"seen as 7734512" + b"\x01"),
    ],
)
def test_a_finding_names_its_member_and_attribute(tag: int, vr: str, raw: bytes) -> None:
    plan = plan_of("REMOVE PatientID\nKEEP (0009,1001)")
    real = RealValues(plan)
    real.identifiers = {"7734512": {PATIENT_ID}}
    at_work = check._Check(Matcher(real, plan, -5), plan)
    assert at_work._judge(7, tag, vr, raw)
    assert [(each.member, each.tag, each.sources) for each in at_work.findings] == [
        (7, tag, {PATIENT_ID})
    ]
    at_work.findings.clear()
    assert not at_work._judge(7, tag, vr, raw.replace(b"7734512", b"1111119"))
    assert at_work.findings == []


def test_digits_among_vendor_numbers_are_treated_as_numbers() -> None:
    """In Implicit VR they have no VR: what they contain is reported as numbers."""
    plan = plan_of('REMOVE PatientID\nKEEP (0019,"SIEMENS MR HEADER",0C)')
    real = RealValues(plan)
    real.identifiers = {"773451": {PATIENT_ID}}
    at_work = check._Check(Matcher(real, plan, -5), plan)
    data = b"\0\0\0\0" + b"773451" + b"\0\0\0\0" + b"773451"
    places = [(0x0019100C, "UN", 4, 10, ()), (0x00181000, "UN", 14, 20, ())]
    at_work._bytes(3, data, places)
    assert [each.tag for each in at_work.findings] == [0x00181000]


def test_pixel_findings_by_encoding() -> None:
    plan = plan_of("REMOVE PatientName\nREMOVE PatientBirthDate")
    real = RealValues(plan)
    real.names = {(b"Quackenbush^Zebediah", b"", True): {PATIENT_NAME}}
    real.dates = {"19570314": {0x00100030}}
    at_work = check._Check(Matcher(real, plan, -5), plan)
    for data, samples, first, last, expected in (
        (b"\0\1 Quackenbush \2", True, True, True, 1),
        (b"\0\1 19570314 \2", True, True, True, 0),
        (b"\0\1 19570314 \2", False, False, False, 1),
        (b"\0\1 14.03.1957 \2", False, False, False, 1),
        (b"Zebediah Quackenbush\xff\xda", False, True, False, 1),
        (b"\xff\xda\1\2\xff\xd9 zebediah.quackenbush", False, False, True, 1),
    ):
        at_work.findings.clear()
        at_work._pixels(Pixels(5, data, samples, first, last))
        assert bool(at_work.findings) is bool(expected), data
        assert all(each.member == 5 for each in at_work.findings)
        assert {each.place for each in at_work.findings} <= {check.PIXEL_DATA}


def test_advice_for_each_kind_of_rule() -> None:
    plan = plan_of(
        "KEEP PatientComments\nREPLACE StudyDescription func:clean_text\nBLANK PatientID"
    )
    advice = {
        tag: check._advice(check.Finding(1, "x", "y", tag), plan)
        for tag in (None, 0x00020003, 0x00104000, 0x00081030, 0x00080080, 0x00091001)
    }
    assert advice[None] == advice[0x00020003] == ""
    assert "replace its KEEP by REMOVE PatientComments" in advice[0x00104000]
    assert "use REMOVE StudyDescription instead" in advice[0x00081030]
    assert (
        "add REMOVE InstitutionName, or REPLACE InstitutionName func:clean_text"
        in advice[0x00080080]
    )
    assert "a rule keeps this private attribute" in advice[0x00091001]


def test_only_the_most_frequent_findings_are_reported() -> None:
    findings = [check.Finding(4, "a name", "(0008,0080) InstitutionName", 0x00080080)] * 2
    findings += [check.Finding(number, "a date", f"place {number}") for number in range(1, 8)]
    sources = frozenset((PATIENT_NAME, check.FOLDER))
    findings[0] = check.Finding(3, findings[1].kind, findings[1].place, findings[1].tag, sources)
    explanation = check._explain(findings, PLAN)
    assert "a name in (0008,0080) InstitutionName (2 times, first in member 3)" in explanation
    assert "which the batch has as " in explanation
    assert "(0010,0010) PatientName" in explanation
    assert "the folder's name" in explanation
    assert explanation.endswith("; and 3 more")
    stopped = check.Stopped(explanation, findings)
    assert stopped.members[4] == "a name in (0008,0080) InstitutionName"
    assert stopped.members[3] == "a name in (0008,0080) InstitutionName"
    assert not stopped.thorough
    assert check.Stopped("", [check.Finding(1, "a name", check.PIXEL_DATA)]).thorough


def test_a_name_in_binary_data_is_attributed_to_its_element() -> None:
    real = RealValues(PLAN)
    real.names = {(b"Quackenbush^Zebediah", b"", True): {PATIENT_NAME}}
    at_work = check._Check(Matcher(real, PLAN, -5), PLAN)
    data = b"\0\0\0\0\1quackenbush\1\0\0\0\0\1quackenbush\1"
    at_work._bytes(3, data, [(0x00091001, "UN", 4, 17, ())])
    assert [(each.member, each.tag, each.place) for each in at_work.findings] == [
        (3, 0x00091001, "(0009,1001)"),
        (3, None, "bytes"),
    ]
