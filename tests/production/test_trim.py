"""deploy/unused-files.txt: what the image goes without is what nothing here loads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.production.compose_file import ROOT

PACKAGES = Path(sysconfig.get_path("platlib"))
PATTERNS = (ROOT / "deploy" / "unused-files.txt").read_text()
#: Packages that are trimmed, and the folders of their libraries next to them.
TRIMMED = (
    *("imagecodecs", "imagecodecs.libs", "onnxruntime", "pyarrow", "babel", "pandas", "numpy"),
    *("cv2", "opencv_python_headless.libs", "numpy.libs", "shapely", "shapely.libs", "libcst"),
)
USE_ALL = """
import babel.dates, datetime, libcst, pandas, shapely.geometry, pyarrow
from google.cloud import bigquery
from sendit.pixels.self_test import failing_codecs, reads

import cv2, imagecodecs, onnxruntime
for module in (babel, libcst, pandas, shapely, pyarrow, cv2, imagecodecs, onnxruntime):
    assert module.__file__.startswith(TRIMMED), module.__file__
assert list(failing_codecs()) == []
assert reads()
assert pyarrow.table({"word": ["sendit"]}).to_pandas()["word"][0] == "sendit"
assert babel.dates.format_date(datetime.date(2026, 1, 31), locale="en_US") == "Jan 31, 2026"
print("all of it works")
"""


def load() -> Any:
    spec = importlib.util.spec_from_file_location("trim", ROOT / "deploy" / "trim.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


UNUSED: Callable[[Path, str], list[Path]] = load().unused


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def test_everything_sendit_uses_works_after_trimming(tmp_path: Path) -> None:
    for name in TRIMMED:
        shutil.copytree(PACKAGES / name, tmp_path / name, copy_function=link_or_copy)
    there = [path for path in PACKAGES.iterdir() if path.name in TRIMMED]
    assert len(there) == len(TRIMMED)
    deleted = 0
    for path in UNUSED(PACKAGES, PATTERNS):
        inside = path.relative_to(PACKAGES)
        if inside.parts[0] not in TRIMMED or not (tmp_path / inside).exists():
            continue
        deleted += 1
        if path.is_dir():
            shutil.rmtree(tmp_path / inside)
        else:
            (tmp_path / inside).unlink()
    assert deleted > 50
    result = subprocess.run(
        [sys.executable, "-c", f"TRIMMED = {str(tmp_path)!r}\n{USE_ALL}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "all of it works" in result.stdout, result.stderr[-2000:]


def test_negated_patterns_keep_files(tmp_path: Path) -> None:
    for name in ("a/one.so", "a/two.so", "b/tests/test_b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    unused = UNUSED(tmp_path, "# why\n\na/*.so\n!a/two.so\n**/tests\n")
    assert unused == [tmp_path / "a" / "one.so", tmp_path / "b" / "tests"]


def test_a_pattern_without_matches_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    patterns = tmp_path / "patterns"
    patterns.write_text("a\nb\n")
    command = [sys.executable, ROOT / "deploy" / "trim.py", tmp_path, patterns]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "b matches nothing" in result.stderr
    assert (tmp_path / "a").exists()  # nothing is deleted before all is understood
    patterns.write_text("a\n")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("package", ["imagecodecs", "onnxruntime", "pyarrow", "babel"])
def test_every_pattern_matches_an_installed_file(package: str) -> None:
    """The same packages are in the image; a new version's files are noticed before a build."""
    for line in PATTERNS.splitlines():
        if line.removeprefix("!").startswith(package):
            assert UNUSED(PACKAGES, line.removeprefix("!")), line
