"""What becomes of whole objects and studies: every element, each file's outcome, what is counted
and what a batch says about itself."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.coded_study import CodedStudy
from sendit.deidentify.people import People
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source, StudyDeidentifier, searchable
from sendit.dicom.scan import header_checksum, read_header
from sendit.gate.real_values import RealValues
from sendit.recipe.filters import FilterPlan, compile_filters
from sendit.recipe.parse import read_recipe
from testing import derived_objects
from testing.approval import Approved
from testing.builder import all_elements, end_with_pixels, make_dataset, to_bytes
from testing.real_files import real_files
from tests.deidentify.corpus import changes
from tests.deidentify.engine import IDENTIFIERS, KEYS, plan_of

DERIVED: dict[str, Callable[[], FileDataset]] = {
    name: getattr(derived_objects, name)
    for name in (
        *("measurement_report", "key_objects", "presentation_state", "segmentation"),
        *("parametric_map", "enhanced_of_slices", "dose_report", "structure_set", "plan", "dose"),
        *("registration", "electrocardiogram"),
    )
}
MADE = ("CT", "MR", "ENHANCED", "US", "SR", "SC", "PDF")
OTHER = ("default-retain-device", "default-retain-uids", "ct-mr")


@cache
def recipe(name: str) -> tuple[Plan, FilterPlan]:
    read = read_recipe(name)
    return compile_plan(read), compile_filters(read)


_RANDOM = "1.2.826.0.1.3680043.10.511.3."
_TIMES = ("InstanceCreationTime", "ContentTime", "StructureSetTime", "PresentationCreationTime")


def steady(made: FileDataset) -> bytes:
    """Return an object's bytes with nothing of the day and the chance of its making."""
    today = datetime.date.today()
    days = {f"{today + datetime.timedelta(days=each):%Y%m%d}" for each in (-1, 0, 1)}
    for element in all_elements(made):
        if element.VR in ("DA", "DT") and str(element.value)[:8] in days:
            element.value = "20160322" if element.VR == "DA" else "20160322101112"
        elif element.keyword in _TIMES:
            element.value = "101112"
        elif element.VR == "UI" and str(element.value).startswith(_RANDOM):
            element.value = f"{_RANDOM}7"
        elif element.keyword == "ReferencedInstanceSequence":
            element.value = sorted(element.value, key=lambda item: item.ReferencedSOPInstanceUID)
        elif element.keyword in ("SoftwareVersions", "ContributionDescription"):
            element.value = "1.0"
    return to_bytes(made)


def people_of(files: Sequence[bytes]) -> frozenset[str]:
    people = People()
    for data in files:
        people.see(read_header(data))
    return frozenset(people.words | people.numbers)


