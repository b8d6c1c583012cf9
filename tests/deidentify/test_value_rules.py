"""A rule with a value list applies only where one of its values occurs."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pydicom

from sendit.batch import Outcome
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.pipeline.study import deidentify_study
from sendit.recipe.parse import read_text
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import IDENTIFIERS, KEYS

RECIPE = """FORMAT dicom
%values people
SPLIT PatientName by="^";minlength=4
%header
REMOVE PatientName
REMOVE PatientID
REMOVE AccessionNumber
REMOVE select:VR:PN
REPLACE contains:InstanceUID func:remap_uid
REPLACE FrameOfReferenceUID func:remap_uid
REMOVE values:people
"""


def test_unnamed_dates_are_kept_and_pass_the_gate(tmp_path: Path) -> None:
    ds = make_dataset(
        private=False, PatientName="Quackenbush^Zebediah", SeriesDescription="CHEST Quackenbush"
    )
    (tmp_path / "series").mkdir()
    path = tmp_path / "series" / "1.dcm"
    path.write_bytes(to_bytes(ds))
    stat = path.stat()
    archive = tmp_path / "out.tar.gz"
    result = deidentify_study(
        [Source(1, path, stat.st_size, stat.st_mtime_ns)],
        plan=compile_plan(read_text(("values.deid", RECIPE))),
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=archive,
    )
    assert result.outcomes == {1: (Outcome.DELIVERED, None)}
    with tarfile.open(archive) as tar:
        member = tar.extractfile(tar.getmembers()[0])
        assert member is not None
        after = pydicom.dcmread(BytesIO(member.read()))
    assert after.StudyDate == ds.StudyDate
    assert "SeriesDescription" not in after
