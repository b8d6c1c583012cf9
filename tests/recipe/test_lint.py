"""Rules that would fail open, contradict one another, or write invalid values."""

from __future__ import annotations

import pytest

from sendit.recipe.parse import RecipeError, bundled_names, read_recipe, read_text
from sendit.recipe.problems import Rule
from tests.recipe.test_parse import HEAD


def problems(*files: str) -> list[str]:
    """Return the problems of recipes that consist of header lines."""
    named = [(f"{index}.deid", HEAD + text) for index, text in enumerate(files, 1)]
    try:
        read_text(*named)
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # lists
        ("REMOVE fields:people", "there is no %fields people"),
        ("REMOVE values:people\n%values peple\nFIELD PatientName", "did you mean values:peple?"),
        ("REMOVE fields:p\n%fields p\nFIELD contains:Nowhere", "matches no DICOM attribute"),
        # selectors
        ("REMOVE contains:Nowhere", "matches no DICOM attribute"),
        ("ADD contains:Name x", "ADD needs one attribute"),
        ("ADD RequestAttributesSequence__0__AccessionNumber x", "at the top level of an object"),
        ("ADD (0033,101E) x", '(0033,"YOUR CREATOR",1E)'),
        (f'ADD (0033,"{"x" * 65}",1E) x', "cannot name a private block"),
        ('ADD (0033,"A\\B",1E) x', "cannot name a private block"),
        ('ADD (0033,"MÜLLER",1E) x', "cannot name a private block"),
        ('ADD (0008,"A",1E) x', "group is odd"),
        ('ADD (0071,"AGFA-AG_HPState",18) x', "is a sequence"),
        ("ADD (0033,101E) x", "needs its creator"),
        ("KEEP values:v\n%values v\nFIELD PatientID", "name the attributes"),
        # values
        ("REPLACE values:v func:remap_uid\n%values v\nFIELD PatientID", "may have any VR"),
        ('REPLACE (0033,"MITRA",1E) func:clean_text', "may have any VR"),
        ("REPLACE StudyDate yesterday", "not a valid value for StudyDate (DA)"),
        ("REPLACE StudyDate var:entity_id", "not a valid value for StudyDate"),
        ("REPLACE PatientSex func:remap_uid", "not a valid value for PatientSex"),
        ("REPLACE StudyInstanceUID deid_func:basic_uuid", "not a valid value"),
        ("REPLACE RequestAttributesSequence none", "not a valid value"),
        ("REPLACE contains:UID func:remap_uid", "select:VR:UI"),
        # dates
        ("JITTER StudyDate soon", "whole number of days"),
        ("JITTER StudyDate var:entity_id", "whole number of days"),
        ("JITTER StudyDate func:dummy", "belongs to"),
        ("JITTER StudyDate 99999", "more than a century"),
        ("JITTER StudyTime var:jitter", "write KEEP"),
        ("KEEP StudyDate\nJITTER endswith:Date var:jitter", "reveals the patient's jitter"),
        ("JITTER StudyDate var:jitter\nKEEP contains:AcquisitionDate", "JITTER it too"),
        # contradictions
        ("KEEP PatientID\nREMOVE PatientID", "conflicts with KEEP on line 3: KEEP would win"),
        ("REMOVE PatientID\nKEEP (0010,0020)", "conflicts with REMOVE on line 3: KEEP would win"),
        ("KEEP contains:Patient\nREMOVE PatientName", "conflicts with a broader KEEP on line 3"),
        ("REMOVE PatientName\nKEEP ALL", "conflicts with a broader KEEP on line 4"),
        # arguments
        ("REPLACE StudyInstanceUID deid_func:pydicom_uuid perfix=2.25.", "did you mean prefix"),
        ("REPLACE StudyInstanceUID func:remap_uid prefix=2.25.", "it has none"),
        # attributes that must not be removed
        ("REMOVE SOPInstanceUID", "every object needs"),
        ("REPLACE SOPInstanceUID 1.2.3", "the same in every object"),
    ],
)
def test_single_mistakes(lines: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(lines)), problems(lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("REMOVE PatientID\n%fields people\nFIELD PatientName", "used by no rule"),
        ("KEEP MediaStorageSOPInstanceUID", "is rewritten"),
        ("ADD SourceApplicationEntityTitle X", "is rewritten"),
        ("BLANK PixelData", "is ignored, as in deid"),
        ("REMOVE PixelData", "is ignored, as in deid"),
        ("BLANK (0010,0000)", "never written"),
        ("REMOVE SpecificCharacterSet", "could not be decoded"),
        ("REPLACE SpecificCharacterSet ISO_IR 192", "could not be decoded"),
        # values
        ("REPLACE Rows many", "'many' is not a valid US: is not a number: the value becomes empty"),
        ("REPLACE PatientID " + "x" * 65, "is not a valid LO: written as " + "x" * 64),
        ("ADD PatientIdentityRemoved Yes", "'Yes' is not a valid CS: written as YES"),
        ('ADD PatientIdentityRemoved "Yes"', "written as YES"),
        ("REPLACE StudyDate 2010-02-09T11:50:00-0800", "written as 20100209"),
        ("REPLACE StudyTime 2010-02-09T11:50:00-0800", "written as 115000"),
        ("REPLACE PatientAge 55", "written as 055Y"),
        ("REPLACE StudyTime var:item_timestamp", "StudyTime a time: it is emptied"),
        ("REPLACE contains:Patient ANON", "they are emptied if present"),
        # dates
        ("JITTER StudyDate -0", "leaves the date unchanged"),
        ("REPLACE StudyDate deid_func:jitter days=-365 years=1", "leaves the date"),
        ("JITTER PatientName var:jitter", "PatientName (PN): dates in it are shifted"),
        ("JITTER contains:Study var:jitter", "JITTER skips StudyTime"),
        ("JITTER endswith:Date var:jitter\nJITTER StudyDate var:jitter", "is jittered on line 3"),
        ("JITTER endswith:Date 5\nJITTER startswith:Study(Date) 5", "is jittered on line 3"),
        (
            "REPLACE PatientBirthDate var:entity_timestamp\nJITTER endswith:Date var:jitter",
            "is set by REPLACE on line 3",
        ),
        ("REPLACE StudyDate 20200101\nJITTER StudyDate 5", "the date that was set is shifted"),
        # arguments
        (
            "REPLACE PatientName deid_func:suffix_uuid org=mine",
            "no argument org=mine: it is ignored",
        ),
        # two rules for one attribute
        ("KEEP Manufacturer\nREMOVE Manufacturer", "as in deid, KEEP wins"),
        ("KEEP StudyDate\nJITTER StudyDate 5", "as in deid, KEEP wins"),
        ("# sendit: as deid\nKEEP PatientID\nREMOVE PatientID", "as in deid, KEEP wins"),
        ("KEEP PatientID\nADD PatientID var:entity_id", "the added value is kept"),
        ("REMOVE PatientID\nBLANK PatientID", "it is removed"),
        ("ADD PatientID a\nADD PatientID b", "the ADD applies"),
        (
            "KEEP fields:f\nBLANK PatientID\n%fields f\nFIELD startswith:Patient",
            "KEEP fields:f is ignored, as in deid",
        ),
        ("REMOVE StudyDate\nJITTER StudyDate 5", "REMOVE does not remove what JITTER names"),
        # UIDs that every object needs
        ("REMOVE ALL", "are remapped as by func:remap_uid and SOPClassUID stays"),
        ("BLANK endswith:UID", "which every object needs"),
        ("REPLACE SOPInstanceUID var:item_id", "are remapped as by func:remap_uid"),
        ("REPLACE select:VR:UI deid_func:pydicom_uuid", "SOPClassUID stays"),
    ],
)
def test_deid_behaviour_is_a_warning(lines: str, expected: str) -> None:
    warnings = [str(one) for one in read_text(("1.deid", HEAD + lines)).warnings]
    assert any(expected in warning for warning in warnings), warnings


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_recipes_have_no_warnings(name: str) -> None:
    assert not [str(one) for one in read_recipe(name).warnings]


