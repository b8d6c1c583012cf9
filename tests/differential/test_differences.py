"""Each row of docs/differences.md: what deid does, and what sendit does instead.

A row's test is found by its name; a row without a test, or a test without a row, fails.
"""

import contextlib
import datetime
import io
import re
from pathlib import Path

import pydicom
import pytest
from deid.config import DeidRecipe
from deid.dicom.pixels import has_burned_pixels
from pydicom.dataset import Dataset, FileDataset

from sendit.deidentify.plan import compile_plan
from sendit.dicom.scan import read_header
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import RecipeError, read_text
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import deidentify_files
from tests.differential.deid_comparison import (
    IDENTIFIERS,
    DeidFailed,
    by_deid,
    by_sendit,
    data_set,
    differences,
    read,
)
from tests.differential.random_recipes import NEEDED

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"


def recipe(*rules: str) -> str:
    return "\n".join(["FORMAT dicom", "%header", *NEEDED, *rules, ""])


def both(dataset: FileDataset, *rules: str) -> tuple[FileDataset, FileDataset]:
    """Return deid's and sendit's results for an object."""
    data = to_bytes(dataset)
    text = recipe(*rules)
    return read(by_deid(data, text)), read(by_sendit(data, text))


def refused(*rules: str) -> str:
    with pytest.raises(RecipeError) as caught:
        by_sendit(to_bytes(make_dataset()), recipe(*rules))
    return str(caught.value)


def test_rows_and_tests_correspond():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    tests = {
        name.removeprefix("test_")
        for name, value in globals().items()
        if name.startswith("test_")
        and callable(value)
        and not name.startswith("test_rows_and_tests")
    }
    assert rows == tests


# What sendit removes regardless of the recipe --------------------------------------------


def test_private():
    theirs, ours = both(make_dataset(), "REMOVE PatientName")
    assert sum(element.tag.is_private for element in theirs) == 32
    assert not any(element.tag.is_private for element in ours)
    _, ours = both(make_dataset(), 'KEEP (0019,"TESTWORKS CT VA0 COAD",10)')
    assert [element.value for element in ours if element.tag.is_private] == [
        "TESTWORKS CT VA0 COAD",
        "Musterfrau0001",
    ]


def test_not_in_the_dictionary():
    dataset = make_dataset(private=False)
    dataset.add_new(0x00109999, "LO", "unheard of")
    theirs, ours = both(dataset, "REMOVE PatientName")
    assert 0x00109999 in theirs
    assert 0x00109999 not in ours


def test_preamble():
    dataset = make_dataset()
    dataset.preamble = b"Musterfrau".ljust(128, b"\0")
    theirs, ours = both(dataset, "REMOVE PatientName")
    assert theirs.preamble.startswith(b"Musterfrau")
    assert ours.preamble == bytes(128)


def test_file_meta():
    dataset = make_dataset()
    dataset.file_meta.SourceApplicationEntityTitle = "CTNORTH1"
    rule = "REPLACE SOPInstanceUID deid_func:pydicom_uuid"
    data = to_bytes(dataset)
    text = recipe(rule).replace("KEEP SOPInstanceUID\n", "")
    theirs, ours = read(by_deid(data, text)), read(by_sendit(data, text))
    assert theirs.SOPInstanceUID == ours.SOPInstanceUID != dataset.SOPInstanceUID
    assert theirs.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert theirs.file_meta.SourceApplicationEntityTitle == "CTNORTH1"
    assert ours.file_meta.MediaStorageSOPInstanceUID == ours.SOPInstanceUID
    assert "SourceApplicationEntityTitle" not in ours.file_meta


def test_elements_of_no_image():
    dataset = make_dataset()
    dataset.add_new(0x00041500, "CS", ["MUSTERFR", "SE1", "IM1"])
    theirs, ours = both(dataset, "KEEP ReferencedFileID")
    assert 0x00041500 in theirs
    assert 0x00041500 not in ours


