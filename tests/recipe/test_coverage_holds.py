"""Coverage never claims more than the engine does: nothing that is "gone" is delivered."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.keys import Keys
from sendit.pipeline.study import deidentify_study
from sendit.recipe.coverage import Treatment, cover
from sendit.recipe.model import Recipe
from sendit.recipe.parse import RecipeError, read_recipe, read_text
from testing.builder import Canary, make_dataset, plant_canaries, to_bytes
from tests.recipe import strategies

KEEPS = (
    "KEEP RequestAttributesSequence",
    "KEEP contains:RequestAttributesSequence",
    "KEEP contains:Sequence__AccessionNumber$",
    "KEEP select:VR:SQ",
    "KEEP fields:f",
    "REMOVE ALL",
    "KEEP select:VR:UI",
    "BLANK except:UID|Sequence|Pixel|Bits|Rows|Columns|Samples|Photometric",
)
lines = st.lists(
    st.sampled_from((*strategies.GOOD_LINES, *KEEPS)), min_size=1, max_size=6, unique=True
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coverage")


@cache
def image(folder: Path) -> tuple[Source, tuple[Canary, ...]]:
    data = make_dataset()
    planted = plant_canaries(data)
    raws = [canary.raw.strip(b" \0") for canary in planted]
    # a series UID is a prefix of its images' UIDs, so it is not a canary of its own
    canaries = tuple(
        canary
        for canary, raw in zip(planted, raws, strict=True)
        if sum(raw in other for other in raws) == 1
    )
    path = folder / "image.dcm"
    path.write_bytes(to_bytes(data))
    stat = path.stat()
    return Source(1, path, stat.st_size, stat.st_mtime_ns), canaries


def exposed(folder: Path, recipe: Recipe) -> list[str]:
    """Return the places of canaries reported as gone that the archive still contains."""
    source, canaries = image(folder)
    gone = {
        row.row.number for row in cover(recipe).rows if row.treatment is Treatment.GONE
    }  # None represents private attributes and repeating groups
    with mock.patch("sendit.pipeline.study.gate", return_value=None):  # would fail the archive
        result = deidentify_study(
            [source],
            plan=compile_plan(recipe),
            identifiers=CodedStudy("code-p", "code-s", 5, "19500101", "20200101"),
            keys=Keys(b"0123456789abcdef" * 4),
            archive=folder / "archive.tar.gz",
        )
    assert result.archive is not None, result.outcomes
    with tarfile.open(folder / "archive.tar.gz") as archive:
        (member,) = archive.getmembers()
        file = archive.extractfile(member)
        assert file is not None
        delivered = file.read()
    return [
        canary.where
        for canary in canaries
        if canary.tag in gone and canary.raw.strip(b" \0") in delivered
    ]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lines)
@example(["REMOVE ALL", "KEEP select:VR:UI", "KEEP RequestAttributesSequence"])
@example(["ADD PatientID var:entity_id"])
@example(["REMOVE select:group:0010 # the patient", "KEEP contains:RequestAttributesSequence"])
def test_removed_attributes_are_not_delivered(folder: Path, lines: list[str]) -> None:
    try:
        recipe = read_text(("r", strategies._good(lines, [])))
    except RecipeError:
        return
    assert exposed(folder, recipe) == []


def test_default_recipe_coverage_holds(folder: Path) -> None:
    assert exposed(folder, read_recipe("default")) == []
