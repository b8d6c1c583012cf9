import base64
import io
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pydicom
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.archive import BULK, Archive, ArchiveInfo
from sendit.batch import Outcome
from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.dicom.scan import read_header
from sendit.errors import FailBatch
from sendit.gate import archive_reader
from sendit.gate.check import Stopped, gate
from sendit.gate.real_values import Matcher, RealValues
from sendit.keys import Keys
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.recipe.parse import read_recipe, read_text
from testing.builder import make_dataset, to_bytes

KEYS = Keys(b"a key for the tests of the gate!")
IDENTIFIERS = CodedStudy("IR1-0001", "IR1A0001", -17, "19480720", "20160304")
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
]
# Name and study date of the synthetic patient.
SECRETS = (
    *("musterfrau", "nne0001", "mrn77", "acc88", "1.2.826", "19480807"),
    *("20160321", "21.03.2016", "harbour"),
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(read_recipe("default"))


KEEP_UIDS = (
    "FORMAT dicom\n%header\nKEEP SOPClassUID\nKEEP SOPInstanceUID\n"
    "KEEP StudyInstanceUID\nKEEP SeriesInstanceUID\n"
)


def received(count: int = 2, **options: object) -> list[bytes]:
    return [to_bytes(make_dataset(1, 1, 1, number, **options)) for number in range(1, count + 1)]


def make_plain() -> bytes:
    """Return an object in which each value occurs once."""
    dataset = make_dataset(private=False)
    for keyword in ("RequestAttributesSequence", "ReferencedStudySequence", "OtherPatientIDs"):
        if keyword in dataset:
            delattr(dataset, keyword)
    return to_bytes(dataset)


def real_values(originals: list[bytes], plan: Plan) -> RealValues:
    real = RealValues(plan)
    for original in originals:
        real.see(read_header(original))
    return real


def delivered(originals: list[bytes], plan: Plan, folder: Path) -> dict[str, bytes]:
    """De-identify as the pipeline does; return the members."""
    sources = []
    for number, original in enumerate(originals, 1):
        path = folder / f"{number}"
        path.write_bytes(original)
        sources.append(Source(number, path, len(original), path.stat().st_mtime_ns))
    result = deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=folder / "clean.tar.gz"
    )
    assert result.archive is not None, result.outcomes
    return members_of(result.archive.path)


def members_of(path: Path) -> dict[str, bytes]:
    import tarfile

    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def pack(members: dict[str, bytes], path: Path) -> ArchiveInfo:
    with Archive(path) as writer:
        for name, data in members.items():
            writer.add(name, data)
        return writer.close()


def changed(data: bytes, change: Callable[[FileDataset], None]) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=False)
    return out.getvalue()


def caught(info: ArchiveInfo, real: RealValues, plan: Plan) -> str:
    """Return the gate's message; the archive must be deleted, and the message contain no secret."""
    with pytest.raises(FailBatch) as failed:
        gate(info, real, plan, IDENTIFIERS.jitter)
    text = str(failed.value)
    assert not info.path.exists()
    assert not any(secret in text.lower() for secret in SECRETS)
    return text


def set_to(keyword: str, value: object) -> Callable[[FileDataset], None]:
    return lambda dataset: setattr(dataset, keyword, value)


def add(tag: int, vr: str, value: object) -> Callable[[FileDataset], None]:
    return lambda dataset: dataset.add_new(tag, vr, value)


def nested(dataset: FileDataset) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = make_dataset().SOPInstanceUID
    outer = Dataset()
    outer.SourceImageSequence = [item]
    dataset.SourceImageSequence = [outer]


LEAKS = {
    "family name in a description": (
        set_to("StudyDescription", "CT thorax MUSTERFRAU0001"),
        "(0008,1030)",
    ),
    "name backwards in what the recipe keeps": (
        set_to("Manufacturer", "Änne0001 Musterfrau0001"),
        "(0008,0070)",
    ),
    "a physician in what the recipe keeps": (
        set_to("Manufacturer", "HAUSARZT, Heinz"),
        "(0008,0070)",
    ),
    "the patient's name": (set_to("PatientName", "Musterfrau0001^Änne0001"), "(0010,0010)"),
    "patient's number in text": (
        set_to("ProtocolName", "thorax (MRN77000001)"),
        "(0018,1030)",
    ),
    "accession number": (set_to("AccessionNumber", "ACC880001001"), "(0008,0050)"),
    "SOP instance UID": (
        lambda dataset: setattr(dataset, "SOPInstanceUID", make_dataset().SOPInstanceUID),
        "(0008,0018)",
    ),
    "UID in a nested sequence": (nested, "(0008,1155)"),
    "study date": (set_to("StudyDate", "20160321"), "(0008,0020)"),
    "birth date": (set_to("PatientBirthDate", "19480807"), "(0010,0030)"),
    "date with its time": (set_to("AcquisitionDateTime", "20160321101101"), "(0008,002A)"),
    "a German date": (set_to("ImageComments", "seen on 21.03.2016."), "(0020,4000)"),
    "an American date": (set_to("ImageComments", "seen 3/21/2016"), "(0020,4000)"),
    "a date in words": (set_to("ImageComments", "born August 7, 1948"), "(0020,4000)"),
    "the address": (set_to("PatientAddress", "1 Harbour Road"), "(0010,1040)"),
    "a private element": (add(0x00191010, "LO", "anything"), "(0019,1010)"),
    "something removed": (set_to("GPSDifferential", 1), "(0016,008E)"),
    "something removed, nested": (
        lambda dataset: setattr(
            dataset, "SourceImageSequence", [_with(Dataset(), "GPSDifferential", 1)]
        ),
        "(0016,008E)",
    ),
    "behind the pixels": (add(0xFFFCFFFC, "OB", b"padding!"), "(FFFC,FFFC)"),
    "source of the file": (
        lambda dataset: setattr(dataset.file_meta, "SourceApplicationEntityTitle", "CTNORTH1"),
        "(0002,0016)",
    ),
    "the preamble": (
        lambda dataset: setattr(dataset, "preamble", b"II*\0" + bytes(124)),
        "the preamble",
    ),
}


