"""The benchmark's stand-ins work with the current engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.deidentify import _as_it_is, _header_alone, _plain_tar, _without_gate, ours
from sendit.deidentify.plan import compile_plan
from sendit.recipe.parse import read_recipe
from testing.builder import write_study


@pytest.mark.parametrize("way", [_as_it_is, _without_gate, _plain_tar, _header_alone])
def test_every_measurement_delivers_all_files(
    way: type[AbstractContextManager[None]], tmp_path: Path
) -> None:
    write_study(tmp_path / "in", instances=2)
    with way():
        ours(
            sorted((tmp_path / "in").iterdir()),
            tmp_path / "out.tar.gz",
            compile_plan(read_recipe("default")),
        )
    assert (tmp_path / "out.tar.gz").exists()