class Study:
    """Files de-identified as one study, without the gate and without a look at pixels."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[bytes],
        plan: Plan,
        *,
        identifiers: CodedStudy = IDENTIFIERS,
        filters: FilterPlan | None = None,
        instances: Sequence[int | None] = (),
        checksums: Sequence[int | None] = (),
        stopped: dict[int, str] | None = None,
        people: frozenset[str] | None = None,
        flagged: frozenset[tuple[int, bytes]] = frozenset(),
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.files = files
        sources = []
        for number, data in enumerate(files, 1):
            path = folder / f"{number:05}"
            path.write_bytes(data)
            state = path.stat()
            sources.append(
                Source(
                    number,
                    path,
                    state.st_size,
                    state.st_mtime_ns,
                    instances[number - 1] if instances else None,
                    checksums[number - 1] if checksums else None,
                )
            )
        self.sources = sources
        self.progress: list[int] = []
        self.study = StudyDeidentifier(
            plan,
            identifiers,
            KEYS,
            RealValues(plan),
            people=_some(files) if people is None else people,
            flagged=flagged,
            filters=filters,
        )
        self.written: dict[str, bytes] = {}
        self.outcomes = self.study.deidentify(sources, stopped or {}, self, self.progress.append)  # type: ignore[arg-type]

    def add(self, name: str, *parts: bytes) -> None:
        """Take a member, as an archive does."""
        self.written[name] = b"".join(map(bytes, parts))

    def lines(self) -> Iterator[str]:
        """Yield outcomes, counts, and what the batch says about its first image."""
        for number, (outcome, reason) in self.outcomes.items():
            yield f"{number}: {outcome}{f', {reason}' if reason else ''}"
        yield f"members: {self.study.members}"
        yield from (f"{kind}: {count}" for kind, count in self.study.actions.items() if count)
        yield f"progress: {self.progress}"
        yield f"digest: {self.study.content_digest(KEYS)[:16]}" if self.written else "nothing"

    def elements(self) -> Iterator[str]:
        """Yield what became of each element of each file."""
        for number, name in self.study.members.items():
            yield f"# {name}"
            before = read_header(self.files[number - 1])
            yield from changes(before, read_header(self.written[name]))


def _some(files: Sequence[bytes]) -> frozenset[str]:
    try:
        return people_of(files)
    except Exception:  # noqa: BLE001 a file that cannot be read is what the test is about
        return frozenset()


def _as_json(header: object) -> Iterator[str]:
    yield from json.dumps(header, indent=1, sort_keys=True, ensure_ascii=True).splitlines()


@cache
def object_of(name: str) -> bytes:
    if name in DERIVED:
        return steady(DERIVED[name]())
    return to_bytes(make_dataset(kind=name))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*DERIVED, *MADE])
def test_objects(name: str, approved: Approved, tmp_path: Path) -> None:
    study = Study(tmp_path, [object_of(name)], recipe("default")[0])
    approved([*study.elements(), *study.lines()])


@pytest.mark.parametrize("other", OTHER)
def test_objects_by_other_recipes(other: str, approved: Approved, tmp_path: Path) -> None:
    """Only what comes out otherwise than with the recipe default."""

    def lines() -> Iterator[str]:
        for name in [*DERIVED, *MADE]:
            data = [object_of(name)]
            usual = set(Study(tmp_path, data, recipe("default")[0]).elements())
            study = Study(tmp_path, data, recipe(other)[0])
            yield f"## {name}"
            yield from (line for line in study.elements() if line not in usual)

    approved(lines())


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEGBaseline8Bit,
    ],
)
def test_search_attributes(syntax: str, approved: Approved, tmp_path: Path) -> None:
    made = make_dataset(kind="US" if syntax == JPEGBaseline8Bit else "CT", transfer_syntax=syntax)
    study = Study(tmp_path, [to_bytes(made)], plan_of("KEEP PatientName\nKEEP contains:Date"))
    again = searchable(next(iter(study.written.values())))
    assert {key: again.get(key) for key in study.study.header} == study.study.header
    approved([*_as_json(study.study.header), *study.lines()])


def _series(count: int, **options: object) -> list[FileDataset]:
    made = [make_dataset(instance=n, **options) for n in range(1, count + 1)]  # type: ignore[arg-type]
    for image in made:
        end_with_pixels(image)
    return made


def _alike() -> list[bytes]:
    """Make files like one before that differ in what rules look at."""
    made = _series(9)
    made[1].PatientComments = "brought by her neighbor"
    made[1].SeriesDescription = "series of Winterbottom"
    made[2].ContentDate = "19000101"
    made[3].InstanceNumber = None
    made[4].ImageComments = "x" * 60
    made[6].AcquisitionDate = "2016"
    made[7].BodyPartExamined = "MUSTERFRAU0001"
    made[8].RequestAttributesSequence[0].RequestedProcedureDescription = "CT Thorax"
    files = [to_bytes(image) for image in made]
    files[5] = files[5].replace(b"`\0DS\4\x00120 ", b"`\0DS\4\0abc ")
    assert b"abc " in files[5]
    return files


def _zeros(data: bytes, count: int) -> bytes:
    return data[:-count] + bytes(count)


@cache
def _cases() -> dict[str, tuple[list[bytes], str, dict[str, object]]]:
    one, two, three = (to_bytes(image) for image in _series(3))
    unlike = _series(1)[0]
    unlike.PatientComments = "another"
    mixed = [
        to_bytes(make_dataset(instance=1)),
        to_bytes(make_dataset(instance=2, kind="MR")),
        to_bytes(make_dataset(instance=3, transfer_syntax=ImplicitVRLittleEndian)),
        to_bytes(make_dataset(instance=4, kind="US", transfer_syntax=JPEGBaseline8Bit)),
        to_bytes(make_dataset(instance=5, kind="SR")),
    ]
    no_uid = to_bytes(make_dataset(SOPInstanceUID=""))
    no_pixels = make_dataset(instance=4)
    del no_pixels.PixelData
    wrong_class = make_dataset(instance=5)
    wrong_class.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    bad_class = make_dataset(instance=6, SOPClassUID="1.2.x")
    short_pixels = make_dataset(instance=7)
    short_pixels.PixelData = short_pixels.PixelData[:-2]
    long_pixels = make_dataset(instance=8)
    long_pixels.PixelData += b"Winterbottom"
    masked = make_dataset(instance=9)
    masked.PixelData = b"\xff\xff" * 256
    unread = make_dataset(instance=10)
    unread.add_new(0x00080005, "CS", "ISO IR 192")
    numbers = [
        to_bytes(make_dataset(instance=n, SeriesNumber=s, InstanceNumber=i))
        for n, (s, i) in enumerate([(1, 1), (1, 1), (1, 2), (None, None), ("007", "1"), (-1, 3)], 1)
    ]
    return {
        "a series": ([one, two, three], "default", {}),
        "files that are alike": (_alike(), "default", {}),
        "several kinds": (mixed, "default", {}),
        "the same file twice": ([one, one, two], "default", {"instances": [1, 1, 3]}),
        "the same file twice, unknown": ([one, one], "default", {}),
        "two contents": ([one, to_bytes(unlike)], "default", {"instances": [1, 1]}),
        "two contents, unknown": ([one, to_bytes(unlike)], "default", {}),
        "a difference that goes": (
            [one, one.replace(b"Lighthouseman", b"Lighthousemen")],
            "default",
            {"instances": [1, 1]},
        ),
        "a cut copy": (
            [_zeros(one, 100), one, _zeros(one, 300)],
            "default",
            {"instances": [1, 1, 1]},
        ),
        "no sound copy": ([one[:600], one[:700]], "default", {"instances": [1, 1]}),
        "one sound copy": ([one[:600], one, one], "default", {"instances": [1, 1, 1]}),
        "stopped": ([one, two, three], "default", {"stopped": {2: "a reason"}}),
        "all stopped": ([one], "default", {"stopped": {1: "a reason"}}),
        "a checksum": (
            [one, two],
            "default",
            {"checksums": [header_checksum(read_header(one)), 7]},
        ),
        "not to be read": ([b"", b"x" * 200, one[:500], bytes(4000)], "default", {}),
        "doubtful": (
            [
                no_uid,
                *map(to_bytes, (no_pixels, wrong_class, bad_class, short_pixels)),
                *map(to_bytes, (long_pixels, masked, unread)),
            ],
            "default",
            {},
        ),
        "numbers": (numbers, "default", {}),
        "found by the gate": (
            [one],
            "default",
            {
                "flagged": frozenset(
                    {(0x00180015, b"CHEST"), (0x00181210, b"B31f"), (0x00080102, b"SRT")}
                )
            },
        ),
        "a patient without dates": (
            [one],
            "default",
            {"identifiers": replace(IDENTIFIERS, entity_date=None, item_date=None, jitter=0)},
        ),
        "a long move": ([one], "default", {"identifiers": replace(IDENTIFIERS, jitter=3_000_000)}),
    }


CASES = (
    "a series",
    "files that are alike",
    "several kinds",
    "the same file twice",
    "the same file twice, unknown",
    "two contents",
    "two contents, unknown",
    "a difference that goes",
    "a cut copy",
    "no sound copy",
    "one sound copy",
    "stopped",
    "all stopped",
    "a checksum",
    "not to be read",
    "doubtful",
    "numbers",
    "found by the gate",
    "a patient without dates",
    "a long move",
)


IN_DETAIL = (
    "files that are alike",
    "several kinds",
    "numbers",
    "found by the gate",
    "a patient without dates",
    "a long move",
)


@pytest.mark.parametrize("name", CASES)
def test_studies(name: str, approved: Approved, tmp_path: Path) -> None:
    files, of, options = _cases()[name]
    study = Study(tmp_path, files, recipe(of)[0], **options)  # type: ignore[arg-type]

    def lines() -> Iterator[str]:
        yield from study.lines()
        if name not in IN_DETAIL:
            return
        first = None
        for number, member in study.study.members.items():
            described = [
                *changes(read_header(study.files[number - 1]), read_header(study.written[member]))
            ]
            yield f"# {member}"
            yield from (line for line in described if first is None or line not in first)
            first = first or set(described)

    approved(lines())


def test_filters_are_applied_again(approved: Approved, tmp_path: Path) -> None:
    made = _series(6)
    made[1].BurnedInAnnotation = "YES"
    made[2].ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    made[3].SeriesDescription = "Patient Protocol"
    made[4].Modality = "OT"
    made[5].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    others = [make_dataset(kind=kind, instance=20 + n) for n, kind in enumerate(MADE)]  # type: ignore[arg-type]
    files = [to_bytes(image) for image in (*made, *others)]
    files += [object_of(name) for name in DERIVED]
    plan, filters = recipe("default")
    study = Study(tmp_path, files, plan, filters=filters)
    approved(study.lines())


def test_file_meta(approved: Approved, tmp_path: Path) -> None:
    """File meta information, whatever the recipe makes of the UIDs that it repeats."""
    from sendit.dicom.scan import file_meta

    def lines() -> Iterator[str]:
        rules = {
            "kept": "KEEP SOPClassUID\nKEEP SOPInstanceUID",
            "remapped": "KEEP SOPClassUID\nREPLACE SOPInstanceUID func:remap_uid",
            "default": None,
        }
        for name, text in rules.items():
            plan = recipe("default")[0] if text is None else plan_of(text, uids=False)
            for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
                data = to_bytes(make_dataset(transfer_syntax=syntax))
                study = Study(tmp_path, [data], plan)
                for member, written in study.written.items():
                    meta, start = file_meta(written, 132)
                    yield f"{name} {syntax} {member} data set from {start}"
                    yield from (f"  {tag:08X} {value!r}" for tag, value in sorted(meta.items()))

    version = __import__("sendit").__version__
    approved(line.replace(version, "VERSION") for line in lines())


def _icons() -> Iterator[tuple[str, FileDataset]]:
    for name, size, extra in (
        ("right", 16, b""),
        ("short", 12, b""),
        ("text behind it", 16, b"Winterbottom"),
        ("empty", 0, b""),
    ):
        icon = Dataset()
        icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
        icon.Rows = icon.Columns = 4
        icon.BitsAllocated, icon.BitsStored, icon.HighBit = 8, 8, 7
        icon.PixelRepresentation = 0
        icon.add_new("PixelData", "OB", bytes(range(size)) + extra)
        for keyword in ("IconImageSequence", "ReferencedImageSequence"):
            made = make_dataset(private=False)
            setattr(made, keyword, DicomSequence([icon]))
            yield f"{name} in {keyword}", made


def test_icons(approved: Approved, tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        plans = {"default": recipe("default")[0], "kept": plan_of("KEEP IconImageSequence")}
        for name, made in _icons():
            for of, plan in plans.items():
                study = Study(tmp_path, [to_bytes(made)], plan)
                yield f"{of}, {name}: {[*study.outcomes.values()]}"
                yield from (
                    f"  {line}"
                    for line in study.elements()
                    if line.startswith(("00880200", "00081140"))
                )

    approved(lines())


def test_real_files(approved: Approved, tmp_path: Path) -> None:
    """One line a file: its outcome, and how many of its elements became what."""

    def lines() -> Iterator[str]:
        plan = recipe("default")[0]
        for path in real_files():
            if path.stat().st_size > 300_000:
                continue
            study = Study(
                tmp_path,
                [path.read_bytes()],
                plan,
                people=frozenset(("compressedsamples", "patient", "doe", "anonymous")),
            )
            outcome, reason = study.outcomes[1]
            counts = {k: n for k, n in study.study.actions.items() if n}
            outcome_text = f"{outcome}{f', {reason}' if reason else ''}"
            yield f"{path.name}: {outcome_text} {list(study.written)} {counts}"

    approved(lines())
