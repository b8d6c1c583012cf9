"""The functions of the recipe language."""

from __future__ import annotations

import re
import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sendit.deidentify import functions
from sendit.deidentify.plan import compile_plan
from sendit.dicom.iod import Need, need_of
from sendit.recipe.coverage import METHODS
from sendit.recipe.functions import FUNCTIONS
from sendit.recipe.parse import read_recipe
from testing.builder import make_dataset
from tests.deidentify.engine import deidentified_bytes, deidentified_dataset, plan_of

CT = "1.2.840.10008.5.1.4.1.1.2"
_TEXT = {"AE", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


def test_functions_match_their_declarations() -> None:
    assert set(functions._FUNCTIONS) == set(FUNCTIONS)


def test_iod_types() -> None:
    assert need_of(CT, (), 0x0020000D) is Need.VALUE  # StudyInstanceUID
    assert need_of(CT, (), 0x00100010) is Need.EMPTY  # PatientName
    assert need_of(CT, (), 0x00080080) is Need.NONE  # InstitutionName
    assert need_of(CT, (0x00081140,), 0x00081155) is Need.VALUE  # in a reference
    assert need_of(CT, (0x00081140,), 0x00100010) is Need.NONE  # not in the IOD at that place
    assert need_of("1.2.3", (), 0x00080080) is Need.VALUE  # unknown class
    assert need_of(CT, (), 0x00180050) is Need.VALUE  # outside Table E.1-1
    deep = (0x0040A730, 0x0040A730, 0x0040A730)
    report = "1.2.840.10008.5.1.4.1.1.88.33"
    assert need_of(report, deep, 0x0040A123) is need_of(report, deep[:1], 0x0040A123)


def test_profile_actions_follow_the_iod_type() -> None:
    rules = "\n".join(
        f"REPLACE {keyword} func:{name}"
        for keyword, name in (
            ("PatientName", "profile_z"),
            ("InstitutionName", "profile_xz"),
            ("StudyID", "profile_xz"),
            ("ContentDate", "profile_xd"),
            ("AcquisitionDate", "profile_xd"),
            ("StudyDate", "profile_xzd"),
            ("SeriesDate", "profile_xzd"),
            ("FrameOfReferenceUID", "profile_z"),
        )
    )
    before = make_dataset(StudyID="77", ContentDate="20200101", AcquisitionDate="20200101")
    ds = deidentified_dataset(before, plan_of(rules))
    assert ds["PatientName"].is_empty  # type 2
    assert "InstitutionName" not in ds  # type 3
    assert ds["StudyID"].is_empty  # type 2
    assert "AcquisitionDate" not in ds  # type 3
    assert ds["StudyDate"].is_empty  # type 2
    assert "SeriesDate" not in ds  # type 3
    assert ds.FrameOfReferenceUID.startswith("2.25.")  # type 1
    assert ds.FrameOfReferenceUID != before.FrameOfReferenceUID


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "DEIDENTIFIED"),
        ("PatientBirthDate", "19000101"),
        ("PatientBirthTime", "000000"),
        ("AcquisitionDateTime", "19000101000000"),
        ("PatientSex", "OTHER"),
        ("StationName", "DEIDENTIFIED"),
        ("PatientWeight", 0),
        ("Rows", 0),
        ("InstanceNumber", 1),
        ("ImagePositionPatient", 0),
        ("PatientAge", "000Y"),
    ],
)
def test_dummies_fit_their_vr(keyword: str, value: object) -> None:
    before = make_dataset(
        PatientBirthDate="19501213",
        PatientBirthTime="1213",
        AcquisitionDateTime="20200101101010",
        PatientSex="F",
        PatientWeight="77",
        PatientAge="069Y",
    )
    assert (
        deidentified_dataset(before, plan_of(f"REPLACE {keyword} func:dummy"))[keyword].value
        == value
    )


