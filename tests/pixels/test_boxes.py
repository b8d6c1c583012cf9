"""Filter regions as rectangles: deid's painting order, and an image's own ultrasound regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sendit.batch import Reason
from sendit.dicom.scan import Header, read_header
from sendit.errors import SkipInstance
from sendit.pixels.boxes import (
    ULTRASOUND_REGIONS,
    Blank,
    annotated_regions,
    blank_of,
    rectangles,
    trusted_regions,
)
from sendit.recipe.model import Region
from testing.builder import make_dataset, to_bytes

ALL = Region(keep=False)
KEEP_OWN = Region(keep=True, source=ULTRASOUND_REGIONS)
BLANK_OWN = Region(keep=False, source=ULTRASOUND_REGIONS)


def region(x0: int, y0: int, x1: int, y1: int, spatial: int = 1) -> Dataset:
    made = Dataset()
    made.RegionSpatialFormat = spatial
    made.RegionLocationMinX0, made.RegionLocationMinY0 = x0, y0
    made.RegionLocationMaxX1, made.RegionLocationMaxY1 = x1, y1
    return made


def image(*regions: Dataset, rows: int = 20, columns: int = 30) -> Header:
    own = list(regions) or None
    ds = make_dataset(kind="US", rows=rows, columns=columns, SequenceOfUltrasoundRegions=own)
    return read_header(to_bytes(ds))


def test_regions_are_painted_in_order() -> None:
    spared = Region(keep=True, box=(2, 2, 10, 10))
    again = Region(keep=False, box=(4, 4, 6, 6))
    mask = blank_of(image(), [[ALL, spared, again]]).mask
    assert mask[0, 0] and not mask[3, 3] and mask[5, 5] and not mask[9, 9] and mask[10, 10]
    assert mask.sum() == 600 - 64 + 4


def test_ultrasound_regions_are_read_per_image() -> None:
    one = blank_of(image(region(5, 5, 9, 9)), [[ALL, KEEP_OWN]]).mask
    two = blank_of(image(region(1, 1, 3, 3)), [[ALL, KEEP_OWN]]).mask
    assert (~one).sum() == 25 and (~two).sum() == 9
    assert not one[9, 9] and one[10, 10]  # the region's corners


def test_ultrasound_regions_include_their_last_pixel() -> None:
    mask = blank_of(image(region(5, 5, 9, 9)), [[BLANK_OWN]]).mask
    assert mask.sum() == 25 and mask[9, 9]


@pytest.mark.parametrize(
    "regions",
    [
        (),
        (region(0, 0, 29, 19),),  # the whole frame
        (region(5, 5, 31, 10),),  # beyond the frame: for another image size
        (region(5, 5, 9, 9), region(1, 15, 4, 21)),
        (region(5, 5, 9, 9, spatial=0),),  # does not state its content
        (region(9, 9, 5, 5),),
    ],
)
def test_untrusted_regions(regions: tuple[Dataset, ...]) -> None:
    header = image(*regions)
    with pytest.raises(SkipInstance) as skipped:
        blank_of(header, [[ALL, KEEP_OWN]])
    assert skipped.value.reason == Reason.NO_REGIONS
    assert trusted_regions(header) == []


@pytest.mark.parametrize(
    ("box", "trusted"),
    [
        ((1, 1, 798, 598), False),  # a frame of one pixel is no place for a banner
        ((0, 11, 799, 599), False),
        ((0, 24, 799, 599), True),
        ((16, 0, 783, 599), True),
    ],
)
def test_regions_that_leave_no_place_for_a_banner_are_not_trusted(
    box: tuple[int, int, int, int], trusted: bool
) -> None:
    header = image(region(*box), rows=600, columns=800)
    assert bool(trusted_regions(header)) is trusted


def test_a_banner_within_a_region_is_no_place_for_annotations() -> None:
    header = image(region(100, 2, 699, 499), region(0, 40, 50, 500), rows=600, columns=800)
    assert trusted_regions(header)[0] == (100, 2, 700, 500)
    assert annotated_regions(header) == [(100, 72, 700, 500), (0, 40, 51, 501)]


def test_columns_and_rows_as_region_limits() -> None:
    header = image(region(5, 5, 30, 20))
    assert trusted_regions(header) == [(5, 5, 30, 20)]
    assert (~blank_of(header, [[ALL, KEEP_OWN]]).mask).sum() == 25 * 15


def test_side_panels_are_not_kept() -> None:
    mask = blank_of(image(region(5, 5, 9, 9), region(20, 5, 25, 9, spatial=0)), [[ALL, KEEP_OWN]])
    assert mask.mask[7, 22] and not mask.mask[7, 7]


def test_device_rules_apply_if_regions_are_untrusted() -> None:
    device = [Region(keep=False, box=(0, 0, 30, 4))]
    own = [ALL, KEEP_OWN]
    stale = image(region(5, 5, 31, 10))
    assert blank_of(stale, [own, device]).boxes == ((0, 0, 30, 4),)
    both = blank_of(image(region(5, 2, 9, 9)), [own, device]).mask
    assert both[3, 6] and not both[4, 6] and both[12, 6]


def test_regions_outside_the_image_are_refused() -> None:
    with pytest.raises(SkipInstance) as skipped:
        blank_of(image(), [[Region(keep=False, box=(100, 100, 200, 200))]])
    assert skipped.value.reason == Reason.NOT_BLANKED


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_rectangles_equal_the_mask(rows: int, columns: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.4
    boxes = tuple(rectangles(mask))
    assert np.array_equal(Blank(rows, columns, boxes).mask, mask)
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) == mask.sum()


def test_boxes_are_extended_to_whole_blocks() -> None:
    grown = Blank(20, 30, ((3, 3, 5, 5),)).aligned(2, 2)
    assert grown.boxes == ((2, 2, 6, 6),)
    assert Blank(21, 31, ((30, 20, 31, 21),)).aligned(2, 2).mask[20, 30]
