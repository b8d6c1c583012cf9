"""What the gate finds in archives: real values planted in every place and form, and what it says."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.archive import Archive
from sendit.deidentify.plan import Plan
from sendit.dicom.scan import read_header
from sendit.errors import FailBatch
from sendit.gate import check
from sendit.gate.archive_reader import Pixels
from sendit.gate.check import Finding, Stopped, gate
from sendit.gate.real_values import Matcher, RealValues
from testing.approval import Approved
from testing.builder import jpeg, jpeg_segment, make_dataset, to_bytes
from tests.deidentify.corpus import short
from tests.deidentify.engine import plan_of
from tests.deidentify.test_approved_attributes import plan_of as bundled
from tests.gate.test_check import IDENTIFIERS, KEYS

FAMILY, NUMBER, ACCESSION = "Musterfrau0001", "MRN77000001", "ACC880001001"
UID = str(make_dataset().StudyInstanceUID)
#: The real values of :mod:`testing.builder`'s patient, in forms that people write.
PLANTED = (
    "Musterfrau0001",
    "MUSTERFRAU0001^ÄNNE0001",
    "nne0001 Musterfrau0001",
    "Hausarzt Heinz",
    "Hausarzt",
    "MRN77000001",
    "77000001",
    "mrn 77-000001",
    "ACC880001001",
    "880001001",
    "OLD000001",
    "General Hospital",
    "CTNORTH1",
    "SN-0815-42",
    "20160321",
    "21.03.2016",
    "19480807",
    "7 Aug 1948",
    "20160304",
    UID,
    f"x {UID}.9",
    "Scanner 7",
    "chest",
    "1.5",
    "1 Harbour Road",
    "",
)
PLACES = (
    (0x00080070, "LO"),
    (0x00081090, "LO"),
    (0x00081030, "LO"),
    (0x00204000, "LT"),
    (0x00080100, "SH"),
    (0x00080104, "LO"),
    (0x00081155, "UI"),
    (0x00080060, "CS"),
    (0x00080054, "AE"),
    (0x00181210, "SH"),
    (0x00200011, "IS"),
    (0x00181151, "DS"),
    (0x00101010, "AS"),
    (0x00080030, "TM"),
    (0x00080020, "DA"),
    (0x0008002A, "DT"),
    (0x00100010, "PN"),
    (0x00100020, "LO"),
    (0x00080050, "SH"),
    (0x0040A160, "UT"),
    (0x00420011, "OB"),
    (0x00281201, "OW"),
    (0x00209999, "UN"),
    (0x00191010, "LO"),
    (0x00190010, "LO"),
    (0x00290010, "LO"),
    (0x00291010, "OB"),
    (0x00020016, "AE"),
)


@cache
def originals(syntax: str = ExplicitVRLittleEndian) -> tuple[bytes, ...]:
    return tuple(to_bytes(make_dataset(instance=n, transfer_syntax=syntax)) for n in range(1, 3))


@cache
def real_values(recipe: str = "default") -> RealValues:
    real = RealValues(bundled(recipe))
    for data in originals():
        real.see(read_header(data))
    return real


@cache
def matcher(recipe: str = "default") -> Matcher:
    return Matcher(real_values(recipe), bundled(recipe), IDENTIFIERS.jitter)


@cache
def _one_check(recipe: str) -> check._Check:
    return check._Check(matcher(recipe), bundled(recipe))


def checking(recipe: str = "default") -> check._Check:
    """Return a check that has found nothing yet; to make one takes a tenth of a second."""
    at_work = _one_check(recipe)
    at_work.findings.clear()
    at_work.flagged.clear()
    at_work._judged.clear()
    return at_work


def _described(findings: list[Finding]) -> str:
    findings = [
        f"{each}{' of ' + ' '.join(f'{tag:08X}' for tag in sorted(each.sources)) if each.sources else ''}"
        for each in findings
    ]
    return "; ".join(dict.fromkeys(findings)) or "nothing"


@pytest.mark.parametrize("recipe", ["default", "default-retain-device"])
def test_each_value_in_each_attribute(recipe: str, approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for tag, vr in PLACES:
            yield f"# {tag:08X} {vr}"
            results: dict[str, list[str]] = {}
            for text in PLANTED:
                raw = text.encode("latin-1")
                at_work = checking(recipe)
                at_work._character_set = b"ISO_IR 100"
                at_work._judge(1, tag, vr, raw)
                noted = sorted(at_work.flagged)
                results.setdefault(_described(at_work.findings), []).append(
                    repr(text) + (" (noted)" if noted else "")
                )
            for result, texts in results.items():
                yield f"  {result} <- {', '.join(texts)}"

    approved(lines())


def test_values_among_others(approved: Approved) -> None:
    """Several values, bytes around texts, other character sets, digits that are numbers."""
    cases: tuple[tuple[int, str, bytes, bytes], ...] = (
        (0x00181210, "SH", b"B31f\\MUSTERFRAU0001\\B30", b""),
        (0x00080008, "CS", b"ORIGINAL\\PRIMARY\\MUSTERFRAU0001", b""),
        (0x00081030, "LO", "Musterfrau0001^Änne0001".encode(), b"ISO_IR 192"),
        (0x00081030, "LO", "Änne0001 Musterfrau0001".encode("latin-1"), b"ISO_IR 144"),
        (0x00081030, "LO", b"\x1b$BMusterfrau0001", b"\\ISO 2022 IR 87"),
        (0x00420011, "OB", b"\0\1\2" + b"Musterfrau0001" + bytes(20), b""),
        (0x00420011, "OB", "Musterfrau0001".encode("utf-16-le") + bytes(40), b""),
        (0x00420011, "OB", "Musterfrau0001".encode("utf-16-be") + bytes(40), b""),
        (0x00420011, "OB", bytes(5000) + b"seen Musterfrau0001", b""),
        (0x00420011, "OB", b"Musterfrau0001 " * 400, b""),
        (0x00420011, "OB", b"Muster\0frau0001", b""),
        (0x00420011, "UN", struct.pack("<d", 77000001.0), b""),
        (0x00181151, "DS", b"77000001", b""),
        (0x00181151, "DS", b"77000001.0\\1", b""),
        (0x00181151, "DS", b"1\\2\\MRN77000001", b""),
        (0x00181151, "DS", b"19480807", b""),
        (0x00200011, "IS", b"880001001", b""),
        (0x00080030, "TM", b"101112.5", b""),
        (0x00080030, "TM", b"20160321101112", b""),
        (0x00080020, "DA", b"20160321\\20160304", b""),
        (0x00080020, "DA", b"2016.03.21", b""),
        (0x00080020, "DA", b"20160321-20160322", b""),
        (0x0008002A, "DT", b"20160321101112.5+0100", b""),
        (0x00101010, "AS", b"MRN77000001", b""),
        (0x00081155, "UI", f"1.2\\{UID}\0".encode(), b""),
        (0x00081155, "UI", b"Musterfrau0001", b""),
        (0x0020000D, "UI", UID.encode(), b""),
        (0x00291010, "OB", b"SV10Musterfrau0001", b""),
        (0x00191010, "IS", b"77000001", b""),
        (0x00200010, "SH", b"ST0001001", b""),
        (0x00081010, "SH", b"CTNORTH1", b""),
        (0x00081090, "LO", b"CTNORTH1", b""),
        (0x00081090, "LO", b"General Hospital", b""),
        (0x00104000, "LT", b"x" * 5000 + b" Musterfrau0001", b""),
    )

    def lines() -> Iterator[str]:
        for tag, vr, raw, character_set in cases:
            at_work = checking()
            at_work._character_set = character_set
            at_work._judge(3, tag, vr, raw)
            noted = [f"{t:08X} {short(repr(v))}" for t, v in sorted(at_work.flagged)]
            yield f"{tag:08X} {vr} {short(repr(raw))} -> {_described(at_work.findings)}{f', noted {noted}' if noted else ''}"

    approved(lines())


def test_values_in_pixels(approved: Approved) -> None:
    com = jpeg_segment(0xFE, b"Musterfrau0001 21.03.2016")
    frames = {
        "a comment": jpeg(16, 16, more=com),
        "behind its end": jpeg(16, 16, trailing=b"Pat Musterfrau0001"),
        "in coded data": jpeg(16, 16, data=bytes(300) + b"Musterfrau0001"),
        "a date in coded data": jpeg(16, 16, data=bytes(300) + b" 21.03.2016 "),
        "a number": jpeg(16, 16, more=jpeg_segment(0xFE, b"77000001")),
        "nothing": jpeg(16, 16, data=bytes(300)),
        "a uid": jpeg(16, 16, more=jpeg_segment(0xFE, UID.encode())),
        "a written date": b"\xff\x93 7 Aug 1948 \xff\xd9",
        "jpeg 2000": b"\xff\x4f\xff\x64\0\x12\0\1Musterfrau0001\xff\x93" + bytes(20),
        "no marker": b"Musterfrau0001 21.03.2016",
        "date forms": b"\xff\xda 1948-08-07 x August 7, 1948 x 07/08/1948 x 20160321 \xff\xd9",
        "early": b"a " * 2500 + b"Musterfrau0001",
    }

    def lines() -> Iterator[str]:
        for name, data in frames.items():
            for samples in (True, False):
                for first, last in ((True, True), (False, False), (True, False), (False, True)):
                    at_work = checking()
                    at_work.part(Pixels(2, data, samples, first, last))
                    yield f"{name}, samples {samples}, first {first}, last {last}: {_described(at_work.findings)}"

    approved(lines())


def _set(keyword: str, value: object) -> Callable[[FileDataset], None]:
    return lambda made: setattr(made, keyword, value)


def _add(tag: int, vr: str, value: object) -> Callable[[FileDataset], None]:
    return lambda made: made.add_new(tag, vr, value)


def _nested(keyword: str, value: object, depth: int = 1) -> Callable[[FileDataset], None]:
    def change(made: FileDataset) -> None:
        item = Dataset()
        setattr(item, keyword, value)
        for _ in range(depth - 1):
            outer = Dataset()
            outer.SourceImageSequence = [item]
            item = outer
        made.SourceImageSequence = [item]

    return change


def _meta(keyword: str, value: object) -> Callable[[FileDataset], None]:
    return lambda made: setattr(made.file_meta, keyword, value)


CHANGES: dict[str, Callable[[FileDataset], None]] = {
    "nothing": lambda made: None,
    "a name in a description": _set("StudyDescription", f"CT of {FAMILY}"),
    "a name in a maker": _set("Manufacturer", FAMILY),
    "a number nested": _nested("CodeMeaning", NUMBER, 3),
    "an institution": _set("InstitutionName", "General Hospital"),
    "a removed sequence": lambda made: setattr(made, "ReferencedPatientSequence", [Dataset()]),
    "a private element": _add(0x00191010, "LO", "x"),
    "a private sequence": lambda made: made.add_new(0x00191010, "SQ", [Dataset()]),
    "a uid": _set("FrameOfReferenceUID", make_dataset().FrameOfReferenceUID),
    "a date": _set("ContentDate", "20160321"),
    "a birth date in text": _set("ImageComments", "born 07.08.1948"),
    "padding": _add(0xFFFCFFFC, "OB", b"padding!"),
    "text behind the pixels": _add(0xFFFCFFFC, "OB", FAMILY.encode() + b"\0" * 8),
    "file meta": _meta("SourceApplicationEntityTitle", "CTNORTH1"),
    "private information": _meta("PrivateInformationCreatorUID", UID),
    "the preamble": lambda made: setattr(made, "preamble", b"MRN77000001".ljust(128, b"\0")),
    "bytes of a table": _add(0x00281201, "OW", b"Musterfrau0001 \0"),
    "pixels": lambda made: setattr(made, "PixelData", (b"Musterfrau0001 x" * 32)),
    "many": lambda made: (
        [
            setattr(made, keyword, f"{FAMILY} {NUMBER}")
            for keyword in (
                *("Manufacturer", "StudyDescription", "ImageComments", "ProtocolName"),
                *("SeriesDescription", "ConvolutionKernel", "BodyPartExamined"),
            )
        ]
        and None
    ),
}


@cache
def _clean(syntax: str) -> tuple[bytes, ...]:
    """Return the files as they are delivered, without the gate."""
    import tempfile

    from tests.deidentify.test_approved_studies import Study

    with tempfile.TemporaryDirectory() as name:
        study = Study(Path(name), originals(syntax), bundled("default"), identifiers=IDENTIFIERS)
        assert len(study.written) == 2
        return tuple(study.written.values())


def _packed(members: list[tuple[str, bytes]], folder: Path) -> object:
    with Archive(folder / "a.tar.gz") as writer:
        for name, data in members:
            writer.add(name, data)
        return writer.close()


def _changed(data: bytes, change: Callable[[FileDataset], None]) -> bytes:
    made = pydicom.dcmread(BytesIO(data))
    change(made)
    out = BytesIO()
    made.save_as(out, enforce_file_format=False)
    return out.getvalue()


def _judged(
    members: list[tuple[str, bytes]], folder: Path, *, thorough: bool = False
) -> Iterator[str]:
    info = _packed(members, folder)
    real = real_values()
    real.flagged.clear()
    try:
        report = gate(info, real, bundled("default"), IDENTIFIERS.jitter, thorough=thorough)  # type: ignore[arg-type]
    except Stopped as stopped:
        yield str(stopped)
        yield f"members: {dict(stopped.members)}, thorough {stopped.thorough}"
    except FailBatch as failed:
        yield f"failed: {failed}"
    else:
        yield f"passed: {report.members} members, inflated {report.inflated}, passed over {report.passed}"
    if real.flagged:
        yield f"found: {sorted(f'{tag:08X} {value!r}' for tag, value in real.flagged)}"
    yield f"there: {(folder / 'a.tar.gz').exists()}"


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit]
)
def test_archives(syntax: str, approved: Approved, tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        clean = _clean(syntax)
        for name, change in CHANGES.items():
            if syntax == JPEGBaseline8Bit and name == "pixels":
                frame = jpeg(16, 16, more=jpeg_segment(0xFE, b"Musterfrau0001"))
                change = _set("PixelData", encapsulate([frame]))  # noqa: PLW2901
            yield f"# {name}"
            members = [
                ("IR1A0001_1_1.dcm", clean[0]),
                ("IR1A0001_1_2.dcm", _changed(clean[1], change)),
            ]
            yield from _judged(members, tmp_path, thorough=name == "pixels")
        yield "# names of members"
        for name in (
            "Musterfrau0001.dcm",
            "MRN77000001_1.dcm",
            "IR1A_880001001_1.dcm",
            "20160321.dcm",
        ):
            yield f"  {name}"
            yield from _judged([(name, clean[0])], tmp_path)
        yield "# the same finding twice"
        bad = _changed(clean[1], CHANGES["a name in a maker"])
        yield from _judged([("a.dcm", clean[0]), ("b.dcm", bad), ("c.dcm", bad)], tmp_path)

    approved(lines())


def test_advice(approved: Approved) -> None:
    """What a message says to do, by the rule that the recipe has for the attribute."""
    plans: dict[str, Plan] = {
        "kept": plan_of("KEEP StudyDescription\nREMOVE PatientName"),
        "replaced": plan_of("REPLACE StudyDescription func:clean_text"),
        "not named": plan_of("REMOVE PatientName"),
        "private": plan_of('KEEP (0019,"ACME",10)'),
    }

    def lines() -> Iterator[str]:
        for name, plan in plans.items():
            for tag, place in (
                (0x00081030, "(0008,1030) StudyDescription"),
                (0x00191010, "(0019,1010)"),
                (0x00020016, "file meta (0002,0016)"),
                (None, "bytes"),
            ):
                findings = [
                    Finding(4, "a real name", place, tag, frozenset((0x00100010, 0))),
                    Finding(2, "a real name", place, tag, frozenset((0x00100010, 0))),
                ]
                yield f"{name}: {check._explain(findings, plan)}"
        many = [Finding(n, f"kind {n % 7}", "place") for n in range(20)]
        yield check._explain(many, plans["kept"])

    approved(lines())


def test_a_whole_study(approved: Approved, tmp_path: Path) -> None:
    """What becomes of files with a finding, and of the values that give way."""
    from unittest.mock import patch

    from sendit.deidentify.study import Source
    from sendit.pipeline.study import deidentify_study
    from sendit.pixels.text_detector import TextDetector

    cases: dict[str, list[dict[str, object]]] = {
        "nothing": [{}, {}],
        "a value in its form": [{"ConvolutionKernel": "MUSTERFRAU0001"}, {}],
        "a code": [{}, {"ProcedureCodeSequence": None, "BodyPartExamined": "77000001"}],
        "text of a rule that cleans": [{"SeriesDescription": "chest of Musterfrau0001"}, {}],
        "a maker": [{}, {"ManufacturerModelName": "Musterfrau0001"}],
        "a name where no rule looks": [{}, {"KVP": "77000001"}],
        "in all files": [{"KVP": "77000001"}, {"KVP": "77000001"}],
    }

    def lines() -> Iterator[str]:
        for name, changes in cases.items():
            yield f"# {name}"
            sources = []
            for number, elements in enumerate(changes, 1):
                path = tmp_path / f"{number}"
                path.write_bytes(to_bytes(make_dataset(instance=number, **elements)))  # type: ignore[arg-type]
                state = path.stat()
                sources.append(Source(number, path, state.st_size, state.st_mtime_ns))
            seen: list[int] = []
            try:
                with patch.object(TextDetector, "image"):
                    result = deidentify_study(
                        sources,
                        plan=bundled("default"),
                        identifiers=IDENTIFIERS,
                        keys=KEYS,
                        archive=tmp_path / "out.tar.gz",
                        folder=ACCESSION,
                        progress=seen.append,
                    )
            except FailBatch as failed:
                yield f"failed: {failed}"
                continue
            yield f"outcomes: { ({n: (str(o), r) for n, (o, r) in result.outcomes.items()}) }"
            yield f"members: {result.members}, progress {seen}"
            yield f"kernel {result.header.get('ConvolutionKernel')}, body part {result.header.get('BodyPartExamined')}"

    approved(lines())
