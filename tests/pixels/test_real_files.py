"""Real ultrasound images shipped by packages: no name, number or place of theirs is delivered.

They show "CLEVELAND", "ZZZDOWNTIME" and the like in banners, some typed in or in side panels.
"""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from sendit.batch import Outcome, Reason
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.dicom.scan import open_instance
from sendit.errors import SkipInstance
from sendit.pipeline.study import deidentify_study
from sendit.pixels.boxes import filter_reason
from sendit.recipe.filters import FilterPlan, compile_filters
from sendit.recipe.parse import read_recipe
from testing.real_files import real_files
from tests.deidentify.engine import IDENTIFIERS, KEYS

REGIONS = {
    "ExplVR_BigEnd.dcm": False,
    "JPGLosslessP14SV1_1s_1f_8b.dcm": True,
    "OBXXXX1A.dcm": True,
    "OBXXXX1A_2frame.dcm": True,
    "OBXXXX1A_expb.dcm": True,
    "OBXXXX1A_expb_2frame.dcm": True,
    "OBXXXX1A_rle.dcm": True,
    "OBXXXX1A_rle_2frame.dcm": True,
    "US1_J2KI.dcm": False,
    "US1_J2KR.dcm": False,
    "US1_UNCI.dcm": False,
    "US1_UNCR.dcm": False,
    "color-pl.dcm": False,
    "color-px.dcm": False,
    "color3d_jpeg_baseline.dcm": True,
    "examples_jpeg2k.dcm": False,
    "examples_palette.dcm": False,  # regions of a larger image: it was cropped
    "examples_rgb_color.dcm": False,
    "examples_ybr_color.dcm": False,  # the same
    "gdcm-US-ALOKA-16.dcm": True,
    "gdcm-US-ALOKA-16_big.dcm": True,
    "GREYSCALE_IMAGE.dcm": True,
    "RGB_IMAGE.dcm": True,
    "ultrasound-multiframe.dcm": True,
}
"""Ultrasound images, and whether their regions say what to keep."""


@pytest.fixture(scope="module")
def filters() -> FilterPlan:
    return compile_filters(read_recipe("default"))


def path_of(name: str) -> Path:
    return next(path for path in real_files() if path.name == name)


def test_an_image_without_trusted_regions_is_filtered(filters: FilterPlan) -> None:
    seen = {}
    for path in real_files():
        try:
            header = open_instance(path)
        except SkipInstance:
            continue
        if header.text(0x00080060) == "US":
            seen[path.name] = filter_reason(header, filters.ask(header))
    assert {name: why is None for name, why in seen.items()} == REGIONS
    assert all(why is None or why.endswith(Reason.NO_REGIONS) for why in seen.values())


def delivered(path: Path, folder: Path, filters: FilterPlan) -> np.ndarray[Any, Any]:
    status = path.stat()
    result = deidentify_study(
        [Source(1, path, status.st_size, status.st_mtime_ns)],
        plan=compile_plan(read_recipe("default")),
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=folder / "out.tar.gz",
        filters=filters,
    )
    assert result.outcomes[1] == (Outcome.DELIVERED, None)
    assert result.archive is not None
    with tarfile.open(result.archive.path) as archive:
        opened = archive.extractfile(next(iter(archive)))
        assert opened is not None
        dataset = pydicom.dcmread(BytesIO(opened.read()))
    assert dataset.BurnedInAnnotation == "NO"
    return dataset.pixel_array


def test_banner_and_footer_with_practice_and_date_are_blanked(
    tmp_path: Path, filters: FilterPlan
) -> None:
    path = path_of("gdcm-US-ALOKA-16.dcm")  # "WESTWAY MEDICAL", "24-MAY-02"
    before, after = pydicom.dcmread(path).pixel_array, delivered(path, tmp_path, filters)
    for place in (np.s_[:24], np.s_[416:], np.s_[:, :32]):
        assert before[place].any() and not after[place].any()
    assert np.array_equal(before[24:416, 336:640], after[24:416, 336:640])


def test_a_banner_with_name_number_date_and_hospital_is_blanked(
    tmp_path: Path, filters: FilterPlan
) -> None:
    path = path_of("RGB_IMAGE.dcm")  # "ZZZDOWNTIME, MARY", "CCHS CLEVELAND CLINIC"
    before, after = pydicom.dcmread(path).pixel_array, delivered(path, tmp_path, filters)
    assert before[:60].max() > 200 and not after[:60].any()
    assert np.array_equal(before[60:765, :1009], after[60:765, :1009])
