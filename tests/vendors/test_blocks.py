"""Private elements whose creators were removed stay as those with creators do."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from benchmarks.clients import convert, delivered, differences
from sendit.deidentify import losses
from sendit.deidentify.plan import Plan, compile_plan
from sendit.dicom.scan import read_header
from sendit.recipe.parse import read_recipe
from sendit.vendors.blocks import usual_creators
from testing.builder import to_bytes
from testing.vendor_objects import SECRET, SERIES, ge_slices, mosaics, philips_enhanced
from tests.deidentify.engine import deidentified_dataset, deidentify_files

WITH_PRIVATE = sorted(SERIES.keys() - {"canon dwi"})


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(read_recipe("default"))


def without_creators(dataset: Dataset) -> Dataset:
    """Remove the private creators of all levels, as some anonymisers do."""
    dataset.walk(
        lambda level, element: (
            level.__delitem__(element.tag) if element.tag.is_private_creator else None
        )
    )
    return dataset


@pytest.mark.parametrize("name", WITH_PRIVATE)
def test_dcm2niix_output_is_unchanged_without_creators(name, plan, tmp_path):
    files = [to_bytes(without_creators(image)) for image in SERIES[name]()]
    before = convert(files, tmp_path / "before")
    new = delivered(files, plan, tmp_path / "study")
    assert differences(before, convert(new, tmp_path / "after")) == []
    assert SECRET.encode() not in b"".join(new)


@pytest.mark.parametrize("name", WITH_PRIVATE)
def test_delivered_as_with_creators(name, plan):
    for image, bare in zip(SERIES[name](), map(without_creators, SERIES[name]()), strict=True):
        assert deidentified_dataset(bare, plan) == deidentified_dataset(image, plan)


def test_creators_are_added_to_every_level(plan):
    (image,) = philips_enhanced()
    new = deidentified_dataset(without_creators(image), plan)
    (item,) = new.PerFrameFunctionalGroupsSequence[0][0x2005140F].value
    assert new.PerFrameFunctionalGroupsSequence[0][0x20050014].value == "Philips MR Imaging DD 005"
    assert item[0x20050010].value == "Philips MR Imaging DD 001"


def test_text_is_removed_without_a_creator_too(plan):
    image = without_creators(ge_slices()[0])
    image[0x0019109C].value = SECRET
    image.add_new(0x00431060, "LO", SECRET)  # not on the list
    new = deidentified_dataset(image, plan)
    assert 0x0019109C not in new
    assert 0x00431060 not in new
    assert 0x00431039 in new


@pytest.mark.parametrize("manufacturer", ["Gelderland Imaging", "SIEMENS", "", None])
def test_elements_of_another_maker_are_removed(manufacturer, plan):
    image = without_creators(ge_slices()[0])
    image.Manufacturer = manufacturer
    assert not [
        element for element in deidentified_dataset(image, plan) if element.tag.group == 0x0043
    ]


def test_a_block_reserved_by_another_creator_is_not_the_vendors(plan):
    image = ge_slices()[0]
    image[0x00430010].value = "ACME 1.1"
    assert not [
        element for element in deidentified_dataset(image, plan) if element.tag.group == 0x0043
    ]


def test_a_block_reserved_twice_has_no_creator(plan):
    data = to_bytes(ge_slices()[0])
    _, _, start, _, end, _ = read_header(data).element(0x00430010)
    _, members = deidentify_files([data[:end] + data[start:end] + data[end:]], plan)
    (new,) = members.values()
    assert b"\x43\x00\x39\x10" not in new


def test_a_recipe_without_private_attributes_adds_no_creators():
    bare = compile_plan(read_recipe("default-no-private"))
    assert not [
        e for e in deidentified_dataset(without_creators(mosaics(1)[0]), bare) if e.tag.is_private
    ]


def test_series_with_and_without_creators_in_one_study(plan):
    """Results do not depend on what was rewritten before."""
    images = ge_slices()
    bare = [without_creators(image) for image in ge_slices()]
    other = [without_creators(image) for image in ge_slices()]
    for number, image in enumerate([*bare, *other], 100):
        image.SOPInstanceUID = f"1.2.3.{number}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    for image in other:
        image.Manufacturer = "GE HEALTHCARE"
    files = [to_bytes(each) for three in zip(images, bare, other, strict=True) for each in three]
    together = deidentify_files(files, plan)[1]
    assert len(together) == len(files)
    for number, member in enumerate(together.values()):
        assert member == next(iter(deidentify_files([files[number]], plan)[1].values()))


def test_losses_without_creators_are_reported():
    data = to_bytes(without_creators(mosaics(1)[0]))
    header = read_header(data)
    assert losses.lost(header, to_bytes(mosaics(1, csa=False)[0]))["geometry"] > 0
    assert not losses.lost(header, to_bytes(mosaics(1)[0]))


@pytest.mark.parametrize(
    ("manufacturer", "creator"),
    [
        ("SIEMENS ", "SIEMENS CSA HEADER"),
        ("Siemens Healthineers", "SIEMENS CSA HEADER"),
        ("GE MEDICAL SYSTEMS", ""),
        ("siemenslike", ""),
    ],
)
def test_vendors_by_manufacturer(manufacturer, creator):
    assert usual_creators(manufacturer).get(0x00291000, "") == creator