def test_rules_apply_inside_a_dummy_sequence() -> None:
    code, item = Dataset(), Dataset()
    code.CodeMeaning = "Jane's own code"
    item.PatientName = "DOE^JANE"
    item.InstitutionName = "General"
    item.PersonIdentificationCodeSequence = Sequence([code])
    ds = deidentified_dataset(
        make_dataset(ReferencedStudySequence=Sequence([item, Dataset()])),
        plan_of("REPLACE ReferencedStudySequence func:dummy\nREMOVE InstitutionName"),
    )
    assert len(ds.ReferencedStudySequence) == 2
    new = ds.ReferencedStudySequence[0]
    assert new.PatientName == "DEIDENTIFIED"
    assert "InstitutionName" not in new
    assert new.PersonIdentificationCodeSequence[0].CodeMeaning == "DEIDENTIFIED"


def test_a_report_with_dummy_content_keeps_its_structure() -> None:
    before = make_dataset(kind="SR")
    ds = deidentified_dataset(before, plan_of("REPLACE ContentSequence func:dummy"))

    def structure(item: Dataset) -> list[object]:
        return [
            (child.get("RelationshipType"), child.get("ValueType"), structure(child))
            for child in item.get("ContentSequence", [])
        ]

    assert structure(ds) == structure(before)
    assert structure(ds)
    assert "PersonName" not in str(ds) or "DOE" not in str(ds)


