"""A header diff reads a file as a full scan does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sendit.dicom import header_diff
from sendit.dicom.header_diff import DiffHeader, HeaderTemplate, template_of
from sendit.dicom.scan import PIXEL_DATA_TAGS, Header, read_header
from sendit.errors import SkipInstance
from testing.builder import make_dataset, to_bytes
from testing.real_files import real_files

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
# What differs between the files of a series: values of every kind and length.
VARYING = {
    "InstanceCreationTime": st.sampled_from(["", "1011", "101112", "101112.123456"]),
    "SOPInstanceUID": st.from_regex(r"1\.2\.[1-9][0-9]{0,30}", fullmatch=True),
    "PatientName": st.text("abc^=äöü", max_size=12),
    "SliceLocation": st.floats(-999, 999).map(lambda number: f"{number:.6g}"),
    "InstanceNumber": st.integers(0, 99999).map(str),
    "ImageComments": st.text("ab \n", max_size=300),
    "Rows": st.integers(0, 65535),
    "ImagePositionPatient": st.lists(st.integers(-99, 99), min_size=3, max_size=3),
    "ReferencedImageSequence": st.lists(st.integers(1, 999), max_size=3),
}


def template(header: Header) -> HeaderTemplate:
    template = template_of(header)
    assert template is not None
    return template


def set_values(dataset: Dataset, values: dict[str, Any]) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, _items(value) if keyword.endswith("Sequence") else value)
    return dataset


def _items(numbers: list[int]) -> list[Dataset]:
    items = [Dataset() for _ in numbers]
    for item, number in zip(items, numbers, strict=True):
        item.ReferencedSOPInstanceUID = f"1.2.{number}"
    return items


def assert_same(like: DiffHeader, data: bytes, other: Header) -> None:
    """Compare the result of a header diff with a scan of the same bytes."""
    scanned = read_header(data)
    assert like.encoding == scanned.encoding
    assert like.transfer_syntax == scanned.transfer_syntax
    assert (like.size, like.trailing, like.meta) == (scanned.size, scanned.trailing, scanned.meta)
    tags = [element[0] for element in scanned.elements]
    for tag in [*tags, 0x00100000, 0x0011_0001]:
        assert like.element(tag) == scanned.element(tag)
        assert like.raw(tag) == scanned.raw(tag)
    differing = [
        element
        for element, its in zip(scanned.elements, other.elements, strict=True)
        if data[element[2] : element[4]] != other.data[its[2] : its[4]]
        and element[0] not in PIXEL_DATA_TAGS
    ]
    assert like.elements == differing == list(like.differing.values())


@given(
    first=st.fixed_dictionaries(VARYING),
    second=st.fixed_dictionaries({}, optional=VARYING),
    syntax=st.sampled_from(SYNTAXES),
    pixels=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_differing_values_are_found(first, second, syntax, pixels):
    dataset = set_values(make_dataset(rows=4, columns=4, transfer_syntax=syntax), first)
    if not pixels:
        del dataset.PixelData
    one = to_bytes(dataset)
    other = to_bytes(set_values(deepcopy(dataset), second))
    header = read_header(one)
    like = template(header).match(other)
    assert like is not None
    assert_same(like, other, header)


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_real_files_match_themselves_or_are_refused(path):
    data = path.read_bytes()
    try:
        header = read_header(data)
    except SkipInstance:
        return  # the scan has tests of its own
    template = template_of(header)
    if template is not None:
        like = template.match(data)
        assert like is not None
        assert like.elements == []
        assert_same(like, data, header)


def test_another_structure_does_not_match():
    dataset = make_dataset(rows=4, columns=4)
    plain = to_bytes(dataset)
    known = template(read_header(plain))

    def changed(change) -> bytes:
        other = deepcopy(dataset)
        change(other)
        return to_bytes(other)

    others = {
        "an element more": changed(lambda ds: setattr(ds, "ReasonForStudy", "S")),
        "an element less": changed(lambda ds: delattr(ds, "StudyDescription")),
        "another VR": plain.replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00LO"),
        "another SOP class": changed(lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5")),
        "another character set": changed(
            lambda ds: setattr(ds, "SpecificCharacterSet", "ISO_IR 192")
        ),
        "another encoding": to_bytes(
            make_dataset(rows=4, columns=4, transfer_syntax=ImplicitVRLittleEndian)
        ),
        "trailing bytes": plain + bytes(8),
        "cut": plain[:-1],
        "cut in the header": plain[:1000],
        "no file": b"",
        "no DICOM": bytes(len(plain)),
        "no preamble": plain[132:],
        "an element behind the pixels": changed(
            lambda ds: ds.add_new(0xFFFCFFFC, "OB", b"\x00\x00")
        ),
    }
    assert known.match(plain) is not None
    assert [name for name, data in others.items() if known.match(data) is not None] == []


def test_encoding_is_detected_from_the_first_element():
    """Read in the other file's encoding, its VR would be part of a length."""
    dataset = make_dataset(rows=4, columns=4, transfer_syntax=ImplicitVRLittleEndian)
    del dataset.SpecificCharacterSet
    plain = to_bytes(dataset)
    header = read_header(plain)
    _, _, start, _, end, _ = header.elements[0]
    explicit = plain[start : start + 4] + b"CS\0\0" + bytes(int.from_bytes(b"CS", "little"))
    assert template(header).match(plain[:start] + explicit + plain[end:]) is None


def test_ambiguous_files_have_no_template():
    def none(data: bytes) -> bool:
        return template_of(read_header(data)) is None

    dataset = make_dataset(rows=4, columns=4)
    assert none(to_bytes(dataset) + bytes(16))  # trailing zeros
    dataset.ImageComments = "x" * 9000
    big = deepcopy(dataset)
    for number in range(header_diff.MAX_HEADER_BYTES // 9000 + 1):
        big.add_new(0x00110100 + number, "LT", "x" * 9000)
    assert none(to_bytes(big))
    dataset.add_new(0xFFFCFFFC, "OB", b"\x00\x00")
    assert none(to_bytes(dataset))


def test_too_many_differences_do_not_match(monkeypatch):
    dataset = make_dataset(rows=4, columns=4)
    known = template(read_header(to_bytes(dataset)))
    dataset.PatientName, dataset.PatientID = "Other^Name", "otherid"
    assert known.match(to_bytes(dataset)) is not None
    monkeypatch.setattr(header_diff, "MAX_DIFFERENCES", 1)
    assert known.match(to_bytes(dataset)) is None