@pytest.mark.parametrize(
    "lines",
    [
        "JITTER endswith:Date var:jitter",
        "JITTER startswith:Treatment(Date|Time)$ var:jitter",  # a TM is left unchanged
        "JITTER select:VR:DT var:jitter\nJITTER select:VR:DA -5",
        "JITTER endswith:Date 5\nREPLACE PatientBirthDate var:entity_timestamp",
        "REMOVE endswith:Date\nJITTER StudyDate var:jitter",
        "KEEP StudyDate\nJITTER SeriesDate 5",  # the recipe gives the number of days
        "KEEP PatientBirthDate\nJITTER StudyDate var:jitter",  # another day
        "KEEP StudyDate\nJITTER StudyDate var:jitter",  # none is shifted
        "# sendit: as deid\nKEEP StudyDate\nJITTER SeriesDate var:jitter",
        "REMOVE PatientID\nADD PatientID var:entity_id",
        "REPLACE PatientID var:entity_id\nADD PatientID var:entity_id",
        "REMOVE PatientID\nREMOVE PatientID",
        "REMOVE startswith:Patient\nKEEP PatientSex",
        "REMOVE ALL\nKEEP SOPClassUID\nREPLACE SOPInstanceUID func:remap_uid\n"
        "REPLACE StudyInstanceUID func:remap_uid\nREPLACE SeriesInstanceUID func:remap_uid",
        "REPLACE select:VR:UI func:remap_uid",
        "REPLACE select:VR:DA 19000101",
        "REPLACE ImageType DERIVED\\SECONDARY",
        "REPLACE PixelSpacing 0.5\\0.5",
        "REPLACE SelectorFDValue 1.5",
        "REMOVE MediaStorageSOPInstanceUID",
        "REMOVE PixelData",
        "KEEP SpecificCharacterSet",
        "REPLACE RequestAttributesSequence__AccessionNumber var:item_id",
        "KEEP contains:Sequence__Patient(ID|Name)$",
        'REPLACE (0033,"MITRA",1E) func:dummy',
        "REMOVE contains:^\\([0-9a-f]{3}[13579bdf],",
        r'REMOVE contains:0033,"MITRA",1E',
    ],
)
def test_valid_rules(lines: str) -> None:
    assert problems(lines) == []


