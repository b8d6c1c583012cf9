"""The sample folders match their descriptions."""

import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from demo.samples import SAMPLES, make_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("input")
    make_samples(folder)
    return folder


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.shows)
def test_every_file_is_accounted_for(samples, sample):
    files = list((samples / sample.accession).iterdir())
    expected = sample.delivered + sample.filtered + sample.quarantined + sample.duplicate
    assert len(files) == expected


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.shows)
def test_images_carry_the_folders_accession_number(samples, sample):
    patients = set()
    studies = set()
    for file in sorted((samples / sample.accession).iterdir()):
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, AttributeError):
            continue
        if "AccessionNumber" in dataset and file.name != "MR_truncated.dcm":
            assert dataset.AccessionNumber == sample.accession
            patients.add(dataset.PatientID)
            studies.add(dataset.StudyInstanceUID)
    assert (len(patients) == 1) == (sample.status != "ERROR")
    assert (len(studies) == 1) == (sample.status != "ERROR")
