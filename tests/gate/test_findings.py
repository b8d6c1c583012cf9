"""Where a finding is, and what in an attribute is one."""

from __future__ import annotations

import pytest

from sendit.gate import check
from sendit.gate.real_values import Matcher, RealValueKind, RealValueMatch, RealValues
from tests.deidentify.engine import plan_of

PLAN = plan_of("REMOVE PatientName\nREMOVE PatientID")
MODEL, STATION, PATIENT_ID, PATIENT_NAME = 0x00081090, 0x00081010, 0x00100020, 0x00100010


def checking(**values: set[int]) -> check._Check:
    real = RealValues(PLAN)
    real.identifiers = values
    return check._Check(Matcher(real, PLAN, -5), PLAN)


#: Tag, VR, where the value starts and ends, path; an empty value starts where the next one is.
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
        (21, None),  # a header's bytes are no value
        (29, None),
        (36, None),
        (37, 0x00080020),
        (44, 0x00080020),
        (45, None),
    ],
)
def test_a_byte_is_in_the_value_that_it_stands_in(end: int, tag: int | None) -> None:
    found = check._place(PLACES, end)
    assert (found and found[0]) == tag


def test_a_coincidence_does_not_hide_what_is_found_beside_it() -> None:
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


def test_a_maker_s_block_is_called_what_it_is_called() -> None:
    """Who is called like a private creator is not delivered with it."""
    plan = plan_of('REMOVE PatientID\nKEEP (0029,"SIEMENS CSA HEADER",10)')
    real = RealValues(plan)
    real.identifiers = {"SIEMENS CSA HEADER": {PATIENT_ID}}
    at_work = check._Check(Matcher(real, plan, -5), plan)
    assert at_work._known.read("SIEMENS CSA HEADER", identifying=True)
    at_work._judge(1, 0x00290010, "LO", b"SIEMENS CSA HEADER")
    assert at_work.findings == []
    at_work._judge(1, 0x00290010, "LO", b"ANOTHER SIEMENS CSA HEADER")
    assert [each.tag for each in at_work.findings] == [0x00290010]


@pytest.mark.parametrize(("source", "found"), [(PATIENT_ID, False), (STATION, False), (0, False)])
def test_a_member_s_name_is_made_of_small_numbers(source: int, found: bool) -> None:
    at_work = checking(**{"100012": {source}, "7734512": {source}})
    for name, is_found in (
        ("IR1A1_100012_1.dcm", found),
        ("IR1A1_7734512_1.dcm", source != STATION),
    ):
        at_work.findings.clear()
        at_work._name(type("Head", (), {"number": 5, "name": name}))  # type: ignore[arg-type]
        assert bool(at_work.findings) is is_found
        assert all(each.place == "the member's name" for each in at_work.findings)
