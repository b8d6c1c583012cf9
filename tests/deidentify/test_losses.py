"""A batch says what tools will get wrong about its images, when what they compute with is gone."""

from __future__ import annotations

import pytest

from sendit.deidentify.losses import AFFECTED, warnings_of
from sendit.deidentify.plan import Plan, compile_plan
from sendit.recipe.parse import read_recipe
from sendit.recipe.profile import NEEDED
from testing.builder import make_dataset, to_bytes
from testing.vendor_objects import SECRET, SERIES, mosaics
from tests.deidentify.engine import opened, run

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
    result, members = run(files, plan)
    assert len(members) == len(files)
    told = warnings_of(result.actions)
    return {need for need, affected in AFFECTED.items() if any(affected in one for one in told)}


def test_every_need_has_words():
    assert AFFECTED.keys() == NEEDED


@pytest.mark.parametrize("name", SERIES)
def test_the_default_recipe_loses_nothing(name, plan):
    assert warned([to_bytes(image) for image in SERIES[name]()], plan) == set()


@pytest.mark.parametrize("name", LOST)
def test_a_recipe_without_private_attributes_warns(name, bare):
    files = [to_bytes(image) for image in SERIES[name]()]
    assert warned(files, bare) >= LOST[name]


def test_nothing_is_said_where_nothing_was_needed(bare):
    assert warned([to_bytes(make_dataset(kind="CT"))], bare) == set()


def test_a_value_that_is_not_of_its_form_is_a_loss_too(plan):
    image = mosaics(2)[1]
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    block = image.private_block(0x0019, "SIEMENS MR HEADER")
    del block[0x0E]
    block.add_new(0x0E, "LO", SECRET)
    assert "diffusion" in warned([to_bytes(image)], plan)


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
def test_a_gradient_of_canon_stays_wherever_it_stands(plan, comments, left):
    image = make_dataset(kind="MR", private=False, ImageComments=comments)
    new = opened(image, plan)
    assert new.get("ImageComments", "") == left
