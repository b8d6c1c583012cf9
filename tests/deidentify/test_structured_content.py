"""What programs read from reports, key objects and annotations is preserved."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from benchmarks.clients import delivered
from sendit.batch import Outcome
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.structured_content import NO_CODE, NO_ITEM_CODES, item_codes, years_in
from sendit.dicom.scan import read_header
from sendit.recipe.parse import read_recipe
from testing.builder import all_elements, make_dataset, to_bytes
from testing.derived_objects import (
    DERIVED_IMAGES,
    FREE_TEXT,
    OBJECTS,
    OUTLINE,
    RULER,
    dose_report,
    electrocardiogram,
    images,
    key_objects,
    measurement_report,
    parametric_map,
    presentation_state,
    segmentation,
    structure_set,
)
from tests.deidentify.engine import IDENTIFIERS, deidentified_dataset, deidentify_files, plan_of

NUMBERS = {"DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"}
CHANGED = {"PatientAge", "NumericValue"}
ALL = OBJECTS | DERIVED_IMAGES
WHOSE = ("Musterfrau", "Befunder", "befunder", "MRN77000001", "ACC880001001", "General Hospital")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(read_recipe("default"))


@pytest.fixture(scope="module")
def report(plan) -> FileDataset:
    return deidentified_dataset(measurement_report(), plan)


def content(dataset: Dataset, code: str) -> list[Dataset]:
    """Return the content items of a concept, at any depth."""
    items = []
    for item in dataset.get("ContentSequence", []):
        names = item.get("ConceptNameCodeSequence")
        if names and names[0].CodeValue == code:
            items.append(item)
        items += content(item, code)
    return items


def numbers(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for element in all_elements(dataset):
        if element.VR in NUMBERS and element.keyword not in CHANGED:
            yield element.keyword, str(element.value)


@pytest.mark.parametrize("name", ALL)
def test_numbers_are_preserved_and_names_removed(name, plan):
    before = ALL[name]()
    after = deidentified_dataset(before, plan)
    assert list(numbers(before)) == list(numbers(after))
    whole = to_bytes(after).decode("latin-1")
    assert not [text for text in WHOSE if text in whole]


@pytest.mark.parametrize("name", ALL)
def test_result_passes_the_gate(name, plan, tmp_path):
    assert delivered([to_bytes(ALL[name]())], plan, tmp_path / "study")


def test_highdicom_reads_measurements(report):
    read = hd.sr.srread(BytesIO(to_bytes(report)))
    groups = read.content.get_planar_roi_measurement_groups()
    assert [group.get_measurements()[0].value for group in groups] == [value for _, value in RULER]
    for number, group in enumerate(groups):
        assert group.roi.value.tolist() == (np.asarray(OUTLINE) + number).tolist()
        assert group.finding_type == codes.SCT.Nodule
        assert group.get_measurements()[0].name == codes.SCT.Length
        assert group.get_measurements()[0].unit == codes.UCUM.Millimeter
    names = [group.tracking_identifier for group in groups]
    assert len(set(names)) == len(names)
    assert all(names)
    assert len({group.tracking_uid for group in groups}) == len(groups)


def test_highdicom_reads_parametric_maps(plan):
    before, after = (
        hd.pm.ParametricMap.from_dataset(pydicom.dcmread(BytesIO(to_bytes(one))))
        for one in (parametric_map(), deidentified_dataset(parametric_map(), plan))
    )
    assert np.array_equal(before.pixel_array, after.pixel_array)
    assert before.pixel_array.dtype == np.float32
    unit = after.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert unit.MeasurementUnitsCodeSequence[0].CodeValue == "mm2/s"
    assert (unit.RealWorldValueSlope, unit.RealWorldValueIntercept) == (0.001, 0.25)
    assert unit.DoubleFloatRealWorldValueFirstValueMapped == -1.5
    assert np.array_equal(
        *(one.get_volume_geometry().affine for one in (before, after)),
    )


def test_references_point_to_delivered_images(plan):
    """Images and objects derived from them, as one study: every reference resolves."""
    made = [*images(), *(make() for make in ALL.values())]
    _, members = deidentify_files([to_bytes(one) for one in made], plan)
    new = [pydicom.dcmread(BytesIO(member)) for member in members.values()]
    assert len(new) == len(made)
    there = {one.SOPInstanceUID for one in new}
    assert len({one.StudyInstanceUID for one in new}) == 1
    whole = {one.SOPInstanceUID for one in made}
    for before, after in zip(made, new, strict=True):
        if (
            before.SOPClassUID != made[0].SOPClassUID
        ):  # an image's own references point to other studies
            known = references(before) & whole
            assert len(references(after) & there) == len(known)
            assert known or before.Modality in {"SR", "CT", "RTPLAN", "ECG"}


def references(dataset: Dataset) -> set[str]:
    return {
        element.value
        for element in all_elements(dataset)
        if element.keyword == "ReferencedSOPInstanceUID"
    }


def test_local_codes_are_kept_and_their_meanings_cleaned(report):
    grades = content(report, "GRADE")
    assert [item.ConceptCodeSequence[0].CodeValue for item in grades] == ["G2", "G2"]
    assert grades[0].ConceptCodeSequence[0].CodeMeaning == "moderate"


def test_a_fully_cleaned_meaning_becomes_its_code(plan):
    before = measurement_report()
    item = content(before, "GRADE")[0].ConceptCodeSequence[0]
    item.CodeMeaning = "Befunder's own"
    language = content(before, "121049")[0].ConceptCodeSequence[0]
    assert (language.CodeValue, language.CodeMeaning) == ("en-US", "English (United States)")
    after = deidentified_dataset(before, plan)
    assert content(after, "GRADE")[0].ConceptCodeSequence[0].CodeMeaning == "G2"
    assert content(after, "121049")[0].ConceptCodeSequence[0].CodeValue == "en-US"
    assert content(after, "121049")[0].ConceptCodeSequence[0].CodeMeaning == "en-US"


def test_an_empty_coding_scheme_version_stays_empty(plan):
    before = measurement_report()
    content(before, "GRADE")[0].ConceptCodeSequence[0].CodingSchemeVersion = ""
    assert (
        content(deidentified_dataset(before, plan), "GRADE")[0]
        .ConceptCodeSequence[0]
        .CodingSchemeVersion
        == ""
    )


@pytest.mark.parametrize("code", ["BENNO", "Benno"])
def test_a_code_with_a_name_of_the_study_is_removed(plan, code):
    before = measurement_report()
    content(before, "GRADE")[0].ConceptCodeSequence[0].CodeValue = code
    after = deidentified_dataset(before, plan)
    first, second = content(after, "GRADE")
    assert first.ConceptCodeSequence[0].CodeValue == "DEIDENTIFIED"
    assert second.ConceptCodeSequence[0].CodeValue == "G2"


@pytest.mark.parametrize(
    ("unit", "stays"),
    [
        *(
            ("mm2/s", True),
            ("[hnsf'U]", True),
            ("%", True),
            ("{ratio}", True),
            ("{counts}/s", True),
        ),
        *(("g/ml{SUVbw}", True), ("{SUVbw}g/ml", True), ("{H.B.}/min", True)),
        *(("g/ml{SUVlbm(Janma)}", True), ("{X-Ray sources}", True), ("{Befunder}", False)),
        ("Befunder/min", False),
    ],
)
def test_units_are_preserved(plan, unit, stays):
    before = dose_report()
    (dlp,) = content(before, "113838")
    code = dlp.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    code.CodeValue = code.CodeMeaning = unit
    (dlp,) = content(deidentified_dataset(before, plan), "113838")
    code = dlp.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    assert code.CodeValue == (unit if stays else "DEIDENTIFIED")
    assert "Befunder" not in code.CodeValue + code.CodeMeaning


def test_study_and_subject_numbers_become_codes(report):
    assert content(report, "121022")[0].TextValue == IDENTIFIERS.study_code
    assert content(report, "121030")[0].TextValue == IDENTIFIERS.patient_code


def test_dates_are_shifted_and_the_birth_date_removed(report):
    assert content(report, "111526")[0].DateTime == "20151222101112"
    assert content(report, "121031")[0].Date == "19000101"


@pytest.mark.parametrize(
    ("age", "unit", "left"),
    [
        ("94", "a", "90"),
        ("89.9", "a", "89.9"),
        ("90", "a", "90"),
        ("1100", "mo", "1080"),
        ("94", "d", "94"),
    ],
)
def test_ages_of_90_or_more_become_90(plan, age, unit, left):
    before = measurement_report()
    (item,) = content(before, "121033")
    item.MeasuredValueSequence[0].NumericValue = age
    item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = unit
    item.MeasuredValueSequence[0].FloatingPointValue = float(age)
    (item,) = content(deidentified_dataset(before, plan), "121033")
    assert item.MeasuredValueSequence[0].NumericValue == pydicom.valuerep.DSfloat(left)
    assert item.MeasuredValueSequence[0].FloatingPointValue == float(left)


@pytest.mark.parametrize(
    ("unit", "count"),
    [
        (("a", "UCUM"), 90),
        (("mo", "UCUM"), 1080),
        (("wk", "UCUM"), 4696.0714),
        (("d", "UCUM"), 32872.5),
        (("h", "UCUM"), 788940),
        (("a", "99LOCAL"), None),
        (("mm", "UCUM"), None),
        (NO_CODE, None),
    ],
)
def test_ages_in_every_unit_are_capped(unit, count):
    assert years_in(90, unit) == pytest.approx(count)


def test_sibling_values():
    name, value, unit = Dataset(), Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator = "121033 ", " DCM"
    value.LongCodeValue, value.CodingSchemeDesignator = "L", "99LOCAL"
    unit.URNCodeValue = "urn:a"
    item = make_dataset(CodeValue="C", CodingSchemeDesignator="S")
    item.ConceptNameCodeSequence = Sequence([name, value])
    item.MeasurementUnitsCodeSequence = Sequence([unit])
    item.ConceptCodeSequence = Sequence([value])
    header = read_header(to_bytes(item))
    assert item_codes(header.elements, header.data) == (
        ("C", "S"),
        ("121033", "DCM"),
        ("urn:a", ""),
    )
    item.ConceptNameCodeSequence = item.MeasurementUnitsCodeSequence = Sequence()
    del item.CodeValue, item.CodingSchemeDesignator
    header = read_header(to_bytes(item))
    assert item_codes(header.elements, header.data) == NO_ITEM_CODES == (NO_CODE, NO_CODE, NO_CODE)


def test_invalid_numbers_are_not_replaced_by_a_number(plan):
    data = to_bytes(dose_report()).replace(b"345.6789", b"Befunder")
    (dlp,) = content(deidentified_dataset(data, plan), "113838")
    assert "NumericValue" not in dlp.MeasuredValueSequence[0]


def test_device_observer_attributes_are_kept(plan):
    after = deidentified_dataset(dose_report(), plan)
    assert content(after, "121014")[0].TextValue == "TESTWORKS"
    assert content(after, "121015")[0].TextValue == "Scanner 128+"
    for concept in ("121016", "121017"):  # serial number, place
        assert content(after, concept)[0].TextValue == "DEIDENTIFIED"
    assert content(after, "113870")[0].PersonName == "DEIDENTIFIED"


def test_content_uids_match_the_image_uids(plan):
    source = deidentified_dataset(images(1)[0], plan)
    references = content(deidentified_dataset(key_objects(), plan), "260753009")
    assert references[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_key_object_titles_are_kept(plan):
    after = deidentified_dataset(key_objects(), plan)
    title = after.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodeMeaning) == ("113004", "For Teaching")
    assert hd.ko.KeyObjectSelectionDocument.from_dataset(after).content.get_references()


def test_segments_are_preserved(plan):
    before, after = segmentation(), deidentified_dataset(segmentation(), plan)
    assert before.PixelData == after.PixelData
    read = hd.seg.Segmentation.from_dataset(after)
    labels = [read.get_segment_description(number).segment_label for number in (1, 2)]
    assert len(set(labels)) == 2
    assert [read.get_segment_description(n).segmented_property_type for n in (1, 2)] == [
        codes.SCT.Nodule
    ] * 2


def test_observer_names_are_consistent_across_objects(plan, report):
    names = {group.TextValue for group in content(report, "112039")}
    regions = deidentified_dataset(structure_set(), plan).StructureSetROISequence
    assert {region.ROIName for region in regions} == names
    assert {
        each.SegmentLabel for each in deidentified_dataset(segmentation(), plan).SegmentSequence
    } == names


@pytest.mark.parametrize("layer", ["Dr. Benno, Befunder", "BENNO", "BLACK", "LEE 2"])
def test_graphic_layers_are_preserved(plan, layer):
    before = presentation_state()
    before.OperatorsName = ["Black^Ann", "Lee^Jo"]
    for sequence in (before.GraphicAnnotationSequence, before.GraphicLayerSequence):
        sequence[1].GraphicLayer = layer[:16]
    after = deidentified_dataset(before, plan)
    defined = [layer.GraphicLayer for layer in after.GraphicLayerSequence]
    assert [each.GraphicLayer for each in after.GraphicAnnotationSequence] == defined
    assert defined[0] == "RULERS"
    assert defined[1].startswith("LAYER ")
    first, second = (each.TextObjectSequence[0] for each in after.GraphicAnnotationSequence)
    assert first.UnformattedTextValue == "34.5 mm"
    assert second.UnformattedTextValue not in {"", FREE_TEXT}


def test_waveform_annotations_keep_their_numbers(plan):
    rate, words = deidentified_dataset(electrocardiogram(), plan).WaveformAnnotationSequence
    assert rate.NumericValue == 72.5
    assert rate.MeasurementUnitsCodeSequence[0].CodeValue == "/min"
    assert "Musterfrau" not in words.UnformattedTextValue


def test_structured_content_option_is_recorded(report):
    done = {item.CodeValue for item in report.DeidentificationMethodCodeSequence}
    assert {"113103", "113104"} <= done


def test_structured_content_option_is_not_claimed_for_dummies():
    coverage = plan_of("REPLACE ContentSequence func:dummy\n").coverage
    assert "113104" not in {code for code, _ in coverage.codes}


def test_a_report_is_delivered_once(plan):
    result, members = deidentify_files([to_bytes(measurement_report())], plan)
    assert result.outcomes == {1: (Outcome.DELIVERED, None)}
    assert len(members) == 1
