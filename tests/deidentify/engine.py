"""Runs the engine on single objects, for tests; the gate has tests of its own."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pydicom
from pydicom.dataset import FileDataset

from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.keys import Keys
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.pixels.text_detector import TextDetector
from sendit.recipe.parse import read_text
from testing.builder import to_bytes

KEYS = Keys(b"0123456789abcdef" * 4)
IDENTIFIERS = CodedStudy(
    patient_code="IR1-00001",
    study_code="IR1A00001",
    jitter=-17,
    entity_date="19500315",
    item_date="20160401",
)
UIDS = """
KEEP SOPClassUID
KEEP SOPInstanceUID
KEEP StudyInstanceUID
KEEP SeriesInstanceUID
"""
PIXELS = """
KEEP Rows
KEEP Columns
KEEP BitsAllocated
KEEP BitsStored
KEEP HighBit
KEEP PixelRepresentation
KEEP SamplesPerPixel
KEEP PhotometricInterpretation
KEEP PlanarConfiguration
KEEP PixelData
"""


def plan_of(rules: str, *, sections: str = "", uids: bool = True) -> Plan:
    """Compile the lines of a ``%header``; the UIDs that every object needs are kept."""
    text = f"FORMAT dicom\n{sections}\n%header\n{UIDS if uids else ''}{rules}\n"
    return compile_plan(read_text(("test.deid", text)))


def deidentify_files(
    files: Iterable[bytes], plan: Plan, identifiers: CodedStudy = IDENTIFIERS, *, name: str = ""
) -> tuple[StudyResult, dict[str, bytes]]:
    """De-identify files as one study, in a folder of a name; return the result and the archive's
    members."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = []
        for number, data in enumerate(files, 1):
            path = folder / f"{number:05}"
            path.write_bytes(data)
            stat = path.stat()
            sources.append(Source(number, path, stat.st_size, stat.st_mtime_ns))
        archive = folder / "out.tar.gz"
        with (
            patch("sendit.pipeline.study.gate"),  # these recipes leak on purpose
            patch.object(TextDetector, "image"),  # and their pixels are synthetic
        ):
            result = deidentify_study(
                sources,
                plan=plan,
                identifiers=identifiers,
                keys=KEYS,
                archive=archive,
                folder=name,
            )
        if result.archive is None:
            assert not archive.exists()
            return result, {}
        with tarfile.open(archive) as tar:
            members = {
                member.name: file.read()
                for member in tar
                if (file := tar.extractfile(member)) is not None
            }
        return result, members


def deidentified_bytes(data: bytes | FileDataset, plan: Plan) -> bytes:
    """Return the new bytes of one object, which must be delivered."""
    whole = to_bytes(data) if isinstance(data, FileDataset) else data
    result, members = deidentify_files([whole], plan)
    assert list(members), result.outcomes
    return next(iter(members.values()))


def deidentified_dataset(data: bytes | FileDataset, plan: Plan) -> FileDataset:
    """Return one object as pydicom reads it after de-identification."""
    return pydicom.dcmread(BytesIO(deidentified_bytes(data, plan)))