def test_a_later_recipe_may_override_an_earlier_one() -> None:
    assert problems("REMOVE PatientSex\nADD PatientID a", "KEEP PatientSex\nADD PatientID b") == []
    assert problems("REMOVE PatientSex", "REPLACE PatientSex O") == []


def test_a_later_recipe_cannot_override_keep() -> None:
    # KEEP takes precedence: the later REMOVE would have no effect
    assert "2.deid:3" in problems("KEEP PatientSex", "REMOVE PatientSex")[0]
    assert "2.deid:3" in problems("KEEP startswith:Patient", "REMOVE PatientSex")[0]


def test_a_later_keep_by_pattern_overrides() -> None:
    assert problems("REMOVE PatientSex", "KEEP contains:PatientSex") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blacklst", "did you mean blacklist?"),
        ("Blacklist", "write %filter blacklist"),
        ("whitelists", "did you mean whitelist?"),
    ],
)
def test_misspelt_filter_list(name: str, expected: str) -> None:
    text = f"REMOVE PatientID\n%filter {name}\nLABEL a\npresent Modality"
    warnings = read_text(("1.deid", HEAD + text)).warnings
    assert [problem.suggestion for problem in warnings] == [expected]


def test_values_for_file_meta_are_ignored() -> None:
    (problem,) = read_text(("1.deid", f"{HEAD}REPLACE MediaStorageSOPInstanceUID none")).warnings
    assert problem.rule is Rule.FILE_META


def test_empty_values_are_written_as_blank() -> None:
    (problem,) = read_text(("1.deid", f"{HEAD}REPLACE Rows many")).warnings
    assert problem.suggestion == "write BLANK Rows"
    assert problem.edit is not None
    assert problem.edit.new == "BLANK Rows"


def test_deid_default_recipe_is_rejected() -> None:
    from pathlib import Path

    import deid

    text = (Path(deid.__file__).parent / "data" / "deid.dicom").read_text()
    with pytest.raises(RecipeError) as caught:
        read_text(("deid.dicom", text))
    problems = "\n".join(map(str, caught.value.problems))
    for misspelt in ("Manfacturer", "PatientsName", "jitter is not"):
        assert misspelt in problems


def test_a_kept_date_beside_shifted_ones_is_an_error_across_recipes() -> None:
    (problem,) = problems("JITTER SeriesDate var:jitter", "KEEP StudyDate")
    assert problem.startswith(
        "2.deid:3: KEEP of StudyDate conflicts with JITTER of SeriesDate on line 3"
    )
