"""A site's own functions: their arguments, and how results become values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian
from pydicom.valuerep import PersonName

from sendit.deidentify.plan import compile_plan
from sendit.recipe.own import Own
from sendit.recipe.parse import read_text
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import IDENTIFIERS, UIDS, deidentified_dataset, deidentify_files


def plan_with(function: Callable[..., Any], rules: str) -> Any:
    own = Own({"ours": function}, digest="test")
    return compile_plan(
        read_text(("ours.deid", f"FORMAT dicom\n%header\n{UIDS}{rules}\n"), own=own)
    )


def calls_of(rules: str, dataset: Dataset) -> list[dict[str, Any]]:
    """Return the arguments of the function's calls."""
    calls = []

    def ours(item: dict[str, str], value: str, field: Any, dicom: Dataset) -> None:
        calls.append({"item": item, "value": value, "field": field, "dicom": dicom})

    deidentify_files([to_bytes(dataset)], plan_with(ours, rules))
    return calls


def answered(rules: str, answer: Any, **elements: Any) -> Dataset:
    return deidentified_dataset(make_dataset(**elements), plan_with(lambda **_: answer, rules))


def test_function_arguments_match_deid() -> None:
    (call,) = calls_of("REPLACE PatientID func:ours", make_dataset(PatientID="MRN77"))
    assert call["item"] == IDENTIFIERS.variables
    assert call["value"] == "func:ours"
    field = call["field"]
    assert (field.name, field.tag, field.stripped_tag) == ("PatientID", "(0010,0020)", "00100020")
    assert (field.element.VR, field.element.value) == ("LO", "MRN77")
    assert call["dicom"].PatientID == "MRN77"
    assert "PixelData" not in call["dicom"]


def test_field_inside_sequences_has_its_path() -> None:
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = "Größe"
    outer.ConceptNameCodeSequence = Sequence([inner])
    dataset = make_dataset(SpecificCharacterSet="ISO_IR 192", ContentSequence=Sequence([outer]))
    calls = calls_of("REPLACE CodeMeaning func:ours", dataset)
    calls += calls_of("REPLACE ContentSequence func:ours", dataset)
    fields = {call["field"].name: call["field"].element for call in calls}
    path = "ContentSequence__ConceptNameCodeSequence__CodeMeaning"
    assert fields[path].value == "Größe"
    assert fields["ContentSequence"].VR == "SQ"
    assert list(fields["ContentSequence"].value) == []


def test_numbers_are_read_in_the_byte_order_of_the_file() -> None:
    for dataset in (make_dataset(Rows=16), make_dataset(transfer_syntax=ExplicitVRBigEndian)):
        calls = calls_of(
            "REPLACE SamplesPerPixel func:ours\nREPLACE SeriesNumber func:ours", dataset
        )
        assert calls[0]["field"].element.value == dataset.SeriesNumber


def test_changes_to_arguments_do_not_affect_the_file() -> None:
    def ours(item: dict[str, str], value: str, field: Any, dicom: Dataset) -> str:
        del value, field, dicom
        item["entity_id"] = item["entity_id"] + "X"
        return item["entity_id"]

    rules = "REPLACE PatientID func:ours\nREPLACE AccessionNumber func:ours"
    after = deidentified_dataset(make_dataset(), plan_with(ours, rules))
    assert after.PatientID == after.AccessionNumber == f"{IDENTIFIERS.patient_code}X"


def test_the_dataset_is_parsed_once_per_file() -> None:
    first, second = (make_dataset(instance=number) for number in (1, 2))
    seen: list[tuple[str, int]] = []

    def ours(item: dict[str, str], value: str, field: Any, dicom: Dataset) -> None:
        del item, value, field
        seen.append((dicom.SOPInstanceUID, id(dicom)))

    rules = "REPLACE PatientID func:ours\nREPLACE PatientName func:ours"
    deidentify_files([to_bytes(first), to_bytes(second)], plan_with(ours, rules))
    assert [uid for uid, _ in seen] == [first.SOPInstanceUID] * 2 + [second.SOPInstanceUID] * 2
    assert seen[0] == seen[1]


MOMENT = datetime(2020, 1, 31, 23, 59, 58, 500, UTC)


@pytest.mark.parametrize(
    ("keyword", "answer", "written"),
    [
        ("PatientID", "text", "text"),
        ("PatientID", 77, "77"),
        ("PatientID", None, ""),
        ("PatientID", "", ""),
        ("PatientID", b"bytes \0", "bytes"),
        ("PatientID", "Ä".encode(), "Ä"),
        ("ImageType", ["ORIGINAL", "PRIMARY"], ["ORIGINAL", "PRIMARY"]),
        ("ImageType", ("ORIGINAL", None, 3), ["ORIGINAL", "", "3"]),
        ("StudyDate", date(2020, 1, 31), "20200131"),
        ("StudyDate", MOMENT, "20200131"),
        ("StudyTime", MOMENT, "235958.000500"),
        ("StudyTime", time(23, 59), "235900.000000"),
        ("AcquisitionDateTime", MOMENT, "20200131235958.000500"),
        ("PatientID", MOMENT, "20200131"),
        ("PatientName", PersonName("DOE^JANE"), "DOE^JANE"),
    ],
)
def test_results_of_any_type_are_written_as_text(keyword: str, answer: Any, written: Any) -> None:
    elements = {"AcquisitionDateTime": "20200101000000", "SpecificCharacterSet": "ISO_IR 192"}
    after = answered(f"REPLACE {keyword} func:ours", answer, **elements)
    value = after[keyword].value
    shown = [str(one) for one in value] if isinstance(written, list) else str(value or "")
    assert shown == written


@pytest.mark.parametrize(("answer", "stays"), [(True, False), (False, True), (None, True)])
def test_a_function_can_decide_on_removal(answer: Any, stays: bool) -> None:
    assert ("PatientID" in answered("REMOVE PatientID func:ours", answer)) is stays