def test_accession_of_the_folder():
    dataset = make_dataset(AccessionNumber="ACC774411")
    dataset.RequestAttributesSequence[0].AccessionNumber = "ACC774411"
    data = to_bytes(dataset)
    theirs = read(by_deid(data, recipe("REMOVE PatientName")))
    assert theirs.AccessionNumber == "ACC774411"
    for name, expected in (("acc774411", IDENTIFIERS.study_code), ("ACC9", "ACC774411")):
        for rules in ("REMOVE PatientName", "KEEP PatientSex"):
            plan = compile_plan(read_text(("recipe", recipe(rules))))
            _, members = deidentify_files([data], plan, IDENTIFIERS, name=name)
            ours = read(next(iter(members.values())))
            assert ours.AccessionNumber == expected
            assert ours.RequestAttributesSequence[0].AccessionNumber == expected
    plan = compile_plan(read_text(("recipe", recipe("KEEP AccessionNumber"))))
    _, members = deidentify_files([data], plan, IDENTIFIERS, name="ACC774411")
    assert read(next(iter(members.values()))).AccessionNumber == "ACC774411"


def test_trailing_padding():
    dataset = make_dataset()
    dataset.DataSetTrailingPadding = b"Musterfrau"
    theirs, ours = both(dataset, "KEEP DataSetTrailingPadding")
    assert theirs.DataSetTrailingPadding == b"Musterfrau"
    assert "DataSetTrailingPadding" not in ours


def test_overlay_bits():
    dataset = make_dataset(rows=2, columns=2)
    dataset.PixelData = b"\x34\x12\x34\x02" * 2
    theirs, ours = both(dataset, "REMOVE PatientName")
    assert theirs.PixelData == dataset.PixelData
    assert ours.PixelData == b"\x34\x02" * 4


def test_bytes_around_pixels():
    dataset = make_dataset(rows=4, columns=4)
    samples = dataset.PixelData
    dataset.PixelData += b"DOE^JANE"
    theirs, ours = both(dataset, "REMOVE PatientName")
    assert theirs.PixelData == samples + b"DOE^JANE"
    assert ours.PixelData == samples


def test_words_in_numbers():
    data = to_bytes(make_dataset()).replace(b"DS\x04\x00570 ", b"DS\x08\x00Doe^Jane", 1)
    assert b"Doe^Jane" in data
    assert b"Doe^Jane" in by_deid(data, recipe("KEEP DistanceSourceToPatient"))
    assert b"Doe^Jane" not in by_sendit(data, recipe("KEEP DistanceSourceToPatient"))


def test_safe_private_of_another_form():
    dataset = make_dataset(private=False)
    dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    dataset.add_new(0x0019100A, "LO", "Winterbottom")
    dataset.add_new(0x0019100C, "IS", "1000")
    rules = ('KEEP (0019,"SIEMENS MR HEADER",0A)', 'KEEP (0019,"SIEMENS MR HEADER",0C)')
    theirs, ours = both(dataset, *rules)
    assert theirs[0x0019100A].value == "Winterbottom"
    assert 0x0019100A not in ours
    assert ours[0x0019100C].value == 1000


def test_invalid_sequence():
    data = to_bytes(make_dataset(private=False, ReferencedStudySequence=None))
    hidden = b"\x08\0\x10\x11UN\0\0\x08\0\0\0Doe^Jane"
    at = data.index(b"\x08\0\x80\0LO")
    data = data[:at] + hidden + data[at:]
    theirs, ours = (tool(data, recipe("REMOVE PatientName")) for tool in (by_deid, by_sendit))
    assert "ReferencedStudySequence" in read(theirs)
    assert "ReferencedStudySequence" not in read(ours)
    assert b"Doe^Jane" not in ours


# Meaning of the language ---------------------------------------------------------------


def test_keep_of_a_sequence():
    rules = ("KEEP RequestAttributesSequence", "REMOVE RequestedProcedureID")
    theirs, ours = both(make_dataset(), *rules)
    assert "RequestedProcedureID" in theirs.RequestAttributesSequence[0]
    assert "RequestedProcedureID" not in ours.RequestAttributesSequence[0]
    assert "ScheduledProcedureStepID" in ours.RequestAttributesSequence[0]


