"""Files in, one archive out: every file accounted for, deterministic bytes."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import cast
from unittest.mock import patch

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sendit.archive import Archive
from sendit.batch import Outcome, Reason
from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import (
    IMPLEMENTATION_CLASS_UID,
    Source,
    StudyDeidentifier,
    searchable,
)
from sendit.dicom.scan import Header, header_checksum, read_header
from sendit.errors import RetryLater, SkipInstance
from sendit.gate.real_values import RealValues
from sendit.keys import Keys
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.pixels.text_detector import TextDetector
from sendit.recipe.filters import FilterPlan, compile_filters
from sendit.recipe.parse import read_recipe
from testing.builder import ObjectKind, end_with_pixels, make_dataset, to_bytes, write_study
from testing.real_files import real_files
from tests.deidentify.engine import IDENTIFIERS, KEYS, deidentified_bytes, deidentify_files, plan_of

ROOT = Path(__file__).parents[2]
DEFAULT = compile_plan(read_recipe("default"))


def source(number: int, path: Path) -> Source:
    stat = path.stat()
    return Source(number, path, stat.st_size, stat.st_mtime_ns)


def test_every_file_has_one_outcome(tmp_path: Path) -> None:
    good = to_bytes(make_dataset(instance=1))
    other = to_bytes(make_dataset(instance=2))
    files = [
        good,
        b"",
        b"not an image",
        good[:-20],
        other,
        good,
        to_bytes(make_dataset(SOPInstanceUID=None)),
    ]
    result, members = deidentify_files(files, DEFAULT)
    assert result.outcomes == {
        1: (Outcome.DELIVERED, None),
        2: (Outcome.QUARANTINED, Reason.EMPTY_FILE),
        3: (Outcome.QUARANTINED, Reason.NOT_DICOM),
        4: (Outcome.QUARANTINED, Reason.TRUNCATED),
        5: (Outcome.DELIVERED, None),
        6: (Outcome.DUPLICATE, Reason.DUPLICATE_INSTANCE),
        7: (Outcome.QUARANTINED, Reason.MISSING_UID),
    }
    assert result.archive is not None
    assert result.archive.members == len(members) == 2


def test_only_delivered_files_are_counted() -> None:
    good = to_bytes(make_dataset())
    alone, _ = deidentify_files([good], DEFAULT)
    with_others, _ = deidentify_files([good, good[:-20], b"x", good], DEFAULT)
    assert alone.actions == with_others.actions
    assert sum(alone.actions.values()) > 100


def test_no_archive_without_delivered_files(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"not an image")
    result = deidentify_study(
        [source(1, file)],
        plan=DEFAULT,
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=tmp_path / "out.tar.gz",
    )
    assert result.archive is None
    assert result.header == {}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_changed_since_import_is_quarantined(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in", instances=3)
    sources = [source(number, path) for number, path in enumerate(study.files, 1)]
    os.utime(study.files[1], ns=(1, 1))
    study.files[2].unlink()
    result = deidentify_study(
        sources,
        plan=DEFAULT,
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=tmp_path / "out.tar.gz",
    )
    assert result.outcomes[1][0] is Outcome.DELIVERED
    assert result.outcomes[2] == (Outcome.QUARANTINED, Reason.CHANGED)
    assert result.outcomes[3] == (Outcome.QUARANTINED, Reason.UNREADABLE)


def copies(tmp_path: Path, *files: bytes) -> dict[int, tuple[Outcome, str | None]]:
    """De-identify several files of one instance, as import passes them on."""
    result, _ = delivered_of(tmp_path, *files)
    return result.outcomes


def delivered_of(tmp_path: Path, *files: bytes) -> tuple[StudyResult, list[bytes]]:
    sources = []
    for number, data in enumerate(files, 1):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        path.write_bytes(data)
        sources.append(replace(source(number, path), instance=1))
    archive = tmp_path / "out.tar.gz"
    result = deidentify_study(
        sources, plan=DEFAULT, identifiers=IDENTIFIERS, keys=KEYS, archive=archive
    )
    if result.archive is None:
        return result, []
    with tarfile.open(archive) as tar:
        return result, [
            opened.read() for member in tar if (opened := tar.extractfile(member)) is not None
        ]


DONE = (Outcome.DELIVERED, None)
SAME = (Outcome.DUPLICATE, Reason.DUPLICATE_INSTANCE)
CONFLICT = (Outcome.QUARANTINED, Reason.CONFLICT)


def test_the_intact_copy_of_two_is_delivered(tmp_path: Path) -> None:
    dataset = make_dataset(rows=32, columns=32)
    end_with_pixels(dataset)
    whole = to_bytes(dataset)
    short = make_dataset(rows=32, columns=32)
    short.PixelData = short.PixelData[:-100]
    cut = whole[:-1000] + bytes(1000)
    for broken, reason in ((to_bytes(short), Reason.SHORT_PIXELS), (cut, Reason.ZERO_FILLED)):
        bad = (Outcome.QUARANTINED, reason)
        for files, expected in (
            ((broken, whole), {1: bad, 2: DONE}),
            ((whole, broken), {1: DONE, 2: bad}),
            ((broken, whole, broken, whole), {1: bad, 2: DONE, 4: SAME}),
        ):
            result, members = delivered_of(tmp_path, *files)
            assert {number: result.outcomes[number] for number in expected} == expected
            assert len(members) == 1
            assert members[0][-1000:] == whole[-1000:]
    assert copies(tmp_path, cut, cut) == {1: DONE, 2: SAME}  # valid, with black pixels at its end


def test_copies_with_equal_output_are_duplicates(tmp_path: Path) -> None:
    whole = to_bytes(make_dataset(private=False, PatientComments="sent once"))
    again = make_dataset(private=False, PatientComments="sent again")
    again.file_meta.SourceApplicationEntityTitle = "OTHER"
    assert copies(tmp_path, whole, whole, to_bytes(again)) == {1: DONE, 2: SAME, 3: SAME}


def test_conflicting_copies_are_an_error(tmp_path: Path) -> None:
    one, other = (to_bytes(make_dataset(SliceLocation=place)) for place in (1, 2))
    assert copies(tmp_path, one, other, one) == {1: DONE, 2: CONFLICT, 3: SAME}
    longer = to_bytes(make_dataset(rows=17))
    assert copies(tmp_path, one, longer) == {1: DONE, 2: CONFLICT}
    assert copies(tmp_path, b"", b"x") == {
        1: (Outcome.QUARANTINED, Reason.EMPTY_FILE),
        2: (Outcome.QUARANTINED, Reason.NOT_DICOM),
    }


def test_copies_unknown_to_import(tmp_path: Path) -> None:
    one, other = (to_bytes(make_dataset(SliceLocation=place)) for place in (1, 2))
    result, members = deidentify_files([one, one, other], DEFAULT)
    assert result.outcomes == {1: DONE, 2: SAME, 3: CONFLICT}
    alone, _ = deidentify_files([one], DEFAULT)
    assert result.actions == alone.actions
    assert len(members) == 1


def test_a_copy_deleted_before_it_is_written(tmp_path: Path) -> None:
    whole = to_bytes(make_dataset())
    changed = (None, (Outcome.QUARANTINED, Reason.CHANGED))
    ready = StudyDeidentifier._ready
    calls = 0

    def until_written(study: StudyDeidentifier, file: Source) -> object:
        nonlocal calls
        calls += 1
        return ready(study, file) if calls < 3 else changed

    with patch.object(StudyDeidentifier, "_ready", until_written):
        assert set(copies(tmp_path, whole, whole).values()) == {changed[1]}


def test_a_header_that_differs_from_import_is_quarantined(tmp_path: Path) -> None:
    """Same size and time, but of a patient of another study."""
    path = tmp_path / "one"
    path.write_bytes(to_bytes(make_dataset()))
    known = replace(source(1, path), checksum=header_checksum(read_header(path.read_bytes())))
    for data, expected in (
        (to_bytes(make_dataset()), DONE),
        (to_bytes(make_dataset(2)), (Outcome.QUARANTINED, Reason.CHANGED)),
    ):
        path.write_bytes(data)
        os.utime(path, ns=(known.mtime_ns, known.mtime_ns))
        assert path.stat().st_size == known.size
        result = deidentify_study(
            [known],
            plan=DEFAULT,
            identifiers=IDENTIFIERS,
            keys=KEYS,
            archive=tmp_path / "out.tar.gz",
        )
        assert result.outcomes == {1: expected}


def test_filters_are_applied_again_before_delivery(tmp_path: Path) -> None:
    filters = compile_filters(read_recipe("default"))
    sources = []
    for number, burned in enumerate(("NO", "NO", "YES", "NO"), 1):
        path = tmp_path / str(number)
        dataset = make_dataset(instance=number, BurnedInAnnotation=burned)
        end_with_pixels(dataset)
        path.write_bytes(to_bytes(dataset))
        sources.append(source(number, path))
    filtered = []
    decide = FilterPlan.decide

    def noted(plan: FilterPlan, values: dict[int, str | None]) -> object:
        filtered.append(values)
        return decide(plan, values)

    with patch.object(FilterPlan, "decide", noted):
        result = deidentify_study(
            sources,
            plan=DEFAULT,
            identifiers=IDENTIFIERS,
            keys=KEYS,
            archive=tmp_path / "out.tar.gz",
            filters=filters,
        )
    assert [outcome for outcome, _ in result.outcomes.values()] == [
        Outcome.DELIVERED,
        Outcome.DELIVERED,
        Outcome.FILTERED,
        Outcome.DELIVERED,
    ]
    assert len(filtered) == 2  # template matches are filtered again only where they differ


def test_an_unexpected_engine_error_quarantines_the_file() -> None:
    files = [to_bytes(make_dataset(instance=number)) for number in (1, 2)]
    with patch("sendit.deidentify.functions._FUNCTIONS", {}):
        result, members = deidentify_files(files, compile_plan(read_recipe("default")))
    assert set(result.outcomes.values()) == {(Outcome.QUARANTINED, Reason.NOT_CLEANABLE)}
    assert members == {}


def test_member_names() -> None:
    files = [
        to_bytes(make_dataset(series=3, instance=7)),
        to_bytes(make_dataset(series=3, instance=8, InstanceNumber=7)),
        to_bytes(make_dataset(series=4, instance=9, InstanceNumber=None)),
        to_bytes(make_dataset(series=4, instance=10, InstanceNumber="")),
    ]
    _, members = deidentify_files(files, DEFAULT)
    code = IDENTIFIERS.study_code
    assert list(members) == [
        f"{code}_3_7.dcm",
        f"{code}_3_7_2.dcm",
        f"{code}_4_0.dcm",
        f"{code}_4_0_2.dcm",
    ]


def test_member_naming_takes_constant_time() -> None:
    study = StudyDeidentifier(DEFAULT, IDENTIFIERS, KEYS, RealValues(DEFAULT))
    lines = 0

    def count(frame: FrameType, event: str, _: object) -> object:
        nonlocal lines
        lines += event == "line"
        return count

    def name(stem: str) -> tuple[str, int]:
        nonlocal lines
        lines = 0
        sys.settrace(count)
        try:
            result = study._name(stem)
        finally:
            sys.settrace(None)
        return result, lines

    names, costs = zip(*(name("code_1_0") for _ in range(500)), strict=True)
    assert len(set(names)) == 500
    assert set(costs[1:]) == {costs[-1]}


def test_member_names_contain_only_numbers() -> None:
    data = to_bytes(make_dataset(InstanceNumber=12345678))
    data = data.replace(b"12345678", b"DOE^JANE", 1)
    _, members = deidentify_files([data], DEFAULT)
    assert list(members) == [f"{IDENTIFIERS.study_code}_1_0.dcm"]


def test_output_is_deterministic_across_processes(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in", instances=4, canaries=True)
    program = """
