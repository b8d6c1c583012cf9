"""A file that matches a template gives the same output as it does alone, for every recipe."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from pydicom.dataset import FileDataset

from sendit.deidentify import rewrite
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.rewrite import Rewriter
from sendit.dicom.header_diff import DiffHeader
from sendit.errors import Misconfigured
from sendit.pipeline.study import StudyResult
from sendit.recipe.parse import read_recipe, read_text
from testing.builder import ObjectKind, end_with_pixels, make_dataset, plant_canaries, to_bytes
from testing.seeds import seed
from tests.deidentify.engine import deidentify_files, plan_of
from tests.differential.random_recipes import random_recipe

DEFAULT = compile_plan(read_recipe("default"))
SEED = seed("SENDIT_LIKE_SEED")


@contextmanager
def noted() -> Iterator[list[bool]]:
    """Record for each file whether it matched a template."""
    taken: list[bool] = []
    match = Rewriter.match_template

    def note(rewriter: Rewriter, data: bytes) -> DiffHeader | None:
        header = match(rewriter, data)
        taken.append(header is not None)
        return header

    with patch.object(Rewriter, "match_template", note):
        yield taken


def without_likeness(files: list[bytes], plan: Plan) -> tuple[StudyResult, dict[str, bytes]]:
    with patch.object(Rewriter, "match_template", lambda *_: None):
        return deidentify_files(files, plan)


def assert_same(files: list[bytes], plan: Plan) -> list[bool]:
    """Compare with each file processed alone; return which of them matched a template."""
    with noted() as taken:
        result, members = deidentify_files(files, plan)
    other, its_members = without_likeness(files, plan)
    assert members
    assert members == its_members
    assert result.outcomes == other.outcomes
    assert {kind: count for kind, count in result.actions.items() if count} == {
        kind: count for kind, count in other.actions.items() if count
    }
    assert (result.header, result.content_digest) == (other.header, other.content_digest)
    return taken


def series(kind: ObjectKind = "CT", images: int = 6) -> list[FileDataset]:
    datasets = []
    for instance in range(1, images + 1):
        dataset = make_dataset(1, 1, 1, instance, kind=kind, rows=8, columns=8)
        plant_canaries(dataset)
        dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{instance}"
        dataset.PatientName = f"Kanarie{'x' * instance}^Kan"
        dataset.InstanceNumber = instance
        end_with_pixels(dataset)
        datasets.append(dataset)
    return datasets


@pytest.mark.parametrize("kind", ["CT", "MR", "US"])
def test_a_series_equals_its_files_processed_separately(kind: ObjectKind) -> None:
    files = [to_bytes(make_dataset(1, 1, 1, n, kind=kind, rows=8, columns=8)) for n in range(1, 9)]
    assert assert_same(files, DEFAULT) == [False] + 7 * [True]


@pytest.mark.filterwarnings("ignore")
def test_unusual_values_in_template_matches() -> None:
    datasets = []
    for number in range(1, 40):
        dataset = make_dataset(1, 1, 1, number, rows=8, columns=8)
        dataset.StudyDate = ["20160110", "2016", "garbage", ""][number % 4]
        dataset.SliceLocation = "1" * (1 + number % 16)
        dataset.PatientName = "^".join(["Müller"] * (number % 5))
        dataset.ContentTime = ["101112", "Smith", "1011"][number % 3]
        dataset.SeriesNumber = number // 13
        datasets.append(dataset)
    taken = assert_same([to_bytes(dataset) for dataset in datasets], DEFAULT)
    assert taken.count(True) > 30


def test_interleaved_series() -> None:
    """More interleaved series than the template cache holds."""
    files = []
    for number in range(1, 5 * rewrite.MAX_TEMPLATES):
        dataset = make_dataset(1, 1, 1, number, rows=8, columns=8)
        for extra in range(number % (rewrite.MAX_TEMPLATES + 2)):
            dataset.add_new(0x00181400 + extra, "LO", "extra")
        files.append(to_bytes(dataset))
    taken = assert_same(files, DEFAULT)
    assert any(taken)


def test_matching_stops_for_dissimilar_files() -> None:
    files = []
    for number in range(1, 4 * rewrite.MAX_TEMPLATES):
        dataset = make_dataset(1, 1, 1, number, rows=8, columns=8)
        for bit in range(8):
            if number >> bit & 1:
                dataset.add_new(0x00181400 + bit, "LO", "extra")
        files.append(to_bytes(dataset))
    with patch.object(rewrite, "template_of", wraps=rewrite.template_of) as made:
        taken = assert_same(files, DEFAULT)
    assert not any(taken)
    # Twice: with template matching, and without, where files are cached but never matched.
    assert made.call_count == 2 * rewrite.MAX_TEMPLATES


@pytest.mark.parametrize(
    ("rules", "sections", "like"),
    [
        ("KEEP ALL", "", True),
        ("REMOVE values:names", "%values names\nFIELD PatientName", False),
        ("REMOVE ALL", "", True),
        ("ADD PatientComments added\nADD ImageComments var:item_id", "", True),
        ("JITTER endswith:Date var:jitter\nBLANK contains:Name", "", True),
    ],
)
def test_every_kind_of_recipe(rules: str, sections: str, like: bool) -> None:
    files = [to_bytes(dataset) for dataset in series()]
    taken = assert_same(files, plan_of(rules, sections=sections))
    assert taken == [False] + 5 * [like]


def test_private_creators_are_not_shared_between_files() -> None:
    files = []
    for instance, creator in enumerate(("OTHER", "ACME ", "ACME "), 1):
        dataset = make_dataset(1, 1, 1, instance, rows=8, columns=8, private=False)
        dataset.add_new(0x00130010, "LO", creator)
        dataset.add_new(0x00131001, "LO", "value")
        files.append(to_bytes(dataset))
    plan = plan_of('KEEP (0013,"ACME",01)')
    assert_same(files, plan)
    _, members = deidentify_files(files, plan)
    assert [b"ACME" in member for member in members.values()] == [False, True, True]


def test_missing_and_duplicate_uids_are_reported_in_template_matches() -> None:
    datasets = series(images=4)
    datasets[1].SOPInstanceUID = datasets[0].SOPInstanceUID
    datasets[2].SOPInstanceUID = ""
    taken = assert_same([to_bytes(dataset) for dataset in datasets], DEFAULT)
    assert taken == [False, True, True, True]


def test_random_recipes() -> None:
    print(f"SENDIT_LIKE_SEED={SEED}")  # noqa: T201 the seed to run again
    rng = random.Random(SEED)
    kinds: tuple[ObjectKind, ...] = ("CT", "MR", "US")
    made = {kind: series(kind, images=4) for kind in kinds}
    count: Counter[bool] = Counter()
    for _ in range(25):
        datasets = made[rng.choice(kinds)]
        recipe = random_recipe(rng, datasets[0])
        try:
            plan = compile_plan(read_text(("recipe", recipe)))
        except Misconfigured:
            continue
        count.update(assert_same([to_bytes(dataset) for dataset in datasets], plan))
    assert count[True] > 10
