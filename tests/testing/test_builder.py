import io
import re

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from testing.builder import SOP_CLASSES, all_elements, make_dataset, plant_canaries, to_bytes
from testing.builder import write_study as write


@pytest.mark.parametrize("kind", SOP_CLASSES)
def test_builder_is_deterministic(kind):
    first, second = (to_bytes(make_dataset(2, 3, 4, 5, kind=kind)) for _ in range(2))
    assert first == second
    assert first != to_bytes(make_dataset(2, 3, 4, 6, kind=kind))


def test_ct_files_have_a_realistic_size():
    dataset = make_dataset()
    assert len(dataset) == 190
    assert sum(element.tag.is_private for element in dataset) == 32


@pytest.mark.parametrize("kind", SOP_CLASSES)
def test_every_canary_occurs_once(kind):
    dataset = make_dataset(kind=kind)
    canaries = plant_canaries(dataset)
    data = to_bytes(dataset)
    assert len(canaries) > 1000
    assert [canary.where for canary in canaries if canary.raw not in data] == []
    planted = [canary for canary in canaries if canary.text.endswith("Q")]
    assert len(planted) > 500
    assert [canary.where for canary in planted if data.count(canary.raw) > 1] == []


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEGBaseline8Bit,
    ],
)
@pytest.mark.filterwarnings("ignore:VR lookup failed")
def test_every_transfer_syntax_round_trips(syntax):
    dataset = make_dataset(transfer_syntax=syntax)
    canaries = plant_canaries(dataset)
    back = pydicom.dcmread(io.BytesIO(to_bytes(dataset)))
    assert back.file_meta.TransferSyntaxUID == syntax
    # pydicom reads a sequence encoded as UN as big endian here; by PS3.5 6.2.2 it is little endian.
    del back[0x00081120]
    texts = {str(element.value) for element in all_elements(back) if element.VR == "LO"}
    # Private elements are bytes where the file does not state their VR.
    wanted = {
        canary.text
        for canary in canaries
        if canary.vr == "LO"
        and not re.search(r"(^|\.)(0029|0051|0019|7FE1|0010999|00081120)", canary.where)
    }
    assert len(wanted) > 50
    assert wanted <= texts


def test_files_of_a_study_share_a_patient(tmp_path):
    study = write(tmp_path / "A", patient=7, instances=3, canaries=True)
    headers = [pydicom.dcmread(path) for path in study.files]
    assert {header.PatientID for header in headers} == {"MRN77000007"}
    assert len({header.StudyInstanceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 3
    texts = [canary.text for canary in study.canaries if canary.text.endswith("Q")]
    assert len(texts) == len(set(texts))