def test_fields_by_a_path():
    text = recipe("BLANK fields:mine")
    path = "RequestAttributesSequence__RequestedProcedureID"
    text = text.replace("%header", f"%fields mine\nFIELD {path}\n\n%header")
    dataset = make_dataset()
    dataset.RequestedProcedureID = "RP1"
    data = to_bytes(dataset)
    assert not read(by_deid(data, text)).RequestedProcedureID
    ours = read(by_sendit(data, text))
    assert ours.RequestedProcedureID == "RP1"
    assert not ours.RequestAttributesSequence[0].RequestedProcedureID
    # A pattern that matches the sequence's name also matches the path of everything inside it.
    text = recipe("REMOVE fields:mine")
    text = text.replace("%header", "%fields mine\nFIELD contains:RequestAttributes\n\n%header")
    item = Dataset()
    item.RequestedProcedureID = "RP1"
    dataset = make_dataset(RequestAttributesSequence=[item], RequestedProcedureID="RP1")
    data = to_bytes(dataset)
    assert "RequestedProcedureID" not in read(by_deid(data, text))
    ours = read(by_sendit(data, text))
    assert "RequestAttributesSequence" not in ours
    assert ours.RequestedProcedureID == "RP1"


def test_values_are_literal():
    text = recipe("REMOVE values:mine")
    text = text.replace("%header", "%values mine\nFIELD OperatorsName\n\n%header")
    data = to_bytes(make_dataset(OperatorsName="Tamsin^Odo"))
    assert "OperatorsName" in read(by_deid(data, text))
    assert "OperatorsName" not in read(by_sendit(data, text))


def test_values_of_a_kept_attribute():
    rules = ("KEEP PatientID", "REMOVE values:mine")
    text = recipe(*rules).replace("%header", "%values mine\nFIELD PatientID\n\n%header")
    data = to_bytes(make_dataset(PatientID="PID880022", PatientComments="see PID880022"))
    assert "PatientComments" in read(by_deid(data, text))
    ours = read(by_sendit(data, text))
    assert "PatientComments" not in ours
    assert ours.PatientID == "PID880022"


def test_values_in_a_sequence():
    text = recipe("REMOVE values:mine")
    text = text.replace("%header", "%values mine\nFIELD StationName\n\n%header")
    item = Dataset()
    item.ScheduledProcedureStepDescription = "done in ROOM4711B"
    item.RequestedProcedureID = "RP1"
    dataset = make_dataset(StationName="ROOM4711B", RequestAttributesSequence=[item])
    assert "RequestAttributesSequence" not in read(by_deid(to_bytes(dataset), text))
    (ours,) = read(by_sendit(to_bytes(dataset), text)).RequestAttributesSequence
    assert "ScheduledProcedureStepDescription" not in ours
    assert ours.RequestedProcedureID == "RP1"


def test_all_fields():
    theirs, ours = both(make_dataset(), "REMOVE allfields")
    assert theirs.PatientName
    assert "PatientName" not in ours


def test_required_uid_by_a_pattern():
    data = to_bytes(make_dataset())
    text = "FORMAT dicom\n%header\nREMOVE ALL\n"
    assert "SOPInstanceUID" not in read(by_deid(data, text))
    before, ours = read(data), read(by_sendit(data, text))
    assert ours.SOPClassUID == before.SOPClassUID
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert ours[keyword].value.startswith("2.25.")
        assert ours[keyword].value != before[keyword].value


def test_value_of_another_form():
    theirs, ours = both(make_dataset(), "ADD PatientIdentityRemoved Yes")
    assert theirs.PatientIdentityRemoved == "Yes"
    assert ours.PatientIdentityRemoved == "YES"
    theirs, ours = both(make_dataset(), f"REPLACE AccessionNumber {'x' * 70}")
    assert theirs.AccessionNumber == "x" * 70
    assert ours.AccessionNumber == "x" * 16
    theirs, ours = both(make_dataset(StudyDate="20160401"), "REPLACE startswith:Study X1")
    assert theirs["StudyDate"].value == "X1"
    assert not ours.StudyDate


