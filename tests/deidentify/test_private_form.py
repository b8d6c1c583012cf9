"""Safe private attributes are kept only in the form that the list gives them."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sendit.deidentify import private_form
from sendit.deidentify.private_form import (
    candidates,
    clean,
    is_geometry,
    is_of_form,
    listed,
    with_dependents,
)
from sendit.recipe.profile import SafePrivate, safe_private
from testing.builder import make_dataset, to_bytes
from testing.vendor_objects import SECRET, csa_image
from tests.deidentify.engine import deidentified_dataset, plan_of


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
        # two bytes may or may not be letters
        ("US", "1", "US", b"Wb", True),
        ("US", "1", "US", b"\x24\x00\x00", False),
        ("US", "2", "US", b"\x24\x00", False),
        ("SS", "1", "SS", struct.pack("<h", -3), True),
        ("SL", "1", "SL", struct.pack("<l", -9_999_999), True),
        ("UL", "1", "UL", struct.pack("<L", 19_570_314), False),
        # no physical quantity, or unset memory
        ("FL", "1", "FL", struct.pack("<f", 0), True),
        ("FD", "1", "FD", struct.pack("<d", 1e-29), True),
        ("FD", "1", "FD", struct.pack("<d", 1e-31), False),
        ("FD", "1", "FD", struct.pack("<d", 9_999_999.5), True),
        ("FD", "1", "FD", struct.pack("<d", 1e7), False),
        ("FD", "1", "FD", struct.pack("<d", -1e7), False),
        ("FD", "1", "FD", struct.pack("<d", float("inf")), False),
        ("FD", "1", "FD", struct.pack("<d", float("nan")), False),
        # digits as four-byte numbers
        ("FL", "1-n", "FL", b"77345120", False),
        ("FL", "1-n", "FL", b"14.03.57", False),
        ("FL", "1-n", "FL", b"1957-3-1", False),
        ("FL", "1", "FL", b"7734", True),
        ("SS", "1-n", "SS", b"14.03.1957", False),
        ("SS", "1-n", "SS", b"3/14/57 ", False),
        ("DS", "1", "DS", b"1.5\0", True),
        ("DS", "1", "DS", b"0.12345678901234", True),  # sixteen characters
        ("DS", "1", "DS", b"0.123456789012345", False),
        ("DS", "1", "DS", b"9999999", True),
        ("DS", "1", "DS", b"-1e7", False),
        ("DS", "2-3", "DS", b"1\\2", True),
        ("DS", "2-3", "DS", b"1\\2\\3\\4", False),
        ("DS", "2", "DS", b"1\\Stone", False),
        ("IS", "1", "IS", b"  0 ", True),
        ("UL", "1", "FD", struct.pack("<d", 1), False),
    ],
)
def test_private_value_forms(vr: str, vm: str, written: str, value: bytes, kept: bool) -> None:
    assert is_of_form(row(vr, vm), written, value) is kept


@pytest.mark.parametrize(
    ("form", "vm", "written", "value", "kept"),
    [
        ("words:LEFT|RIGHT", "1", "CS", b"LEFT", True),
        ("words:LEFT|RIGHT", "1", "LO", b"RIGHT ", True),  # text VRs are interchangeable
        ("words:LEFT|RIGHT", "1", "UN", b"RIGHT\0", True),
        ("words:LEFT|RIGHT", "1", "DS", b"LEFT", False),
        ("words:LEFT|RIGHT", "1", "CS", b"LEFTRIGHT", False),
        ("words:LEFT|RIGHT", "1", "CS", b"left", False),
        ("words:LEFT|RIGHT", "1", "CS", b"LEFT\\RIGHT", False),
        ("words:LEFT|RIGHT", "1-2", "CS", b"LEFT\\ RIGHT", True),
        ("words:LEFT|RIGHT", "1-2", "CS", b"LEFT\\Stone", False),
        ("words:A.B", "1", "CS", b"AxB", False),
        (r"like:\d+p\*\d+", "1", "SH", b"16p*16", True),
        (r"like:\d+p\*\d+", "1", "SH", "٣p*٣".encode(), False),
        (r"like:.*", "1", "SH", "Müller".encode("latin-1"), False),
        ("of no kind", "1", "SH", b"LEFT", False),
        ("words:LEFT", "1", "CS", b"", True),
    ],
)
def test_private_text_forms(form: str, vm: str, written: str, value: bytes, kept: bool) -> None:
    safe = SafePrivate(0x0019, "ACME", 0x0A, "CS", vm, "", form=form)
    assert is_of_form(safe, written, value) is kept
    assert clean(safe, written, value) == (value if kept else None)


@pytest.mark.parametrize(
    ("tag", "creator", "vr", "value"),
    [
        (0x0019109C, "GEMS_ACQU_01", "LO", b"research/ABCD/epi_pepolar"),
        (0x0019109C, "GEMS_ACQU_01", "LO", b"3db0map"),
        (0x0019109E, "GEMS_ACQU_01", "LO", b"B0map"),
        (0x0019109E, "GEMS_ACQU_01", "LO", b"CSMEMP"),
        (0x00431027, "GEMS_PARM_01", "SH", b"/1.3:1"),
        (0x0051100B, "SIEMENS MR HEADER", "SH", b"192*192 I"),
        (0x00191008, "SIEMENS MR HEADER", "CS", b"IMAGE NUM X"),
        (0x00211056, "SIEMENS MR SDI 02", "LO", b"p2 s3"),
        (0x00211075, "SIEMENS MR SDI 02", "CS", b"DERIVED\\PRIMARY\\DIFFUSION\\TENSOR_B0\\MB\\ND"),
        (0x00211078, "SIEMENS MR SDI 02", "CS", b"DERIVED\\PRIMARY\\ASL\\NORM\\RELCBF\\SUB\\TTEST"),
        (
            *(0x0021108E, "SIEMENS MR SDI 02", "ST"),
            b"X_1_1_1_1_1_1_21_1_1_2_1_631_1_1_1_1_21_2_1_39_1_1",
        ),
        (0x0021105C, "SIEMENS MR SDS 01", "CS", b"PFP\\SAT1\\FS"),
        (0x00431095, "GEMS_PARM_01", "LO", b"TG/s2,AS/s2,RN/s2,Cal/s2,Coil/s1"),
        (0x004310B2, "GEMS_PARM_01", "LO", b"960.5\\400\\-128.45\\\\-9999\\-9999"),
        (0x004310B6, "GEMS_PARM_01", "LO", b"8\\4\\19\\\\\\\\"),
        (0x00511008, "SIEMENS MR HEADER", "CS", b"IMAGE NUM X"),
        (0x00511011, "SIEMENS MR HEADER", "LO", b"p3 s2"),
        (0x00651005, "Image Private Header", "SH", b"A->P"),
        (0x01E11026, "ELSCINT1", "CS", b"HEAD 16 CM"),
        (0x01F11001, "ELSCINT1", "CS", b"SLICES"),
        (0x20051011, "Philips MR Imaging DD 001", "CS", b"PERFUSION"),
        (0x20051110, "Philips MR Imaging DD 008", "CS", b"CS_SENSE_AI"),
    ],
)
def test_values_of_real_images_are_kept(tag: int, creator: str, vr: str, value: bytes) -> None:
    """As in the public images that dcm2niix is tested with."""
    safe = listed(tag, creator)
    assert safe is not None
    assert clean(safe, vr, value) == value
    assert b"Winterbottom" not in (clean(safe, vr, value + b" Winterbottom") or b"")
    assert clean(safe, vr, b"Winterbottom") is None


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"ORIGINAL\\PRIMARY\\M\\FM3_2\\ND ", b"ORIGINAL\\PRIMARY\\M\\ND "),
        (b"ORIGINAL\\PRIMARY\\Winterbottom", b"ORIGINAL\\PRIMARY"),
        (b"ORIGINAL\\", b"ORIGINAL"),
        (b"Winterbottom\\PRIMARY", None),
    ],
)
def test_unknown_words_leave_the_known_ones(value: bytes, left: bytes | None) -> None:
    safe = listed(0x00211075, "SIEMENS MR SDI 02")
    assert safe is not None
    assert clean(safe, "CS", value) == left


def test_large_values_have_a_separate_limit() -> None:
    large = SafePrivate(0x0019, "ACME", 0x0A, "DS", "1", "", form="large-number")
    assert is_of_form(large, "DS", b"9999999999")
    assert not is_of_form(large, "DS", b"1e10")
    assert not is_of_form(row("DS"), "DS", b"9999999999")


def test_private_numbers_are_read_in_the_byte_order_of_the_file() -> None:
    assert is_of_form(row("UL"), "UL", struct.pack(">L", 36), little=False)
    assert not is_of_form(row("UL"), "UL", struct.pack(">L", 36))
    assert clean(row("UL"), "UL", struct.pack(">L", 36), little=False) == struct.pack(">L", 36)
    assert clean(row("UL"), "UL", struct.pack("<L", 36), little=False) is None


@pytest.mark.parametrize("form", ["csa-image", "csa-series", "protocol"])
def test_structures_keep_only_parsed_content(form: str) -> None:
    safe = SafePrivate(0x0029, "SIEMENS CSA HEADER", 0x10, "OB", "1", "", form=form)
    for vr, value, left in (
        ("OB", b"", b""),
        ("UN", b"\0 ", b"\0 "),
        ("OB", b"Dr Winterbottom", None),
        ("LO", b"Dr Winterbottom", None),
    ):
        assert clean(safe, vr, value) == left


@pytest.mark.parametrize("vr", ["OB", "UN"])  # UN: in Implicit VR encoding
def test_structures_keep_listed_numbers(vr: str) -> None:
    safe = SafePrivate(0x0029, "SIEMENS CSA HEADER", 0x10, "OB", "1", "", form="csa-image")
    left = clean(safe, vr, csa_image(2, weighted=True))
    assert left is not None
    assert b"NumberOfImagesInMosaic" in left
    assert SECRET.encode() not in left
    assert clean(safe, "LO", csa_image(2, weighted=True)) is None


def test_entries_match_any_block() -> None:
    entries = candidates(0x0019100A)
    assert {(safe.group, safe.element) for safe in entries} == {(0x0019, 0x0A)}
    assert "SIEMENS MR HEADER" in {safe.creator for safe in entries}
    assert candidates(0x0019110A) == entries
    assert candidates(0x0019000A) == ()  # in no block
    assert candidates(0x0017100A) == ()


DIRECTION = (0x0019, "SIEMENS MR HEADER", 0x0E)
B_VALUE = (0x0019, "SIEMENS MR HEADER", 0x0C)
SLICE_TIMES = (0x0019, "SIEMENS MR HEADER", 0x29)
IMAGE_HEADER = (0x0029, "SIEMENS CSA HEADER", 0x10)
SERIES_HEADER = (0x0029, "SIEMENS CSA HEADER", 0x20)


def test_dependent_attributes_are_removed_together() -> None:
    gone = with_dependents({DIRECTION})
    assert {DIRECTION, B_VALUE} <= gone
    assert not {IMAGE_HEADER, SERIES_HEADER, SLICE_TIMES} & gone
    assert {IMAGE_HEADER, SERIES_HEADER, SLICE_TIMES} <= with_dependents({IMAGE_HEADER})
    assert B_VALUE not in with_dependents({IMAGE_HEADER})
    alone = (0x0019, "ACME", 0x01)
    assert with_dependents({alone}) == {alone}


def test_geometry_attributes() -> None:
    assert {
        (safe.creator, safe.element): is_geometry(safe)
        for safe in safe_private()
        if (safe.group, safe.creator, safe.element) in {IMAGE_HEADER, SERIES_HEADER, B_VALUE}
    } == {IMAGE_HEADER[1:]: True, SERIES_HEADER[1:]: False, B_VALUE[1:]: False}


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6))
def test_plausible_numbers_are_kept(single: float, double: float) -> None:
    if abs(single) < 1e-30:  # letters that spell an implausible number
        single = 0.0
    assert is_of_form(row("FL"), "FL", struct.pack("<f", single))
    assert is_of_form(row("DS"), "DS", f"{double:.9g}".encode())


def test_every_listed_attribute_has_a_form() -> None:
    numbers = {"DS", "IS", "FL", "FD", "SS", "US", "SL", "UL"}
    forms = {"number", "large-number", "items", *private_form._REWRITTEN}
    for safe in safe_private():
        kind, _, text = safe.form.partition(":")
        assert kind in forms or (kind in {"words", "like"} and re.compile(text))
        assert (safe.vr in numbers) is (kind in {"number", "large-number"})
    entry = listed(0x0019100A, "SIEMENS MR HEADER")
    assert entry is not None
    assert (entry.vr, entry.vm) == ("US", "1")
    assert listed(0x0019100A, "ACME") is None


def element(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def delivered(*private: bytes) -> Dataset:
    data = to_bytes(make_dataset(private=False))
    before = data.index(struct.pack("<HH", 0x0020, 0x000D) + b"UI", 132)
    rules = 'KEEP (0019,"SIEMENS MR HEADER",0A)\nKEEP (0019,"SIEMENS MR HEADER",0C)'
    return deidentified_dataset(data[:before] + b"".join(private) + data[before:], plan_of(rules))


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
def test_attributes_are_kept_only_in_a_block_with_one_creator(
    private: tuple[bytes, ...], kept: bool
) -> None:
    ds = delivered(*private)
    assert (0x0019100A in ds) is kept
    assert (0x00190010 in ds) is kept
