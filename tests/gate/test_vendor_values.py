"""Vendor numbers are numbers; anything else in their place is text."""

from __future__ import annotations

import gzip
import struct

import pytest

from sendit.gate import vendor_values
from sendit.gate.vendor_values import numbers_and_text
from sendit.vendors.siemens_csa import CsaTag, write_csa
from testing.vendor_objects import csa_image

B_VALUE = 0x0019100C  # IS, of SIEMENS MR HEADER
SLICES = 0x0019100A  # US
ITEMS = 0x002110FE  # SQ, of SIEMENS MR SDI 02
IMAGE_HEADER = 0x00291010
COMMENTS = 0x00204000
GE_PROTOCOL = 0x0025101B


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "understood"),
    [
        (B_VALUE, "IS", b"1000", (["1000"], "")),
        (B_VALUE, "UN", b" 1000 ", (["1000"], "")),
        (B_VALUE, "IS", b"Stone ", None),
        (B_VALUE, "LO", b"1000", None),
        (SLICES, "US", b"\x24\x00", ([], "")),
        (SLICES, "US", b"Winterbottom", None),
        (SLICES, "LO", b"Winterbottom", None),
        (ITEMS, "UN", b"Winterbottom", None),
        (ITEMS, "UN", b"1000", None),
        (0x00191001, "LO", b"Winterbottom", None),  # not listed
        (COMMENTS, "LT", b"b=1500(0.895,0.000,0.445) ", ([], "")),
        (COMMENTS, "LT", b"b=1500(0.895,0.000,0.445) Winterbottom", None),
        (COMMENTS, "LT", b"", None),
    ],
)
def test_parsed_vendor_values(
    tag: int, vr: str, raw: bytes, understood: tuple[list[str], str] | None
) -> None:
    assert numbers_and_text(tag, vr, raw) == understood


def test_an_invalid_structure_is_read_as_text() -> None:
    assert numbers_and_text(IMAGE_HEADER, "OB", b"Winterbottom") is None


@pytest.mark.parametrize(("lines", "understood"), [(1, True), (500, True), (1_000_000, False)])
def test_a_compressed_protocol_is_inflated_within_bounds(lines: int, understood: bool) -> None:
    packed = gzip.compress(b"TR 1000\n" * lines)
    raw = struct.pack("<I", len(packed)) + packed
    assert (numbers_and_text(GE_PROTOCOL, "OB", raw) is not None) is understood


def test_structure_keys_and_fixed_words_are_not_text() -> None:
    tags = [
        CsaTag("B_value", 1, "IS", 6, ("1000",)),
        CsaTag("PhaseEncodingDirection", 1, "CS", 16, ("COL",)),
        CsaTag("SliceNormalVector", 3, "FD", 4, ("0.5", "-1", "1e-3")),
        CsaTag("ICE_Dims", 1, "LO", 19, ("X_1_1_1_1_1_1_19_1_1_2_1_7734512",)),
        CsaTag("AcquisitionMatrixText", 1, "SH", 22, ("64p*192s",)),
        CsaTag("Winterbottom", 1, "LO", 19, ("Ada 7734512",)),
    ]
    understood = numbers_and_text(IMAGE_HEADER, "OB", write_csa(tags))
    assert understood is not None
    numbers, text = understood
    assert set(numbers) >= {"1000", "0.5", "-1", "1e-3", "19", "7734512", "64", "192"}
    assert text.split("\n") == ["Winterbottom", "Ada 7734512"]


def test_the_gate_reads_what_headers_share_once():
    vendor_values._of_run.cache_clear()
    first = numbers_and_text(0x00291010, "OB", csa_image(1, weighted=True))
    read = vendor_values._of_run.cache_info().misses
    assert numbers_and_text(0x00291010, "OB", csa_image(1, weighted=True)) == first
    assert vendor_values._of_run.cache_info().misses == read
    assert numbers_and_text(0x00291010, "OB", csa_image(2, weighted=True)) != first
    assert 0 < vendor_values._of_run.cache_info().misses - read < read / 4
