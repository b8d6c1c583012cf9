"""``sendit recipe fix`` and ``explain``: what is fixed, what is left, and the messages."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sendit.recipe.effect import Effects
from sendit.recipe.explain import explain
from sendit.recipe.fix import fix
from sendit.recipe.parse import read_text
from sendit.recipe.report import check

HEAD = "FORMAT dicom\n%header\n"


def fixed_lines(text: str) -> list[str]:
    """Return the rules of a fixed recipe, which must be usable."""
    fixed = fix("ours.deid", text)
    assert not fixed.left
    read_text(("fixed", fixed.text))
    return [
        line for line in fixed.text.splitlines() if line and not line.startswith(("#", "FORMAT"))
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("REMOVE PatientsName", ["REMOVE PatientName"]),
        ("remove PatientID", ["REMOVE PatientID"]),
        ("REMOVE PatientID YES", ["REMOVE PatientID"]),
        ("REMOVE  PatientID   a remark", ["REMOVE  PatientID"]),
        ("ADD PatientIdentityRemoved Yes", ["ADD PatientIdentityRemoved YES"]),
        ('ADD PatientIdentityRemoved "Yes"', ["ADD PatientIdentityRemoved YES"]),
        ("REPLACE PatientID var:id", ["REPLACE PatientID var:entity_id"]),
        ("REPLACE StudyID func:hashuid", ["REPLACE StudyID func:keyed_hash"]),
        ("REPLACE StudyTime var:item_timestamp", ["BLANK StudyTime"]),
        ("REMOVE SOPInstanceUID", ["REPLACE SOPInstanceUID func:remap_uid"]),
        ("REMOVE SOPClassUID", ["KEEP SOPClassUID"]),
        ("REMOVE (60xx,3000)", ["REMOVE OverlayData"]),
        ("REMOVE jitter\nREMOVE PatientID", ["REMOVE PatientID"]),
        ("KEEP PatientID\nREMOVE PatientID", ["KEEP PatientID"]),
        ("KEEP MediaStorageSOPInstanceUID\nREMOVE PatientID", ["REMOVE PatientID"]),
        ("REMOVE *", ["REMOVE ALL"]),
        ("REMOVE allexcept:PatientID", ["REMOVE except:PatientID"]),
        ("REPLACE UID func:deid_func:pydicom_uuid", ["REPLACE UID deid_func:pydicom_uuid"]),
        ("REPLACE UID func:pydicom_uuid", ["REPLACE UID deid_func:pydicom_uuid"]),
        ("REMOVE fields:PatientID", ["REMOVE PatientID"]),
        (
            "REMOVE fields:peple\n%fields people\nFIELD PatientID",
            ["REMOVE fields:people", "%fields people", "FIELD PatientID"],
        ),
        (
            "REMOVE values:n\n%values n\nSPLIT PatientName splitval='^';minlength='4'",
            ["REMOVE values:n", "%values n", "SPLIT PatientName by='^';minlength='4'"],
        ),
        ("REMOVE PatientID\n['PatientID', 'PatientName']", ["REMOVE PatientID"]),
        (
            "REMOVE ALL func:is_tag_private",
            [r"REMOVE contains:^\([0-9a-f]{3}[13579bdf],"],
        ),
        (
            "REPLACE StudyInstanceUID deid_func:pydicom_uuid stable_remapping=false",
            ["REPLACE StudyInstanceUID deid_func:pydicom_uuid"],
        ),
    ],
)
def test_automatic_fixes(line: str, expected: list[str]) -> None:
    assert fixed_lines(f"{HEAD}{line}\n") == ["%header", *expected]


def test_prose_before_the_first_section_becomes_a_comment() -> None:
    text = "Testing jitter: both rules are applied.\n$ cat deid.dicom\n%header\nREMOVE PatientID\n"
    fixed = fix("ours.deid", text)
    assert not fixed.left
    assert "# Testing jitter: both rules are applied." in fixed.text
    assert [rule.action for rule in read_text(("fixed", fixed.text)).header] == ["REMOVE"]


@pytest.mark.parametrize("line", ["REMOVE PatientID", "field PatientID", "contains Modality CT"])
def test_a_rule_before_the_first_section_needs_a_decision(line: str) -> None:
    assert fix("ours.deid", f"{line}\n%header\nREMOVE PatientID\n").left


def test_reason_is_written_above_the_line() -> None:
    text = fix("ours.deid", "%header\nREMOVE PatientsName\n").text
    assert text.splitlines() == [
        "FORMAT dicom",
        "%header",
        "# sendit: PatientsName is not a DICOM keyword or tag",
        "REMOVE PatientName",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "REMOVE OrdValue",  # resembles several attributes
        "KEEP StudyDate\nJITTER SeriesDate var:jitter",
        "KEEP values:names\n%values names\nFIELD PatientName\n%labels",
        "DELETE PatientID",
    ],
)
def test_lines_that_need_a_decision_are_marked(line: str) -> None:
    fixed = fix("ours.deid", f"{HEAD}REMOVE StudyID\n{line}\n")
    if line.startswith("KEEP values"):  # without the rule, less is kept
        assert not fixed.left
        return
    assert len(fixed.left) == 1
    assert line.splitlines()[0] in fixed.text.splitlines()
    assert "# sendit: decide: " in fixed.text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("REPLACE PatientID func:csv_lookup", "REPLACE PatientID var:entity_id"),
        ("REPLACE StudyDescription func:llm x=1", "REPLACE StudyDescription func:dummy"),
        ("REPLACE StudyDate func:increment_date", "JITTER StudyDate var:jitter"),
        ("REPLACE ContentDate func:clean_date", "REPLACE ContentDate func:dummy"),
        ("REPLACE ContentDate Monday", "REPLACE ContentDate func:dummy"),
        ("REPLACE contains:Description var:label", "REPLACE contains:Description func:dummy"),
        ("REPLACE all func:pusheenize", "REPLACE all func:dummy"),
        ("ADD AccessionNumber var:order", "ADD AccessionNumber var:item_id"),
        ("ADD 11112221 SIMPSON", 'ADD (1111,"RECIPE",21) SIMPSON'),
        ("ADD 11112221 var:label", 'ADD (1111,"RECIPE",21) func:dummy'),
        ("REMOVE StudyID func:is_name", "REMOVE StudyID"),
        ("REMOVE fields:people", "REMOVE ALL"),
        ("REPLACE fields:people func:mine", "REMOVE ALL"),
        ("REPLACE fields:PatientID func:mine", "REPLACE PatientID var:entity_id"),
        ("BLANK values:names", "REMOVE ALL"),
        ("JITTER values:dates 1", "JITTER select:VR:DA 1"),
        ("JITTER StudyDate func:shift_it", "JITTER StudyDate var:jitter"),
        ("JITTER StudyDate var:entity_timestamp", "JITTER StudyDate var:jitter"),
        ("JITTER StudyTime 5", "BLANK StudyTime"),
    ],
)
def test_a_rule_stands_in_until_a_person_decides(line: str, expected: str) -> None:
    fixed = fix("ours.deid", f"{HEAD}{line}\n")
    assert not fixed.left
    assert fixed.undecided
    *_, original, rule = fixed.text.splitlines()
    assert (rule, original.split()[:2]) == (expected, ["#", line.partition(" ")[0]])
    warned = [one for one in read_text(("fixed", fixed.text)).warnings if one.rule == "decision"]
    assert len(warned) == len(fixed.undecided)
    assert fix("ours.deid", fixed.text).text == fixed.text


@pytest.mark.parametrize("line", ["KEEP fields:nothing", "ADD ALL func:mine", "REMOVE Zzyzx"])
def test_a_rule_without_which_less_is_delivered_is_left_out(line: str) -> None:
    fixed = fix("ours.deid", f"{HEAD}REMOVE PatientID\n{line}\n")
    assert not fixed.left
    assert [rule.action for rule in read_text(("fixed", fixed.text)).header] == ["REMOVE"]
    assert f"\n# {line}\n" in fixed.text


def test_a_stand_in_has_the_precedence_of_the_rule() -> None:
    """A REPLACE protects from REMOVE, an ADD overrides KEEP: so do the rules that stand in."""
    lines = "REMOVE ALL\nREPLACE StudyID func:mine\nKEEP PatientID\nADD PatientID var:mine\n"
    effects = Effects(read_text(("fixed", fix("ours.deid", HEAD + lines).text)))
    assert [rule.action for rule in effects.of(0x00200010)] == ["REPLACE"]
    assert [rule.action for rule in effects.of(0x00100020)] == ["ADD"]


@pytest.mark.parametrize(
    ("name", "misspelt"),
    [
        ("deid.dicom", ["Manfacturer", "PatientsName", "jitter"]),
        ("deid.dicom.ultrasound", ["PatientsName", "jitter"]),
        ("deid.dicom.xray.chest", []),
    ],
)
def test_recipes_shipped_with_deid_are_fixed(name: str, misspelt: list[str]) -> None:
    import deid

    text = (Path(deid.__file__).parent / "data" / name).read_text()
    fixed = fix(name, text)
    assert not fixed.left
    assert all(f"# sendit: {word} is not a DICOM keyword" in fixed.text for word in misspelt)
    assert fix(name, fixed.text).changed == 0


def test_recipe_of_the_predecessor_needs_no_fix() -> None:
    rules = (
        "REPLACE PatientID var:entity_id\nREPLACE SOPInstanceUID var:item_id\n"
        'ADD PatientIdentityRemoved "Yes"\nREPLACE PatientBirthDate var:entity_timestamp\n'
        "REPLACE InstanceCreationDate var:item_timestamp\n"
        "REPLACE InstanceCreationTime var:item_timestamp\n"
    )
    lines = {problem.position.line for problem in read_text(("deid.som", HEAD + rules)).warnings}
    assert lines == {4, 5, 8}


def test_fix_is_idempotent() -> None:
    text = fix("ours.deid", f"{HEAD}remove PatientsName YES\nADD BurnedInAnnotation No\n").text
    assert fix("ours.deid", text).changed == 0


def test_explain() -> None:
    recipe = read_text(
        ("ours.deid", f"{HEAD}REMOVE startswith:Patient\nKEEP PatientSex\nREPLACE PatientID X\n")
    )
    explanation = explain(recipe, "(0010,0020)")
    assert explanation is not None
    assert explanation.heading == "PatientID (0010,0020), LO"
    assert "at the top: nothing of the original is kept, by REPLACE on line 5" in explanation.lines
    assert any(
        "ours.deid:3: REMOVE startswith:Patient: leaves" in line for line in explanation.lines
    )
    kept = explain(recipe, "patientsex")
    assert kept is not None
    assert "at the top: it is kept unchanged, by KEEP on line 4" in kept.lines
    assert explain(recipe, "Nowhere") is None


def test_json_for_editors(tmp_path: Path) -> None:
    path = tmp_path / "ours.deid"
    path.write_text(f"{HEAD}REMOVE   PatientsName\nADD PatientIdentityRemoved Yes\n")
    out = StringIO()
    assert check([str(path)], Console(file=out, width=80), as_json=True) == 1
    report = json.loads(out.getvalue())
    assert not report["usable"]
    error, warning = report["problems"]
    assert (error["line"], error["column"], error["rule"]) == (3, 10, "attribute")
    assert (error["severity"], error["can_be_fixed"]) == ("error", True)
    assert (warning["line"], warning["column"], warning["severity"]) == (4, 28, "warning")
    assert warning["docs"] == "docs/recipes.md#value"


def test_every_rule_has_a_section() -> None:
    from sendit.recipe.problems import Rule

    page = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
    assert all(f"\n### {rule}\n" in page for rule in Rule)
