"""A study's archive is made, judged by the gate, and made again without what it stopped."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.errors import FailBatch
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.pixels import scrub
from sendit.pixels.boxes import Box
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_text
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import IDENTIFIERS, KEYS, PIXELS, UIDS

RECIPE = read_text(
    (
        "test.deid",
        f"""FORMAT dicom
%filter graylist
LABEL banner
present Modality
  coordinates 0,0,16,4
%header
{UIDS}{PIXELS}REMOVE ALL
""",
    )
)


def delivered(folder: Path) -> tuple[StudyResult, np.ndarray, np.ndarray]:
    """Deliver one image with a region to blank; return its pixels before and after."""
    data = to_bytes(make_dataset(private=False))
    path = folder / "1.dcm"
    path.write_bytes(data)
    archive = folder / "a.tar.gz"
    result = deidentify_study(
        [Source(1, path, len(data), path.stat().st_mtime_ns)],
        plan=compile_plan(RECIPE),
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=archive,
        filters=compile_filters(RECIPE),
    )
    with tarfile.open(archive) as tar:
        (member,) = tar
        file = tar.extractfile(member)
        assert file is not None
        after = pydicom.dcmread(io.BytesIO(file.read())).pixel_array
    return result, pydicom.dcmread(io.BytesIO(data)).pixel_array, after


def test_a_region_is_blanked(tmp_path: Path) -> None:
    _, before, after = delivered(tmp_path)
    assert len(np.unique(after[:4])) == 1
    assert (after[4:] == before[4:]).all()
    assert not (after[:4] == before[:4]).all()


@pytest.mark.parametrize("moved", [(0, 0, 0, 0), (0, 0, 16, 5), (0, 2, 16, 4)])
def test_an_image_blanked_elsewhere_is_not_delivered(
    moved: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scrubber = scrub.scrub

    def elsewhere(header: Any, pixels: Any, parts: Any, blank: Any, folder: Path) -> Any:
        return scrubber(header, pixels, parts, replace(blank, boxes=(moved,)), folder)

    monkeypatch.setattr(scrub, "scrub", elsewhere)
    with pytest.raises(FailBatch, match="the last gate stopped the archive"):
        delivered(tmp_path)
    assert not (tmp_path / "a.tar.gz").exists()