def _with(item: Dataset, keyword: str, value: object) -> Dataset:
    setattr(item, keyword, value)
    return item


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", ["CT", "MR", "ENHANCED"])
def test_engine_output_passes(kind, syntax, plan, tmp_path):
    originals = received(3, kind=kind, transfer_syntax=syntax)
    members = delivered(originals, plan, tmp_path)
    info = pack(members, tmp_path / "a.tar.gz")
    report = gate(info, real_values(originals, plan), plan, IDENTIFIERS.jitter, thorough=True)
    assert report.members == 3
    assert report.passed == 0
    assert report.values > 20
    assert info.path.exists()


@pytest.fixture(scope="module", params=SYNTAXES)
def study(request, plan, tmp_path_factory) -> tuple[list[bytes], dict[str, bytes]]:
    """Two files as received and as delivered."""
    originals = received(transfer_syntax=request.param)
    return originals, delivered(originals, plan, tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_deletes_the_archive(leak, study, plan, tmp_path):
    originals, members = study[0], dict(study[1])
    change, place = LEAKS[leak]
    last = list(members)[-1]
    members[last] = changed(members[last], change)
    info = pack(members, tmp_path / "a.tar.gz")
    text = caught(info, real_values(originals, plan), plan)
    assert place in text
    assert "member 2" in text


def test_name_in_a_member_name_is_found(plan, tmp_path):
    originals = received()
    members = delivered(originals, plan, tmp_path)
    members["Musterfrau0001.dcm"] = members.popitem()[1]
    text = caught(pack(members, tmp_path / "a.tar.gz"), real_values(originals, plan), plan)
    assert "the member's name" in text


def test_name_inside_a_jpeg_is_found(plan, tmp_path):
    originals = received(transfer_syntax=JPEGBaseline8Bit)
    members = delivered(originals, plan, tmp_path)
    name = next(iter(members))
    frame = b"\xff\xd8\xff\xfe\x00\x20Pat: musterfrau0001\0" + bytes(200_000) + b"\xff\xd9"
    members[name] = changed(members[name], set_to("PixelData", encapsulate([frame])))
    text = caught(pack(members, tmp_path / "a.tar.gz"), real_values(originals, plan), plan)
    assert "the pixel data" in text


def test_uid_between_two_pixel_chunks_is_found(plan, tmp_path):
    originals = received(transfer_syntax=JPEGBaseline8Bit)
    members = delivered(originals, plan, tmp_path)
    uid = str(make_dataset().StudyInstanceUID).encode()
    name = next(iter(members))
    for offset in (archive_reader.PIECE - 10, 2 * archive_reader.PIECE - 30):
        frame = (b"\xff" * offset + uid).ljust(3 * archive_reader.PIECE, b"\xff")
        members[name] = changed(members[name], set_to("PixelData", encapsulate([frame])))
        info = pack(members, tmp_path / "a.tar.gz")
        assert "a real UID" in caught(info, real_values(originals, plan), plan)


@pytest.mark.parametrize(
    ("character_set", "name", "shown"),
    [
        ("ISO_IR 192", "Ωmega^Παῦλος", "Παῦλος Ωmega"),
        ("ISO_IR 144", "Люкceмбypг^Иван", "ИВАН ЛЮКCEМБYPГ"),
        (
            ["", "ISO 2022 IR 87"],
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "山田^太郎",
        ),
        ("GB18030", "Wang^XiaoDong=王^小东", "王 小东"),
        ("ISO_IR 100", "Buc^Jérôme", "BUC JÉRÔME"),
        ("ISO_IR 100", "Li^Marie", "Marie LI"),
    ],
)
def test_names_are_found_in_every_character_set(character_set, name, shown, plan, tmp_path):
    originals = received(SpecificCharacterSet=character_set, PatientName=name)
    members = delivered(originals, plan, tmp_path)
    last = list(members)[-1]
    members[last] = changed(members[last], set_to("Manufacturer", shown))
    info = pack(members, tmp_path / "a.tar.gz")
    assert "a real name in (0008,0070)" in caught(info, real_values(originals, plan), plan)


HARMLESS = {
    "named like anatomy": {"PatientName": "Chest^Head"},
    "named like the maker": {"PatientName": "Philips^Anna", "Manufacturer": "PHILIPS"},
    "named like the model": {"PatientName": "Vida^Anna", "ManufacturerModelName": "Vida"},
    "a number of one digit": {"PatientID": "1", "StudyID": "2", "AccessionNumber": "3"},
    "scanned again five days later": {"SeriesDate": "20160304", "ContentDate": "20160304"},
    "de-identified before": {
        "PatientName": "ANONYMOUS",
        "PatientID": "ANON",
        "PatientBirthDate": "19000101",
    },
    "nothing known": {"PatientName": "", "PatientID": "", "PatientBirthDate": ""},
    "a date that is none": {"PatientBirthDate": "19481399", "StudyDate": "2016"},
    "no name but a title": {"PatientName": "^^^Dr."},
}


@pytest.mark.parametrize("case", HARMLESS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_harmless_values_pass(case, plan, tmp_path):
    originals = received(**HARMLESS[case])
    members = delivered(originals, plan, tmp_path)
    info = pack(members, tmp_path / "a.tar.gz")
    gate(info, real_values(originals, plan), plan, IDENTIFIERS.jitter, thorough=True)


def test_values_kept_by_the_recipe_pass(tmp_path):
    rules = "FORMAT dicom\n%header\nKEEP PatientID\nKEEP StudyDate\nREMOVE PatientName\n"
    plan = compile_plan(read_text(("own.deid", rules)))
    originals = received()
    members = delivered(originals, plan, tmp_path)
    gate(
        pack(members, tmp_path / "a.tar.gz"), real_values(originals, plan), plan, IDENTIFIERS.jitter
    )


def test_a_value_kept_in_one_attribute_may_occur_in_another(tmp_path):
    rules = (
        "FORMAT dicom\n%header\nKEEP SOPInstanceUID\nREPLACE InstanceCreatorUID func:remap_uid\n"
    )
    plan = compile_plan(read_text(("own.deid", rules)))
    creator = set_to("InstanceCreatorUID", make_dataset().SOPInstanceUID)
    originals = [changed(data, creator) for data in received()]
    delivered(originals, plan, tmp_path)


def test_an_attribute_missed_by_the_recipe_is_found(tmp_path):
    """It removes the UID in one place and leaves it in another."""
    rules = "FORMAT dicom\n%header\nREPLACE SOPInstanceUID func:remap_uid\n"
    plan = compile_plan(read_text(("own.deid", rules)))
    originals = received()
    originals = [
        changed(data, set_to("InstanceCreatorUID", make_dataset().SOPInstanceUID))
        for data in originals
    ]
    with pytest.raises(FailBatch, match=r"a real UID in \(0008,0014\)"):
        delivered(originals, plan, tmp_path)
    assert not list(tmp_path.glob("*.tar.gz*"))


def test_a_kept_sequence_may_contain_values_removed_elsewhere(tmp_path):
    """The order's number occurs in the order, which is kept, and in the image, which is not."""
    rules = KEEP_UIDS + "KEEP RequestAttributesSequence\nREMOVE ALL\n"
    plan = compile_plan(read_text(("own.deid", rules)))
    item = Dataset()
    item.ScheduledProcedureStepID = "SPS-4711-0815"
    item.AccessionNumber = "ACC-4711-0815"

    def order(dataset: FileDataset) -> None:
        dataset.RequestAttributesSequence = [item]
        dataset.AccessionNumber = item.AccessionNumber
        dataset.ScheduledProcedureStepID = item.ScheduledProcedureStepID

    (data,) = delivered([changed(received()[0], order)], plan, tmp_path).values()
    made = pydicom.dcmread(io.BytesIO(data))
    assert made.RequestAttributesSequence[0].AccessionNumber == item.AccessionNumber
    assert "AccessionNumber" not in made


def test_add_at_the_top_level_does_not_apply_to_sequences(tmp_path):
    """ADD applies to the top level only: a patient in a sequence is another one, and is kept."""
    rules = KEEP_UIDS + "ADD PatientID ANON\nREMOVE PatientName\n"
    plan = compile_plan(read_text(("own.deid", rules)))
    item = Dataset()
    item.PatientID = "MOTHER-4711-22"

    def relative(dataset: FileDataset) -> None:
        dataset.PatientID = "CHILD-4711-33"
        dataset.ReferencedPatientSequence = [item]

    originals = [changed(make_plain(), relative)]
    (data,) = delivered(originals, plan, tmp_path).values()
    made = pydicom.dcmread(io.BytesIO(data))
    assert made.PatientID == "ANON"
    assert made.ReferencedPatientSequence[0].PatientID == item.PatientID
    item.PatientID = "CHILD-4711-33"  # the patient: a leak
    with pytest.raises(FailBatch, match=r"the real value in .* PatientID"):
        delivered([changed(make_plain(), relative)], plan, tmp_path)


def test_a_private_copy_of_a_kept_name_passes(tmp_path):
    """Private attributes are removed; one of them also contains the operator's name, which no rule
    removes.
    """
    rules = KEEP_UIDS + "REMOVE PatientName\n"
    plan = compile_plan(read_text(("own.deid", rules)))

    def operator(dataset: FileDataset) -> None:
        dataset.OperatorsName = "Quillfeather^Bertram"
        dataset.private_block(0x0009, "OURS", create=True).add_new(1, "PN", "Quillfeather^Bertram")

    (data,) = delivered([changed(make_plain(), operator)], plan, tmp_path).values()
    made = pydicom.dcmread(io.BytesIO(data))
    assert made.OperatorsName == "Quillfeather^Bertram"
    assert not any(element.tag.is_private for element in made)


def test_a_kept_institution_passes_although_it_is_the_issuer(tmp_path):
    plan = compile_plan(read_text(("own.deid", KEEP_UIDS + "REMOVE IssuerOfPatientID\n")))

    def place(dataset: FileDataset) -> None:
        dataset.InstitutionName = dataset.IssuerOfPatientID = "Oakfield Clinic 12"

    delivered([changed(make_plain(), place)], plan, tmp_path)

    def description(dataset: FileDataset) -> None:
        del dataset.InstitutionName
        dataset.IssuerOfPatientID = "Oakfield Clinic 12"
        dataset.ImageComments = "seen at Oakfield Clinic 12"

    with pytest.raises(FailBatch, match=r"a real identifier in .* ImageComments"):
        delivered([changed(make_plain(), description)], plan, tmp_path)


def test_an_order_missed_by_the_recipe_is_found(tmp_path):
    plan = compile_plan(read_text(("own.deid", KEEP_UIDS + "REMOVE StudyID\n")))

    def order(dataset: FileDataset) -> None:
        dataset.StudyID = dataset.RequestedProcedureID = "ORD-4711-0815"

    with pytest.raises(FailBatch, match=r"a real identifier in .* RequestedProcedureID"):
        delivered([changed(make_plain(), order)], plan, tmp_path)


@pytest.mark.parametrize(
    "study", ["KEEP StudyInstanceUID", "REPLACE StudyInstanceUID func:remap_uid"]
)
def test_image_references_pass_if_the_study_uid_is_kept(study, tmp_path):
    rules = f"FORMAT dicom\n%header\nREPLACE SOPInstanceUID func:remap_uid\n{study}\n"
    plan = compile_plan(read_text(("own.deid", rules)))
    item = Dataset()
    item.ReferencedSOPInstanceUID = make_dataset().SOPInstanceUID
    originals = [changed(make_plain(), set_to("ReferencedImageSequence", [item]))]
    if study.startswith("KEEP"):
        delivered(originals, plan, tmp_path)
    else:
        with pytest.raises(FailBatch, match=r"a real UID in \(0008,1155\)"):
            delivered(originals, plan, tmp_path)


def test_bytes_are_decoded_per_character_set(plan, tmp_path):
    name = "Иванов^Пётр"
    original = changed(
        make_in("ISO_IR 144"), lambda dataset: setattr(dataset, "ReferringPhysicianName", name)
    )
    clean = next(iter(delivered(received(1), plan, tmp_path).values()))
    members = {}
    for number, character_set in enumerate(("ISO_IR 100", "ISO_IR 144")):
        member = changed(clean, set_to("SpecificCharacterSet", character_set))
        member = changed(member, set_to("PatientComments", "#" * len(name)))
        encoded = name.replace("^", " ").encode("iso8859_5")
        members[f"{number}.dcm"] = member.replace(b"#" * len(name), encoded)
    info = pack(members, tmp_path / "a.tar.gz")
    assert "first in member 2" in caught(info, real_values([original], plan), plan)


def make_in(character_set: str) -> bytes:
    dataset = make_dataset()
    dataset.SpecificCharacterSet = character_set
    return to_bytes(dataset)


def test_more_members_than_the_recursion_limit(plan, tmp_path):
    """Some of them have pixels to skip and some have not: nothing accumulates."""
    clean = next(iter(delivered(received(1, rows=256, columns=256), plan, tmp_path).values()))
    head = clean[: clean.index(b"\xe0\x7f\x10\x00OW") + 12]
    assert len(clean) - len(head) > BULK
    path = tmp_path / "a.tar.gz"
    with Archive(path) as writer:
        for number in range(3000):
            parts = [clean] if number % 3 else [head, memoryview(clean)[len(head) :]]
            writer.add(f"{number}.dcm", *parts)
        info = writer.close()
    report = gate(info, RealValues(plan), plan, IDENTIFIERS.jitter)
    assert report.members == 3000
    assert report.passed > 900 * (len(clean) - len(head))


def test_native_pixels_are_skipped_except_for_a_sample(plan, tmp_path):
    originals = received(2 * archive_reader.SAMPLED + 1, rows=256, columns=256)
    folder = tmp_path / "in"
    folder.mkdir()
    sources = []
    for number, original in enumerate(originals, 1):
        path = folder / f"{number}"
        path.write_bytes(original)
        sources.append(Source(number, path, len(original), path.stat().st_mtime_ns))
    result = deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=tmp_path / "a.tar.gz"
    )
    report = gate(result.archive, real_values(originals, plan), plan, IDENTIFIERS.jitter)
    pixels = 256 * 256 * 2
    assert pixels > BULK
    assert report.passed == (len(originals) - 3) * pixels
    thorough = gate(
        result.archive, real_values(originals, plan), plan, IDENTIFIERS.jitter, thorough=True
    )
    assert thorough.passed == 0
    assert thorough.inflated == report.inflated + report.passed


def test_of_large_pixels_only_the_first_are_sampled(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_reader, "MAX_SAMPLED", 1000)
    monkeypatch.setattr(archive_reader, "PIECE", 1 << 14)
    originals = received(2, rows=512, columns=512)
    members = delivered(originals, plan, tmp_path)
    whole = len(zlib.decompress((tmp_path / "clean.tar.gz").read_bytes(), 31))
    totals = archive_reader.Totals()
    tails = [
        part
        for part in archive_reader.read_archive(tmp_path / "clean.tar.gz", totals)
        if isinstance(part, archive_reader.Tail)
    ]
    assert len(tails) == len(members) == totals.members
    pixels = 512 * 512 * 2
    assert pixels < totals.passed < 2 * pixels - 1000
    assert totals.inflated + totals.passed == whole


def test_leak_after_skipped_pixels_is_found(plan, tmp_path):
    """The end of a member is read although its pixels are skipped."""
    originals = received(2, rows=256, columns=256)
    members = delivered(originals, plan, tmp_path)
    secret = b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0mrn77000"
    path = tmp_path / "a.tar.gz"
    with Archive(path) as writer:
        for name, data in members.items():
            start = len(data) - 256 * 256 * 2
            writer.add(name, data[:start], memoryview(data)[start:], secret)
        info = writer.close()
    assert "(FFFC,FFFC)" in caught(info, real_values(originals, plan), plan)


def test_an_archive_that_differs_from_the_written_one_is_rejected(plan, tmp_path):
    originals = received()
    members = delivered(originals, plan, tmp_path)
    info = pack(members, tmp_path / "a.tar.gz")
    wrong = replace(info, crc32c=base64.b64encode(bytes(4)).decode())
    assert "not the one" in caught(wrong, real_values(originals, plan), plan)
    info = pack(members, tmp_path / "a.tar.gz")
    assert "not the one" in caught(replace(info, members=3), real_values(originals, plan), plan)


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory) -> tuple[bytes, ArchiveInfo, list[bytes]]:
    """An archive with skipped pixels as bytes, and its input."""
    folder = tmp_path_factory.mktemp("whole")
    originals = received(2, rows=192, columns=192)
    members = delivered(originals, plan, folder)
    path = folder / "clean.tar.gz"
    info = pack(members, folder / "a.tar.gz")
    info = replace(info, path=path, crc32c=_crc32c(path.read_bytes()))
    return path.read_bytes(), info, originals


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_a_corrupted_archive_never_passes(data, whole, plan):
    raw, info, originals = whole
    damaged = bytearray(raw)
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        damaged[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    info.path.write_bytes(damaged)
    caught(info, real_values(originals, plan), plan)


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(
    members=st.lists(
        st.tuples(st.sampled_from(["CT", "SR", "US"]), st.sampled_from([8, 200])),
        min_size=1,
        max_size=8,
    )
)
def test_parts_match_the_members(members, tmp_path_factory):
    """Heads, pixels and tails concatenated are what tarfile reads."""
    path = tmp_path_factory.mktemp("parts") / "a.tar.gz"
    files = [
        to_bytes(make_dataset(instance=number, kind=kind, rows=side, columns=side))
        for number, (kind, side) in enumerate(members)
    ]
    with Archive(path) as writer:
        for number, data in enumerate(files):
            cut = len(data) * (number % 3) // 3
            writer.add(f"{number}.dcm", data[:cut], data[cut:])
        writer.close()
    totals = archive_reader.Totals()
    read: dict[int, bytes] = {}
    for part in archive_reader.read_archive(path, totals, thorough=True):
        if isinstance(part, archive_reader.Pixels):
            continue
        read[part.number] = read.get(part.number, b"") + part.data
    assert totals.members == len(files)
    for number, data in enumerate(files, 1):
        head = read[number]
        assert data.startswith(head)
        assert len(head) > 1000
    assert totals.inflated == len(zlib.decompress(path.read_bytes(), 31))


def study_of(originals: list[bytes], folder: Path) -> list[Source]:
    folder.mkdir()
    sources = []
    for number, original in enumerate(originals, 1):
        path = folder / f"{number}"
        path.write_bytes(original)
        sources.append(Source(number, path, len(original), path.stat().st_mtime_ns))
    return sources


@pytest.mark.parametrize("failure", [ValueError("Musterfrau"), MemoryError(), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["_Check", "read_archive", "_crc32c"])
def test_a_failing_gate_leaves_no_archive(place, failure, plan, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise failure

    monkeypatch.setattr(f"sendit.gate.check.{place}", fail)
    sources = study_of(received(), tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    expected = FailBatch if isinstance(failure, Exception) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        deidentify_study(
            sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=out / "a.tar.gz"
        )
    assert not list(out.iterdir())
    assert "Musterfrau" not in str(caught.value)


def test_the_archive_is_not_visible_while_the_gate_reads(plan, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def look(info, *_args, **_kwargs):
        assert [path.name for path in out.iterdir()] == ["a.tar.gz.part"]
        return gate(info, *_args, **_kwargs)

    monkeypatch.setattr("sendit.pipeline.study.gate", look)
    result = deidentify_study(
        study_of(received(), tmp_path / "in"),
        plan=plan,
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=out / "a.tar.gz",
    )
    assert result.archive.path == out / "a.tar.gz"
    assert [path.name for path in out.iterdir()] == ["a.tar.gz"]


def result_of(originals: list[bytes], plan: Plan, place: Path, **options: object) -> StudyResult:
    return deidentify_study(
        study_of(originals, place / "in"),
        plan=plan,
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=place / "a.tar.gz",
        **options,
    )


def test_a_finding_in_one_file_quarantines_that_file(plan, tmp_path):
    originals = received(4)
    leaking = set_to("ICCProfile", b"MUSTERFRAU0001")
    first = result_of([originals[0], *originals[2:]], plan, tmp_path)
    leaked = [originals[0], changed(originals[1], leaking), *originals[2:]]
    (tmp_path / "second").mkdir()
    result = result_of(leaked, plan, tmp_path / "second")
    outcomes = [outcome for outcome, _ in result.outcomes.values()]
    assert outcomes == [Outcome.DELIVERED, Outcome.QUARANTINED, *2 * [Outcome.DELIVERED]]
    reason = result.outcomes[2][1]
    assert "a part of the patient's name in (0028,2000) ICCProfile" in reason
    # As if it had never been received.
    assert (result.content_digest, result.actions, result.header) == (
        first.content_digest,
        first.actions,
        first.header,
    )
    assert result.archive.crc32c == first.archive.crc32c
    assert list(result.members) == [1, 3, 4]
    assert result.archive.members == 3


def test_findings_apply_to_later_files_with_the_same_value(plan, tmp_path):
    """A template match is checked where it differs; findings in common values apply to it, too."""
    originals = received(5)
    leaking = set_to("ICCProfile", b"MUSTERFRAU0001")
    leaked = [originals[0], *(changed(original, leaking) for original in originals[1:4])]
    result = result_of([*leaked, originals[4]], plan, tmp_path)
    stopped = [number for number, (outcome, _) in result.outcomes.items() if outcome != "delivered"]
    assert stopped == [2, 3, 4]


def opened_members(archive: Path) -> list[FileDataset]:
    with tarfile.open(archive) as tar:
        files = [opened for member in tar if (opened := tar.extractfile(member)) is not None]
        return [pydicom.dcmread(io.BytesIO(file.read())) for file in files]


@pytest.mark.parametrize(
    ("keyword", "value", "left"),
    [
        ("SoftwareVersions", ["syngo CT", "VB 20160321"], ["syngo CT", ""]),
        ("ConvolutionKernel", "21MAR2016", None),
        ("ConvolutionKernel", "station17-ct", "ct"),  # the study's StationName
        ("Manufacturer", "1.2.826.0.1.3680043.8.498.1.1", ""),
    ],
)
def test_a_flagged_value_is_removed_on_its_own(keyword, value, left, plan, tmp_path):
    originals = received(3, StationName="STATION17CT")
    changed_ones = [changed(original, set_to(keyword, value)) for original in originals[:2]]
    result = result_of([*changed_ones, originals[2]], plan, tmp_path)
    assert [outcome for outcome, _ in result.outcomes.values()] == [Outcome.DELIVERED] * 3
    first, second, third = opened_members(tmp_path / "a.tar.gz")
    for ds in (first, second):
        delivered = ds.get(keyword)
        assert (
            delivered if delivered is None or isinstance(delivered, str) else list(delivered)
        ) == left
    assert third[keyword] == pydicom.dcmread(io.BytesIO(originals[2]))[keyword]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SeriesNumber", "20160321"),
        ("InstanceNumber", "20160321"),
        ("AcquisitionNumber", "4711081512"),  # the accession number
        ("TableHeight", "20160321"),
        ("ImagesInAcquisition", "4711081512"),
    ],
)
def test_a_flagged_number_is_blanked_on_its_own(keyword, value, count, plan, tmp_path):
    originals = received(3, AccessionNumber="4711081512")
    changed_ones = [changed(original, set_to(keyword, value)) for original in originals[:count]]
    result = result_of([*changed_ones, *originals[count:]], plan, tmp_path)
    assert [outcome for outcome, _ in result.outcomes.values()] == [Outcome.DELIVERED] * 3
    made = opened_members(tmp_path / "a.tar.gz")
    assert [ds[keyword].value for ds in made[:count]] == [None] * count
    for ds, original in zip(made[count:], originals[count:], strict=True):
        source = pydicom.dcmread(io.BytesIO(original))
        assert ds.get(keyword) == source.get(keyword)
    assert not any(value in name for name in result.members.values())


def test_a_flagged_number_in_an_item_is_blanked_on_its_own(plan, tmp_path):
    item = Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = "20160321", "6586.2"
    originals = received(RadiopharmaceuticalInformationSequence=[item])
    result = result_of(originals, plan, tmp_path)
    assert [outcome for outcome, _ in result.outcomes.values()] == [Outcome.DELIVERED] * 2
    for ds in opened_members(tmp_path / "a.tar.gz"):
        (made,) = ds.RadiopharmaceuticalInformationSequence
        assert (made.RadionuclideTotalDose, made.RadionuclideHalfLife) == (None, 6586.2)


def test_a_flagged_private_number_is_removed_on_its_own(plan, tmp_path):
    originals = received(private=False, Manufacturer="GE MEDICAL SYSTEMS")
    leaking = []
    for original, delta in zip(originals, ("20160321", "2.5"), strict=True):
        ds = pydicom.dcmread(io.BytesIO(original))
        block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x7F, "DS", delta)
        block.add_new(0x1B, "DS", "10")
        leaking.append(to_bytes(ds))
    result = result_of(leaking, plan, tmp_path)
    assert [outcome for outcome, _ in result.outcomes.values()] == [Outcome.DELIVERED] * 2
    first, second = opened_members(tmp_path / "a.tar.gz")
    assert (0x0019, 0x107F) not in first
    assert (first[0x0019, 0x101B].value, second[0x0019, 0x107F].value) == (10, 2.5)


def test_a_number_that_a_rule_keeps_is_not_blanked(tmp_path):
    rules = "FORMAT dicom\n%header\nKEEP SeriesNumber\nREMOVE ALL\n"
    own = compile_plan(read_text(("own.deid", f"{rules}{KEEP_UIDS}")))
    with pytest.raises(Stopped, match="keeps it on purpose"):
        result_of(received(SeriesNumber="20160321"), own, tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value"), [("AcquisitionNumber", "20160321"), ("SeriesDescription", "chest Q77X")]
)
def test_a_finding_names_its_member(keyword, value, plan, tmp_path):
    """Also a number, and an identifier of four characters in a text that a rule cleans."""
    originals = received(3, PatientID="Q77X")
    members = delivered(originals, plan, tmp_path)
    second = list(members)[1]
    members[second] = changed(members[second], set_to(keyword, value))
    with pytest.raises(Stopped) as stopped:
        gate(
            pack(members, tmp_path / "a.tar.gz"),
            real_values(originals, plan),
            plan,
            IDENTIFIERS.jitter,
        )
    assert list(stopped.value.members) == [2]


def test_a_flagged_value_is_removed_although_another_file_is_quarantined(plan, tmp_path):
    originals = received(3)
    originals[0] = changed(originals[0], set_to("SoftwareVersions", "VB 20160321"))
    originals[1] = changed(originals[1], set_to("ICCProfile", b"MUSTERFRAU0001"))
    result = result_of(originals, plan, tmp_path)
    stopped = [number for number, (outcome, _) in result.outcomes.items() if outcome != "delivered"]
    assert stopped == [2]
    assert "SoftwareVersions" not in opened_members(tmp_path / "a.tar.gz")[0]


def test_a_flagged_code_is_removed_on_its_own(plan, tmp_path):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "STATION17-CT", "99LOCAL"
    item.CodeMeaning = "chest"
    item.CodingSchemeVersion = "20160321"
    originals = received(StationName="STATION17CT", ProcedureCodeSequence=[item])
    result = result_of(originals, plan, tmp_path)
    assert [outcome for outcome, _ in result.outcomes.values()] == [Outcome.DELIVERED] * 2
    (delivered,) = opened_members(tmp_path / "a.tar.gz")[0].ProcedureCodeSequence
    assert delivered.CodeMeaning == "chest"
    assert delivered.CodingSchemeVersion != "20160321"


def test_a_copy_replaces_a_quarantined_file(plan, tmp_path):
    originals = received(2)
    leaked = changed(originals[0], set_to("ICCProfile", b"MUSTERFRAU0001"))
    result = result_of([leaked, originals[0], originals[1]], plan, tmp_path)
    outcomes = {number: outcome for number, (outcome, _) in result.outcomes.items()}
    assert outcomes[1] is Outcome.QUARANTINED
    assert outcomes[2] is outcomes[3] is Outcome.DELIVERED


def test_findings_in_all_files_fail_the_batch_with_advice(plan, tmp_path):
    leaking = set_to("ICCProfile", b"MUSTERFRAU0001")
    (tmp_path / "a.tar.gz").write_bytes(b"an earlier attempt's")
    with pytest.raises(FailBatch) as failed:
        result_of([changed(original, leaking) for original in received(2)], plan, tmp_path)
    text = str(failed.value)
    assert "which the batch has as (0010,0010) PatientName" in text
    assert "ICCProfile" in text
    assert "REMOVE ICCProfile" in text
    assert "fix" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_unreadable_member_is_named(plan, tmp_path):
    originals = received(3)
    members = delivered(originals, plan, tmp_path)
    names = list(members)
    good = members[names[1]]
    members[names[1]] = good[:132] + b"\x02\0\0\0XX" + good[138:]
    with pytest.raises(Stopped) as stopped:
        gate(pack(members, tmp_path / "a.tar.gz"), RealValues(plan), plan, IDENTIFIERS.jitter)
    assert stopped.value.members == {2: "no file meta in its structure"}


COINCIDENCES = {
    "station named like the model": {
        "StationName": "Galan 3T",
        "ManufacturerModelName": "Galan 3T",
    },
    "institution named like the maker": {
        "InstitutionName": "GE MEDICAL SYSTEMS",
        "Manufacturer": "GE MEDICAL SYSTEMS",
    },
    "accession number is a time": {"AccessionNumber": "101101", "AcquisitionTime": "101101"},
    "patient number is a time": {"PatientID": "143022", "SeriesTime": "143022.123"},
    "serial number is a time": {"DeviceSerialNumber": "143022", "ContentTime": "143022"},
    "study's id is the series' number": {"StudyID": "1000123", "SeriesNumber": "1000123"},
    "called CT": {"PatientName": "CT^Chest", "StudyDescription": "CT chest"},
    "a phantom": {
        "PatientName": "QA^PHANTOM",
        "PatientID": "QA PHANTOM",
        "SeriesDescription": "QA PHANTOM",
        "BodyPartExamined": "PHANTOM",
    },
    "a term of ImageType": {
        "PatientName": "Norm^Ada",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"],
    },
    "digits behind a point": {"SliceLocation": "-12.20160321"},
    "birth date behind a point": {"ImagePositionPatient": ["0.19480807", "0", "3"]},
}


@pytest.mark.parametrize("case", COINCIDENCES)
def test_coincidences_do_not_fail_the_study(case, plan, tmp_path):
    result = result_of(received(**COINCIDENCES[case]), plan, tmp_path)
    assert {outcome for outcome, _ in result.outcomes.values()} == {Outcome.DELIVERED}


def test_the_folder_name_is_an_identifier(plan, tmp_path):
    originals = received()
    members = delivered(originals, plan, tmp_path)
    last = list(members)[-1]
    members[last] = changed(members[last], set_to("Manufacturer", "acc-990017"))
    real = real_values(originals, plan)
    real.add_identifier("ACC990017")
    info = pack(members, tmp_path / "a.tar.gz")
    assert "which the batch has as the folder's name" in caught(info, real, plan)


def test_a_folder_named_with_radiology_terms_is_not_an_identifier(plan, tmp_path):
    originals = received(SeriesDescription="AXIAL 5MM")
    assert result_of(originals, plan, tmp_path, folder="AXIAL 5MM").archive.members == 2


def test_number_of_patterns_depends_on_the_input_only(plan):
    words = " ".join(f"w{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}x" for n in range(600))
    real = real_values(received(1, PatientName=words), plan)
    assert len(Matcher(real, plan, -17)) < 3000
    uids = RealValues(plan)
    uids.uids = {f"1.3.12.2.1107.5.2.30.{number}": {0x00081155} for number in range(5000)}
    assert len(Matcher(uids, plan, -17).needles) == 1
    assert Matcher(uids, plan, -17).read("see 1.3.12.2.1107.5.2.30.4999.", identifying=False)
