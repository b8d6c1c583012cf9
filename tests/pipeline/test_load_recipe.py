"""Loading recipes: once per process, in the requested order."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendit.errors import Misconfigured
from sendit.pipeline.load_recipe import load_recipe
from sendit.recipe.parse import read_recipe


def test_a_recipe_is_loaded_once_per_process() -> None:
    assert load_recipe("default") is load_recipe("default")
    assert load_recipe("default").digest == read_recipe("default").digest
    assert load_recipe("default").filters.tags


def test_recipes_are_combined_in_order_regardless_of_whitespace(tmp_path: Path) -> None:
    ours = tmp_path / "ours.deid"
    ours.write_text("FORMAT dicom\n\n%header\n\nKEEP DeviceSerialNumber\n")
    both = load_recipe(f"default, {ours}")
    assert both.digest == load_recipe(f"default,{ours}").digest
    assert both.digest == read_recipe("default", str(ours)).digest
    assert both.digest != load_recipe("default").digest
    tag = 0x00181000
    assert load_recipe("default").plan.top.program(tag, "LO").steps
    assert not both.plan.top.program(tag, "LO").steps


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(Misconfigured):
        load_recipe("no-such-recipe")


def test_recipe_digest_covers_the_functions_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {load_recipe("default").digest}
    for text in ("def one(item, value, field, dicom): ...\n", "# nothing\n"):
        file = tmp_path / f"own{len(digests)}.py"
        file.write_text(text)
        monkeypatch.setenv("SENDIT_RECIPE_FUNCTIONS", str(file))
        digests.add(load_recipe("default").digest)
    assert len(digests) == 3
