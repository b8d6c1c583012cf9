"""Coverage of PS3.15's table; the bundled recipes and their generator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sendit.dicom.dictionary import NEWER
from sendit.dicom.scan import vr_of
from sendit.recipe.attributes import FIRST_DATA_SET_TAG, keyword_of
from sendit.recipe.coverage import Coverage, Treatment, cover
from sendit.recipe.effect import Effects
from sendit.recipe.model import Action, Function
from sendit.recipe.parse import bundled_names, read_recipe, read_text
from sendit.recipe.profile import Option, table
from tests.recipe.test_parse import HEAD

ROOT = Path(__file__).resolve().parents[2]
CANARIES = ROOT / "testing" / "data" / "ps3.15-basic-profile.txt"


def of(lines: str) -> Coverage:
    return cover(read_text(("mine.deid", HEAD + lines)))


def row(coverage: Coverage, name: str) -> tuple[Treatment, Option | None, bool]:
    entry = next(r for r in coverage.rows if r.row.name == name)
    return entry.treatment, entry.by, entry.exposed


def test_table_is_an_independent_copy() -> None:
    ours = {r.tag: r.basic for r in table() if r.number is not None}
    lines = [line.split() for line in CANARIES.read_text().splitlines() if line[:1].isalnum()]
    theirs = {tag.upper(): letter for tag, letter in lines if "x" not in tag.lower()}
    assert ours == {tag: letter for tag, letter in theirs.items() if len(tag) == 8}
    assert len(table()) == 656


@pytest.mark.parametrize("name", bundled_names())
def test_every_row_is_covered_by_a_rule(name: str) -> None:
    effects = Effects(read_recipe(name))
    for r in table():
        if r.number is None or r.number < FIRST_DATA_SET_TAG:
            continue
        assert effects.of(r.number), r
        assert (vr_of(r.number), keyword_of(r.number)) == (r.vr, r.keyword)
        assert read_text(("mine.deid", f"{HEAD}KEEP {r.keyword}")).header


def test_dictionary_attributes_follow_the_table() -> None:
    rows = {r.number: r for r in table()}
    for tag, (vr, _, name, _, keyword) in NEWER.items():
        row = rows[tag]
        assert (row.vr, row.name, row.keyword) == (vr, name, keyword)


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_recipes_leave_nothing_exposed(name: str) -> None:
    assert cover(read_recipe(name)).exposed == ()


def test_default_recipe_options() -> None:
    coverage = cover(read_recipe("default"))
    without = {
        Option.PATIENT,
        Option.MODIFIED_DATES,
        Option.DESCRIPTORS,
        Option.STRUCTURED_CONTENT,
        Option.GRAPHICS,
    }
    assert set(coverage.options) == without | {Option.SAFE_PRIVATE}
    codes = {"113100", "113103", "113104", "113105", "113107", "113108"}
    assert {code for code, _ in coverage.codes} == codes | {"113111"}
    assert coverage.dates == "MODIFIED"
    coverage = cover(read_recipe("default-no-private"))
    assert set(coverage.options) == without
    assert {code for code, _ in coverage.codes} == codes


def test_default_recipe_cleans_structured_content() -> None:
    effects = Effects(read_recipe("default"))
    cleaned = [r for r in table() if {Option.STRUCTURED_CONTENT, Option.GRAPHICS} & set(r.options)]
    assert len(cleaned) == 8
    for r in cleaned:
        if r.number is not None:
            assert [rule.value for rule in effects.of(r.number)] == [Function("clean_content")]


@pytest.mark.parametrize(
    ("name", "option", "kept"),
    [
        ("default-retain-uids", Option.UIDS, "SOPInstanceUID"),
        ("default-retain-device", Option.DEVICE, "DeviceSerialNumber"),
        ("default-retain-institution", Option.INSTITUTION, "InstitutionName"),
    ],
)
def test_recipe_variants_add_their_option(name: str, option: Option, kept: str) -> None:
    recipe = read_recipe(name)
    coverage = cover(recipe)
    assert option in coverage.options
    entry = next(
        r for r in coverage.rows if r.row.number is not None and keyword_of(r.row.number) == kept
    )
    assert (entry.treatment, entry.by) == (Treatment.KEPT, option)
    assert coverage.dates == "MODIFIED"


def test_safe_private_variant() -> None:
    coverage = cover(read_recipe("default-retain-safe-private"))
    assert Option.SAFE_PRIVATE in coverage.options
    assert ("113111", "Retain Safe Private Option") in coverage.codes


def test_default_recipe_follows_the_action_codes() -> None:
    recipe = read_recipe("default")
    effects = Effects(recipe)
    functions = {"D": "dummy", "X/Z": "profile_xz", "X/D": "profile_xd", "X/Z/D": "profile_xzd"}
    for r in table():
        if (
            r.number is None
            or r.number < FIRST_DATA_SET_TAG
            or set(r.options)
            & set(Option)
            - {
                Option.UIDS,
                Option.DEVICE,
                Option.INSTITUTION,
                Option.FULL_DATES,
            }
        ):
            continue
        (rule,) = effects.of(r.number)
        if r.name in ("Responsible Person", "Responsible Organization"):
            assert rule.action is Action.BLANK  # type 2C in the Patient module
        elif r.basic == "X":
            assert rule.action is Action.REMOVE, r
        elif r.basic == "U":
            assert rule.value == Function("remap_uid"), r
        elif r.basic in functions and rule.value != Function("remap_uid"):
            assert rule.value == Function(functions[r.basic]), r


def test_bundled_recipes_match_the_generator() -> None:
    subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_recipes.py", "--check"], check=True, cwd=ROOT
    )


def test_add_does_not_cover_attributes_in_sequences() -> None:
    assert row(of("ADD PatientID var:entity_id"), "Patient ID") == (Treatment.KEPT, None, True)
    both = "REPLACE PatientID var:entity_id\nADD PatientID var:entity_id"
    assert row(of(both), "Patient ID") == (Treatment.GONE, None, False)


def test_an_uncovered_row_is_exposed() -> None:
    coverage = of("REMOVE PatientID")
    assert row(coverage, "Patient ID") == (Treatment.GONE, None, False)
    assert row(coverage, "Patient's Name") == (Treatment.KEPT, None, True)
    assert coverage.codes == ()
    assert row(coverage, "Media Storage SOP Instance UID") == (Treatment.GONE, None, False)


def test_repeating_groups_must_be_covered_completely() -> None:
    assert row(of("REMOVE (6000,3000)"), "Overlay Data")[2]
    assert not row(of("REMOVE OverlayData"), "Overlay Data")[2]


@pytest.mark.parametrize(
    ("lines", "outcome", "exposed"),
    [
        ("REMOVE PatientID", Treatment.GONE, False),  # removed unless kept
        ('KEEP (0019,"GEMS_ACQU_01",23)', Treatment.CLEANED, False),
        ('KEEP (0019,"GEMS_ACQU_01",22)', Treatment.KEPT, True),
        ("KEEP (0019,1023)", Treatment.KEPT, True),
        ("KEEP select:group:0019", Treatment.KEPT, True),
        ("KEEP select:group:0018", Treatment.GONE, False),
        ("KEEP select:VR:DS", Treatment.KEPT, True),
        ('KEEP contains:0019,"GEMS_ACQU_01",2', Treatment.KEPT, True),
        ("KEEP contains:private", Treatment.KEPT, True),
        ("KEEP contains:^patientsex$", Treatment.GONE, False),
        ("KEEP fields:f\n%fields f\nFIELD (0019,1023)", Treatment.KEPT, True),
        ('JITTER (0019,"GEMS_ACQU_01",23) 4', Treatment.MOVED, True),
    ],
)
def test_private_attributes(lines: str, outcome: Treatment, exposed: bool) -> None:
    entry = row(of(lines), "Private Attributes")
    assert (entry[0], entry[2]) == (outcome, exposed)


@pytest.mark.parametrize(
    ("lines", "name", "expected"),
    [
        ("JITTER StudyDate 3", "Study Date", (Treatment.MOVED, Option.MODIFIED_DATES, False)),
        (
            "REPLACE StudyDate deid_func:jitter days=3",
            "Study Date",
            (Treatment.MOVED, Option.MODIFIED_DATES, False),
        ),
        (
            "REPLACE StudyDate var:item_timestamp",
            "Study Date",
            (Treatment.MOVED, Option.MODIFIED_DATES, False),
        ),
        (
            "REPLACE PatientBirthDate var:entity_timestamp",
            "Patient's Birth Date",
            (Treatment.MOVED, None, True),  # Z: no option lets a birth date stay, shifted or not
        ),
        ("KEEP StudyDate", "Study Date", (Treatment.KEPT, Option.FULL_DATES, False)),
        (
            "JITTER select:VR:DA 3\nREMOVE select:VR:DT\nKEEP StudyTime",
            "Study Time",
            (Treatment.KEPT, Option.MODIFIED_DATES, False),
        ),
        (
            "REPLACE StudyDescription func:clean_text",
            "Study Description",
            (Treatment.CLEANED, Option.DESCRIPTORS, False),
        ),
        ("REPLACE StudyDescription x", "Study Description", (Treatment.GONE, None, False)),
        (
            "REMOVE startswith:StudyDes\nKEEP StudyDescription",
            "Study Description",
            (Treatment.KEPT, None, True),
        ),
        ("REPLACE PatientName func:clean_text", "Patient's Name", (Treatment.CLEANED, None, True)),
    ],
)
def test_kept_attributes_require_an_option(
    lines: str, name: str, expected: tuple[Treatment, Option | None, bool]
) -> None:
    assert row(of(lines), name) == expected


@pytest.mark.parametrize(
    ("lines", "dates"),
    [
        ("REMOVE select:VR:DA\nREMOVE select:VR:DT", "REMOVED"),
        ("JITTER select:VR:DA var:jitter\nREMOVE select:VR:DT", "MODIFIED"),
        ("JITTER select:VR:DA var:jitter", "UNMODIFIED"),  # DT is left unchanged
    ],
)
def test_modified_dates_option(lines: str, dates: str) -> None:
    assert of(lines).dates == dates


@pytest.mark.parametrize(
    ("keep", "exposed", "covered"),
    [
        ("KEEP RequestAttributesSequence__AccessionNumber", "Accession Number", "Patient ID"),
        ("KEEP contains:RequestAttributesSequence", "Patient ID", None),
        ("KEEP contains:sequence__patient(id|name)$", "Patient ID", "Accession Number"),
        ("KEEP fields:f\n%fields f\nFIELD startswith:Request.*__StudyID", "Study ID", "Patient ID"),
        ("KEEP contains:PatientSex", None, "Patient ID"),
        # ALL does not descend into a kept sequence; a rule that names an attribute does
        ("KEEP ReferencedStudySequence", "Patient ID", None),
        ("KEEP ReferencedStudySequence\nREMOVE startswith:Patient", "Study ID", "Patient ID"),
    ],
)
def test_attributes_kept_in_sequences_are_exposed(
    keep: str, exposed: str | None, covered: str | None
) -> None:
    uids = "".join(
        f"REPLACE {name}InstanceUID func:remap_uid\n" for name in ("Study", "Series", "SOP")
    )
    coverage = of(f"REMOVE ALL\nKEEP SOPClassUID\n{uids}{keep}\n")
    names = {r.row.name for r in coverage.exposed}
    assert exposed is None or exposed in names
    assert covered is None or covered not in names