import hashlib
import sys
from pathlib import Path
from tests.deidentify.test_study import *
files = sorted(Path(sys.argv[1]).iterdir())
result = deidentify_study([source(n, p) for n, p in enumerate(files, 1)], plan=DEFAULT,
    identifiers=IDENTIFIERS, keys=KEYS, archive=Path(sys.argv[2]))
print(hashlib.sha256(result.archive.path.read_bytes()).hexdigest())
"""
    digests = []
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(study.folder), str(tmp_path / f"{seed}.tar.gz")],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
        )
        digests.append(done.stdout.strip())
    assert digests[0] == digests[1]
    first, second = ((tmp_path / f"{seed}.tar.gz").read_bytes() for seed in ("0", "1"))
    assert first == second


def test_output_does_not_depend_on_earlier_studies() -> None:
    ct = [to_bytes(make_dataset(instance=number)) for number in (1, 2, 3)]
    mr = [to_bytes(make_dataset(kind="MR", study=2, instance=number)) for number in (1, 2)]
    plan = compile_plan(read_recipe("default"))
    _, fresh = deidentify_files(ct, plan)
    deidentify_files(mr, plan)
    _, again = deidentify_files(ct, plan)
    assert fresh == again
    _, mixed = deidentify_files([ct[0], mr[0], ct[1], mr[1], ct[2]], plan)
    assert {mixed[name] for name in fresh if name in mixed} <= set(mixed.values())
    assert set(fresh.values()) <= set(mixed.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", ["default", "by value"])
def test_caches_do_not_change_the_output(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = DEFAULT
    if recipe != "default":
        plan = plan_of(
            "REMOVE values:known\nJITTER select:VR:DA 3\nKEEP contains:\\(0019",
            sections='%values known\nFIELD PatientID\nSPLIT PatientName by="^";minlength=3\n',
        )
    kinds: list[ObjectKind] = ["CT", "MR", "ENHANCED", "SR", "US"]
    files = [
        to_bytes(make_dataset(patient, kind=kind, transfer_syntax=syntax, rows=4, columns=4))
        for patient in (1, 2)
        for kind in kinds
        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
    ]
    files += [path.read_bytes() for path in real_files() if path.stat().st_size < 30_000][:60]
    monkeypatch.setattr(TextDetector, "image", lambda *_: None)
    nobody = Source(0, Path(), 0, 0)
    together = StudyDeidentifier(plan, IDENTIFIERS, KEYS, RealValues(plan))
    compared = 0
    for data in files * 2:
        try:
            header = read_header(data)
            alone = StudyDeidentifier(plan, IDENTIFIERS, KEYS, RealValues(plan))
            converted = b"".join(alone._convert(header, nobody, None).parts)
        except SkipInstance:
            continue
        assert b"".join(together._convert(header, nobody, None).parts) == converted
        compared += 1
    assert compared > 120


def test_file_meta_is_regenerated() -> None:
    before = make_dataset()
    assert before.file_meta is not None
    before.file_meta.SourceApplicationEntityTitle = "DOE^JANE"
    before.file_meta.PrivateInformationCreatorUID = "1.2.3"
    before.file_meta.PrivateInformation = b"DOE^JANE"
    before.preamble = b"DOE^JANE" * 16
    data = deidentified_bytes(before, DEFAULT)
    assert data[:132] == bytes(128) + b"DICM"
    ds = pydicom.dcmread(BytesIO(data))
    assert [e.tag.element for e in ds.file_meta] == [0, 1, 2, 3, 0x10, 0x12, 0x13]
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID != before.SOPInstanceUID
    assert ds.file_meta.MediaStorageSOPClassUID == before.SOPClassUID
    assert ds.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    length = ds.file_meta.FileMetaInformationGroupLength
    assert data[144 + length : 148 + length] == struct.pack("<HH", 8, 5)


@pytest.mark.parametrize(
    ("rules", "stays"),
    [
        ("REPLACE select:VR:UI func:remap_uid", False),
        ("KEEP select:VR:UI\nREMOVE ALL", True),
    ],
)
def test_file_meta_matches_the_dataset(rules: str, stays: bool) -> None:
    """A class that the standard does not register is remapped like any other UID."""
    before = make_dataset(SOPClassUID="1.2.3.4")
    ds = pydicom.dcmread(BytesIO(deidentified_bytes(before, plan_of(rules, uids=False))))
    assert (ds.SOPClassUID == before.SOPClassUID) is stays
    assert (ds.SOPInstanceUID == before.SOPInstanceUID) is stays
    assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_input_without_file_meta_gets_one() -> None:
    data = to_bytes(make_dataset())
    bare = data[data.index(struct.pack("<HH2s", 8, 5, b"CS")) :]
    assert deidentified_bytes(bare, DEFAULT) == deidentified_bytes(data, DEFAULT)


def test_header_is_read_from_the_output() -> None:
    result, members = deidentify_files(
        [to_bytes(make_dataset()), to_bytes(make_dataset(instance=2))], DEFAULT
    )
    ds = pydicom.dcmread(BytesIO(next(iter(members.values()))))
    header = result.header
    assert header["PatientID"] == ds.PatientID == IDENTIFIERS.patient_code
    assert header["SOPInstanceUID"] == ds.SOPInstanceUID
    assert header["Rows"] == ds.Rows
    assert header["ImageType"] == list(ds.ImageType)
    assert header["DeidentificationMethodCodeSequence"][0]["CodeValue"] == "113100"
    assert "PixelData" not in header
    assert not any(name.startswith("Private") for name in header)


def test_unknown_identifiers_leave_no_date() -> None:
    nothing = CodedStudy("P1", "S1", 0, None, None)
    plan = plan_of("REPLACE PatientBirthDate var:entity_timestamp")
    _, members = deidentify_files(
        [to_bytes(make_dataset(PatientBirthDate="19500101"))], plan, nothing
    )
    ds = pydicom.dcmread(BytesIO(next(iter(members.values()))))
    assert ds["PatientBirthDate"].is_empty


def test_timestamps_become_dates() -> None:
    from dataclasses import replace

    stamped = replace(IDENTIFIERS, item_date="2010-02-09T11:50:00-0800")
    plan = plan_of("REPLACE StudyDate var:item_timestamp")
    _, members = deidentify_files([to_bytes(make_dataset())], plan, stamped)
    assert pydicom.dcmread(BytesIO(next(iter(members.values())))).StudyDate == "20100209"


def test_a_full_disk_raises_and_leaves_no_archive(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in", instances=2)
    sources = [source(number, path) for number, path in enumerate(study.files, 1)]
    out = tmp_path / "out"
    out.mkdir()
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch("os.write", side_effect=full), pytest.raises(RetryLater) as raised:
        deidentify_study(
            sources,
            plan=DEFAULT,
            identifiers=IDENTIFIERS,
            keys=KEYS,
            archive=out / "secret-name.tar.gz",
        )
    assert "secret-name" not in str(raised.value)
    assert list(out.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """2,000 files take no more memory than 200; forked, because the peak never decreases."""
    program = """
