"""`sendit recipe explain`: what a recipe does to one attribute, and by which lines."""

from __future__ import annotations

import pytest

from sendit.recipe.explain import explain
from sendit.recipe.parse import read_text
from tests.recipe.test_parse import HEAD

RULES = """REMOVE PatientID
KEEP PatientName
JITTER StudyDate var:jitter
REPLACE StudyID func:keyed_hash
REPLACE AccessionNumber var:item_id
REPLACE StationName nothing
REPLACE SeriesDescription func:clean_text
REPLACE PatientAge func:cap_age
REMOVE contains:^InstitutionName$
REMOVE contains:^InstitutionAddress$
KEEP InstitutionAddress
REMOVE fields:mine
BLANK OperatorsName
REMOVE OperatorsName
REMOVE (0033,"A MAKER",1E)
REMOVE values:people
%fields mine
FIELD DeviceSerialNumber
%values people
FIELD PatientName
"""
RECIPE = read_text(("mine.deid", HEAD + RULES))
SWEEPING = read_text(
    ("mine.deid", f"{HEAD}KEEP PatientName\nREPLACE StudyID func:keyed_hash\nREMOVE ALL\n")
)
VALUES = "rules on values (values:) apply if an object holds one of them"
GONE = "nothing of the original is kept"


def lines_for(name: str) -> list[str]:
    explanation = explain(RECIPE, name)
    assert explanation is not None
    assert explanation.lines[-1] == VALUES
    return list(explanation.lines[:-1])


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "PatientID",
            [f"at the top: {GONE}, by REMOVE on line 3", "mine.deid:3: REMOVE PatientID"],
        ),
        ("PatientName", ["at the top: it is kept unchanged, by KEEP on line 4"]),
        (
            "StudyDate",
            ["at the top: its date is shifted by the patient's jitter, by JITTER on line 5"],
        ),
        ("StudyID", [f"at the top: {GONE}, by REPLACE on line 6"]),
        ("StudyID", ["mine.deid:6: REPLACE StudyID func:keyed_hash"]),
        ("AccessionNumber", ["mine.deid:7: REPLACE AccessionNumber var:item_id"]),
        ("StationName", ["mine.deid:8: REPLACE StationName nothing"]),
        ("SeriesDescription", ["at the top: it is kept, cleaned, by REPLACE on line 9"]),
        ("PatientAge", ["at the top: it is kept, cleaned, by REPLACE on line 10"]),
        ("InstitutionName", ["mine.deid:11: REMOVE contains:^InstitutionName$"]),
        ("InstitutionAddress", ["mine.deid:13: KEEP InstitutionAddress"]),
        ("DeviceSerialNumber", ["mine.deid:14: REMOVE fields:mine"]),
        ("OperatorsName", ["mine.deid:15: BLANK OperatorsName: overridden by another rule"]),
        ("OperatorsName", [f"at the top: {GONE}, by REMOVE on line 16"]),
    ],
)
def test_effect_and_rule_lines(name: str, lines: list[str]) -> None:
    assert set(lines) <= set(lines_for(name))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("PatientName", ": overridden by KEEP"),
        ("StudyID", ": leaves what another rule names, or changes for it"),
        ("PatientID", ""),
    ],
)
def test_ineffective_rules_are_explained(name: str, why: str) -> None:
    explanation = explain(SWEEPING, name)
    assert explanation is not None
    assert f"mine.deid:5: REMOVE ALL{why}" in explanation.lines


def test_attributes_without_a_rule_are_kept() -> None:
    recipe = read_text(("mine.deid", f"{HEAD}REMOVE PatientID\n"))
    explanation = explain(recipe, "Rows")
    assert explanation is not None
    assert explanation.heading == "Rows (0028,0010), US"
    assert explanation.lines == ("at the top: no rule applies: it is kept unchanged",)
    explanation = explain(recipe, "PatientName")
    assert explanation is not None
    assert explanation.lines[0] == "PS3.15 Table E.1-1 requires: Z"


@pytest.mark.parametrize(
    "name", ["PatientName", "patientname", "(0010,0010)", "0010,0010", "00100010", " (0010, 0010) "]
)
def test_attribute_notations(name: str) -> None:
    explanation = explain(RECIPE, name)
    assert explanation is not None and explanation.heading == "PatientName (0010,0010), PN"


@pytest.mark.parametrize("name", ["", "Nothing", "0010001", "001000100", "0010001G", "00100001"])
def test_unknown_attributes(name: str) -> None:
    assert explain(RECIPE, name) is None


def test_all_vrs_are_listed() -> None:
    explanation = explain(RECIPE, "SmallestImagePixelValue")
    assert (
        explanation is not None
        and explanation.heading == "SmallestImagePixelValue (0028,0106), US or SS"
    )


def test_required_uids_are_explained_as_replaced() -> None:
    explanation = explain(read_text(("mine.deid", f"{HEAD}REMOVE ALL\n")), "SOPInstanceUID")
    assert explanation is not None
    assert f"at the top: {GONE}, by REPLACE on line 3" in explanation.lines
    assert f"in a sequence: {GONE}, by REMOVE on line 3" in explanation.lines
