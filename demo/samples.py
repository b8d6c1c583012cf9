"""Sample accession folders, put together from real files that packages ship.

pydicom's test files, ``pydicom-data`` and ``deid-data``. In a hospital the folder's name is
the accession number of every file in it; these files come from many places, so every file
that can be written is given the folder's name as its AccessionNumber, and, where a
folder mixes sources, the StudyInstanceUID and PatientID of its first file.
Pixels and all other elements stay as they are.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, generate_uid

PYDICOM = ("pydicom", "data/test_files")
PYDICOM_DATA = ("data_store", "data")
DEID_DATA = ("deid_data", "data")


@dataclass(frozen=True)
class Sample:
    """One folder: its made-up accession number, its content, and its expected status."""

    accession: str
    shows: str
    status: str
    delivered: int
    filtered: int = 0
    quarantined: int = 0
    duplicate: int = 0


SEEN = "7000008"
"""The sample of which pictures are made, before and after."""

SAMPLES = (
    Sample("7000001", "CT, five images and two localizers", "DONE", delivered=7),
    Sample("7000002", "MR of the same patient", "DONE", delivered=11),
    Sample("7000003", "MR as stored by a PACS: JPEG 2000 and uncompressed", "DONE", delivered=3),
    Sample(
        "7000004",
        "CT with CR, US, SR and a lot that is not an image",
        "DONE",
        delivered=7,
        filtered=2,
        quarantined=4,
        duplicate=1,
    ),
    Sample("7000005", "CT with one file cut short", "DONE", delivered=2, quarantined=1),
    Sample("7000006", "ultrasound without regions only", "EMPTY", delivered=0, filtered=3),
    Sample(
        "7000007",
        "two patients in one folder",
        "ERROR",
        delivered=0,
        filtered=1,
        quarantined=2,
    ),
    Sample(SEEN, "an ultrasound image, a radiograph and a mammogram", "DONE", delivered=3),
)


def package_folder(source: tuple[str, str]) -> Path:
    """Return the folder of a package's files."""
    package, below = source
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / below


def make_samples(folder: Path) -> None:
    """Write the sample folders below ``folder``."""
    own, more, deid = map(package_folder, (PYDICOM, PYDICOM_DATA, DEID_DATA))
    tree = own / "dicomdirtests"
    made = {sample.accession: folder / sample.accession for sample in SAMPLES}
    for each in made.values():
        each.mkdir(parents=True)

    write(made["7000001"], sorted((tree / "98892001").rglob("[0-9]*[0-9]")))
    mr = sorted((tree / "98892003" / "MR700").iterdir())
    mr += [tree / "98892003" / "MR2" / name for name in ("6273", "6605", "6935")]
    mr += [tree / "98892003" / "MR1" / "5641"]
    write(made["7000002"], mr)
    write(made["7000003"], [more / f"MR2_{name}.dcm" for name in ("UNCR", "J2KR", "J2KI")])

    mixed = made["7000004"]
    ct = sorted((tree / "77654033" / "CT2").iterdir())
    write(
        mixed,
        [
            *ct,
            *sorted((tree / "77654033").glob("CR*/*")),
            more / "US1_J2KR.dcm",
            own / "test-SR.dcm",
        ],
        one_study=True,
    )
    (mixed / "a-copy.dcm").write_bytes((mixed / ct[0].name).read_bytes())
    (mixed / "DICOMDIR").write_bytes((tree / "DICOMDIR").read_bytes())
    (mixed / "empty.dcm").write_bytes(b"")
    (mixed / "notes.txt").write_text("CD burned for the referring physician\n")
    (mixed / "MR_truncated.dcm").write_bytes((own / "MR_truncated.dcm").read_bytes())

    cut = made["7000005"]
    write(cut, [more / "693_UNCR.dcm", own / "J2K_pixelrep_mismatch.dcm"], one_study=True)
    whole = (cut / "693_UNCR.dcm").read_bytes()
    (cut / "cut-short.dcm").write_bytes(whole[: len(whole) // 2])

    write(made["7000006"], [more / f"US1_{name}.dcm" for name in ("UNCR", "J2KR", "UNCI")])
    write(made["7000007"], [own / "CT_small.dcm", own / "MR_small.dcm"])
    write(made["7000007"], [deid / "humans" / "ctbrain1.dcm"])

    write(made[SEEN], [deid / "ultrasounds" / "RGB_IMAGE.dcm"])
    ultrasound = pydicom.dcmread(made[SEEN] / "RGB_IMAGE.dcm")
    radiograph = small_radiograph(more / "RG3_UNCI.dcm", ultrasound)
    radiograph.save_as(made[SEEN] / "radiograph.dcm")
    mammogram(radiograph).save_as(made[SEEN] / "mammogram.dcm")


def small_radiograph(file: Path, study: pydicom.Dataset) -> pydicom.FileDataset:
    """Return every third pixel of a radiograph as an image of a study, small enough to be read in
    a second.
    """
    dataset = pydicom.dcmread(file)
    pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
    set_pixels(dataset, pixels[::3, ::3])
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        setattr(dataset, keyword, study[keyword].value)
    return dataset


def mammogram(radiograph: pydicom.FileDataset) -> pydicom.FileDataset:
    """Return a made-up mammogram of a radiograph's study: a half disc of tissue."""
    dataset = copy.deepcopy(radiograph)
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality, dataset.ImageType = "MG", ["ORIGINAL", "PRIMARY"]
    dataset.PhotometricInterpretation = "MONOCHROME2"
    down, across = np.mgrid[0:640, 0:480]
    away = np.hypot((down - 320) / 280, across / 360)
    texture = np.random.default_rng(1).normal(0, 12, away.shape)
    tissue = np.where(away < 1, 600 + 300 * (1 - away) + texture, 20)
    set_pixels(dataset, tissue.astype(np.uint16))
    return dataset


def set_pixels(dataset: pydicom.FileDataset, pixels: npt.NDArray[np.uint16]) -> None:
    """Replace a dataset's samples by other 16-bit ones."""
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            del dataset[keyword]


def write(folder: Path, files: list[Path], *, one_study: bool = False) -> None:
    """Copy DICOM files into a folder with its name as their accession number.

    ``one_study`` gives all of them the study and patient of the first.
    """
    first = None
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # real files, some not fully standard-conformant
            dataset = pydicom.dcmread(file)
            first = first or dataset
            dataset.AccessionNumber = folder.name
            if one_study:
                dataset.StudyInstanceUID = first.StudyInstanceUID
                dataset.PatientID = first.PatientID
            dataset.save_as(folder / file.name, enforce_file_format=False)
