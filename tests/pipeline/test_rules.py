"""Missing device rules: files waiting for a rule are counted by kind, and a draft rule blanks
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from sendit.batch import Outcome, Reason
from sendit.deidentify.people import People, words_in
from sendit.dicom.scan import Header, read_header
from sendit.errors import FailBatch, Misconfigured
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline.intake import import_batch
from sendit.pipeline.load_recipe import load_recipe
from sendit.pipeline.rules import draft, draft_rule, wanted_rule, wanted_rules
from sendit.pixels.boxes import blank_of
from sendit.pixels.wanted import RuleKey, key_of, wants_rule
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_recipe
from sendit.settings import Settings
from sendit.workspace import Workspace
from testing.builder import to_bytes
from tests.deidentify.engine import KEYS
from tests.pixels.images import dataset, tissue, written

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
NAMES = ("WINTERBOTTOM", "OKONKWO", "FEATHERSTONE")


def capture(number: int, name: str = "", **elements: Any) -> FileDataset:
    elements = {
        "SOPClassUID": SECONDARY,
        "Manufacturer": "Acme, Inc.",
        "ManufacturerModelName": 'Probe "#1" (mk 2)',
        "SoftwareVersions": ["4.1", "20190312.7"],
        "ImageType": ["DERIVED", "SECONDARY", "", "X"],
        "PatientName": f"{name}^Ada",
    } | elements
    pixels = tissue(seed=number)
    if name:
        pixels = written(pixels, name, 900, at=(8, 6), size=18)
    return dataset(np.clip(pixels, 0, 900).astype(np.uint16), instance=number, **elements)


def opened(ds: FileDataset) -> tuple[Header, People]:
    header, people = read_header(to_bytes(ds)), People()
    people.see(header)
    return header, people


def key_in(ds: FileDataset) -> RuleKey:
    header, _ = opened(ds)
    return key_of(header, words_in(header))


def test_images_covered_by_one_rule_share_a_key() -> None:
    one, two = (key_in(capture(n, name)) for n, name in enumerate(NAMES[:2], 1))
    assert one == two and one.id == two.id
    assert RuleKey.from_text(one.text) == one
    assert one.software == "4.1\\#.7" and one.size == "256 x 256" and one.regions == "none"
    for other in ({"Modality": "OT"}, {"SoftwareVersions": "5"}, {"BurnedInAnnotation": "YES"}):
        assert key_in(capture(1, **other)) != one  # type: ignore[arg-type]


def test_a_rule_key_contains_no_patient_data() -> None:
    theirs = {
        "PatientName": "Winterbottom^Ada",
        "PatientID": "MR4711-X",
        "AccessionNumber": "A8812",
        "ReferringPhysicianName": "Okonkwo^B",
        "Manufacturer": "Acme for Okonkwo",
        "ManufacturerModelName": "Probe of WINTERBOTTOM, Ada",
        "SoftwareVersions": ["4.1 MR4711", "a8812"],
        "ImageType": ["DERIVED", "SECONDARY", "WINTERBOTTOM"],
    }
    key = key_in(capture(1, **theirs))
    assert key.manufacturer == "Acme for #" and key.model == "Probe of #, #"
    assert key.software == "4.1 #\\#" and key.image_type == "DERIVED\\SECONDARY\\#"
    other = theirs | {"PatientName": "Featherstone^Ivy", "Manufacturer": "Acme for Featherstone"}
    other["ManufacturerModelName"] = "Probe of FEATHERSTONE, Ivy"
    other["ImageType"] = ["DERIVED", "SECONDARY", "FEATHERSTONE"]
    assert key_in(capture(2, **other)) == key


@pytest.mark.parametrize(
    ("outcome", "reason", "wanted"),
    [
        (Outcome.FILTERED, "withheld: Secondary capture", True),
        (Outcome.FILTERED, f"graylist: Ultrasound: {Reason.NO_REGIONS}", True),
        (Outcome.FILTERED, "blacklist: Modality SR", False),
        (Outcome.QUARANTINED, f"{Reason.TEXT_IN_PIXELS}: a date", True),
        (Outcome.QUARANTINED, Reason.TRUNCATED, False),
        (None, None, False),
    ],
)
def test_which_outcomes_a_rule_could_accept(
    outcome: Outcome | None, reason: str | None, wanted: bool
) -> None:
    assert wants_rule(outcome, reason) is wanted


def test_a_draft_rule_blanks_text_and_contains_no_patient_data(tmp_path: Path) -> None:
    images = [opened(capture(number, name)) for number, name in enumerate(NAMES, 1)]
    made = draft(key_in(capture(1, NAMES[0])), images)
    path = tmp_path / "draft.deid"
    path.write_text(made.text)
    filters = compile_filters(read_recipe("default", str(path)))
    for header, _ in images:
        decision = filters.ask(header)
        assert decision is not None and decision.blanks
        blank = blank_of(header, decision.coordinates)
        assert blank.mask[6:24, 8:200].all() and not blank.mask[80:].any()
    for other in ({"Modality": "OT"}, {"ManufacturerModelName": "Else"}, {"SoftwareVersions": "5"}):
        decision = filters.ask(opened(capture(1, **other))[0])  # type: ignore[arg-type]
        assert decision is not None and decision.wants_rule
    for before, after in made.pictures:
        assert before[6:24, 8:200].max() > 200 and not after[6:24, 8:200].any()
        assert np.array_equal(before[80:], after[80:])


def test_a_draft_rule_for_images_without_text_blanks_nothing(tmp_path: Path) -> None:
    images = [opened(capture(number)) for number in (1, 2, 3)]
    path = tmp_path / "draft.deid"
    path.write_text(draft(key_in(capture(1, NAMES[0])), images).text)
    filters = compile_filters(read_recipe("default", str(path)))
    assert filters.ask(images[0][0]) is None
    assert filters.ask(opened(capture(1, Modality="OT"))[0]) is not None


def test_import_counts_files_without_a_rule_and_draft_finds_them(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    inputs = tmp_path / "in"
    settings = Settings(home=tmp_path, input_folders=[inputs])
    for number, name in enumerate(NAMES[:2], 1):
        folder = inputs / f"ACC{number}"
        folder.mkdir(parents=True)
        for each in (1, 2):
            ds = capture(10 * number + each, name)
            (folder / f"{each}.dcm").write_bytes(to_bytes(ds))
        (folder / "ct.dcm").write_bytes(to_bytes(dataset(tissue(), instance=9)))
        ledger.enqueue(
            [(KEYS.digest("folder", str(folder).encode()), str(folder))],
            BatchParams("s", "c", "default"),
        )
    batches = ledger.claim("r", 2)
    for _ in range(2):  # a cleared task counts once
        for number, batch in enumerate(batches, 1):
            folder = inputs / f"ACC{number}"
            work = Workspace(tmp_path / "work", batch)
            import_batch(ledger, work, folder, load_recipe("default"), KEYS)
    (rule,) = wanted_rules(ledger)
    assert rule.files == 4 and sorted(rule.batches) == sorted(batches)
    assert wanted_rule(ledger, rule.key.id[:5]) == rule
    with pytest.raises(Misconfigured, match="sendit rules wanted"):
        wanted_rule(ledger, "none")
    made = draft_rule(ledger, settings, KEYS, rule)
    assert len(made.pictures) == 4 and "coordinates 0," in made.text
    for path in (inputs / "ACC2").iterdir():
        path.unlink()
    with pytest.raises(FailBatch, match=r"2 images of key .* 3 are needed"):
        draft_rule(ledger, settings, KEYS, rule)
    ledger.close()