@pytest.mark.parametrize(
    ("age", "capped"),
    [
        ("089Y", "089Y"),
        ("090Y", "090Y"),
        ("091Y", "090Y"),
        ("113Y", "090Y"),
        ("999M", "999M"),
        ("012W", "012W"),
        ("45Y", "045Y"),
        ("45y", "045Y"),
        ("ninety", ""),
        ("0107", ""),
        ("999D", "999D"),
        ("999W", "999W"),
        ("7M", "007M"),
        (" 091y", "090Y"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_ages_over_89_are_capped(age: str, capped: str) -> None:
    ds = deidentified_dataset(
        make_dataset(PatientAge=age), plan_of("REPLACE PatientAge func:cap_age")
    )
    assert (ds.PatientAge or "") == capped


@given(st.decimals(0, 300, allow_nan=False), st.sampled_from(["{:f}", "{:e}", "+{:G}", " {:.3f} "]))
def test_a_weight_keeps_its_value_in_every_ds_notation(number: Decimal, form: str) -> None:
    text = form.format(number)[:16]
    if re.search(r"[eE][+-]?$", text):
        text = text[:8]
    kept = functions._measure(text.strip(), 300)
    assert kept is not None
    assert float(kept) == float(text)


def test_a_decimal_too_long_for_its_vr_is_shortened() -> None:
    assert functions._measure("72.57477920000000001", 1000) == "72.5747792"


def test_cleaned_text_keeps_radiology_terms_and_value_count() -> None:
    item = Dataset()
    item.CodeMeaning = "Jane's chest"
    item.CodeValue = "T-D3000"
    ds = deidentified_dataset(
        make_dataset(
            StudyDescription="CT CHEST for Jane Doe",
            SeriesDescription="Doe^Jane",
            ProcedureCodeSequence=Sequence([item]),
        ),
        plan_of("""
            REPLACE StudyDescription func:clean_text
            REPLACE SeriesDescription func:clean_text
            REPLACE ProcedureCodeSequence func:clean_text
        """),
    )
    assert ds.StudyDescription == "CT CHEST for"
    assert not ds.SeriesDescription
    assert ds.ProcedureCodeSequence[0].CodeMeaning == "chest"


def test_region_names_stay_distinct_and_non_empty() -> None:
    names = ["Winterbottom 3", "Winterbottom 4", "Lesion 3", "Lesion 4", "Lesion", "x" * 64]
    items = []
    for name in (*names, names[0], ""):
        item = Dataset()
        item.ROIName = name
        item.TrackingID = name
        items.append(item)
    plan = plan_of("REPLACE ROIName func:clean_text\nREPLACE TrackingID func:clean_text")
    new = deidentified_dataset(make_dataset(StructureSetROISequence=Sequence(items)), plan)
    for keyword in ("ROIName", "TrackingID"):
        *names_left, again, empty = (item.get(keyword) for item in new.StructureSetROISequence)
        assert len(set(names_left)) == len(names)
        assert all(names_left)
        assert again == names_left[0]
        assert not empty
        assert "Winterbottom" not in str(names_left)
        assert all(len(one) <= 64 for one in names_left)
        assert names_left[4] == "Lesion"
        assert names_left[2].startswith("Lesion")


def test_deid_functions_are_keyed_and_deterministic() -> None:
    rules = """
        REPLACE SOPInstanceUID deid_func:pydicom_uuid prefix=1.2.826.0.1.
        REPLACE SeriesInstanceUID deid_func:dicom_uuid org_root=1.2.3
        REPLACE PatientID deid_func:suffix_uuid
        REPLACE PatientComments deid_func:basic_uuid
        REPLACE StudyDate deid_func:jitter days=3 years=1
        KEEP SOPClassUID
        KEEP StudyInstanceUID
    """
    before = make_dataset(StudyDate="20200101", PatientComments="7")
    ds = deidentified_dataset(before, plan_of(rules, uids=False))
    assert ds.SOPInstanceUID.startswith("1.2.826.0.1.")
    assert len(ds.SOPInstanceUID) <= 64
    assert ds.SeriesInstanceUID.startswith("1.2.3.")
    assert re.fullmatch(r"patientid-[0-9a-f-]{36}", ds.PatientID)
    assert re.fullmatch(r"[0-9a-f-]{36}", ds.PatientComments)
    assert ds.StudyDate == "20210103"
    again = deidentified_dataset(before, plan_of(rules, uids=False))
    assert [e.value for e in again] == [e.value for e in ds]


def test_deidentification_method_is_recorded() -> None:
    ds = deidentified_dataset(make_dataset(), compile_plan(read_recipe("default")))
    assert ds.PatientIdentityRemoved == "YES"
    assert ds.DeidentificationMethod.startswith("sendit ")
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
    assert codes[0] == "113100"
    assert "113107" in codes
    assert {item.CodingSchemeDesignator for item in ds.DeidentificationMethodCodeSequence} == {
        "DCM"
    }


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientSex", "F", True),
        ("PatientSex", "o", True),
        ("PatientSex", "DOE^JANE", False),
        ("PatientWeight", "71.5", True),
        ("PatientWeight", "72.5747792", True),
        ("PatientWeight", "90.7184740000", True),
        ("PatientWeight", "7.2E1", True),
        ("PatientWeight", "5.e+001", True),
        ("PatientWeight", ".9", True),
        ("PatientWeight", "+72", True),
        ("PatientSize", "1.750000000000", True),
        ("PatientSize", ".35", True),
        ("PatientSize", "175", True),
        ("PatientSize", "7734512", False),
        ("PatientSize", "1.95703E7", False),
        ("PatientWeight", "19570314", False),
        ("PatientWeight", "1e999", False),
        ("PatientWeight", "-72", False),
        ("PatientWeight", "nan", False),
        ("PatientWeight", "7e", False),
        ("PatientWeight", ".", False),
        ("PatientWeight", "76000034", False),
        ("EthnicGroup", "White / Hispanic", True),
        ("EthnicGroup", "W", True),
        ("EthnicGroup", "Jane Doe", False),
        ("SmokingStatus", "UNKNOWN", True),
        ("SmokingStatus", "SINCE 1981", False),
        ("TimezoneOffsetFromUTC", "-0330", True),
        ("TimezoneOffsetFromUTC", "Kansas City", False),
        ("StudyTime", "101112.000002", True),
        ("StudyTime", "after lunch", False),
        ("PerformedProcedureStepID", "MRN 123", False),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_only_defined_terms_of_an_attribute_are_kept(keyword: str, value: str, kept: bool) -> None:
    data = make_dataset(**{keyword: "1" if keyword in ("PatientSize", "PatientWeight") else "X"})
    data[keyword]._value = value
    ds = deidentified_dataset(data, plan_of(f"REPLACE {keyword} func:known_value"))
    assert str(ds.get(keyword) or "") == (value if kept else "")


def test_an_empty_value_has_no_defined_term() -> None:
    rules = "REPLACE EthnicGroup func:known_value\nREPLACE PatientWeight func:known_value"
    ds = deidentified_dataset(make_dataset(EthnicGroup="  ", PatientWeight=""), plan_of(rules))
    assert ds["EthnicGroup"].is_empty
    assert ds["PatientWeight"].is_empty


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.mark.parametrize("vr", ["OB", "OW", "UN", "US"])
def test_rules_apply_whatever_vr_the_file_declares(vr: str) -> None:
    plan = compile_plan(read_recipe("default"))
    canary = b"Zanzibar^Quackenbush"
    value = list(struct.unpack("<10H", canary)) if vr == "US" else canary
    before = make_dataset()
    needed = {0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080060}
    changed = []
    for tag, (known, *_) in DicomDictionary.items():
        rules = plan.top.program(tag, vr)
        if known in _TEXT and tag > 0x00080000 and tag not in needed and rules.steps:
            before[tag] = DataElement(tag, vr, value)
            changed.append(tag)
    assert len(changed) > 1000
    assert canary not in deidentified_bytes(before, plan)


def test_method_codes_of_earlier_steps_are_kept_and_texts_removed() -> None:
    earlier = [
        code("113102", "DCM", "defaced by A Winterbottom"),
        code("113101", "DCM", "Clean Pixel Data Option"),
        code("113102", "DCM", "again"),
        code("113102", "99LOCAL", "not the standard's"),
        code("112233", "DCM", "not of CID 7050"),
        code("MRN7734512", "DCM", "no code at all"),
        Dataset(),
    ]
    data = make_dataset(DeidentificationMethodCodeSequence=Sequence(earlier))
    new = deidentified_dataset(
        data, plan_of("ADD DeidentificationMethodCodeSequence func:method_codes")
    )
    assert [
        (str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
        for item in new.DeidentificationMethodCodeSequence
    ] == [
        ("113102", "DCM", "Clean Recognizable Visual Features Option"),
        ("113101", "DCM", "Clean Pixel Data Option"),
    ]  # and none of sendit's own: the recipe fulfils no profile


def test_method_codes_are_added_once() -> None:
    data = make_dataset(
        DeidentificationMethodCodeSequence=Sequence(
            [code("113107", "DCM", "x"), code("113106", "DCM", "x")]
        )
    )
    new = deidentified_dataset(data, compile_plan(read_recipe("default")))
    codes = [str(item.CodeValue) for item in new.DeidentificationMethodCodeSequence]
    assert codes == ["113107", "113106", "113100", "113111", "113108", "113105", "113104", "113103"]


def test_method_codes_match_the_context_group() -> None:
    from pydicom.sr._cid_dict import cid_concepts
    from pydicom.sr._concepts_dict import concepts

    group = {}
    for keyword in cid_concepts[7050]["DCM"]:
        group |= {value: meaning for value, (meaning, _) in concepts["DCM"][keyword].items()}
    assert group == METHODS


@pytest.mark.parametrize(
    ("rule", "keyword", "length"),
    [
        ("deid_func:suffix_uuid", "StationName", 16),  # SH
        ("deid_func:basic_uuid", "StationName", 16),
        ("func:keyed_hash", "StationName", 16),
        ("func:keyed_hash", "PatientID", 32),
        ("func:keyed_hash", "PatientSex", 16),  # CS
        ("deid_func:pydicom_uuid prefix=1.2.", "StationName", 16),
    ],
)
def test_function_results_fit_their_vr(rule: str, keyword: str, length: int) -> None:
    before = make_dataset(StationName="CT1", PatientSex="F")
    made = str(deidentified_dataset(before, plan_of(f"REPLACE {keyword} {rule}"))[keyword].value)
    assert length - 1 <= len(made) <= length
    assert made[-1] not in ".-"


def test_hash_is_keyed_and_depends_on_the_value_only() -> None:
    plan = plan_of(
        "REPLACE PatientID func:keyed_hash\nREPLACE StationName func:keyed_hash\n"
        "REPLACE FrameOfReferenceUID func:keyed_hash\nREPLACE InstitutionName func:keyed_hash"
    )
    ds = deidentified_dataset(
        make_dataset(PatientID="77", StationName="77 ", InstitutionName=" "), plan
    )
    assert re.fullmatch("[0-9A-F]{32}", ds.PatientID)
    assert ds.PatientID.startswith(ds.StationName)
    assert ds.FrameOfReferenceUID.startswith("2.25.")
    assert not ds.InstitutionName
    assert deidentified_dataset(make_dataset(PatientID="78"), plan).PatientID != ds.PatientID


def test_a_hash_where_the_vr_allows_none_is_a_dummy() -> None:
    item = Dataset()
    item.AccessionNumber = "A1"
    before = make_dataset(ContentDate="20230102", PatientWeight="71.5", PregnancyStatus=4)
    before.RequestAttributesSequence = [item]
    rules = ("ContentDate", "PatientWeight", "PregnancyStatus", "RequestAttributesSequence")
    made = deidentified_dataset(
        before, plan_of("\n".join(f"REPLACE {name} func:keyed_hash" for name in rules))
    )
    dummies = deidentified_dataset(
        before, plan_of("\n".join(f"REPLACE {name} func:dummy" for name in rules))
    )
    assert all(made[name] == dummies[name] for name in rules)
    assert made.ContentDate not in ("", before.ContentDate)


def test_dummies_of_binary_values() -> None:
    before = make_dataset(RedPaletteColorLookupTableDescriptor=[1, 2, 3])
    before.add_new("ExaminedBodyThickness", "FL", [1.5, 2.5])
    before.add_new("SelectorUNValue", "UN", b"DOE^JANE")
    before.add_new("SelectorOBValue", "OB", b"DOE^JANE")
    before.add_new("SelectorATValue", "AT", [0x00100010])
    before.FrameOfReferenceUID = ""
    before.PixelAspectRatio = ["2", "3"]
    keywords = (
        *("ExaminedBodyThickness", "SelectorUNValue", "SelectorOBValue", "SelectorATValue"),
        *("FrameOfReferenceUID", "PixelAspectRatio", "SamplesPerPixel"),
    )
    rules = "\n".join(f"REPLACE {keyword} func:dummy" for keyword in keywords)
    ds = deidentified_dataset(before, plan_of(rules))
    assert ds.ExaminedBodyThickness == [0, 0]  # as many values as before
    assert ds.SelectorUNValue == ds.SelectorOBValue == bytes(8)
    assert ds.SelectorATValue == 0
    assert ds.FrameOfReferenceUID.startswith("2.25.")
    assert ds.PixelAspectRatio == 1


def test_references_are_kept_in_a_dummy_report() -> None:
    item = Dataset()
    item.RelationshipType = "INFERRED FROM"
    item.ValueType = "NO SUCH TYPE"
    item.ReferencedContentItemIdentifier = [1, 2]
    ds = deidentified_dataset(
        make_dataset(ContentSequence=Sequence([item])),
        plan_of("REPLACE ContentSequence func:dummy"),
    )
    (new,) = ds.ContentSequence
    assert new.RelationshipType == "INFERRED FROM"
    assert new.ValueType == "OTHER"
    assert new.ReferencedContentItemIdentifier == [1, 2]


@pytest.mark.parametrize(
    ("value", "scheme", "stays"),
    [
        ("en-US", "RFC5646", True),
        ("zh-Hant-TW", "IETF4646", True),
        ("Jane-Doe-Winterbottom", "RFC5646", False),
        ("Winterbottom", "ISO639_1", False),
        ("Winterbottom", "99LOCAL", False),
        ("T-D3000", "99LOCAL", True),
        ("mm{head}", "UCUM", True),
        ("mm{Winterbottom}", "UCUM", False),
        ("Winterbottom 7", "99LOCAL", False),
        ("", "99LOCAL", True),
    ],
)
def test_only_valid_codes_are_kept_in_a_cleaned_sequence(
    value: str, scheme: str, stays: bool
) -> None:
    item = code(value, scheme, "chest")
    plan = plan_of("REPLACE ProcedureCodeSequence func:clean_text")
    (new,) = deidentified_dataset(
        make_dataset(ProcedureCodeSequence=Sequence([item])), plan
    ).ProcedureCodeSequence
    assert (str(new.CodeValue or "") == value) is stays
    assert new.CodeMeaning == "chest"


def test_standard_coding_schemes_are_kept() -> None:
    plan = plan_of("REPLACE ProcedureCodeSequence func:clean_text")
    items = [code("X1", scheme, "chest") for scheme in ("ASTM-sigpurpose", "Dr Winterbottom, MD")]
    items[0].CodingSchemeVersion = "2020"
    items[1].CodingSchemeVersion = "of Dr Winterbottom"
    known, other = deidentified_dataset(
        make_dataset(ProcedureCodeSequence=Sequence(items)), plan
    ).ProcedureCodeSequence
    assert (known.CodingSchemeDesignator, known.CodingSchemeVersion) == ("ASTM-sigpurpose", "2020")
    assert "Winterbottom" not in str(other)


def test_layer_names_become_code_strings() -> None:
    items = []
    for name in ("DOE^JANE", "ROE^JOHN", "CHEST"):
        item = Dataset()
        item.GraphicLayer = name
        items.append(item)
    new = deidentified_dataset(
        make_dataset(GraphicLayerSequence=Sequence(items)),
        plan_of("REPLACE GraphicLayer func:technical_value form=term"),
    ).GraphicLayerSequence
    layers = [str(item.GraphicLayer) for item in new]
    assert len(set(layers)) == 3
    assert all(re.fullmatch("LAYER [A-F0-9]{8}", layer) for layer in layers[:2])
    assert layers[2] == "CHEST"


@pytest.mark.parametrize(
    ("rules", "modified"),
    [
        ("JITTER select:VR:DA 3\nJITTER select:VR:DT 3\nREMOVE select:VR:TM", "MODIFIED"),
        ("REMOVE select:VR:DA\nREMOVE select:VR:DT\nREMOVE select:VR:TM", "REMOVED"),
        ("BLANK PatientName", "UNMODIFIED"),
    ],
)
def test_longitudinal_temporal_information_modified(rules: str, modified: str) -> None:
    rule = "ADD LongitudinalTemporalInformationModified func:dates_modified"
    ds = deidentified_dataset(make_dataset(), plan_of(f"{rules}\n{rule}"))
    assert ds.LongitudinalTemporalInformationModified == modified


def test_method_text_names_the_profile_only_if_it_is_met() -> None:
    ds = deidentified_dataset(
        make_dataset(), plan_of("ADD DeidentificationMethod func:method_text")
    )
    assert re.fullmatch(r"sendit \S+ recipe [0-9a-f]{16}", ds.DeidentificationMethod)
    ds = deidentified_dataset(make_dataset(), compile_plan(read_recipe("default")))
    assert re.fullmatch(
        r"sendit \S+ PS3\.15 20\d\d[a-e] recipe [0-9a-f]{16}", ds.DeidentificationMethod
    )
