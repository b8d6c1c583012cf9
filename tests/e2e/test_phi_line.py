"""The PHI boundary: canaries in every element, file name and folder name, searched everywhere.

Three folders: one that is delivered, one that is filtered, and one with unreadable files, so that
error paths see the values, too.
"""

from __future__ import annotations

import datetime
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from demo import results
from testing.builder import Canary, make_dataset, plant_canaries, planted_day, to_bytes
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e

SUBFOLDER = "canaries"
#: Names of folders and files; the accession number is a canary, too.
NAMES = ("Kanarienfolder", "Kanariendatei")
#: A canary in one of these may cause an image to be filtered.
FILTERED_BY = (
    "SecondaryCaptureDeviceManufacturer",
    "SecondaryCaptureDeviceManufacturerModelName",
    "SecondaryCaptureDeviceSoftwareVersions",
    "RecognizableVisualFeatures",
)
#: Of one study: two issuers would mean two patients.
ISSUERS = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "IssuerOfAccessionNumberSequence",
)
#: Whatever the VR or character set makes of a canary's text.
WORD = re.compile(rb"kan(?:a|\xe4|\xc3\xa4|\\u00e4|\\xe4|%C3%A4)rie\d{6}q|zwilling\d{6}q", re.I)
UID = re.compile(rb"\.987\.1\d{6}\b")


def plant(folder: Path, *, patient: int, images: int, passing: bool) -> list[Canary]:
    """Write images full of canaries into a folder with a canary as its name."""
    folder.mkdir(parents=True)
    canaries: list[Canary] = []
    first: FileDataset | None = None
    for instance in range(1, images + 1):
        # A study on a day of its own: the ledger also contains errors of other tests. All days are
        # planted ones, or 32 days from one: shifted, none equals another.
        birth = f"{planted_day(540 + patient):%Y%m%d}"
        dataset = make_dataset(patient, 28 + 32 * patient, 1, instance, PatientBirthDate=birth)
        canaries += plant_canaries(dataset, start=1 + 1000 * patient + 400 * instance)
        for keyword in FILTERED_BY if passing else ():
            if keyword in dataset:
                del dataset[keyword]
        first = first or dataset
        for keyword in ISSUERS:
            if keyword in first:
                dataset[keyword] = first[keyword]
        dataset.BurnedInAnnotation = "NO" if passing else "YES"
        (folder / f"{NAMES[1]}{patient}{instance:04}.dcm").write_bytes(to_bytes(dataset))
    return canaries


class Searcher:
    """Searches for canaries."""

    def __init__(self, canaries: list[Canary]) -> None:
        # Dates, times and numbers must stand alone: within a longer number they are coincidences.
        # Times of day are kept (PS3.15: Retain Longitudinal Temporal Information Modified Dates);
        # their dates are shifted.
        words = {each.text for each in canaries if len(each.text) >= 8 and each.vr != "TM"}
        words = {word for word in words if not WORD.search(word.encode("latin-1", "replace"))}
        alone = "|".join(sorted(map(re.escape, words)))
        self.alone = re.compile(rb"(?<![\w.])(?:%s)(?![\w.])" % alone.encode())
        self.name = re.compile("|".join(NAMES).encode(), re.I)

    def hits(self, data: bytes) -> set[str]:
        """Return the canaries found."""
        return {
            match.decode("latin-1")
            for pattern in (WORD, UID, self.alone, self.name)
            for match in pattern.findall(data)
        }


class Searched:
    """The run, all its output, and what was planted."""

    def __init__(self, site: Site, out: Path) -> None:
        folder = site.inputs / SUBFOLDER
        planted = plant(folder / f"{NAMES[0]}1", patient=1, images=2, passing=True)
        planted += plant(folder / f"{NAMES[0]}2", patient=2, images=2, passing=False)
        planted += plant(folder / f"{NAMES[0]}3", patient=3, images=1, passing=True)
        # Truncated inside its header: an error worded by a library.
        broken = folder / f"{NAMES[0]}3" / f"{NAMES[1]}9.dcm"
        whole = next(broken.parent.iterdir()).read_bytes()
        broken.write_bytes(whole[: len(whole) // 3])
        (broken.parent / f"{NAMES[1]}.txt").write_text("Kanarie000001Q\n")
        self.searcher = Searcher(planted)
        self.planted = planted
        self.run_id = site.run(SUBFOLDER)
        self.batches = site.batches(self.run_id)
        self.site = site
        self.out = out
        results.collect(site.stack, out)
        site.ledger_dump(out / "ledger.sql")

    def places(self) -> Iterator[tuple[str, bytes]]:
        """Everything outside the input folders."""
        for path in sorted(self.out.rglob("*")):
            if path.is_file():
                name = str(path.relative_to(self.out))
                yield f"name of {name}", name.encode()
                data = path.read_bytes()
                yield name, data
                if name.endswith(".gz"):
                    yield f"{name}, inflated", gzip.decompress(data)
        stack = self.site.stack
        yield "object metadata", json.dumps(stack.objects(), ensure_ascii=False).encode()
        yield "all tables", json.dumps(stack.tables(), ensure_ascii=False).encode()
        for path in stack.home.rglob("*"):
            name = str(path.relative_to(stack.home))
            yield f"name in home: {name}", name.encode()
            if path.is_file() and path.name != "key":
                yield f"home: {name}", path.read_bytes()


@pytest.fixture(scope="module")
def searched(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return Searched(site, tmp_path_factory.mktemp("out"))


def test_run_covers_all_outcomes(searched: Searched) -> None:
    outcomes = sorted(
        (b["status"], b["received"], b["delivered"], b["filtered"], b["quarantined"])
        for b in searched.batches
    )
    assert outcomes == [("DONE", 2, 2, 0, 0), ("DONE", 3, 1, 0, 2), ("EMPTY", 2, 0, 2, 0)]


def test_no_shifted_day_equals_a_planted_one(searched: Searched) -> None:
    first = planted_day(0)
    for path in (searched.site.inputs / SUBFOLDER).rglob(f"{NAMES[1]}*0*.dcm"):
        days = {
            str(value)[:8]
            for element in dcmread(path).iterall()
            if element.VR in {"DA", "DT"} and element.value
            for value in (element.value if element.VM > 1 else [element.value])
        }
        distances = {
            (datetime.datetime.strptime(day, "%Y%m%d").date() - first).days for day in days
        }
        assert {distance % 32 for distance in distances} == {0}


def test_search_finds_planted_canaries(searched: Searched) -> None:
    folder = searched.site.inputs / SUBFOLDER
    for path in folder.rglob("*.dcm"):
        hits = searched.searcher.hits(path.read_bytes())
        assert len(hits) > 100
        assert any(len(word) == 8 and word.isdigit() for word in hits)


def test_no_canary_leaks(searched: Searched) -> None:
    leaks = {
        place: sorted(hits)
        for place, data in searched.places()
        if (hits := searched.searcher.hits(data))
    }
    where = {each.text: each.where for each in searched.planted}
    assert not leaks, "\n".join(
        f"{place}: {[(word, where.get(word)) for word in words[:30]]}"
        for place, words in leaks.items()
    )
