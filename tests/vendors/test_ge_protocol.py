"""GE's binary blocks keep slice times and directions, and nothing else."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.clients import convert
from sendit.vendors import NotUnderstood
from sendit.vendors.ge_protocol import MAX_TEXT, clean_protocol_block, clean_user_data
from testing.builder import to_bytes
from testing.vendor_objects import SECRET, ge_functional, ge_protocol, ge_user_data


def text_of(value: bytes) -> list[str]:
    (length,) = struct.unpack_from("<I", value)
    assert len(value) == 4 + length
    return gzip.decompress(value[4:]).decode("ascii").split()


def packed(text: bytes) -> bytes:
    whole = gzip.compress(text)
    return struct.pack("<I", len(whole)) + whole


def test_a_protocol_keeps_known_numbers_and_options():
    new = clean_protocol_block(ge_protocol())
    assert text_of(new) == [
        *("IOPT", '"EPI,', "FMRI,", 'EDR"', "SLICEORDER", '"1"', "VIEWORDER", '"1"'),
        *("NOSLC", '"4"', "DELACQNOAV", '"0.033"', "MBACCEL", '"1"'),
    ]
    assert clean_protocol_block(new) == new


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_padding_is_accepted(padding):
    assert clean_protocol_block(ge_protocol() + padding) == clean_protocol_block(ge_protocol())


@pytest.mark.parametrize("line", [b'NOSLC "4"', b"NOSLC 4", b'set NOSLC "4"', b'NOSLC\t"4"\r'])
def test_line_notations(line):
    assert text_of(clean_protocol_block(packed(b"EXAM 7\n" + line + b"\n"))) == ["NOSLC", '"4"']


@pytest.mark.parametrize(
    "line",
    [
        *(
            b'NOSLC "Winterbottom"',
            b'NOSLC "19570314"',
            b'NOSLC "4 Winterbottom"',
            b"NOSLC 4 (DOE)",
        ),
        *(b'EXAM "4"', b"xNOSLC 4", b'IOPTS "FMRI"', b'DELACQ "Winterbottom"', b"NOSLC \xb2"),
    ],
)
def test_unknown_values_are_removed(line):
    assert text_of(clean_protocol_block(packed(line))) == []


def test_site_specific_options_are_removed():
    assert text_of(clean_protocol_block(packed(b'IOPT "FMRI, Winterbottom,MPh"'))) == [
        *("IOPT", '"FMRI,', 'MPh"')
    ]
    assert text_of(clean_protocol_block(packed(b'DELACQ "Minimum"'))) == ["DELACQ", '"Minimum"']


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"abc",
        SECRET.encode(),
        ge_protocol()[:-9],
        ge_protocol()[:30],
        b"\0\0\0\0" + ge_protocol()[4:],
        packed(b"<?xml version='1.0'?><NOSLC>4</NOSLC>"),
        packed(b"NOSLC 4\nNOSLC 5\n"),
        packed(bytes(MAX_TEXT + 1)),
    ],
)
def test_invalid_protocols_are_refused(value):
    with pytest.raises(NotUnderstood):
        clean_protocol_block(value)


@pytest.mark.parametrize("version", [5.0, 20.0, 25.0, 25.0025, 26.0, 30.0])
@pytest.mark.parametrize("polarity", [0, 4])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_dcm2niix_reads_the_same_phase_encoding(version, polarity, order, tmp_path):
    block = ge_user_data(version, polarity=polarity, order=order)
    directions = []
    for name, value in (("before", block), ("after", clean_user_data(block))):
        images = ge_functional(1)
        for image in images:
            image[0x0043102A].value = value
        read = convert([to_bytes(image) for image in images], tmp_path / name)
        directions.append([read[key] for key in read if key.endswith("PhaseEncodingDirection")])
    assert directions[0] == directions[1]
    assert len(directions[0]) == 1


def test_a_cleaned_block_contains_only_six_bytes():
    for version in (20.0, 26.0):
        new = clean_user_data(ge_user_data(version, order=2))
        assert sum(map(bool, new)) <= 6
        assert clean_user_data(new) == new


@pytest.mark.parametrize(
    "value",
    [
        b"",
        SECRET.encode(),
        ge_user_data()[:900],
        ge_user_data(4.0),
        ge_user_data(41.0),
        ge_user_data(float("nan")),
        b" " * 2000,
    ],
)
def test_invalid_blocks_are_refused(value):
    with pytest.raises(NotUnderstood):
        clean_user_data(value)


@given(value=st.binary(max_size=40), place=st.integers(0, 1200), gone=st.integers(0, 1200))
def test_corrupted_blocks_are_refused_or_give_listed_values(value, place, gone):
    for block, clean in (
        (ge_user_data(), clean_user_data),
        (ge_protocol(), clean_protocol_block),
    ):
        damaged = block[:place] + value + block[place + gone :]
        try:
            new = clean(damaged)
        except NotUnderstood:
            continue
        assert clean(new) == new
        assert SECRET.encode() not in new