def test_filters_alone():
    text = "FORMAT dicom\n%filter blacklist\nLABEL x\nequals Modality XX\n"
    data = to_bytes(make_dataset())
    assert read(by_deid(data, text)).PatientName == read(data).PatientName
    assert read(by_sendit(data, text)).PatientName == "IR1-00001"


def test_keep_beside_remove():
    rules = ("KEEP PatientSex", "REMOVE PatientSex")
    theirs = read(by_deid(to_bytes(make_dataset()), recipe(*rules)))
    assert "PatientSex" in theirs
    assert "PatientSex" in refused(*rules)
    _, ours = both(make_dataset(), "# sendit: as deid", *rules)
    assert ours.PatientSex == theirs.PatientSex


def test_function_by_another_name():
    rules = ("REPLACE PatientID var:id", "REPLACE StudyID func:hashuid")
    theirs, ours = both(make_dataset(), *rules)
    assert (theirs.PatientID, theirs.StudyID) == (make_dataset().PatientID, make_dataset().StudyID)
    assert ours.PatientID == "IR1-00001"
    assert re.fullmatch("[0-9A-F]{16}", ours.StudyID)
    assert "generate_text" in refused("REPLACE StudyDescription func:generate_text")


def test_keep_inside_a_sequence():
    rules = ("KEEP ScheduledProcedureStepID", "REMOVE contains:Scheduled")
    theirs, ours = both(make_dataset(), *rules)
    assert "ScheduledProcedureStepID" not in theirs.RequestAttributesSequence[0]
    assert "ScheduledProcedureStepID" in ours.RequestAttributesSequence[0]


def test_character_set():
    theirs, ours = both(make_dataset(), "KEEP PatientName", "REMOVE ALL")
    assert "SpecificCharacterSet" not in theirs
    assert ours.SpecificCharacterSet == "ISO_IR 100"
    assert str(ours.PatientName) == "Musterfrau0001^Änne0001"


def test_voi_lut_sequence():
    dataset = make_dataset()
    item = Dataset()
    item.LUTExplanation = "for Mrs Musterfrau"
    dataset.VOILUTSequence = [item]
    theirs, ours = both(dataset, "REMOVE ALL")
    assert "VOILUTSequence" in theirs
    assert "VOILUTSequence" not in ours


# Dates -----------------------------------------------------------------------------------


def test_date_without_a_day():
    data = to_bytes(make_dataset())
    data = data.replace(b"DA\x08\x0019480807", b"DA\x04\x002020", 1)
    theirs, ours = (
        read(tool(data, recipe("JITTER PatientBirthDate 10"))) for tool in (by_deid, by_sendit)
    )
    # deid completes the date from the current day.
    assert re.fullmatch(r"2020\d{4}|2021\d{4}", str(theirs.PatientBirthDate))
    assert not ours.get("PatientBirthDate")


def test_invalid_date():
    data = to_bytes(make_dataset()).replace(b"19480807", b"19481399", 1)
    with pytest.raises(DeidFailed):
        by_deid(data, recipe("JITTER PatientBirthDate 10"))
    assert not read(by_sendit(data, recipe("JITTER PatientBirthDate 10"))).get("PatientBirthDate")


def test_placeholder_date():
    theirs, ours = both(
        make_dataset(
            PatientBirthDate="19000101", SeriesDate="19700101", DateOfInstallation="18991230"
        ),
        "JITTER PatientBirthDate 10",
        "JITTER SeriesDate 10",
        "REPLACE DateOfInstallation deid_func:jitter days=10",
    )
    # anyone who knows the placeholder can derive the ten days
    assert (theirs.PatientBirthDate, theirs.SeriesDate) == ("19000111", "19700111")
    assert theirs.DateOfInstallation == "19000109"
    assert ours["PatientBirthDate"].is_empty  # type 2
    assert "SeriesDate" not in ours
    assert "DateOfInstallation" not in ours


