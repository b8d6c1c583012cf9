"""The scanner reads what pydicom reads, and refuses the rest with a reason."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.batch import Reason
from sendit.dicom import scan
from sendit.dicom.scan import Element, open_instance, read_header
from sendit.errors import SkipInstance
from testing.builder import ObjectKind, end_with_pixels, make_dataset, to_bytes
from testing.real_files import real_files

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
]
KINDS: list[ObjectKind] = ["CT", "ENHANCED", "SR", "US"]

# None of these can be delivered, although pydicom reads most of them without complaint.
REFUSED = {
    "MR_truncated.dcm": Reason.TRUNCATED,
    "rtplan_truncated.dcm": Reason.TRUNCATED,
    "emri_small_jpeg_2k_lossless_too_short.dcm": Reason.TRUNCATED,
    "meta_missing_tsyntax.dcm": Reason.MALFORMED,
    "nested_priv_SQ.dcm": Reason.MALFORMED,
    "SC_rgb_jpeg.dcm": Reason.MALFORMED,
    "no_meta.dcm": Reason.NOT_DICOM,
    "README": Reason.NOT_DICOM,
}
# pydicom does not parse private sequences of defined length in implicit VR, and keeps only one of
# two elements with the same tag.
SEEN_FURTHER = frozenset(("priv_SQ.dcm", "winter.dcm"))


def walk_elements(elements: Iterable[Element]) -> list[Element]:
    """Return all elements of all levels, parents before their children."""
    walked = []
    for element in elements:
        walked.append(element)
        for _, nested in element[5] or ():
            walked += walk_elements(nested)
    return walked


def reason_of(data: bytes) -> str | None:
    try:
        read_header(data)
    except SkipInstance as skipped:
        return skipped.reason
    return None


def read(path: Path) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


@pytest.mark.filterwarnings("ignore")
def test_real_files_scan_like_pydicom() -> None:
    compared = 0
    for path in real_files():
        if path.name in REFUSED or path.name.startswith("DICOMDIR"):
            continue
        header = open_instance(path)
        if path.name in SEEN_FURTHER:
            continue
        expected = sorted(int(element.tag) for element in read(path).iterall())
        assert sorted(e[0] for e in walk_elements(header.elements)) == expected, path.name
        compared += 1
    assert compared > 200


def test_malformed_real_files_are_refused() -> None:
    seen = set()
    for path in real_files():
        wanted = Reason.DICOMDIR if path.name.startswith("DICOMDIR") else REFUSED.get(path.name)
        if wanted is None:
            continue
        with pytest.raises(SkipInstance) as refused:
            open_instance(path)
        assert refused.value.reason == wanted, path.name
        seen.add(path.name)
    assert seen >= set(REFUSED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_do_not_depend_on_the_transfer_syntax(kind: ObjectKind, syntax: str) -> None:
    dataset = make_dataset(kind=kind, transfer_syntax=syntax)
    header = read_header(to_bytes(dataset))
    assert header.transfer_syntax == syntax
    assert header.sop_class == dataset.SOPClassUID
    assert header.sop_instance == dataset.SOPInstanceUID
    assert header.study_uid == dataset.StudyInstanceUID
    assert header.series_uid == dataset.SeriesInstanceUID
    assert header.trailing == 0
    assert [e[0] for e in header.elements] == [int(e.tag) for e in dataset]
    for element in dataset:
        if element.VR in ("SQ", "OB", "OW", "UN", "OB or OW") or element.tag.is_private:
            continue
        value = element.value
        if element.VM > 1:
            wanted = "\\".join(str(part) for part in value)
        else:
            wanted = "" if value is None else str(value)
        assert header.text(int(element.tag)) == wanted, element.keyword


def test_text_is_decoded_with_its_character_set() -> None:
    latin = make_dataset(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    japanese = make_dataset(
        SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎"
    )
    utf8 = make_dataset(SpecificCharacterSet="ISO_IR 192", PatientName="Ὀδυσσεύς")
    assert read_header(to_bytes(latin)).text(0x00100010) == "Müller^Jürgen"
    assert read_header(to_bytes(japanese)).text(0x00100010) == "Yamada^Tarou=山田^太郎"
    assert read_header(to_bytes(utf8)).text(0x00100010) == "Ὀδυσσεύς"


def test_absent_and_empty_differ() -> None:
    header = read_header(to_bytes(make_dataset(PatientComments=None, PatientID="")))
    assert header.text(0x00104000) is None
    assert header.text(0x00100020) == ""


# Refusal reasons ------------------------------------------------------------------------


def test_refusal_reasons() -> None:
    good = to_bytes(make_dataset())
    assert reason_of(b"") == Reason.EMPTY_FILE
    assert reason_of(b"a text file about John Doe" * 20) == Reason.NOT_DICOM
    assert reason_of(bytes(128) + b"DICM") == Reason.TRUNCATED
    assert reason_of(good[:200]) == Reason.TRUNCATED
    assert reason_of(good[:-1]) == Reason.TRUNCATED
    assert reason_of(good) is None


def test_truncated_files_are_never_accepted() -> None:
    for syntax in SYNTAXES:
        dataset = make_dataset(kind="ENHANCED", frames=2, rows=4, columns=4, transfer_syntax=syntax)
        data = to_bytes(dataset)
        header = read_header(data)
        boundaries = {e[2] for e in header.elements} if not header.deflated else set()
        for cut in range(0, len(data), 3):
            reason = reason_of(data[:cut])
            if cut in boundaries:
                continue  # complete elements precede it: nothing tells that more were to follow
            assert reason is not None, (syntax.name, cut, len(data))


@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.113619.5.2",  # GE private
        "1.2.840.10008.1.20",  # Papyrus
        "1.2.840.10008.1.2.9",  # undefined
        "1.2.840.10008.1.2.4.94",  # JPIP
        "1.2.840.10008.1.2.4.100",  # MPEG2
        "1.2.840.10008.1.2.4.107",  # HEVC
        "1.2.840.10008.1.2.4.110",  # JPEG XL
        "1.2.840.10008.1.2.7.1",  # SMPTE ST 2110
        "DOE^JANE",
    ],
)
def test_unknown_transfer_syntaxes_are_refused(syntax: str) -> None:
    dataset = make_dataset()
    assert dataset.file_meta is not None
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    old = _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    value = syntax.encode()
    new = _element(0x00020010, b"UI", value + b"\0" * (len(value) & 1))
    data = to_bytes(dataset)
    assert old in data
    assert reason_of(data.replace(old, new, 1)) == Reason.UNSUPPORTED


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHL", group, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _file(*elements: bytes) -> bytes:
    syntax = _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    uid = _element(0x00080018, b"UI", b"1.2.3.4.")
    return bytes(128) + b"DICM" + syntax + uid + b"".join(elements)


def test_wrong_lengths() -> None:
    long = _file(struct.pack("<HH2sH", 0x10, 0x20, b"LO", 60000), b"x")
    assert reason_of(long) == Reason.TRUNCATED
    huge = _file(struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 0xFFFFFFFE), b"x")
    assert reason_of(huge) == Reason.TRUNCATED
    inner = _element(0x00080050, b"SH", b"AB")
    over = inner[:6] + struct.pack("<H", 50) + inner[8:]
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(over)) + over
    over_the_item = _file(_element(0x00081110, b"SQ", item), _element(0x00100020, b"LO", b"x" * 80))
    assert reason_of(over_the_item) == Reason.MALFORMED
    undefined = _file(struct.pack("<HH2sHL", 0x10, 0x20, b"UT", 0, 0xFFFFFFFF), b"x" * 20)
    assert reason_of(undefined) == Reason.MALFORMED
    unknown_vr = _file(struct.pack("<HH2sH", 0x10, 0x20, b"QQ", 2), b"xx")
    assert reason_of(unknown_vr) == Reason.MALFORMED


def _nested(depth: int) -> bytes:
    content = _element(0x00080050, b"SH", b"AB")
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
        content = _element(0x00081110, b"SQ", item)
    return _file(content)


def test_nesting_depth_is_limited() -> None:
    assert reason_of(_nested(scan.MAX_DEPTH)) is None
    assert reason_of(_nested(scan.MAX_DEPTH + 1)) == Reason.MALFORMED
    assert reason_of(_nested(5000)) == Reason.MALFORMED


def test_sequences_nested_in_un_take_linear_time() -> None:
    content = _element(0x00080050, b"SH", b"AB") + b"\xff"  # corrupted at the innermost level
    for _ in range(60):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
        content = struct.pack("<HHL", 0x0009, 0x1010, len(item)) + item
    assert reason_of(_file(_element(0x00091010, b"UN", content))) is None


def test_element_count_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_bytes(make_dataset(kind="ENHANCED", frames=20))
    assert reason_of(data) is None
    monkeypatch.setattr(scan, "MAX_ELEMENTS", 200)
    assert reason_of(data) == Reason.MALFORMED


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_parsing_stops_at_the_element_limit(syntax: str) -> None:
    """Refused at the limit, not after all elements have been parsed."""
    explicit = syntax == ExplicitVRLittleEndian
    one = b"\x18\0\x50\0LO\0\0" if explicit else b"\x18\0\x50\0\0\0\0\0"
    head = to_bytes(make_dataset(rows=1, columns=1, transfer_syntax=syntax))
    data = head[: head.index(b"\x18\0\x50\0")]
    assert reason_of(data + one * 60_000) is None
    data += one * (1 << 20)
    walk = scan._Walk(data, len(data))
    elements: list[scan.Element] = []
    read = walk.explicit if explicit else walk.implicit
    start = len(data) - 8 * (1 << 20)
    encoding = scan.EXPLICIT_LITTLE if explicit else scan.IMPLICIT_LITTLE
    with pytest.raises(SkipInstance, match="malformed"):
        read(elements, start, len(data), encoding, 0, nested=False)
    assert len(elements) <= scan.MAX_IN_DATA_SET + 1


def test_item_and_fragment_counts_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    monkeypatch.setattr(scan, "MAX_ELEMENTS", 100)
    for tag, vr in ((0x00081140, b"SQ"), (0x7FE00010, b"OB")):
        start = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, 0xFFFFFFFF)
        end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        assert reason_of(_file(start, empty * 50, end)) is None
        assert reason_of(_file(start, empty * 101, end)) == Reason.MALFORMED


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_zero_bytes_are_not_elements(syntax: str) -> None:
    data = to_bytes(make_dataset(rows=1, columns=1, transfer_syntax=syntax))
    whole = read_header(data)
    for count in (8, 1 << 16, (1 << 16) + 4, 3 << 16):
        header = read_header(data + bytes(count))
        assert (header.elements, header.trailing) == (whole.elements, count)
        assert read_header(data + bytes(count - 1) + b"x").trailing == count
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 16) + bytes(16)
    assert reason_of(_file(_element(0x00081140, b"UN", item))) is None  # not a sequence but a value
    assert reason_of(_file(_element(0x00081140, b"SQ", item))) == Reason.MALFORMED


def test_fragments_are_allowed_in_pixel_data_only() -> None:
    inside = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 2 + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    for tag, reason in ((0x54001010, Reason.MALFORMED), (0x7FE00010, None)):
        start = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"OB", 0, 0xFFFFFFFF)
        assert reason_of(_file(start, inside)) == reason


def test_a_sequence_with_the_wrong_encoding_is_malformed_not_truncated() -> None:
    reference = _element(0x00081150, b"UI", b"1.2.840.10008.3.1.2.3.1\0")
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(reference)) + reference
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    for inside in (item, item.replace(struct.pack("<L", len(reference)), b"\xff" * 4, 1)):
        start = struct.pack("<HH2sHL", 0x0008, 0x1140, b"UN", 0, 0xFFFFFFFF)
        data = _file(start, inside, end, _element(0x00100020, b"LO", b"ID"))
        assert reason_of(data) == Reason.MALFORMED
    cut = _file(struct.pack("<HH2sHL", 0x0008, 0x1140, b"UN", 0, 0xFFFFFFFF), item[:8])
    plain = struct.pack("<HHL", 0x0008, 0x1150, 80) + b"1.2"
    assert reason_of(cut + plain) == Reason.TRUNCATED


def test_misplaced_implicit_elements_are_malformed() -> None:
    whole = to_bytes(make_dataset(kind="SR", transfer_syntax=ImplicitVRLittleEndian))
    for tag, reason in ((0x00100010, Reason.MALFORMED), (0xFFFB0010, Reason.TRUNCATED)):
        over = struct.pack("<HHL", tag >> 16, tag & 0xFFFF, 1 << 30)
        assert reason_of(whole + over) == reason
    assert reason_of(whole + struct.pack("<HH2sH", 0xFFFB, 0x10, b"LO", 2) + b"ab") == (
        Reason.MALFORMED
    )


def test_first_of_two_file_meta_groups_is_used() -> None:
    data = to_bytes(make_dataset(transfer_syntax=ExplicitVRBigEndian))
    again = _element(0x00020010, b"UI", ExplicitVRLittleEndian.encode() + b"\0")
    start = read_header(data).elements[0][2]
    header = read_header(data[:start] + again + data[start:])
    assert header.transfer_syntax == ExplicitVRBigEndian


def test_inflated_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    head = _file().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    head = head.replace(struct.pack("<H", 20) + b"1.2", struct.pack("<H", 22) + b"1.2", 1)
    head = head[: head.index(b"1.99") + 4]
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(_element(0x7FE00010, b"OW", bytes(1 << 22))) + packer.flush()
    assert reason_of(head + bomb) is None
    monkeypatch.setattr(scan, "MAX_INFLATED", 1 << 20)
    assert reason_of(head + bomb) == Reason.INFLATES
    monkeypatch.undo()
    assert reason_of(head + bomb[: len(bomb) // 2]) == Reason.TRUNCATED
    assert reason_of(head + b"\xff" * 100) == Reason.MALFORMED


# Tolerated input ------------------------------------------------------------------------


def test_sequences_encoded_as_un_are_parsed() -> None:
    inner = struct.pack("<HHL", 0x0010, 0x0010, 8) + b"DOE^JANE"  # implicit VR, PS3.5 6.2.2
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    defined = _element(0x00081110, b"UN", item)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    undefined = struct.pack("<HH2sHL", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + item + end
    for element in (defined, undefined):
        header = read_header(_file(element))
        tags = [e[0] for e in walk_elements(header.elements)]
        assert tags[-1] == 0x00100010


def test_implicit_vr_items_in_an_explicit_vr_dataset() -> None:
    inner = struct.pack("<HHL", 0x0010, 0x0010, 8) + b"DOE^JANE"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    header = read_header(_file(_element(0x00081110, b"SQ", item)))
    items = header.elements[-1][5]
    assert items is not None
    assert items[0][0] == scan.IMPLICIT_LITTLE
    assert items[0][1][0][0] == 0x00100010


def test_elements_and_bytes_after_pixel_data() -> None:
    padding = _element(0xFFFCFFFC, b"OB", bytes(64))
    data = to_bytes(make_dataset(), trailing=padding)
    header = read_header(data)
    assert header.elements[-1][0] == 0xFFFCFFFC
    assert header.trailing == 0
    for junk in (b"\0" * 700, b"x", b"DOE^JANE 19500101"):
        assert read_header(to_bytes(make_dataset(), trailing=junk)).trailing == len(junk)
    cut = to_bytes(make_dataset(), trailing=padding[:-10])
    assert reason_of(cut) == Reason.TRUNCATED


def test_without_preamble_or_file_meta() -> None:
    data = to_bytes(make_dataset())
    for bare in (data[132:], data[data.index(struct.pack("<HH2s", 8, 5, b"CS")) :]):
        header = read_header(bare)
        assert header.sop_instance == make_dataset().SOPInstanceUID
        assert header.transfer_syntax == ExplicitVRLittleEndian
    no_class = make_dataset(SOPClassUID=None)
    bare = to_bytes(no_class)
    assert reason_of(bare[bare.index(struct.pack("<HH2s", 8, 5, b"CS")) :]) == Reason.NOT_DICOM


def test_private_sequences_of_defined_length_in_implicit_vr() -> None:
    dataset = make_dataset(transfer_syntax=ImplicitVRLittleEndian, private=False)
    inner = Dataset()
    inner.PatientName = "DOE^JANE"
    block = dataset.private_block(0x0099, "SENDIT TEST", create=True)
    block.add_new(0x01, "SQ", Sequence([inner]))
    tags = [e[0] for e in walk_elements(read_header(to_bytes(dataset)).elements)]
    assert tags.count(0x00100010) == 2


# Files ----------------------------------------------------------------------------------


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(to_bytes(make_dataset()))
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    wanted = {
        "link": Reason.LINK,
        "folder": Reason.NOT_A_FILE,
        "pipe": Reason.NOT_A_FILE,
        "empty": Reason.EMPTY_FILE,
        "missing": Reason.UNREADABLE,
    }
    for name, reason in wanted.items():
        with pytest.raises(SkipInstance) as refused:
            open_instance(tmp_path / name)
        assert refused.value.reason == reason, name
    with open_instance(file) as header:
        assert header.size == file.stat().st_size


@pytest.mark.filterwarnings("ignore")
def test_scanning_only_the_head_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(path: Path) -> object:
        try:
            header = open_instance(path)
        except SkipInstance as skipped:
            return skipped.reason
        texts = [
            (e[0], header.text(e[0])) for e in header.elements if e[0] not in scan.PIXEL_DATA_TAGS
        ]
        return header.elements, texts, header.size, header.trailing, header.transfer_syntax

    alone = 0
    for path in real_files():
        monkeypatch.setattr(scan, "HEAD", 1 << 40)
        whole = told(path)
        for head in (1000, 5000, 50_000):
            monkeypatch.setattr(scan, "HEAD", head)
            assert told(path) == whole, (path.name, head)
            if path.stat().st_size > head:
                alone += scan._from_head(path.read_bytes()[:head], path.stat().st_size) is not None
    assert alone > 80


def test_truncated_pixel_data_is_detected_from_the_head(tmp_path: Path) -> None:
    data = to_bytes(make_dataset(rows=512, columns=512))
    assert len(data) > scan.HEAD
    file = tmp_path / "a.dcm"
    for cut in (1, 1000, 300_000):
        file.write_bytes(data[:-cut])
        with pytest.raises(SkipInstance, match=Reason.TRUNCATED):
            open_instance(file)
    file.write_bytes(data)
    assert len(open_instance(file).data) == scan.HEAD


def test_large_files_are_memory_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_READ", 1000)
    file = tmp_path / "a.dcm"
    file.write_bytes(to_bytes(make_dataset()))
    data, _ = scan.read_file(file)
    assert not isinstance(data, bytes)
    with read_header(data) as header:
        assert header.text(0x00100020) == make_dataset().PatientID


# Arbitrary input ------------------------------------------------------------------------

SEEDS = [
    to_bytes(make_dataset(kind=kind, transfer_syntax=syntax, rows=4, columns=4))
    for kind in KINDS
    for syntax in SYNTAXES
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(("set", "length", "cut", "insert", "double")))
        if change == "set":
            data[at] = draw(st.integers(0, 255))
        elif change == "length":
            data[at : at + 4] = struct.pack(
                "<L", draw(st.sampled_from([0, 1, 7, 8, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            )
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 256))]
        if not data:
            return b""
    return bytes(data)


@given(mutated())
@settings(max_examples=400)
def test_arbitrary_bytes_raise_only_refusals(data: bytes) -> None:
    try:
        header = read_header(data)
    except SkipInstance as skipped:
        assert skipped.reason in set(Reason)
        return
    for element in walk_elements(header.elements):
        assert 0 <= element[2] < element[3] <= element[4] <= len(header.data)
    for element in header.elements:
        header.text(element[0])


@given(st.binary(max_size=400), st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian]))
@settings(max_examples=200)
def test_arbitrary_datasets_raise_only_refusals(data: bytes, syntax: str) -> None:
    uid = str(syntax).encode()
    meta = _element(0x00020010, b"UI", uid + b"\0" * (len(uid) & 1))
    reason = reason_of(bytes(128) + b"DICM" + meta + data)
    assert reason is None or reason in set(Reason)


def test_sequence_delimiter_in_a_defined_length_sequence() -> None:
    """In a sequence of defined length, nobody would read what follows a delimiter."""
    hidden = _element(0x00100010, b"PN", b"WINTERBOTTOM")
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    hidden_item = struct.pack("<HHL", 0xFFFE, 0xE000, len(hidden)) + hidden
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    last = _element(0x00200011, b"IS", b"1 ")
    # At its very end it is superfluous; before the end, lengths cannot be trusted.
    assert reason_of(_file(_element(0x00081140, b"SQ", item + end), last)) is None
    assert reason_of(_file(_element(0x00081140, b"SQ", end), last)) is None
    for content in (item + end + hidden_item, end + hidden_item, item + end + end, end + bytes(8)):
        data = _file(_element(0x00081140, b"SQ", content), last)
        assert reason_of(data) == Reason.MALFORMED, content
    undefined = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    assert reason_of(_file(undefined, item + end, last)) is None


def test_item_delimiter_in_a_defined_length_item() -> None:
    inner = _element(0x00081150, b"UI", b"1.2.3\0")
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    for content, reason in (
        (inner + end, None),
        (inner + end + inner, Reason.MALFORMED),
        (end + inner, Reason.MALFORMED),
    ):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
        assert reason_of(_file(_element(0x00081140, b"SQ", item))) == reason


def test_header_checksum_covers_everything_but_the_samples(tmp_path: Path) -> None:
    dataset = make_dataset(rows=300, columns=300)
    end_with_pixels(dataset)
    data = to_bytes(dataset)
    file = tmp_path / "one"
    file.write_bytes(data)
    assert len(data) > scan.HEAD
    known = scan.header_checksum(open_instance(file))
    assert known == scan.header_checksum(read_header(data))
    assert known == scan.header_checksum(read_header(data[:-2] + b"xy"))
    at = data.index(b"CT")
    assert known != scan.header_checksum(read_header(data[:at] + b"MR" + data[at + 2 :]))
    with_padding = data + _element(0xFFFCFFFC, b"OB", b"ab")
    other = data + _element(0xFFFCFFFC, b"OB", b"cd")
    assert known != scan.header_checksum(read_header(with_padding))
    assert scan.header_checksum(read_header(with_padding)) != scan.header_checksum(
        read_header(other)
    )
    del dataset.PixelData
    less = to_bytes(dataset)
    assert scan.header_checksum(read_header(less)) != scan.header_checksum(
        read_header(less.replace(b"CT", b"MR", 1))
    )
