"""A batch warns which results of tools will be wrong because attributes were removed."""

from __future__ import annotations

from collections import Counter

import pytest

from sendit.deidentify.losses import AFFECTED, counted, lost, warnings_of
from sendit.deidentify.plan import Plan, compile_plan
from sendit.dicom.scan import read_header
from sendit.recipe.parse import read_recipe
from sendit.recipe.profile import NEEDED
from testing.builder import make_dataset, to_bytes
from testing.vendor_objects import SECRET, SERIES, mosaics
from tests.deidentify.engine import deidentified_dataset, deidentify_files

LOST = {
    "siemens mosaic": {"geometry", "timing", "diffusion"},
    "siemens xa": {"timing"},
    "philips enhanced": {"scaling"},
    "ge epi": {"timing", "diffusion"},
    "uih grid": {"geometry", "timing", "diffusion"},
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(read_recipe("default"))


@pytest.fixture(scope="module")
def bare() -> Plan:
    return compile_plan(read_recipe("default-no-private"))


def warned(files: list[bytes], plan: Plan) -> set[str]:
    result, members = deidentify_files(files, plan)
    assert len(members) == len(files)
    warnings = warnings_of(result.actions)
    return {need for need, affected in AFFECTED.items() if any(affected in one for one in warnings)}


def test_every_kind_of_loss_has_a_description():
    assert AFFECTED.keys() == NEEDED


@pytest.mark.parametrize("name", SERIES)
def test_default_recipe_causes_no_loss(name, plan):
    assert warned([to_bytes(image) for image in SERIES[name]()], plan) == set()


@pytest.mark.parametrize("name", LOST)
def test_a_recipe_without_private_attributes_warns(name, bare):
    files = [to_bytes(image) for image in SERIES[name]()]
    assert warned(files, bare) >= LOST[name]


def test_no_warning_if_nothing_needed_was_removed(bare):
    assert warned([to_bytes(make_dataset(kind="CT"))], bare) == set()


def test_unused_private_blocks_of_ct_are_not_a_loss(plan):
    image = make_dataset(kind="CT", Manufacturer="GE MEDICAL SYSTEMS")
    block = image.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x2A, "OB", b"CT01\0\0\0HiSpeed".ljust(40, b"\0"))
    assert 0x0043102A not in deidentified_dataset(image, plan)
    assert warned([to_bytes(image)], plan) == set()


def test_a_malformed_value_is_a_loss(plan):
    image = mosaics(2)[1]
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    block = image.private_block(0x0019, "SIEMENS MR HEADER")
    del block[0x0E]
    block.add_new(0x0E, "LO", SECRET)
    assert "diffusion" in warned([to_bytes(image)], plan)


def test_losses_are_counted_by_use():
    image = mosaics(2)[1]
    before = read_header(to_bytes(image))
    assert lost(before, to_bytes(image)) == Counter()
    block = image.private_block(0x0019, "SIEMENS MR HEADER")
    del block[0x0C], block[0x0E], block[0x29]
    assert lost(before, to_bytes(image)) == {"diffusion": 2, "timing": 1}


def test_an_empty_element_is_not_a_loss():
    image = mosaics(2)[1]
    block = image.private_block(0x0019, "SIEMENS MR HEADER")
    del block[0x0E]
    without = to_bytes(image)
    block.add_new(0x0E, "FD", None)
    assert lost(read_header(to_bytes(image)), without) == Counter()


def test_losses_inside_sequences_are_counted():
    (image,) = SERIES["siemens xa"]()
    before = read_header(to_bytes(image))
    block = image.SharedFunctionalGroupsSequence[0].private_block(0x0021, "SIEMENS MR SDS 01")
    inner = block[0xFE].value[0].private_block(0x0021, "SIEMENS MR SDS 01")
    del inner[0x05]
    assert lost(before, to_bytes(image)).total() == 1


def test_loss_warnings_of_a_batch():
    actions = counted({"timing": 2, "geometry": 0, "other": 5})
    assert actions == {"not kept, though tools need it: timing": 2}
    (warning,) = warnings_of(actions)
    assert warning.startswith("private timing attributes were not kept")
    assert AFFECTED["timing"] in warning
    assert warnings_of({"not kept, though tools need it: timing": 0}) == []
    assert warnings_of({}) == warnings_of(None) == []


@pytest.mark.parametrize(
    ("comments", "left"),
    [
        ("b=1500(0.895,0.000,0.445)", "b=1500(0.895,0.000,0.445)"),
        (f"{SECRET} b=1500(0.895,0.000,0.445) {SECRET}", "b=1500(0.895,0.000,0.445)"),
        (f"{SECRET};b=0(0,0,0)", "b=0(0,0,0)"),
        ("b=1500(0.895,0.000,0.445) b=1000(0,0,1)", ""),
        (f"{SECRET}=1500(0.895,0.000,0.445)", ""),
        ("b=1500(0.895,0.000)", ""),
    ],
)
def test_canon_gradients_are_kept_in_either_attribute(plan, comments, left):
    image = make_dataset(kind="MR", private=False, ImageComments=comments)
    new = deidentified_dataset(image, plan)
    assert new.get("ImageComments", "") == left
