"""Forms of technical values, and which values do not match them."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sendit.deidentify.codes import standard_meanings
from sendit.deidentify.forms import fits
from sendit.deidentify.plan import compile_plan
from sendit.recipe.functions import FORMS
from sendit.recipe.parse import read_recipe
from testing.builder import make_dataset
from tests.deidentify.engine import deidentified_dataset, plan_of

DEFAULT = compile_plan(read_recipe("default"))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        *(("term", value) for value in ("ORIGINAL", "CT_SOM5 SPI", "M_FFE", "HFS", "Helical")),
        *(("term", value) for value in ("CHEST/ABD/PELVIS", "VMI_70.5KEV", "EDR_GEMS", "A\u0020B")),
        *(("term", value) for value in ("CHEST_ABDOMEN_AND_PELVIS", "Thorax without contrast")),
        *(("label", value) for value in ("*tfl3d1_16ns", "B30f", "Br40d", "FC08-H", "HEA;HEP")),
        *(("label", value) for value in ("C:HC1-7;NC", "SENSE-Head-8", "OSEM 3i21s", "DLOGC")),
        *(("label", value) for value in ("WEDGE_3", "*ep_b1000#3", "FDG -- fluorodeoxyglucose")),
        *(("maker", value) for value in ("Hitachi, Ltd.", "GE MEDICAL SYSTEMS", "uMR 790")),
        *(("version", value) for value in ("syngo MR E11", "VA48A", ["27", "LX", "MR"][0])),
        *(("version", value) for value in ("14.0_M5A_0828.b", "PETsyngo VG60A-20190623")),
        *(("words", value) for value in ("CHEST", "WINDOW1", "T2 axial")),
    ],
)
def test_technical_values_match_their_form(form: str, value: str) -> None:
    assert fits(form, value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "value",
    [
        "DOE^JANE",
        "Müller",
        "王小东",
        "jane.doe@example.org",
        "for Mrs Winterbottom, born in the spring of 1957, room 12, third floor; see her chart",
    ],
)
def test_identifying_values_match_no_form(form: str, value: str) -> None:
    assert not fits(form, value)


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"version"}))
def test_a_long_number_is_not_a_technical_name(form: str) -> None:
    assert not fits(form, "MRN7734512")
    assert not fits(form, "7734512")
    assert not fits(form, "CHEST 14.03.1957")
    assert not fits(form, "CHEST 1957-3-14")


def test_words_of_the_persons_name_are_removed_even_if_radiology_terms() -> None:
    assert fits("words", "left head")
    assert not fits("words", "left head", {"head"})


def test_accents_missing_from_the_character_set_do_not_fail_the_file() -> None:
    rules = "REPLACE ImageType func:technical_value form=term"
    data = make_dataset(ImageType=["ORIGINAL", "Schädel, Herr Müller", "AXIAL"])
    first, second, third = deidentified_dataset(data, plan_of(rules)).ImageType
    assert (first, third) == ("ORIGINAL", "AXIAL")
    assert second.isascii()
    assert "ller" not in second


def test_each_value_is_checked_separately() -> None:
    rules = "REPLACE ImageType func:technical_value form=term"
    data = make_dataset(ImageType=["ORIGINAL", "DOE^JANE", "AXIAL"])
    assert list(deidentified_dataset(data, plan_of(rules)).ImageType) == ["ORIGINAL", "", "AXIAL"]


def test_replacement_follows_the_iod_type() -> None:
    rules = "\n".join(
        f"REPLACE {keyword} func:technical_value form={form}"
        for keyword, form in (
            ("ConvolutionKernel", "label"),
            ("Manufacturer", "maker"),
            ("RescaleType", "label"),
        )
    )
    name = "DOE^JANE"
    data = make_dataset(ConvolutionKernel=name, Manufacturer=name, RescaleType=name)
    ds = deidentified_dataset(data, plan_of(rules))
    assert "ConvolutionKernel" not in ds  # type 3 in a CT image
    assert ds["Manufacturer"].is_empty  # type 2
    assert ds.RescaleType == "DEIDENTIFIED"  # type 1C


TECHNICAL = {
    "SequenceName": "*tfl3d1_16ns",
    "ConvolutionKernel": ["B30f", "3"],
    "ReceiveCoilName": "HEA;HEP",
    "ScanOptions": ["PFP", "SFS"],
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "Manufacturer": "Canon Medical, Inc.",
    "ManufacturerModelName": "SOMATOM Definition AS+",
    "SoftwareVersions": ["syngo CT VA48A", "20190623"],
    "BodyPartExamined": "CHEST_ABD_PELVIS",
    "RescaleType": "HU",
    "FilterType": "WEDGE_3",
    "ContrastBolusRoute": "IV",
    "PositionReferenceIndicator": "SN",
    "Radiopharmaceutical": "FDG -- fluorodeoxyglucose",
}


def test_default_recipe_keeps_technical_values() -> None:
    ds = deidentified_dataset(make_dataset(**TECHNICAL), DEFAULT)
    kept = {
        name: value if isinstance(value, str) else list(value)
        for name in TECHNICAL
        if (value := ds.get(name)) is not None
    }
    assert kept == TECHNICAL


# Code meanings --------------------------------------------------------------------------


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.mark.parametrize(
    ("value", "scheme", "meaning", "expected"),
    [
        ("39607008", "SCT", "Lung", "Lung"),
        ("39607008", "SCT", "LUNG", "LUNG"),
        ("T-28000", "SRT", "Lung", "Lung"),
        ("T-D3000", "SNM3", "Chest", "Chest"),  # words of radiology
        ("39607008", "SCT", "Mrs Winterbottom's lung", "Lung"),  # the standard's meaning instead
        ("T-28000", "SRT", "Poumon de Mme Winterbottom", "Lung"),
        ("113691", "DCM", "IEC Body Dosimetry Phantom", "IEC Body Dosimetry Phantom"),
        ("ml/100ml/s", "UCUM", "ml/100ml/s", "ml/100ml/s"),
        ("CTCH", "99LOCAL", "CT chest, Dr Winterbottom", "CT chest"),
        ("CTCH", "99LOCAL", "Winterbottom", "CTCH"),  # nothing is left of it: its code
        ("39607008", "99LOCAL", "Quackenbush", "39607008"),  # another person's number
    ],
)
def test_code_meanings(value: str, scheme: str, meaning: str, expected: str) -> None:
    items = Sequence([code(value, scheme, meaning), code("113691", "DCM", "x^y")])
    ds = deidentified_dataset(make_dataset(ProcedureCodeSequence=items), DEFAULT)
    first, second = ds.ProcedureCodeSequence
    assert (first.CodeValue, first.CodingSchemeDesignator) == (value, scheme)
    assert first.CodeMeaning == expected
    assert second.CodeMeaning == "IEC Body Dosimetry Phantom"  # the same bytes, another code


def test_a_meaning_is_checked_per_code() -> None:
    items = [code("CTCH", "99LOCAL", "IEC Body Dosimetry Phantom")]
    items.append(code("113691", "DCM", "IEC Body Dosimetry Phantom"))
    for order in (items, items[::-1]):
        ds = deidentified_dataset(make_dataset(ProcedureCodeSequence=Sequence(order)), DEFAULT)
        meanings = {str(item.CodeValue): str(item.CodeMeaning) for item in ds.ProcedureCodeSequence}
        assert meanings["113691"] == "IEC Body Dosimetry Phantom"
        assert meanings["CTCH"] != "IEC Body Dosimetry Phantom"


def test_codes_are_kept_in_a_cleaned_sequence() -> None:
    items = Sequence([code("C34.1", "I10", "Jane's tumor")])
    ds = deidentified_dataset(make_dataset(ReasonForRequestedProcedureCodeSequence=items), DEFAULT)
    (item,) = ds.ReasonForRequestedProcedureCodeSequence
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("C34.1", "I10")
    assert "Jane" not in item.CodeMeaning


def test_a_code_that_identifies_a_person_becomes_a_dummy() -> None:
    person = Dataset()
    person.PersonIdentificationCodeSequence = Sequence([code("JD7", "99STAFF", "CT chest")])
    ds = deidentified_dataset(
        make_dataset(ReferencedStudySequence=Sequence([person])),
        plan_of(
            "REPLACE PersonIdentificationCodeSequence func:dummy\n"
            "REPLACE CodeMeaning func:clean_code_meaning"
        ),
    )
    (item,) = ds.ReferencedStudySequence[0].PersonIdentificationCodeSequence
    assert {str(item.CodeValue), str(item.CodeMeaning)} == {"DEIDENTIFIED"}


def test_context_group_meanings_take_precedence() -> None:
    assert standard_meanings("39607008", "SCT")[0] == "Lung"
    assert standard_meanings("T-28000", "99SDM")[0] == "Lung"
    assert standard_meanings("39607008", "DCM") == ()
    assert standard_meanings("", "") == ()