import resource, sys
from tests.deidentify.test_study import *
from testing.builder import make_dataset, to_bytes
from sendit.deidentify.study import StudyDeidentifier
from sendit.dicom.scan import read_header
study = StudyDeidentifier(DEFAULT, IDENTIFIERS, KEYS, RealValues(DEFAULT))
data = to_bytes(make_dataset(rows=8, columns=8, instance=1000))
old = b".1.1.1.1000"
assert old in data
for number in range(int(sys.argv[1])):
    new = b".1.1.1." + str(1000 + number).encode()
    header = read_header(data.replace(old, new).replace(b"1012", b"%04d" % (number % 2400)))
    study._convert(header, Source(number, Path(), 0, 0), None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", program, count],
                check=True,
                capture_output=True,
                text=True,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
            ).stdout
        )
        for count in ("200", "2000")
    ]
    assert peaks[1] - peaks[0] < 24 << 10  # kB; caches are limited


def test_a_study_larger_than_memory_is_processed(tmp_path: Path) -> None:
    """700 frames of 1 MB (sparse) under a limit of 512 MB of memory: mapped, not read."""
    dataset = make_dataset(rows=4, columns=4, LargestImagePixelValue=None)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 512, 1024, 700
    data = bytearray(to_bytes(dataset))
    size = 700 << 20
    length = data.rindex(struct.pack("<L", 32))
    data[length : length + 4] = struct.pack("<L", size)
    file = tmp_path / "large"
    with file.open("wb") as handle:
        handle.write(data[: length + 4])
        handle.truncate(length + 4 + size)
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (512 << 20, 512 << 20))
from unittest.mock import patch
from pathlib import Path
from tests.deidentify.test_study import *
with patch("sendit.pipeline.study.gate"):
    result = deidentify_study([source(1, Path(sys.argv[1]))], plan=DEFAULT,
        identifiers=IDENTIFIERS, keys=KEYS, archive=Path(sys.argv[2]))
