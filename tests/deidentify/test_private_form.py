"""A safe private attribute is safe as what the list says that it is, and as nothing else."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sendit.deidentify.private_form import is_of_form, listed
from sendit.recipe.profile import SafePrivate, safe_private
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import opened, plan_of


def row(vr: str, vm: str = "1") -> SafePrivate:
    return SafePrivate(0x0019, "ACME", 0x0A, vr, vm, "")


@pytest.mark.parametrize(
    ("vr", "vm", "written", "value", "kept"),
    [
        ("US", "1", "US", b"\x24\x00", True),
        ("US", "1", "UN", b"\x24\x00", True),
        ("US", "1", "US", b"", True),
        ("US", "1", "LO", b"Dr Winterbottom ", False),
        ("US", "1", "UN", b"Dr Winterbottom ", False),
        ("US", "1", "US", b"Winterbottom", False),
        ("US", "1-n", "US", b"Winterbottom", False),
        ("US", "1", "SS", b"\x24\x00", False),
        ("FL", "1", "FL", struct.pack("<f", 13.4), True),
        ("FL", "1-n", "FL", struct.pack("<2f", 13.4, 13.4), True),
        ("FL", "1-n", "FL", b"Winterbottom", False),
        ("FL", "1-n", "FL", b"WINTERBOTTOM", False),
        ("UL", "1", "UL", b"Jane", False),
        ("FD", "3", "FD", struct.pack("<3d", 0.1, -0.2, 65.6), True),
        ("FD", "3", "FD", struct.pack("<2d", 0.1, -0.2), False),
        ("FD", "1", "FD", b"MRN77345", False),
        ("DS", "1", "DS", b"1.5", True),
        ("DS", "1", "DS", b" -1.5e-3 ", True),
        ("DS", "1", "DS", b"1.5\\2.5", False),
        ("DS", "3-4", "DS", b"1\\2\\3\\4", True),
        ("DS", "1", "DS", b"Stone ", False),
        ("DS", "1", "DS", b"1.23456789012345678", False),
        ("DS", "1", "LO", b"1.5 ", False),
        ("IS", "1", "IS", b"1000", True),
        ("IS", "1", "IS", b"1000.5", False),
        ("LO", "1", "LO", b"a text", False),
    ],
)
def test_forms(vr: str, vm: str, written: str, value: bytes, kept: bool) -> None:
    assert is_of_form(row(vr, vm), written, value) is kept


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6))
def test_a_number_stays(single: float, double: float) -> None:
    if abs(single) < 1e-30:  # what no scanner measures, but digits spell
        single = 0.0
    assert is_of_form(row("FL"), "FL", struct.pack("<f", single))
    assert is_of_form(row("DS"), "DS", f"{double:.9g}".encode())


def test_every_row_of_the_list_has_a_form() -> None:
    numbers = {"DS", "IS", "FL", "FD", "SS", "US", "SL", "UL"}
    forms = {"number", "large-number", "items", "csa-image", "csa-series", "protocol"}
    for safe in safe_private():
        kind, _, text = safe.form.partition(":")
        assert kind in forms or (kind in {"words", "like"} and re.compile(text))
        assert (safe.vr in numbers) is (kind in {"number", "large-number"})
    found = listed(0x0019100A, "SIEMENS MR HEADER")
    assert found is not None
    assert (found.vr, found.vm) == ("US", "1")
    assert listed(0x0019100A, "ACME") is None


def element(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def delivered(*private: bytes) -> Dataset:
    data = to_bytes(make_dataset(private=False))
    before = data.index(struct.pack("<HH", 0x0020, 0x000D) + b"UI", 132)
    rules = 'KEEP (0019,"SIEMENS MR HEADER",0A)\nKEEP (0019,"SIEMENS MR HEADER",0C)'
    return opened(data[:before] + b"".join(private) + data[before:], plan_of(rules))


SIEMENS = element(0x00190010, "LO", b"SIEMENS MR HEADER ")
ACME = element(0x00190010, "LO", b"ACME")
SLICES = element(0x0019100A, "US", b"\x24\x00")


@pytest.mark.parametrize(
    ("private", "kept"),
    [
        ((SIEMENS, SLICES), True),
        ((SIEMENS, SIEMENS, SLICES), False),
        ((ACME, SIEMENS, SLICES), False),
        ((SIEMENS, ACME, SLICES), False),
        ((SIEMENS, element(0x0019100A, "LO", b"Dr Winterbottom ")), False),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_only_in_a_block_of_one_creator(private: tuple[bytes, ...], kept: bool) -> None:
    ds = delivered(*private)
    assert (0x0019100A in ds) is kept
    assert (0x00190010 in ds) is kept