def test_kept_date_beside_shifted_ones():
    rules = ("KEEP StudyDate", "JITTER SeriesDate var:jitter")
    data = to_bytes(make_dataset())
    before, theirs = read(data), read(by_deid(data, recipe(*rules)))
    assert theirs.StudyDate == before.StudyDate
    assert theirs.SeriesDate != before.SeriesDate
    assert "reveals the patient's jitter" in refused(*rules)
    assert read(by_sendit(data, recipe("# sendit: as deid", *rules))).StudyDate == before.StudyDate


def test_time_of_day():
    theirs = read(by_deid(to_bytes(make_dataset()), recipe("JITTER StudyTime 10")))
    assert str(theirs.StudyTime) != "100115.123"
    assert "StudyTime" in refused("JITTER StudyTime 10")


def test_date_and_time():
    theirs, ours = both(make_dataset(), "JITTER AcquisitionDateTime 10")
    assert str(theirs.AcquisitionDateTime) == "20160331101101.000000"
    assert str(ours.AcquisitionDateTime) == "20160331101101"


def test_timestamp_as_a_date():
    rule = "REPLACE StudyDate 2010-02-09T11:50:00-0800"
    assert b"2010-02-09T11:50:00-0800" in by_deid(to_bytes(make_dataset()), recipe(rule))
    data = by_sendit(to_bytes(make_dataset()), recipe(rule, rule.replace("Date", "Time")))
    ours = read(data)
    assert (ours.StudyDate, ours.StudyTime) == ("20100209", "115000")


# Filters ----------------------------------------------------------------------------------


def flagged(path: Path, dataset: FileDataset, name: str, line: str) -> tuple[bool, bool]:
    """Return whether deid and sendit filter an image by a filter of one line."""
    text = f"FORMAT dicom\n%filter {name}\nLABEL x\n{line}\n%header\nREMOVE PatientID\n"
    path.write_text(text)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        theirs = has_burned_pixels(dataset, deid=DeidRecipe(str(path)))["flagged"]
    plan = compile_filters(read_text(("recipe", text)))
    header = read_header(to_bytes(dataset))
    ours = plan.decide({tag: header.text(tag) for tag in plan.tags})
    return bool(theirs), ours is not None


def test_empty_is_absent(tmp_path: Path):
    blank = make_dataset(BurnedInAnnotation="")
    path = tmp_path / "recipe"
    assert flagged(path, blank, "blacklist", "present BurnedInAnnotation") == (True, False)
    assert flagged(path, blank, "blacklist", "missing BurnedInAnnotation") == (False, True)
    assert flagged(path, blank, "blacklist", "empty BurnedInAnnotation") == (True, True)


def test_graylist_blanks(tmp_path: Path):
    lines = "contains Modality CT\ncoordinates 0,0,2,2"
    assert flagged(tmp_path / "recipe", make_dataset(), "graylist", lines) == (True, True)
    text = f"FORMAT dicom\n%filter graylist\nLABEL l\n{lines}\n%header\nREMOVE PatientID\n"
    decision = compile_filters(read_text(("r", text))).decide({0x00080060: "CT"})
    assert decision is not None
    assert decision.blanks


@pytest.mark.filterwarnings("ignore")
def test_additional_value(tmp_path: Path):
    both = make_dataset(Modality=["CT", "XC"])
    path = tmp_path / "recipe"
    assert flagged(path, both, "blacklist", "equals Modality XC") == (False, True)
    assert flagged(path, both, "blacklist", "notcontains Modality CT") == (False, True)
    white = (
        "FORMAT dicom\n%filter whitelist\nLABEL w\nequals Modality CT\n%filter graylist\nLABEL g\n"
    )
    plan = compile_filters(
        read_text(("r", white + "present Modality\n%header\nREMOVE PatientID\n"))
    )
    assert plan.decide({0x00080060: "CT"}) is None
    assert plan.decide({0x00080060: "CT\\XC"}) is not None