print(result.outcomes, result.archive.members)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(file), str(tmp_path / "out.tar.gz")],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
    )
    assert "delivered" in done.stdout


# Search attributes of a delivered image -------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_search_attributes(syntax: str) -> None:
    inner = pydicom.Dataset()
    inner.CodeMeaning = "Größe"
    inner.SelectorUSValue = [1, 2]
    before = make_dataset(
        transfer_syntax=syntax,
        SpecificCharacterSet="ISO_IR 192",
        ImageComments="a\\b",  # LT: a backslash is an ordinary character
        InstitutionAddress="1\\2",  # ST
        SelectorUTValue="c\\d",
        ImageType=["ORIGINAL", "PRIMARY"],
        SelectorUSValue=[1, 2],
        SelectorFDValue=0.5,
        SelectorOBValue=b"bytes",
        ContentSequence=pydicom.Sequence([inner, pydicom.Dataset()]),
    )
    before.add_new(0x00091002, "LO", "private")
    attributes = searchable(to_bytes(before))
    assert attributes["ImageComments"] == "a\\b"
    assert (attributes["InstitutionAddress"], attributes["SelectorUTValue"]) == ("1\\2", "c\\d")
    assert attributes["ImageType"] == ["ORIGINAL", "PRIMARY"]
    assert (attributes["Rows"], attributes["SelectorUSValue"], attributes["SelectorFDValue"]) == (
        16,
        [1, 2],
        0.5,
    )
    assert attributes["ContentSequence"] == [
        {"CodeMeaning": "Größe", "SelectorUSValue": [1, 2]},
        {},
    ]
    assert attributes["PatientID"] == before.PatientID
    assert not {"SelectorOBValue", "PixelData", "DataSetTrailingPadding", ""} & attributes.keys()
    assert all(isinstance(keyword, str) for keyword in attributes)


