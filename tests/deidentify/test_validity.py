"""What comes out is as valid as what went in, by a checker that is not ours (dicom3tools).

``dciodvfy`` holds an object to its IOD. Its errors on the de-identified file must be ones
that it also has on the original; values, which differ, are taken out before comparing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sendit.batch import Outcome
from sendit.deidentify.plan import compile_plan
from sendit.dicom.scan import open_instance
from sendit.errors import SkipInstance
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_recipe
from tests.builder import make_dataset, to_bytes
from tests.deidentify.engine import run
from tests.real import real_files

CHECKER = Path(sys.executable).parent / "dciodvfy"
RECIPE = read_recipe("default")
PLAN = compile_plan(RECIPE)
FILTERS = compile_filters(RECIPE)


def errors(path: Path) -> set[str]:
    output = subprocess.run(
        [CHECKER, "-new", path], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (output.stdout + output.stderr).splitlines()
    return {re.sub(r"= <[^>]*>", "= <value>", line) for line in lines if line.startswith("Error")}


def passes(path: Path) -> bool:
    try:
        header = open_instance(path)
    except SkipInstance:
        return False
    return FILTERS.decide({tag: header.text(tag) for tag in FILTERS.tags}) is None


def gained(data: bytes, folder: Path) -> set[str]:
    """Return the errors that de-identification brought in; none for what it quarantines."""
    result, members = run([data], PLAN)
    if result.outcomes[1][0] is not Outcome.DELIVERED:
        return set()
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(data)
    after.write_bytes(next(iter(members.values())))
    return errors(after) - errors(before)


def test_the_checker_finds_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.dcm").write_bytes(to_bytes(make_dataset(Rows=None)))
    assert any("Rows" in line for line in errors(tmp_path / "bad.dcm"))


@pytest.mark.parametrize("kind", ["CT", "MR", "ENHANCED"])
def test_made_objects_gain_no_error(kind: str, tmp_path: Path) -> None:
    assert not gained(to_bytes(make_dataset(kind=kind)), tmp_path)  # type: ignore[arg-type]


def test_real_files_that_pass_the_filters_gain_no_error(tmp_path: Path) -> None:
    files = [path for path in real_files() if passes(path)]
    assert len(files) > 30
    found = {path.name: gained(path.read_bytes(), tmp_path) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}
