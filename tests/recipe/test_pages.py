"""docs/deidentification.md and docs/recipes.md match the code."""

from __future__ import annotations

import datetime
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.keys import Keys
from sendit.pipeline.study import deidentify_study
from sendit.recipe.functions import FUNCTIONS
from sendit.recipe.parse import read_recipe, read_text
from testing.builder import make_dataset, plant_canaries, to_bytes

ROOT = Path(__file__).resolve().parents[2]
DEIDENTIFICATION = (ROOT / "docs" / "deidentification.md").read_text()
RECIPES = (ROOT / "docs" / "recipes.md").read_text()
ROWS = re.findall(
    r"^\| \(([0-9A-F]{4}),([0-9A-F]{4})\) \| (\w+) \| ([A-Z ]+) \| \S+ \| (.+) \|$",
    DEIDENTIFICATION,
    re.MULTILINE,
)
DAYS = 5


def test_pages_are_up_to_date() -> None:
    tool = ROOT / "tools" / "generate_deidentification_page.py"
    subprocess.run([sys.executable, tool, "--check"], check=True, cwd=ROOT)


def test_example_recipe_is_valid(tmp_path: Path) -> None:
    example, *_ = re.findall(r"```deid\n(.*?)```", RECIPES, re.DOTALL)  # others: test_own
    assert read_text(("example", example)).header
    path = tmp_path / "ours.deid"
    path.write_text(example)
    assert read_recipe("default", str(path)).header


def test_every_function_is_documented() -> None:
    assert all(f"`{spec.prefix}:{spec.name}`" in RECIPES for spec in FUNCTIONS.values())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """A CT image with every attribute of the table, and its de-identified output."""
    folder = tmp_path_factory.mktemp("page")
    before = make_dataset()
    plant_canaries(before)
    before.GPSAltitudeRef = 1  # too short for a canary
    before.SelectorASValue = "095Y"
    path = folder / "image.dcm"
    path.write_bytes(to_bytes(before))
    stat = path.stat()
    result = deidentify_study(
        [Source(1, path, stat.st_size, stat.st_mtime_ns)],
        plan=compile_plan(read_recipe("default")),
        identifiers=CodedStudy("code-p", "code-s", DAYS, "19500101", "20200101"),
        keys=Keys(b"0123456789abcdef" * 4),
        archive=folder / "archive.tar.gz",
    )
    assert result.archive is not None
    with tarfile.open(folder / "archive.tar.gz") as archive:
        (member,) = archive.getmembers()
        extracted = archive.extractfile(member)
        assert extracted is not None
        after = pydicom.dcmread(io.BytesIO(extracted.read()))
    return pydicom.dcmread(path), after


def text(data: Dataset, tag: int) -> str | None:
    if tag not in data:
        return None
    element = data[tag]
    if element.VR == "SQ":
        return "\n".join(str(item) for item in element.value or ())
    return "" if element.value is None else str(element.value)


def moved(value: str) -> str:
    day = datetime.datetime.strptime(value[:8], "%Y%m%d") + datetime.timedelta(days=DAYS)
    return day.strftime("%Y%m%d") + value[8:]


@pytest.mark.parametrize(("group", "element", "keyword", "vr", "word"), ROWS, ids=str)
def test_engine_matches_the_documented_actions(  # noqa: PLR0912, PLR0917
    images: tuple[Dataset, Dataset], group: str, element: str, keyword: str, vr: str, word: str
) -> None:
    tag = int(group + element, 16)
    before, after = text(images[0], tag), text(images[1], tag)
    if before is None:
        assert group in ("0000", "0002", "0004"), "the builder left an attribute out"
        return
    match word:
        case "removed":
            assert after is None
        case "kept":
            assert after == before or vr == "SQ"  # rules apply inside it
        case "kept if known":
            assert after == before if vr == "TM" else after in (None, "")
        case "shifted":
            assert after == moved(before)
        case "code":
            assert after in ("code-p", "code-s")
        case "UID":
            assert after is not None
            assert after.startswith("2.25.")
        case "capped":
            assert after == ("090Y" if before == "095Y" else before)
        case "dummy":
            assert after not in (None, "") or vr == "SQ"
            assert after != before
        case "blank":
            assert after == ""
        case "cleaned" | "cleaned by item" | "emptied":
            assert after is not None
            assert after != before
        case "removed or dummy" | "removed or emptied" | "removed or remapped":
            assert after is None or after != before
        case _:
            pytest.fail(f"no such word: {word}")


def test_page_lists_every_row_of_the_table() -> None:
    assert len(ROWS) == 652  # plus the three rows of two repeating groups, and private attributes
