"""Output is as valid as the input: dciodvfy reports no new error."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sendit.deidentify.plan import compile_plan
from sendit.dicom.scan import open_instance
from sendit.errors import SkipInstance
from sendit.recipe.parse import bundled_names, read_recipe
from testing.builder import ObjectKind, make_dataset, to_bytes
from testing.real_files import real_files
from tests.deidentify.engine import deidentified_bytes, deidentify_files

DCIODVFY = shutil.which("dciodvfy", path=Path(sys.executable).parent) or shutil.which("dciodvfy")
DEFAULT = compile_plan(read_recipe("default"))
EVERY = 11  # a subset of the real files, to keep the test short


def errors(path: Path) -> Counter[str]:
    assert DCIODVFY is not None, "dciodvfy comes with dicom3tools: see requirements-test.in"
    done = subprocess.run(
        [DCIODVFY, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    # text in <...> after = is a value, and values change
    return Counter(re.sub(r"= <.*", "", line) for line in lines if line.startswith("Error"))


def new_errors(data: bytes, recipe: str, folder: Path) -> list[str]:
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(data)
    plan = DEFAULT if recipe == "default" else compile_plan(read_recipe(recipe))
    after.write_bytes(deidentified_bytes(data, plan))
    return sorted(errors(after) - errors(before))


@pytest.mark.parametrize("kind", ["CT", "MR", "ENHANCED", "US", "SR", "SC", "PDF"])
@pytest.mark.filterwarnings("ignore")
def test_synthetic_objects(kind: ObjectKind, tmp_path: Path) -> None:
    assert new_errors(to_bytes(make_dataset(kind=kind)), "default", tmp_path) == []


@pytest.mark.parametrize("recipe", bundled_names())
def test_bundled_recipes(recipe: str, tmp_path: Path) -> None:
    assert new_errors(to_bytes(make_dataset()), recipe, tmp_path) == []


# PS3.15 removes ResponsiblePerson (X), which is required for animals (type 2C).
KNOWN = {"cat.dcm"}


@pytest.mark.filterwarnings("ignore")
def test_real_objects(tmp_path: Path) -> None:
    checked = 0
    invalid = {}
    for path in real_files()[::EVERY]:
        try:
            header = open_instance(path)
        except SkipInstance:
            continue
        # this dciodvfy cannot inflate, and without a class there is nothing to compare
        if header.deflated or not header.sop_class or not header.sop_instance:
            continue
        if not deidentify_files([path.read_bytes()], DEFAULT)[1]:
            continue  # header-only copies of images
        new = new_errors(path.read_bytes(), "default", tmp_path)
        if new and path.name not in KNOWN:
            invalid[path.name] = new
        checked += 1
    assert invalid == {}
    assert checked >= 15