def test_oversized_values_are_left_out_of_the_search_header() -> None:
    item = pydicom.Dataset()
    item.CodeMeaning = "x"
    for size, count, there in ((1 << 16, 100, True), ((1 << 16) + 2, 101, False)):
        items = pydicom.Sequence([item] * count)
        attributes = searchable(
            to_bytes(make_dataset(SelectorUTValue="x" * size, ContentSequence=items))
        )
        assert ("SelectorUTValue" in attributes, "ContentSequence" in attributes) == (there, there)


def test_batch_header_is_that_of_the_first_image() -> None:
    for syntax in (DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian):
        files = [
            to_bytes(make_dataset(instance=number, transfer_syntax=syntax)) for number in (1, 2)
        ]
        result, members = deidentify_files(files, DEFAULT)
        first = pydicom.dcmread(BytesIO(next(iter(members.values()))))
        assert result.header["SOPInstanceUID"] == first.SOPInstanceUID
        assert result.header == searchable(next(iter(members.values())))


# Content digest of a batch --------------------------------------------------------------


def test_content_digest_does_not_depend_on_file_order() -> None:
    files = [to_bytes(make_dataset(instance=number)) for number in (1, 2)]
    other = to_bytes(make_dataset(instance=2, SliceLocation=7))

    def digest(*parts: bytes, keys: Keys = KEYS) -> str:
        with TemporaryDirectory() as folder, Archive(Path(folder) / "out.tar.gz") as writer:
            study = StudyDeidentifier(DEFAULT, IDENTIFIERS, KEYS, RealValues(DEFAULT))
            for number, data in enumerate(parts, 1):
                path = Path(folder) / str(number)
                path.write_bytes(data)
                study.add(source(number, path), writer)
            return study.content_digest(keys)

    whole = digest(*files)
    assert digest(*files[::-1]) == whole
    assert digest(*files, files[0]) == whole  # a duplicate changes nothing
    assert len({whole, digest(files[0]), digest(files[0], other)}) == 3
    assert digest(*files, keys=Keys(b"2" * 32)) != whole