# UIDs ------------------------------------------------------------------------------------


def test_uids_are_keyed():
    from deid.dicom.actions.uids import pydicom_uuid as their_uuid

    from tests.deidentify.engine import deidentified_bytes, plan_of

    dataset = make_dataset()
    field = type("Field", (), {"element": dataset["StudyInstanceUID"]})()
    theirs = str(their_uuid(None, None, field))
    rules = "KEEP SOPClassUID\nKEEP SOPInstanceUID\nKEEP SeriesInstanceUID\n"
    rules += "REPLACE StudyInstanceUID deid_func:pydicom_uuid"
    ours = pydicom.dcmread(io.BytesIO(deidentified_bytes(dataset, plan_of(rules, uids=False))))
    # Anyone can compute deid's UID from the original, and it is longer than a UUID's 128 bits.
    assert theirs == str(their_uuid(None, None, field))
    assert int(theirs.removeprefix("2.25.")) >= 1 << 128
    assert ours.StudyInstanceUID not in {theirs, dataset.StudyInstanceUID}
    assert int(ours.StudyInstanceUID.removeprefix("2.25.")) < 1 << 128


def test_empty_uid():
    from deid.dicom.actions.uids import pydicom_uuid as their_uuid

    dataset = make_dataset()
    dataset.InstanceCreatorUID = ""
    field = type("Field", (), {"element": dataset["InstanceCreatorUID"]})()
    assert str(their_uuid(None, None, field)).startswith("2.25.")
    _, ours = both(dataset, "REPLACE InstanceCreatorUID deid_func:pydicom_uuid")
    assert ours.InstanceCreatorUID == ""


# What deid accepts and sendit refuses ---------------------------------------------------


def test_undefined_variable():
    data = to_bytes(make_dataset())
    theirs = read(by_deid(data, recipe("REPLACE PatientID var:nobody")))
    assert theirs.PatientID == "MRN77000001"
    assert "nobody" in refused("REPLACE PatientID var:nobody")


def test_comment_after_a_rule():
    rule = "REMOVE PatientID # who it is"
    theirs, ours = both(make_dataset(), rule)
    assert theirs.PatientID == "MRN77000001"
    assert "PatientID" not in ours


def test_misspelt_attribute():
    theirs = read(by_deid(to_bytes(make_dataset()), recipe("REMOVE PatientNmae")))
    assert "PatientName" in theirs
    assert "PatientName" in refused("REMOVE PatientNmae")


def test_action_in_lower_case():
    theirs = read(by_deid(to_bytes(make_dataset()), recipe("remove PatientName")))
    assert "PatientName" in theirs
    assert "REMOVE" in refused("remove PatientName")


def test_added_without_a_creator():
    text = recipe("ADD 11112221 SIMPSON")
    data = to_bytes(make_dataset())
    assert read(by_deid(data, text))[0x11112221].value == "SIMPSON"
    with pytest.raises(RecipeError, match=r'\(1111,"YOUR CREATOR",21\)'):
        by_sendit(data, text)


def test_required_uids_cannot_be_removed():
    text = recipe("REMOVE SOPInstanceUID").replace("KEEP SOPInstanceUID\n", "")
    data = to_bytes(make_dataset())
    assert "SOPInstanceUID" not in read(by_deid(data, text))
    with pytest.raises(RecipeError, match="SOPInstanceUID"):
        by_sendit(data, text)


def test_everything_else_is_equal():
    """The page is complete: where none of its rows applies, bytes are equal."""
    dataset = make_dataset(private=False)
    data = to_bytes(dataset)
    text = recipe("REMOVE PatientName", f"JITTER StudyDate {datetime.timedelta(3).days}")
    theirs, ours = by_deid(data, text), by_sendit(data, text)
    assert differences(theirs, ours) == []
    assert data_set(theirs) == data_set(ours)
