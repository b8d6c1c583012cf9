"""A recipe made ready: once a process, each in the order that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendit.errors import Misconfigured
from sendit.prepare import prepare
from sendit.recipe.parse import read_recipe


def test_a_recipe_is_prepared_once() -> None:
    assert prepare("default") is prepare("default")
    assert prepare("default").digest == read_recipe("default").digest
    assert prepare("default").filters.tags


def test_several_are_combined_in_order_whatever_blanks_stand_between(tmp_path: Path) -> None:
    ours = tmp_path / "ours.deid"
    ours.write_text("FORMAT dicom\n\n%header\n\nKEEP DeviceSerialNumber\n")
    both = prepare(f"default, {ours}")
    assert both.digest == prepare(f"default,{ours}").digest
    assert both.digest == read_recipe("default", str(ours)).digest
    assert both.digest != prepare("default").digest
    tag = 0x00181000
    assert prepare("default").plan.top.program(tag, "LO").steps
    assert not both.plan.top.program(tag, "LO").steps


def test_a_recipe_that_is_none_is_refused() -> None:
    with pytest.raises(Misconfigured):
        prepare("no-such-recipe")
