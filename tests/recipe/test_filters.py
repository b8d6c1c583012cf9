"""Filters decide as the recipe says, and never by chance."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from sendit.dicom.scan import Header, read_header
from sendit.errors import Misconfigured
from sendit.pixels.boxes import blank_of, filter_reason
from sendit.recipe.filters import Decision, FilterPlan, compile_filters
from sendit.recipe.model import FilterRule
from sendit.recipe.parse import read_recipe, read_text
from testing.builder import make_dataset, to_bytes


def plan(filters: str) -> FilterPlan:
    return compile_filters(read_text(("f", f"FORMAT dicom\n{filters}\n%header\nREMOVE PatientID")))


def values(**elements: str) -> dict[int, str | None]:
    return {tag_for_keyword(keyword) or 0: value for keyword, value in elements.items()}


def hits(lines: str, **elements: str) -> bool:
    return plan(f"%filter blacklist\nLABEL x\n{lines}").decide(values(**elements)) is not None


@pytest.mark.parametrize(
    ("line", "elements", "expected"),
    [
        ("contains ManufacturerModelName light", {"ManufacturerModelName": "LightSpeed"}, True),
        ("contains ManufacturerModelName ^speed", {"ManufacturerModelName": "LightSpeed"}, False),
        ("contains Modality CT|MR", {"Modality": "MR"}, True),
        ("contains ImageType ^SECONDARY$", {"ImageType": "DERIVED\\SECONDARY"}, True),
        ("contains ImageType DERIVED.*AXIAL", {"ImageType": "DERIVED\\PRIMARY\\AXIAL"}, True),
        ("contains Modality CT", {}, False),
        ("notcontains Modality CT", {}, True),
        ("notcontains Modality CT", {"Modality": "CT"}, False),
        ("equals Modality ct", {"Modality": "CT "}, True),
        ("equals Modality C", {"Modality": "CT"}, False),
        ("equals ImageType primary", {"ImageType": "DERIVED\\PRIMARY"}, True),
        ("equals Rows 512", {"Rows": "512"}, True),
        ("equals Modality CT", {}, False),
        ("notequals Modality CT", {}, True),
        ("missing Manufacturer", {}, True),
        ("missing Manufacturer", {"Manufacturer": ""}, True),
        ("empty Manufacturer", {}, False),
        ("empty Manufacturer", {"Manufacturer": " "}, True),
        ("empty Rows", {"Rows": "0"}, False),
        ("present Manufacturer", {"Manufacturer": ""}, False),
        ("present Manufacturer", {"Manufacturer": " x"}, True),
        ("contains Manufacturer ^$", {"Manufacturer": ""}, False),
        # with several values, each may be meant
        ("equals Modality CT", {"Modality": "CT\\XC"}, True),
        ("notequals Modality CT", {"Modality": "CT\\XC"}, True),
        ("notequals Modality CT", {"Modality": "CT\\ct"}, False),
        ("notcontains Modality CT", {"Modality": "CT\\XC"}, True),
        ("notequals ImageType PRIMARY", {"ImageType": "DERIVED\\PRIMARY"}, False),
        ("present Manufacturer", {}, False),
    ],
)
def test_filter_tests(line: str, elements: Mapping[str, str], expected: bool) -> None:
    assert hits(line, **elements) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("NO", True), ("no ", True), ("UNKNOWN", False), ("NONE", False), ("", False)],
)
def test_equals_compares_whole_values(value: str, expected: bool) -> None:
    assert hits("contains BurnedInAnnotation No", BurnedInAnnotation=value) is expected
    assert hits("notcontains BurnedInAnnotation No", BurnedInAnnotation=value) is not expected


def test_burned_in_annotation_filter() -> None:
    assert hits("contains BurnedInAnnotation .", BurnedInAnnotation="UNKNOWN")
    assert hits("contains BurnedInAnnotation YES|PARTIAL", BurnedInAnnotation="YES - ALL")


def test_leading_or() -> None:
    # deid evaluates it as AND, so its "Burned In Annotation" rule hardly ever matches
    lines = "contains ImageType SAVE\n+ contains Modality CT\n|| contains BurnedInAnnotation YES"
    assert hits(lines, BurnedInAnnotation="YES")
    assert hits(lines, ImageType="SAVE", Modality="CT")
    assert not hits(lines, ImageType="SAVE", Modality="US")


def test_lines_without_an_operator_are_all_evaluated() -> None:
    lines = "contains ImageType Secondary\ncontains Modality OT"
    assert hits(lines, ImageType="SECONDARY", Modality="OT")
    assert not hits(lines, ImageType="SECONDARY", Modality="CT")


def test_lines_are_evaluated_before_they_are_joined() -> None:
    lines = "contains Modality CT\n+ contains ImageType LOCAL || contains SeriesDescription Scout"
    assert not hits(lines, Modality="MR", SeriesDescription="Scout")
    assert hits(lines, Modality="CT", SeriesDescription="Scout")


def test_lines_are_evaluated_from_left_to_right() -> None:
    lines = "present Rows || present Columns + present Modality"
    assert not hits(lines, Rows="1")
    assert hits(lines, Columns="1", Modality="CT")


def test_each_test_has_its_own_value() -> None:
    # deid gives the second test of this line the missing value of the first
    assert hits("missing Manufacturer || contains Modality CT", Manufacturer="x", Modality="CT")
    assert not hits("missing Manufacturer || contains Modality CT", Manufacturer="x", Modality="M")


LISTS = """
%filter whitelist
LABEL known
contains ManufacturerModelName Known
%filter graylist
LABEL gray
contains Modality CT
coordinates 0,0,10,10
%filter blacklist
LABEL black
contains ImageType SAVE
%filter sites
LABEL ours
contains InstitutionName Ours
"""


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({}, None),
        ({"ManufacturerModelName": "Known"}, None),
        ({"Modality": "CT"}, "graylist: gray"),
        ({"Modality": "CT", "ManufacturerModelName": "Known"}, None),
        ({"ImageType": "SAVE"}, "blacklist: black"),
        ({"ImageType": "SAVE", "ManufacturerModelName": "Known"}, "blacklist: black"),
        ({"InstitutionName": "Ours", "ManufacturerModelName": "Known"}, "sites: ours"),
    ],
)
def test_filter_list_precedence(elements: Mapping[str, str], reason: str | None) -> None:
    decision = plan(LISTS).decide(values(**elements))
    assert (decision and decision.reason) == reason


@pytest.mark.parametrize(
    ("line", "value", "passes"),
    [
        ("equals BurnedInAnnotation NO", "NO", True),
        ("equals BurnedInAnnotation NO", "NO\\NO", True),
        ("equals BurnedInAnnotation NO", "NO\\YES", False),
        ("notequals BurnedInAnnotation YES", "NO\\YES", False),
        ("notcontains BurnedInAnnotation YES", "NO\\YES", False),
        ("present BurnedInAnnotation", " ", False),
    ],
)
def test_a_whitelist_rule_must_match_all_values(line: str, value: str, passes: bool) -> None:
    made = plan(f"%filter whitelist\nLABEL w\n{line}\n%filter graylist\nLABEL g\npresent Modality")
    assert (made.decide(values(BurnedInAnnotation=value, Modality="CT")) is None) is passes


NO_RULE = """%filter withheld
LABEL capture
contains Modality SC
LABEL paper
contains Modality DOC
coordinates 0,0,10,10
%filter graylist
LABEL ours
contains ManufacturerModelName Known
coordinates 0,0,100,20
%filter whitelist
LABEL safe
contains ManufacturerModelName Safe
%filter blacklist
LABEL face
contains RecognizableVisualFeatures YES
"""


@pytest.mark.parametrize(
    ("elements", "reason", "blanks"),
    [
        ({"Modality": "CT"}, None, False),
        ({"Modality": "SC"}, "withheld: capture", False),
        ({"Modality": "DOC"}, "withheld: paper", False),
        ({"Modality": "SC", "ManufacturerModelName": "Known"}, "graylist: ours", True),
        ({"Modality": "SC", "ManufacturerModelName": "Safe"}, None, False),
        (
            {"ManufacturerModelName": "Known", "RecognizableVisualFeatures": "YES"},
            "blacklist: face",
            False,
        ),
    ],
)
def test_graylisted_images_pass_by_a_device_rule(
    elements: Mapping[str, str], reason: str | None, blanks: bool
) -> None:
    decision = plan(NO_RULE).decide(values(**elements))
    assert (decision and decision.reason) == reason
    assert decision is None or decision.blanks is blanks
    assert decision is None or decision.wants_rule is (reason or "").startswith("withheld")


def test_a_rule_with_only_regions_matches_every_image() -> None:
    assert plan("%filter graylist\nLABEL all of it\ncoordinates all").decide({}) is not None


def test_a_plan_serves_any_number_of_images() -> None:
    # deid caches the first image's boxes in the recipe
    made = plan(
        "%filter graylist\nLABEL us\npresent Rows\nkeepcoordinates from:ReferencedImageSequence"
    )
    first, second = made.decide(values(Rows="1")), made.decide(values(Rows="2"))
    assert first == second
    assert isinstance(first, Decision)
    ((region,),) = first.coordinates
    assert region.source == 0x00081140


def test_without_filters_everything_passes() -> None:
    assert plan("").decide({}) is None
    assert plan("").tags == frozenset()


# The bundled recipes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def default() -> FilterPlan:
    return compile_filters(read_recipe("default"))


@pytest.fixture(scope="module")
def ct_mr() -> FilterPlan:
    return compile_filters(read_recipe("ct-mr"))


def header(data: Dataset, tags: tuple[int, ...]) -> dict[int, str | None]:
    values: dict[int, str | None] = {}
    for tag in tags:
        if tag not in data:
            values[tag] = None
            continue
        value = data[tag].value
        several = isinstance(value, MultiValue)
        values[tag] = "\\".join(map(str, value)) if several else "" if value is None else str(value)
    return values


def reason(made: FilterPlan, data: Dataset) -> str | None:
    decision = made.decide(header(data, made.tags))
    return decision and decision.reason


def plain(**elements: str) -> Dataset:
    data = Dataset()
    data.Modality = "CT"
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.PhotometricInterpretation = "MONOCHROME2"
    data.SamplesPerPixel = 1
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


NO_PLACE: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
MR = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "emri_small.dcm"])
def test_real_images_pass(default: FilterPlan, name: str) -> None:
    data = pydicom.dcmread(str(get_testdata_file(name)), stop_before_pixels=True)
    assert reason(default, data) is None


@pytest.mark.parametrize(
    ("manufacturer", "model"),
    [
        ("GE MEDICAL SYSTEMS", "LightSpeed VCT"),
        ("GE MEDICAL SYSTEMS", "Revolution CT"),
        ("SIEMENS", "SOMATOM Definition AS+"),
        ("SIEMENS", "Sensation 64"),
        ("SIEMENS", "Skyra"),
        ("Philips", "Ingenia"),
        ("TOSHIBA", "Aquilion ONE"),
        ("Canon Medical Systems", "Vantage"),
    ],
)
@pytest.mark.parametrize("kind", [{}, MR])
@pytest.mark.parametrize("annotation", [{}, {"BurnedInAnnotation": "NO"}])
def test_plain_images_of_any_manufacturer_pass(
    default: FilterPlan,
    manufacturer: str,
    model: str,
    kind: dict[str, str],
    annotation: dict[str, str],
) -> None:
    data = plain(Manufacturer=manufacturer, ManufacturerModelName=model, **kind, **annotation)
    assert reason(default, data) is None


@pytest.mark.parametrize(
    ("elements", "label"),
    [
        ({"Modality": "US"}, "Modality US"),
        ({"Modality": "SR"}, "Modality SR"),
        ({"Modality": "CR"}, "Modality CR"),
        ({"Modality": "DOC"}, "Modality DOC"),
        ({"Modality": "OT"}, "Modality OT"),
        ({"Modality": "OCT"}, "other than CT and MR"),
        ({"Modality": ""}, "other than CT and MR"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, "Secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "other than a CT or MR image"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1", "Modality": "MR"}, "other than a CT or MR"),
        ({"BurnedInAnnotation": "YES"}, "Burned in"),
        ({"BurnedInAnnotation": "UNKNOWN"}, "Burned in"),
        ({"BurnedInAnnotation": ["NO", "YES"]}, "Burned in"),
        ({"Modality": ["CT", "XC"]}, "other than CT and MR"),
        ({"BitsAllocated": 8, "BitsStored": 8}, "8 bits"),
        ({"BitsAllocated": 8, "BitsStored": 8} | MR, "8 bits"),
        ({"BitsStored": 8}, "8 bits stored"),
        ({"ConversionType": "DF"}, "Digitised film"),
        ({"ConversionType": "SI"}, "Digitised film"),
        ({"ConversionType": "WSD", "ImageType": ["DERIVED", "SECONDARY"]}, "no primary image"),
        (NO_PLACE | {"SeriesNumber": 3}, "No place in"),
        ({"ScanOptions": "SCOUT MODE"}, "CT localizer"),
        ({"SeriesDescription": "Topogram", "ImageType": ["ORIGINAL", "PRIMARY"]}, "CT localizer"),
        ({"RecognizableVisualFeatures": "YES"}, "Recognizable"),
        ({"ImageType": ""}, "No image type"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "Screen save"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}, "Screen save"),
        ({"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}, "Screen save"),
        ({"SeriesDescription": "Dose Report"}, "Dose page"),
        ({"SeriesDescription": "Patient Protocol"}, "Patient or examination page"),
        ({"SeriesDescription": "Technologist Sheet"}, "Patient or examination page"),
        ({"SeriesDescription": "RAD REQUISITION"}, "Patient or examination page"),
        ({"SeriesDescription": "Exam Summary"}, "Patient or examination page"),
        ({"PhotometricInterpretation": "RGB"}, "Colour"),
        ({"SamplesPerPixel": 3}, "Colour"),
        ({"SecondaryCaptureDeviceManufacturer": "Acme"}, "Captured"),
        (
            {
                "ManufacturerModelName": "LightSpeed VCT",
                "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
            },
            "blacklist: CT localizer (image type)",
        ),
        (
            {
                "Manufacturer": "GE",
                "CommentsOnRadiationDose": "Total DLP",
                "ImageType": ["DERIVED", "SECONDARY"],
            },
            "GE dose report",
        ),
    ],
)
def test_ct_and_mr_images_that_may_show_identifiers_are_filtered(
    ct_mr: FilterPlan, elements: dict[str, str], label: str
) -> None:
    assert label in (reason(ct_mr, plain(**elements)) or "")


CLASS = "1.2.840.10008.5.1.4.1.1."
OWN_CLASSES = (
    *(("CT", "2"), ("MR", "4"), ("PT", "128"), ("NM", "20"), ("CR", "1"), ("DX", "1.1")),
    *(("DX", "1.1.1"), ("MG", "1.2"), ("MG", "1.2.1"), ("MG", "13.1.3"), ("XA", "12.1")),
    *(("RF", "12.2"), ("IO", "1.3"), ("PX", "1.1")),
)


def of(modality: str, number: str, **elements: Any) -> Dataset:
    return plain(Modality=modality, SOPClassUID=CLASS + number, **elements)


@pytest.mark.parametrize(("modality", "number"), OWN_CLASSES)
def test_images_with_the_class_of_their_modality_pass(
    default: FilterPlan, modality: str, number: str
) -> None:
    assert reason(default, of(modality, number)) is None
    assert reason(default, of(modality, number, BurnedInAnnotation="NO")) is None
    for wrong in ("7", "7.4", "66", "104.1", "88.33"):
        assert (reason(default, of(modality, wrong)) or "").startswith(("withheld", "blacklist"))


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ScanOptions": "SCOUT MODE"},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        NO_PLACE,  # converted: it has no series number either
        {"ImageType": ["ORIGINAL", "PRIMARY", "3D"], "SeriesDescription": "T1 3D VRT TABLE"},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "SeriesDescription": "3D SPACE"},
        {"ImageType": ["DERIVED", "PRIMARY", "MTT"], "PhotometricInterpretation": "RGB"}
        | {"SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8},
    ],
)
def test_localizers_and_derived_images_are_passed_to_ocr(
    default: FilterPlan, elements: dict[str, Any]
) -> None:
    assert reason(default, plain(**elements)) is None


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (of("CT", "2", BurnedInAnnotation="YES"), "Burned in"),
        (of("CR", "1", BurnedInAnnotation=["NO", "YES"]), "Burned in"),
        (of("CT", "2", BitsAllocated=8, BitsStored=8), "8 bits"),
        (
            of("MR", "4", PhotometricInterpretation="RGB", ImageType=["DERIVED", "SECONDARY"]),
            "Colour",
        ),
        (of("DX", "1.1", PhotometricInterpretation="RGB"), "Colour"),
        (of("OT", "7"), "Modality OT"),
        (of("XC", "77.1.4"), "Modality IVUS"),
        (of("ES", "77.1.1"), "Modality IVUS"),
        (of("OCT", "14.1"), "Modality other than"),
        (of("", "2"), "Modality other than"),
        (of("RG", "1"), "digitised film"),
        (of("CT", "7"), "Secondary capture"),
        (of("CT", "4"), "Class of another modality"),
        (of("CR", "1", ManufacturerModelName="Film Digitizer 2000"), "Film digitizer"),
        (of("MG", "1.2", ManufacturerModelName="Trident"), "Specimen cabinet"),
        (of("MG", "1.2", ImageType=["DERIVED", "SECONDARY"]), "Derived"),
        (of("CR", "1", ConversionType="DF"), "Digitised film"),
        (of("XA", "12.1", ImageType=["DERIVED", "PRIMARY", "SCREEN SAVE"]), "Screen save"),
        (of("CT", "2", ImageType=["DERIVED", "SECONDARY", "VOLUME RENDERING"]), "3D or saved"),
        (of("MR", "4", ImageType=["DERIVED", "SECONDARY", "3D"]), "3D surface"),
        (
            of("CT", "2", ImageType=["DERIVED", "SECONDARY"], SeriesDescription="CTA 3D Render"),
            "3D rendering",
        ),
        (of("MR", "4", ImageType=["DERIVED", "PRIMARY", "GRAPH"]), "Curve, table"),
        (of("CR", "1", ManufacturerModelName="DICOM ScanPro Plus"), "Film digitizer"),
        (of("CR", "1", ManufacturerModelName="LS85"), "Film digitizer"),
        (of("CT", "2", **NO_PLACE, SeriesNumber=3), "No place in"),
        (of("NM", "20", SecondaryCaptureDeviceManufacturer="Acme"), "Captured"),
    ],
)
def test_images_that_may_show_identifiers_need_a_rule(
    default: FilterPlan, data: Dataset, label: str
) -> None:
    why = reason(default, data) or ""
    assert why.startswith("withheld") and label in why


def test_objects_that_no_rule_can_accept(default: FilterPlan) -> None:
    page = of("CT", "2", SeriesDescription="Dose Report", ImageType=["ORIGINAL", "SCREEN SAVE"])
    page.ManufacturerModelName = "LightSpeed VCT"  # a device rule knows where the text is
    for data in (of("CT", "2", RecognizableVisualFeatures="YES"), of("DOC", "104.1"), page):
        assert (reason(default, data) or "").startswith("blacklist")


def test_a_device_rule_accepts_a_blanked_capture(default: FilterPlan) -> None:
    data = of("CT", "7", Manufacturer="SIEMENS", Rows=860, ImageType=["DERIVED", "SECONDARY"])
    decision = default.decide(header(data, default.tags))
    assert decision is not None and decision.blanks and "Siemens dose" in decision.reason


def test_a_screen_capture_with_regions_is_not_an_ultrasound_image(default: FilterPlan) -> None:
    regions = [Dataset()]
    for number, blanks in (("6.1", True), ("3.1", True), ("7", False)):
        decision = default.decide(
            header(of("US", number, SequenceOfUltrasoundRegions=regions), default.tags)
        )
        assert decision is not None and decision.blanks is blanks


PAGES = (
    # English
    *(
        "Dose Report",
        "Dose Info",
        "Patient Protocol",
        "Screen Save",
        "Screenshot",
        "Scanned document",
    ),
    # German
    *("Dosisprotokoll", "Dosisbericht", "Patientenprotokoll", "Patientendaten", "Bildschirmkopie"),
    *("Dosisübersicht", "Strahlendosis", "Gescanntes Dokument", "Digitalisierter Film"),
    # French
    *(
        "Rapport de dose",
        "Rapport dosimétrique",
        "Résumé de dose",
        "Fiche de dose",
        "Données patient",
    ),
    *("Protocole patient", "Capture d'écran", "Copie d'ecran", "Document numérisé"),
    # Spanish
    *("Informe de dosis", "Hoja de dosis", "Resumen de dosis", "Protocolo de dosis"),
    *("Datos del paciente", "Protocolo paciente", "Captura de pantalla", "Documento escaneado"),
    # Dutch
    *("Dosisrapport", "Dosisverslag", "Stralingsdosis rapport", "Patiëntgegevens"),
    *("Patientprotocol", "Schermafdruk", "Gescand document"),
    # Italian
    *("Rapporto di dose", "Referto dose", "Riepilogo dose", "Dati paziente", "Protocollo paziente"),
    *("Schermata", "Cattura schermo", "Documento scannerizzato"),
    # Portuguese
    *("Relatório de dose", "Resumo da dose", "Dados do paciente", "Protocolo do paciente"),
    *("Captura de tela", "Captura de ecrã", "Documento digitalizado"),
)


@pytest.mark.parametrize("text", PAGES)
@pytest.mark.parametrize("written", [str, str.upper, lambda text: text.replace(" ", "_")])
def test_document_pages_are_filtered_in_seven_languages(
    default: FilterPlan, text: str, written: Callable[[str], str]
) -> None:
    data = plain(SeriesDescription=written(text), ImageType=["DERIVED", "SECONDARY"])
    assert "(series description)" in (reason(default, data) or "")


@pytest.mark.parametrize(
    "text",
    [
        *("LOW DOSE CHEST 1.25MM", "CHEST LOW DOSE PROTOCOL", "Niedrigdosis Thorax", "CareDose4D"),
        *("Low-Dosis-Protokoll", "PROTOCOLE BASSE DOSE", "Protocolo baja dosis", "dosis reducida"),
        *(
            "TC torace bassa dose",
            "THORAX 3D MPR COR",
            "LIVER LATE ENHANCEMENT 2.0",
            "AAA PROTOCOL",
        ),
        *("SnapShot Pulse 0.625", "Rescan", "delayed scan", "digital subtraction", "Patient prone"),
        *("T1 localizer", "SCOUT CORRECTED", "Prostata Protokoll", "page 1 chest", "Numeris 4"),
    ],
)
@pytest.mark.parametrize("model", ["LightSpeed VCT", "SOMATOM Definition AS+", "Scanner 9"])
def test_description_words_do_not_filter_images(default: FilterPlan, text: str, model: str) -> None:
    assert reason(default, plain(SeriesDescription=text, ManufacturerModelName=model)) is None


OPTIONAL = ("BurnedInAnnotation", "RecognizableVisualFeatures", "ConversionType", "ScanOptions")
OPTIONAL += ("SecondaryCaptureDeviceManufacturer", "CommentsOnRadiationDose", "SeriesDescription")


@pytest.mark.parametrize("keyword", OPTIONAL)
@pytest.mark.parametrize("blank", ["", " ", "  \0", "\\"])
def test_empty_attributes_count_as_absent(default: FilterPlan, keyword: str, blank: str) -> None:
    seen = {tag_for_keyword(keyword): blank}
    assert default.decide(header(plain(), default.tags) | seen) is None


def test_mr_localizers_pass(default: FilterPlan) -> None:
    assert reason(default, plain(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **MR)) is None


def test_converted_original_slices_pass(default: FilterPlan) -> None:
    # as in the public Pancreas-CT
    assert reason(default, plain(ConversionType="DV")) is None


def test_objects_without_modality_or_image_type_are_filtered(default: FilterPlan) -> None:
    for keyword, label in (("Modality", "other than"), ("ImageType", "No image type")):
        data = plain()
        delattr(data, keyword)
        assert label in (reason(default, data) or "")


def test_ct_mr_recipe_on_real_files(ct_mr: FilterPlan) -> None:
    # deid's own rules let 14 of these files pass, one of which shows a hospital's name
    import data_store
    import deid_data

    folders = [Path(pydicom.__file__).parent / "data" / "test_files"]
    folders += [Path(module.__path__[0]) for module in (data_store, deid_data)]
    seen = 0
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.is_file()):
        try:
            data = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError):
            continue
        if data.get("Modality") not in ("CT", "MR"):
            assert reason(ct_mr, data), path.name
            seen += 1
    assert seen > 50


def test_presence_tests_are_cached_without_values() -> None:
    """A test of presence alone is not cached by the value."""
    recipe = "FORMAT dicom\n%filter blacklist\nLABEL a\n{}\n%header\nBLANK PatientName\n"
    plan = compile_filters(read_text(("t", recipe.format("missing SliceLocation"))))
    tag = 0x00201041
    assert plan.by_presence == {tag}
    for place in range(20):
        assert plan.decide({tag: str(place)}) is None
    assert len(plan._seen) == 1
    for absent in (None, "", " "):
        assert plan.decide({tag: absent}) is not None
    other = compile_filters(read_text(("t", recipe.format("contains SliceLocation 1"))))
    assert not other.by_presence


def test_sequences_with_items_are_present() -> None:
    made = plan("%filter blacklist\nLABEL x\npresent SequenceOfUltrasoundRegions")
    region = Dataset()
    region.RegionSpatialFormat = 1
    for items, hit in (([region], True), ([], False), (None, False)):
        ds = make_dataset(kind="US", SequenceOfUltrasoundRegions=items)
        assert (made.ask(read_header(to_bytes(ds))) is not None) is hit


def _filter_plan(*lines: str) -> FilterPlan:
    return plan("\n".join(("%filter blacklist", "LABEL inside", *lines)))


def test_filters_can_test_inside_sequences() -> None:
    plan = _filter_plan("notcontains ContentTemplateSequence__TemplateIdentifier ^(1500|10011)$")
    assert plan.tags == {0x0040A504}
    for identifier, filtered in (("1500", False), ("2000", True), ("11500", True), (None, True)):
        report = make_dataset(kind="SR", private=False)
        if identifier is not None:
            template = Dataset()
            template.TemplateIdentifier = identifier
            report.ContentTemplateSequence = [template]
        assert (plan.ask(read_header(to_bytes(report))) is not None) is filtered


def test_filters_test_every_item_at_every_depth() -> None:
    path = "CurrentRequestedProcedureEvidenceSequence__ReferencedSeriesSequence__SeriesInstanceUID"
    report = make_dataset(kind="SR", private=False)
    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    series.append(Dataset())
    series[1].SeriesInstanceUID = "1.2.3"
    header = read_header(to_bytes(report))
    assert _filter_plan(f"equals {path} 1.2.3").ask(header)
    assert _filter_plan(f"equals {path} {series[0].SeriesInstanceUID}").ask(header)
    assert not _filter_plan(f"equals {path} 1.2.4").ask(header)
    assert not _filter_plan(f"missing {path}").ask(header)
    assert _filter_plan("missing ContentTemplateSequence__TemplateIdentifier").ask(header)


def test_filter_paths_require_sequences() -> None:
    with pytest.raises(
        Misconfigured, match="PatientName__PatientID: PatientName is not a sequence"
    ):
        _filter_plan("contains PatientName__PatientID 1")


def catalogue() -> list[FilterRule]:
    """The device rules of ultrasound images without regions."""
    return [
        rule
        for group in read_recipe("default").filters
        for rule in group.rules
        if group.name == "graylist" and rule.label.endswith("banner")
    ]


def matching(rule: FilterRule) -> Dataset:
    """Return an image that a rule of the catalogue matches."""
    data = of("US", "6.1")
    for line in rule.lines:
        (condition,) = line.conditions
        if condition.operator == "equals" or condition.tag in {0x00080070, 0x00081090}:
            text = condition.text.partition("|")[0]
            value = int(text) if condition.operator == "equals" else text
            setattr(data, keyword_for_tag(condition.tag), value)
        elif condition.tag == 0x00080008:
            data.ImageType = ["DERIVED", condition.text]
    return data


def test_device_rules_blank_the_full_banner_width(default: FilterPlan) -> None:
    rules = catalogue()
    assert len(rules) > 60
    for rule in rules:
        data = matching(rule)
        decision = default.decide(header(data, default.tags))
        assert decision is not None and decision.blanks, rule.label
        assert rule.regions in decision.coordinates, rule.label
        boxes = [region.box for region in rule.regions if region.box is not None]
        assert len(boxes) == len(rule.regions), rule.label
        if boxes[0][1] == 0 and "Rows" in data:
            assert boxes[0][0] == 0 and boxes[0][2] >= 4096, rule.label
            assert boxes[0][3] >= 0.12 * int(data.Rows), rule.label


def with_regions(data: Dataset, *boxes: tuple[int, int, int, int]) -> Header:
    """Return the header of an image with these regions, all of them typed."""
    items = []
    for box in boxes:
        region = Dataset()
        region.RegionSpatialFormat = 1
        for keyword, side in zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), box, strict=True):
            setattr(region, f"RegionLocation{keyword}", side)
        items.append(region)
    data.SequenceOfUltrasoundRegions = items
    made = make_dataset(kind="US")
    made.update(data)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    return read_header(to_bytes(made))


def test_ultrasound_regions_take_precedence_over_device_rules(default: FilterPlan) -> None:
    for rule in catalogue():
        data = matching(rule)
        data.Rows, data.Columns = data.get("Rows", 600), data.get("Columns", 800)
        image = with_regions(data, (100, 2, 299, 401))  # within the banner, too
        decision = default.ask(image)
        assert decision is not None and filter_reason(image, decision) is None
        blank = blank_of(image, decision.coordinates)
        assert blank is not None
        kept = ~blank.mask
        assert kept[2:402, 100:300].all() and kept.sum() == 400 * 200


def test_a_device_rule_holds_where_regions_cannot_be_trusted(default: FilterPlan) -> None:
    for rule in catalogue():
        data = matching(rule)
        any_size = "Rows" not in data
        data.Rows, data.Columns = data.get("Rows", 600), data.get("Columns", 800)
        image = with_regions(data, (100, 2, 2999, 401))
        why = filter_reason(image, default.ask(image))
        assert (why is None) is not any_size, rule.label


def device_rules() -> list[FilterRule]:
    """All rules of the default recipe that name regions of a device."""
    return [
        rule
        for group in read_recipe("default").filters
        for rule in group.rules
        if rule.regions and not any(region.source for region in rule.regions)
    ]


def test_every_device_rule_names_its_source() -> None:
    text = (resources.files("sendit.recipe") / "bundled" / "default.deid").read_text("utf-8")
    assert len(device_rules()) > 80
    for rule in device_rules():
        assert re.search(rf"LABEL {re.escape(rule.label)} # [\w ]+\n", text), rule.label


def image_of(rule: FilterRule) -> Dataset:
    """Return an image that meets every condition of a device's rule."""
    data = of("US", "6.1")
    data.Rows, data.Columns, data.ImageType = 1050, 1400, ["DERIVED", "SECONDARY"]
    for line in rule.lines:
        condition = line.conditions[0]
        keyword = keyword_for_tag(condition.tag)
        text = condition.text.strip("^$").partition("|")[0].partition("(")[0]
        if condition.operator == "equals":
            setattr(data, keyword, int(text) if text.isdecimal() else text)
        elif condition.operator == "contains" and keyword == "ImageType":
            data.ImageType = ["DERIVED", "SECONDARY", text]
        elif condition.operator == "contains" and keyword == "Modality":
            data.Modality = text
            number = {"US": "6.1", "CT": "2", "MR": "4", "PT": "128", "NM": "20"}.get(text, "7")
            data.SOPClassUID = CLASS + number
        elif condition.operator == "contains" and keyword not in {"SOPClassUID", "Columns"}:
            setattr(data, keyword, text)
    return data


def test_every_device_rule_blanks_its_regions_and_nothing_else(default: FilterPlan) -> None:
    for rule in device_rules():
        made = make_dataset(kind="CT")
        made.update(image_of(rule))
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        image = read_header(to_bytes(made))
        decision = default.ask(image)
        assert decision is not None and filter_reason(image, decision) is None, rule.label
        assert rule.regions in decision.coordinates, rule.label
        blank = blank_of(image, [rule.regions])
        assert blank is not None and 0 < blank.mask.mean() < 0.45, rule.label
