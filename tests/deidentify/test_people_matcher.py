"""Names and numbers of the study's people in technical values and codes."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from sendit.deidentify.people import numbers_of
from sendit.deidentify.people_matcher import PeopleMatcher
from sendit.deidentify.plan import compile_plan
from sendit.recipe.parse import read_recipe
from testing.builder import make_dataset
from tests.deidentify.engine import deidentified_dataset, plan_of

DEFAULT = compile_plan(read_recipe("default"))
PEOPLE = PeopleMatcher(
    {
        *("quackenbush", "zebediah", "habersham", "head", "stone", "li", "xi", "brien", "muller"),
        *("winterbottomley", "rao", "kim", "van", "gogh", "иванов", "siemens", "dot"),
        *("mrn7734512", "7734512", "a1234"),
    }
)


@pytest.mark.parametrize(
    "text",
    [
        *("HABERSHAM", "Habersham", "Habersham lung", "LUNG_HABERSHAM_2", "Quackenbush, Z."),
        *("QUACKENBUSHZ", "ZQuackenbush", "QuackenbushZebediah", "vanGogh", "WINTERBO"),
        *("Müller", "MUELLER", "Muller", "IVANOV", "Rao Kim", "Li-Xi", "Kim Habersham"),
        *("MRN7734512", "773-4512", "773 4512", "0007734512", "MRN 7734512", "id A1234"),
    ],
)
def test_texts_naming_people_of_the_study_are_recognised(text: str) -> None:
    assert PEOPLE.matches(text, "SH")


@pytest.mark.parametrize(
    "text",
    [
        *("STANDARD", "B30f", "*tfl3d1_16ns", "HEAD FILTER", "STONE", "Kim", "Rao", "Li", "FC08"),
        *("SIEMENS", "Siemens Healthineers", "DOT", "HABERSHAMSHIRE", "WINTER", "77345", "1234"),
        *("A12345", "1.7734512", "77345123", "", "C:HC1-7;NC", "headed"),
    ],
)
def test_other_texts_are_not_recognised(text: str) -> None:
    assert not PEOPLE.matches(text, "SH")


def test_short_defined_terms_can_be_surnames() -> None:
    people = PeopleMatcher({"peake", "habersham"})
    assert people.matches("PEAKE", "SH")
    assert not people.matches("PEAKE", "CS")
    assert people.matches("HABERSHAM", "CS")


@pytest.mark.parametrize(
    ("number", "numbers"),
    [
        *(("MRN7734512", {"mrn7734512", "7734512"}), ("77-34.512", {"7734512"})),
        *(("00A1234", {"00a1234"}), ("A1234", {"a1234"}), ("12345", {"12345"}), ("1", set())),
        *(("CT", set()), ("UNKNOWN", set()), ("CT 5MM", set())),
        ("A-123456\\B7", {"a123456", "123456"}),
        *(("2019-ACC-77", {"2019acc77"}), ("", set())),
    ],
)
def test_numbers(number: str, numbers: set[str]) -> None:
    assert set(numbers_of(number)) == numbers


def named(**elements: object) -> FileDataset:
    return make_dataset(
        PatientName="Quackenbush^Zebediah",
        PatientID="A1234",
        AccessionNumber="ACC9912345",
        ReferringPhysicianName="Habersham^Ottoline",
        PerformingPhysicianName="Head^Peter",
        **elements,
    )


def test_only_matching_values_are_removed() -> None:
    ds = deidentified_dataset(
        named(
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "HABERSHAM"],
            FilterType="QUACKENBUSH",
            ConvolutionKernel=["B30f", "A1234"],
            SoftwareVersions=["syngo CT VA48A", "ACC 9912345"],
            BodyPartExamined="HEAD",
            ManufacturerModelName="Habersham Head Scanner",
        ),
        DEFAULT,
    )
    assert list(ds.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", ""]
    assert "FilterType" not in ds
    assert list(ds.ConvolutionKernel) == ["B30f", ""]
    assert list(ds.SoftwareVersions) == ["syngo CT VA48A", ""]
    assert ds.BodyPartExamined == "HEAD"
    assert "Habersham" not in ds.ManufacturerModelName


def test_numbers_in_descriptions_are_not_matched() -> None:
    rules = "REPLACE SeriesDescription func:clean_text"
    data = make_dataset(PatientID="B1000", SeriesDescription="CHEST b1000 b800")
    assert deidentified_dataset(data, plan_of(rules)).SeriesDescription == "CHEST b800"


def code(value: str, scheme: str, meaning: str, **more: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    for keyword, text in more.items():
        setattr(item, keyword, text)
    return item


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (code("CTCH", "99LOCAL", "CT chest"), ("CTCH", "99LOCAL", "CT chest")),
        (code("HABERSHAM", "99LOCAL", "chest"), ("DEIDENTIFIED", "99LOCAL", "chest")),
        (code("Habersham", "UCUM", "Habersham"), ("DEIDENTIFIED", "UCUM", "DEIDENTIFIED")),
        (code("A1234", "99LOCAL", "chest"), ("DEIDENTIFIED", "99LOCAL", "chest")),
        (code("CTCH", "99HABERSHAM", "chest"), ("CTCH", "DEIDENTIFIED", "chest")),
        (code("HEAD", "99LOCAL", "CT"), ("HEAD", "99LOCAL", "CT")),
        (code("mm", "UCUM", "mm"), ("mm", "UCUM", "mm")),
    ],
)
def test_codes(item: Dataset, expected: tuple[str, str, str]) -> None:
    ds = deidentified_dataset(named(ProcedureCodeSequence=Sequence([item])), DEFAULT)
    (delivered,) = ds.ProcedureCodeSequence
    assert (
        delivered.CodeValue,
        delivered.CodingSchemeDesignator,
        delivered.CodeMeaning,
    ) == expected


def test_equivalent_codes_are_checked() -> None:
    more = {
        "CodingSchemeVersion": "Habersham",
        "ContextIdentifier": "HABERSHAM",
        "MappingResource": "HABERSHAM",
        "MappingResourceName": "Habersham's list",
        "ContextUID": "Habersham",
    }
    ds = deidentified_dataset(
        named(ProcedureCodeSequence=Sequence([code("1", "99X", "chest", **more)])), DEFAULT
    )
    assert "habersham" not in str(ds.ProcedureCodeSequence[0]).lower()


def test_context_uid_is_kept() -> None:
    item = code("1", "99X", "chest", ContextUID="1.2.840.10008.6.1.308")
    ds = deidentified_dataset(named(ProcedureCodeSequence=Sequence([item])), DEFAULT)
    assert ds.ProcedureCodeSequence[0].ContextUID == "1.2.840.10008.6.1.308"


def test_standard_codes_are_not_matched() -> None:
    items = Sequence([code("39607008", "SCT", "Lung"), code("39607008", "99X", "Lung")])
    ds = deidentified_dataset(
        make_dataset(PatientID="39607008", ProcedureCodeSequence=items), DEFAULT
    )
    assert [item.CodeValue for item in ds.ProcedureCodeSequence] == ["39607008", "DEIDENTIFIED"]


def test_a_binary_code_value_is_not_a_code() -> None:
    item = code("CTCH", "99LOCAL", "chest")
    item["CodeValue"].VR = "OB"
    item["CodeValue"].value = b"Habersham "
    ds = deidentified_dataset(named(ProcedureCodeSequence=Sequence([item])), DEFAULT)
    assert b"Habersham" not in bytes(ds.ProcedureCodeSequence[0]["CodeValue"].value)
