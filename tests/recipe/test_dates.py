"""The shift cannot be derived: no date is shifted whose original a recipient can know."""

from __future__ import annotations

import io
import re
import tarfile
from datetime import date, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.keys import Keys
from sendit.pipeline.study import deidentify_study
from sendit.recipe.parse import bundled_names, read_recipe
from testing.builder import make_dataset, to_bytes

DAYS = -23
DATED = sorted(
    tag
    for tag, (vr, *_) in DicomDictionary.items()
    if vr in ("DA", "DT") and tag >= 0x00080000 and not tag >> 16 & 1
)
# Dates that occur in an image for reasons of its own: published with a code or template, printed on
# a device or package, shared by a whole trial, or the day of sending.
KNOWN_TO_OTHERS = re.compile(
    r"Version|Calibration|DateOfManufacture|DateOfInstallation|EthicsCommittee|Expiry"
    r"|ProductExpiration|SourceStrengthReference|HangingProtocol|EffectiveDateTime"
    r"|InformationIssue|Coercion|Contribution|AttributeModification|Selector|Inventory"
    r"|^ExpirationDateTime|StudyUpdate|ProcedureCreation|ProcedureExpiration|ProcedureLastMod"
    r"|HL7DocumentEffective"
)
SPELLINGS = re.compile(r"(?<!\d)(\d{4})(\d\d)(\d\d)")


def text_of(tag: int, day: date) -> str:
    return f"{day.year:04}{day:%m%d}" + ("120000" if DicomDictionary[tag][0] == "DT" else "")


def with_dates(days: dict[int, date]) -> bytes:
    """Return an image with dates at the top level and inside a kept sequence."""
    data = make_dataset(private=False)
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "39607008", "SCT", "Lung"
    for tag, day in days.items():
        for place in (data, item):
            place.add_new(tag, DicomDictionary[tag][0], text_of(tag, day))
    data.AnatomicRegionSequence = Sequence([item])
    return to_bytes(data)


def delivered(data: bytes, recipe: str, folder: Path) -> Dataset:
    path = folder / "image.dcm"
    path.write_bytes(data)
    stat = path.stat()
    result = deidentify_study(
        [Source(1, path, stat.st_size, stat.st_mtime_ns)],
        plan=compile_plan(read_recipe(recipe)),
        identifiers=CodedStudy("code-p", "code-s", DAYS, "19500101", "20200101"),
        keys=Keys(b"0123456789abcdef" * 4),
        archive=folder / "archive.tar.gz",
    )
    assert result.archive is not None, result.outcomes
    with tarfile.open(folder / "archive.tar.gz") as archive:
        (member,) = archive.getmembers()
        extracted = archive.extractfile(member)
        assert extracted is not None
        return pydicom.dcmread(io.BytesIO(extracted.read()))


def days_in(data: Dataset) -> dict[int, set[date]]:
    """Return the days that each attribute of an object contains, at every level."""
    days: dict[int, set[date]] = {}
    for element in data.iterall():
        if element.VR in ("DA", "DT") and element.value:
            year, month, day = map(int, SPELLINGS.match(str(element.value)).groups())  # type: ignore[union-attr]
            days.setdefault(element.tag, set()).add(date(year, month, day))
    return days


@pytest.mark.parametrize("recipe", bundled_names())
def test_publicly_known_dates_are_not_shifted(recipe: str, tmp_path: Path) -> None:
    # 41 days apart: no shifted date equals another one
    days = {tag: date(2002, 9, 4) + timedelta(41 * at) for at, tag in enumerate(DATED)}
    after = days_in(delivered(with_dates(days), recipe, tmp_path))
    moved = {
        keyword_for_tag(tag)
        for tag, day in days.items()
        if day + timedelta(DAYS) in after.get(tag, ())
    }
    kept = {keyword_for_tag(tag) for tag, day in days.items() if day in after.get(tag, ())}
    assert {"StudyDate", "AcquisitionDateTime", "FrameReferenceDateTime"} <= moved
    assert {name for name in moved if KNOWN_TO_OTHERS.search(name)} == set()
    assert kept == set()  # a real date that is kept would reveal it as well


@pytest.mark.parametrize("recipe", bundled_names())
@pytest.mark.parametrize("placeholder", [date(1970, 1, 1), date(1899, 12, 30), date(1, 1, 1)])
def test_placeholders_are_not_shifted(recipe: str, placeholder: date, tmp_path: Path) -> None:
    data = with_dates(dict.fromkeys(DATED, placeholder))
    after = days_in(delivered(data, recipe, tmp_path))
    for days in after.values():
        assert all(abs((day - placeholder).days) != abs(DAYS) for day in days)