# Selecting a study's files --------------------------------------------------------------


def test_rejected_files_are_not_read_and_outcomes_keep_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(1, 5)]
    for number, path in enumerate(paths, 1):
        path.write_bytes(to_bytes(make_dataset(instance=number)))
    paths[1].unlink()
    sources = [
        Source(number, path, path.stat().st_size if path.exists() else 0, 0)
        for number, path in enumerate(paths, 1)
    ]
    sources = [
        replace(one, mtime_ns=one.path.stat().st_mtime_ns) if one.path.exists() else one
        for one in sources
    ]
    study = StudyDeidentifier(DEFAULT, IDENTIFIERS, KEYS, RealValues(DEFAULT))
    reported: list[int] = []
    with Archive(tmp_path / "out.tar.gz") as writer:
        outcomes = study.deidentify(sources, {2: Reason.CONFLICT}, writer, reported.append)
    assert list(outcomes) == [1, 2, 3, 4]
    assert outcomes[2] == (Outcome.QUARANTINED, Reason.CONFLICT)
    assert {outcomes[number] for number in (1, 3, 4)} == {DONE}
    assert reported == [2, 3, 4]
    assert list(study.members) == [1, 3, 4]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"007 ", "7"),
        (b"+12 ", "12"),
        (b"0000000012", "12"),
        (b"12345678901 ", "0"),
        (b"-1", "0"),
    ],
)
def test_numbers_in_member_names(written: bytes, shown: str) -> None:
    data = to_bytes(make_dataset(InstanceNumber="77777777"))
    mark = struct.pack("<HH2sH", 0x0020, 0x0013, b"IS", 8) + b"77777777"
    assert mark in data
    new = struct.pack("<HH2sH", 0x0020, 0x0013, b"IS", len(written)) + written
    _, members = deidentify_files([data.replace(mark, new)], plan_of("BLANK PatientName"))
    assert list(members) == [f"{IDENTIFIERS.study_code}_1_{shown}.dcm"]


