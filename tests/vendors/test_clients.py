"""dcm2niix converts delivered images as it converts the originals, for every vendor."""

from __future__ import annotations

import pytest

from benchmarks.clients import convert, delivered, differences
from sendit.batch import Outcome, Reason
from sendit.deidentify.plan import Plan, compile_plan
from sendit.recipe.parse import read_recipe
from testing.builder import to_bytes
from testing.vendor_objects import SECRET, SERIES, csa_image, mosaics, philips_enhanced
from tests.deidentify.engine import deidentified_dataset, deidentify_files

# Fields that no tool can determine without a series' private elements.
NEEDED = {
    "siemens mosaic": ("affine", "bvec", "SliceTiming", "PhaseEncodingDirection"),
    "siemens xa": ("affine", "EffectiveEchoSpacing"),
    "philips enhanced": ("affine", "ParallelReductionFactorInPlane"),
    "ge epi": ("affine", "bvec", "RepetitionTime"),
    "ge functional": ("affine", "RepetitionTime", "SliceTiming", "PhaseEncodingDirection"),
    "uih grid": ("affine", "bvec", "SliceTiming", "PhaseEncodingDirection"),
    "canon dwi": ("affine", "bvec"),
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(read_recipe("default"))


@pytest.mark.parametrize("name", SERIES)
def test_dcm2niix_output_is_unchanged(name, plan, tmp_path):
    files = [to_bytes(image) for image in SERIES[name]()]
    before = convert(files, tmp_path / "before")
    fields = {field.split()[-1] for field in before}
    assert fields >= {"voxels", *NEEDED[name]}
    new = delivered(files, plan, tmp_path / "study")
    assert differences(before, convert(new, tmp_path / "after")) == []
    assert SECRET.encode() not in b"".join(new)


def test_a_mosaic_without_its_csa_header_converts_differently(tmp_path):
    """Why the header is kept: without it, the slices are in reverse order."""
    files = [to_bytes(image) for image in mosaics()]
    before = convert(files, tmp_path / "before")
    bare = compile_plan(read_recipe("default-no-private"))
    after = convert(delivered(files, bare, tmp_path / "study"), tmp_path / "after")
    assert any(field.endswith(("affine", "voxels")) for field in differences(before, after))


@pytest.mark.parametrize(
    "header",
    [
        b"SV10 of another make".ljust(200, b"\0"),
        csa_image(1, weighted=False, SliceNormalVector=(SECRET, "0", "1")),
        csa_image(1, weighted=False, B_value=("7734512",)),
    ],
)
def test_a_mosaic_with_an_unparsable_csa_header_is_quarantined(header, plan):
    image = mosaics(1)[0]
    image[0x00291010].value = header
    result, members = deidentify_files([to_bytes(image)], plan)
    assert not members
    assert result.outcomes == {1: (Outcome.QUARANTINED, Reason.MOSAIC)}


def test_a_mosaic_received_without_csa_header_is_delivered(plan):
    result, members = deidentify_files([to_bytes(image) for image in mosaics(2, csa=False)], plan)
    assert len(members) == 2, result.outcomes


def test_a_single_slice_loses_an_unparsable_csa_header(plan):
    image = mosaics(1)[0]
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    image[0x00291010].value = b"SV10 of another make".ljust(200, b"\0")
    new = deidentified_dataset(image, plan)
    assert not [element for element in new if element.tag.group == 0x0029]
    assert 0x0019100A not in new  # the number of slices is meaningless without their direction
    assert 0x0019100B in new


def test_b_value_is_removed_with_its_direction(plan):
    image = mosaics(2)[1]
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    del image[0x00191010 - 0x10 + 0x0E]
    block = image.private_block(0x0019, "SIEMENS MR HEADER")
    block.add_new(0x0E, "LO", SECRET)
    new = deidentified_dataset(image, plan)
    assert 0x0019100C not in new
    assert 0x0019100E not in new


def test_template_matches_use_their_own_private_values(plan):
    """The second file's direction is not a number: dependent values are removed from this file
    only.
    """
    images = [image for image in mosaics(6) if image.InstanceNumber > 1]
    for image in images:
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    images[2][0x0019100E].value = [7e9, 0.0, 0.0]
    _, members = deidentify_files([to_bytes(image) for image in images], plan)
    assert [b"\x19\x00\x0c\x10IS" in member for member in members.values()] == [
        *(True, True, False, True, True)
    ]


def test_values_inside_private_sequences_are_checked(plan):
    new = deidentified_dataset(philips_enhanced()[0], plan)
    for frame in new.PerFrameFunctionalGroupsSequence:
        (item,) = frame[0x2005140F].value
        assert item[0x2005100E].value == 0.0078125
        assert item.RescaleSlope == 1.28
        assert 0x20051070 not in item
        assert "StationName" not in item