def test_specific_character_set_with_another_vr_is_unreadable() -> None:
    data = to_bytes(make_dataset(SpecificCharacterSet="ISO_IR 100"))
    for vr, delivered in ((b"UN", True), (b"LO", False)):
        head = struct.pack("<HH", 0x0008, 0x0005)
        if vr == b"UN":
            new = head + vr + struct.pack("<HL", 0, 10)
        else:
            new = head + vr + struct.pack("<H", 10)
        changed = data.replace(head + b"CS" + struct.pack("<H", 10), new, 1)
        result, _ = deidentify_files([changed], DEFAULT)
        expected = DONE if delivered else (Outcome.QUARANTINED, Reason.MALFORMED)
        assert result.outcomes == {1: expected}


def test_images_are_given_to_the_detector(tmp_path: Path) -> None:
    seen = []

    class Detector:
        def image(self, number: int, header: Header, *_: object) -> None:
            seen.append((number, header.sop_instance))

    sources = []
    for number in (3, 8):
        data = to_bytes(make_dataset(instance=number))
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(data)
        sources.append(Source(number, path, len(data), path.stat().st_mtime_ns))
    study = StudyDeidentifier(
        DEFAULT, IDENTIFIERS, KEYS, RealValues(DEFAULT), detector=cast("TextDetector", Detector())
    )
    with Archive(tmp_path / "a.tar.gz") as writer:
        study.deidentify(sources, {}, writer, None)
    assert seen == [
        (number, str(make_dataset(instance=number).SOPInstanceUID)) for number in (3, 8)
    ]
